"""What people see: tables and progress, or JSON for programs."""

from __future__ import annotations

import dataclasses
import json as json_text
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from forebay.service.findings import Finding
    from forebay.service.record import Progress, Recorder
    from forebay.sim.detector import Sent
    from forebay.store.manifest import Manifest
    from forebay.store.report import Report

_STYLES = {"ok": "green", "warning": "yellow", "problem": "red", "loss": "yellow", "note": "dim"}
_MOST_LINES = 20


def facts(title: str, rows: Sequence[tuple[str, str]]) -> Table:
    """Return a table of two columns: what, and how much."""
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    for label, value in rows:
        table.add_row(Text(label, style="bold"), value)
    return table


def size(n_bytes: float) -> str:
    """Return bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}" if n_bytes < 100 else f"{n_bytes:.0f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"


def record_with_progress(recorder: Recorder, stop: threading.Event, *, quiet: bool) -> Manifest:
    """Record while a line on the terminal says how it stands."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        return recorder.run(stop)
    with Live(get_renderable=lambda: progress_line(recorder.progress), console=console, refresh_per_second=5):
        return recorder.run(stop)


def progress_line(progress: Progress) -> RenderableType:
    """Return rate, loss, ring fill and disk of a recording in one line."""
    seconds = max(progress.seconds, 1e-3)
    table = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=progress.n_asked, completed=progress.n_written, width=24)
    asked = "" if progress.n_asked is None else f"/{progress.n_asked}"
    hurt = progress.n_incomplete + progress.n_lost
    table.add_row(
        bar if progress.n_asked is not None else Text("recording", style="green"),
        f"{progress.n_written}{asked} images",
        f"{progress.n_written / seconds:.0f}/s",
        f"{size(progress.pixel_bytes / seconds)}/s",
        Text(
            f"incomplete {progress.n_incomplete}, lost {progress.n_lost}", style="yellow" if hurt else "green"
        ),
        f"ring {progress.ring_fill:.0%}",
        f"disk {size(progress.written_bytes / seconds)}/s, {size(progress.free_bytes)} free",
    )
    return table


def print_recording(path: Path, manifest: Manifest, json: bool) -> int:
    """Print what was recorded; return the exit code, 1 if pulses or images are missing."""
    (source,) = manifest.sources.values()
    if json:
        print(json_text.dumps({"file": str(path), "manifest": json_text.loads(manifest.to_json())}))
    else:
        rows = [
            ("asked", str(manifest.requested)),
            ("got", f"{source.got} images of {source.expected} pulses"),
            ("missing", some(source.missing.n, source.missing.ranges)),
            ("incomplete", some(source.n_incomplete, [str(one.pulse_id) for one in source.incomplete])),
            ("ended", manifest.reason),
            ("file", str(path)),
        ]
        Console().print(facts("", rows), soft_wrap=True)
    is_short = source.got < (manifest.requested.images or 0)
    return 1 if source.missing.n or is_short else 0


def some(n: int, which: Sequence[str]) -> str:
    """Return a number, and the first of those that are counted."""
    if not n:
        return "0"
    return f"{n}: {', '.join(which[:5])}{' ...' if len(which) > 5 else ''}"


def print_checks(checks: dict[str, str], json: bool) -> None:
    """Print name and description of every check."""
    if json:
        print(json_text.dumps(checks))
    else:
        Console().print(facts("", list(checks.items())), soft_wrap=True)


def print_report(reports: Sequence[Report], json: bool) -> int:
    """Print the result of checks; return the exit code, 1 if one of them complained."""
    if json:
        print(msgspec.json.encode([_as_json(report) for report in reports]).decode())
    else:
        for report in reports:
            show_report(Console(), report)
    return 0 if all(report.is_good for report in reports) else 1


def _as_json(report: Report) -> dict[str, Any]:
    return {"is_good": report.is_good, **msgspec.to_builtins(report)}


def show_report(console: Console, report: Report, most: int = _MOST_LINES) -> None:
    """Print one report: a table, then what was found, one line each."""
    console.print(Text(report.path, style="italic"), soft_wrap=True)
    if report.rows:
        console.print(facts("", report.rows), soft_wrap=True)
    for problem in report.problems[:most]:
        where = f"pulse {problem.pulse_id}: " if problem.pulse_id is not None else ""
        console.print(
            Text(f"  {problem.severity:8}", style=_STYLES[problem.severity]),
            Text(f"{problem.check}: {where}{problem.message}"),
            soft_wrap=True,
        )
    if len(report.problems) > most:
        console.print(f"  ... and {len(report.problems) - most} more (--json has them all)")
    severities = {problem.severity for problem in report.problems}
    verdict, style = "good", "green"
    if "problem" in severities:
        verdict, style = "NOT what it says it is", "red"
    elif "loss" in severities:
        verdict, style = "whole and honest, with losses", "yellow"
    console.print(Text(f"{len(report.checks)} checks: {verdict}", style=style))


def print_findings(findings: Sequence[Finding], json: bool) -> int:
    """Print what the doctor found; return the exit code, 1 if something cannot work."""
    if json:
        print(json_text.dumps([dataclasses.asdict(finding) for finding in findings]))
    else:
        console = Console()
        widest = max((len(finding.name) for finding in findings), default=0)
        for finding in findings:
            line = Text(f"{finding.state:9}", style=_STYLES[finding.state])
            line.append(f"{finding.name:{widest}}  {finding.found}", style="default")
            if finding.why:
                line.append(f"\n{'':9}{finding.why}", style="dim")
            if finding.mend:  # a command: never broken into lines, so that it can be copied
                line.append(f"\n{'':9}→ {finding.mend}", style="cyan")
            console.print(line, soft_wrap=True)
    return 1 if any(finding.state == "problem" for finding in findings) else 0


def print_sent(sent: Sent, json: bool) -> None:
    """Print what a simulator sent."""
    if json:
        print(json_text.dumps(dataclasses.asdict(sent)))
        return
    seconds = max(sent.elapsed_s, 1e-9)
    rows = [
        ("pulses", f"{sent.n_pulses}, {sent.n_pulses / seconds:.1f}/s"),
        ("packets", f"{sent.packets}, {size(sent.bytes)}, {size(sent.bytes / seconds)}/s"),
        *((kind, str(n)) for kind, n in sent.by_fault.items()),
    ]
    Console().print(facts("sent", rows), soft_wrap=True)


def print_counts(title: str, counts: Any, json: bool) -> None:
    """Print a dataclass of counts."""
    values = dataclasses.asdict(counts)
    if json:
        print(json_text.dumps(values, default=str))
    else:
        Console().print(facts(title, [(name, str(value)) for name, value in values.items()]), soft_wrap=True)
