"""The job *check*: files are proved, one after the other."""

from __future__ import annotations

from typing import Any

import msgspec

from forebay.run.jobs import CheckParameters
from forebay.service.task import Outcome, Standing, Task
from forebay.store.check import check_file
from forebay.store.paths import contained

MOST_PROBLEMS = 100
"""Problems of a file that a result lists; their number beside the list is always whole."""


def check(task: Task) -> Outcome:
    """Check every file; the job is finished when all were looked at, whatever was found."""
    asked = CheckParameters.model_validate(task.job.parameters)
    paths = [contained(task.directory, name) for name in asked.files]
    reports: list[dict[str, Any]] = []
    checked: dict[str, str] = {}
    task.follow(lambda: Standing(len(reports), len(paths)))
    for path in paths:
        if task.stop.is_set():
            break
        report = check_file(path, asked.skip, asked.every)
        found: dict[str, Any] = msgspec.to_builtins(report)
        found |= {
            "is_good": report.is_good,
            "n_problems": len(report.problems),
            "problems": found["problems"][:MOST_PROBLEMS],
        }
        reports.append(found)
        severities = {problem.severity for problem in report.problems}
        checked[str(path)] = next((one for one in ("problem", "loss") if one in severities), "ok")
    n_good = sum(report["is_good"] for report in reports)
    reason = f"{n_good} of {len(paths)} files are good" + (
        f", {len(paths) - len(reports)} were not looked at" if len(reports) < len(paths) else ""
    )
    result = {"files": reports, "n_good": n_good}
    return Outcome(result, reason, failed=len(reports) < len(paths), checked=checked)
