"""The book of LArPix runs where no catalogue is configured: a file of JSON lines."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forebay.errors import StoreError
from forebay.front.larpix.book import CUT_OFF, OpenRun
from forebay.store import manifest as m


class FileBook:
    """Runs as lines of a file, each one synced before anybody is told; the number of the last one counts.

    Runs that were not ended when the file is opened are ended now, but for the last.

    Raises
    ------
    StoreError
        From every method, if the file cannot be read or written, or another core has it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open("ab+", buffering=0)
        except OSError as error:
            raise _not_opened(path, error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.seek(0)
            lines = self._file.read().decode("utf-8", "replace").split("\n")
            if lines[-1]:
                self._file.write(b"\n")  # a line that was cut off is left alone
        except OSError as error:
            self._file.close()
            raise _not_opened(path, error) from error
        known = [line for line in map(_parsed, lines) if line]
        self._last = max((int(line["run"]) for line in known), default=0)
        last = {line["run"]: line["what"] for line in known}
        self._open: OpenRun | None = None
        for run in sorted(run for run, what in last.items() if what != "ended"):
            if run == self._last:
                line = next(line for line in known if line["run"] == run)
                components = dict(line.get("components", {}))
                self._open = OpenRun(run, str(line.get("who", "")), components, last[run] == "began")
            else:
                self.end(run, CUT_OFF, {})

    def _write(self, what: str, run: int, **more: Any) -> None:
        line = json.dumps({"run": run, "what": what, "time": m.now(), **more}).encode() + b"\n"
        try:
            end = self._file.seek(0, os.SEEK_END)
            try:
                if self._file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(end)  # what was refused is not there, not even a part of it
                raise
        except OSError as error:
            todo = "Make room on the disk."
            raise StoreError(
                f"Run {run} cannot be booked in {self._path}: {error.strerror}.", todo
            ) from error

    def open_run(self) -> OpenRun | None:
        """See `forebay.front.larpix.book.Book`."""
        return self._open

    def prepare(
        self, who: str, comment: str, configuration: dict[str, Any], components: Mapping[str, str]
    ) -> int:
        """See `forebay.front.larpix.book.Book`."""
        more = {"who": who, "comment": comment, "configuration": configuration}
        self._write("prepared", self._last + 1, **more, components=dict(components))
        self._last += 1
        return self._last

    def begin(self, run: int) -> None:
        """See `forebay.front.larpix.book.Book`."""
        self._write("began", run)

    def ending(self, run: int) -> None:
        """See `forebay.front.larpix.book.Book`."""
        self._write("ending", run)

    def end(self, run: int, reason: str, account: dict[str, Any]) -> None:
        """See `forebay.front.larpix.book.Book`."""
        self._write("ended", run, reason=reason, account=account)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _not_opened(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"The book of runs {path} cannot be opened: {error.strerror}.",
        "Stop the other core, or give another file: --runs FILE",
    )


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    is_line = isinstance(found, dict) and isinstance(found.get("run"), int) and "what" in found
    return found if is_line else None
