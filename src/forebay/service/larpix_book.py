"""The book of LArPix runs: the catalogue, or a file of JSON lines where none is configured."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forebay.errors import StoreError, UnknownError
from forebay.front.larpix.book import OpenRun
from forebay.store import manifest as m
from forebay.store.catalog import Catalog, File

CUT_OFF = "the core ended before the run did"


class FileBook:
    """Runs as lines of a file, each one synced before anybody is told; the number of the last one counts.

    Of the runs that were not ended when the file is opened, one that took data may go on; others end now.

    Raises
    ------
    StoreError
        From every method, if the file cannot be read or written, or another core has it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise _not_opened(path, error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.seek(0)
            lines = self._file.read().split("\n")
            if lines[-1]:
                self._file.write("\n")  # a line that was cut off is left alone
        except OSError as error:
            self._file.close()
            raise _not_opened(path, error) from error
        known = [line for line in map(_parsed, lines) if line]
        self._last = max((int(line["run"]) for line in known), default=0)
        last = {line["run"]: line["what"] for line in known}
        self._open: OpenRun | None = None
        for run in sorted(run for run, what in last.items() if what != "ended"):
            if run == self._last and last[run] == "began":
                self._open = _open_run(next(line for line in known if line["run"] == run))
            else:
                self.end(run, CUT_OFF, {})

    def _write(self, what: str, run: int, **more: Any) -> None:
        try:
            self._file.write(json.dumps({"run": run, "what": what, "time": m.now(), **more}) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StoreError(f"Run {run} cannot be booked in {self._path}: {error.strerror}.") from error

    def open_run(self) -> OpenRun | None:
        """See `forebay.front.larpix.book.Book`."""
        return self._open

    def prepare(
        self, who: str, comment: str, configuration: dict[str, Any], components: Sequence[str]
    ) -> int:
        """See `forebay.front.larpix.book.Book`."""
        more = {"who": who, "comment": comment, "configuration": configuration}
        self._write("prepared", self._last + 1, **more, components=list(components))
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


def _open_run(line: dict[str, Any]) -> OpenRun:
    return OpenRun(line["run"], str(line.get("who", "")), tuple(map(str, line.get("components", ()))))


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


class CatalogBook:
    """Runs of a proposal in the catalogue; the reason of the end is written behind the comment."""

    def __init__(self, catalog: Catalog, proposal: str, directory: Path) -> None:
        self._catalog = catalog
        self._proposal = proposal
        try:
            catalog.proposal(proposal)
        except UnknownError:
            catalog.put_proposal(proposal, directory)
        self._open: OpenRun | None = None
        for i, run in enumerate(catalog.runs(proposal)):
            if run.ended_ns is None and run.state == "running" and i == 0:
                found = run.parameters
                self._open = OpenRun(run.number, str(found.get("who")), tuple(found.get("components", ())))
            elif run.ended_ns is None:
                self.end(run.number, CUT_OFF, {})

    def open_run(self) -> OpenRun | None:
        """See `forebay.front.larpix.book.Book`."""
        return self._open

    def prepare(
        self, who: str, comment: str, configuration: dict[str, Any], components: Sequence[str]
    ) -> int:
        """See `forebay.front.larpix.book.Book`."""
        parameters = {"who": who, "configuration": configuration, "components": list(components)}
        run = self._catalog.begin_run(
            self._proposal, comment=comment, state="prepared", parameters=parameters
        )
        return run.number

    def begin(self, run: int) -> None:
        """See `forebay.front.larpix.book.Book`."""
        self._catalog.advance_run(self._proposal, run, "running", from_states=("prepared",))

    def ending(self, run: int) -> None:
        """See `forebay.front.larpix.book.Book`."""
        self._catalog.advance_run(self._proposal, run, "ending", from_states=("prepared", "running"))

    def end(self, run: int, reason: str, account: dict[str, Any]) -> None:
        """See `forebay.front.larpix.book.Book`; files that can be seen from here are booked too."""
        before = self._catalog.run(self._proposal, run)
        comment = f"{before.comment}\n{reason}".strip()
        found = {**before.parameters, "reason": reason, "account": account}
        self._catalog.describe_run(self._proposal, run, comment=comment, parameters=found)
        for name, said in account.items():
            path = Path(str(said.get("file", "")))
            if path.is_absolute() and path.is_file():
                n_bytes, n_packets = path.stat().st_size, int(said.get("packets_stored", 0))
                acquisition = self._catalog.begin_acquisition(self._proposal, run)
                self._catalog.add_file(
                    File(
                        path=str(path),
                        proposal=self._proposal,
                        run=run,
                        acquisition=acquisition.number,
                        source=name,
                        n_bytes=n_bytes,
                        n_got=n_packets,
                    )
                )
        self._catalog.advance_run(self._proposal, run, "ended", from_states=(before.state,), ends=True)

    def close(self) -> None:
        """Close the catalogue."""
        self._catalog.close()
