"""The one loop: events from a source to sinks, until the source ends or somebody says stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from forebay.ports import Sink, Source


def pump(source: Source, sinks: Sequence[Sink], stop: Callable[[], bool], timeout: float = 0.1) -> None:
    """Move events until `source` says None or `stop` says True.

    Closes nothing: source and sinks belong to the caller.

    Parameters
    ----------
    timeout:
        Seconds between two looks at `stop` while nothing comes.
    """
    while not stop():
        events = source.read(timeout)
        if events is None:
            return
        if events:
            for sink in sinks:
                sink.write(events)
