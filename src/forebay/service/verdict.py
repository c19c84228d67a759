"""Whether a recording did what was asked for, and why it ended, for a person."""

from __future__ import annotations

from forebay.service.task import Task
from forebay.store.manifest import Manifest


def verdict(task: Task, manifest: Manifest, what: str = "images", got: int | None = None) -> tuple[str, bool]:
    """Return why a recording ended, and whether that is a failure.

    Parameters
    ----------
    what, got:
        What the source is counted in, and how much of it is in the file; events, if not given.
    """
    if manifest.closed_by == "recover":
        got = sum(source.got for source in manifest.sources.values()) if got is None else got
        asked = task.job.n_asked
        if got == asked:
            return f"Its worker died with all {got} {what} written; the file was recovered.", False
        of = "" if asked is None else f" of {asked}"
        return f"Its worker died; the file was recovered and has {got}{of} {what}.", True
    match task.why:
        case "deadline":
            return "The deadline passed; the file holds what came until then.", True
        case "shutdown":
            return "The worker was stopped; the file holds what came until then.", True
        case "cancel":
            return "Cancelled; the file holds what came until then.", False
    is_short = manifest.reason == "stopped" and task.why != "finish"  # ended, and whoever ended it is dead
    return manifest.reason, is_short or manifest.reason.startswith(("disk full", "failed"))
