"""The book of LArPix runs in the catalogue."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forebay.errors import StoreError, UnknownError
from forebay.front.larpix.book import CUT_OFF, OpenRun
from forebay.store.catalog import Catalog, File


class CatalogBook:
    """Runs of a proposal in the catalogue; the reason of the end is written behind the comment.

    Parameters
    ----------
    directory:
        Folder of the proposal if it is a new one.
    lock:
        A file by which cores of this host know that a proposal has one already.
    moved_to:
        Folder of the proposal from now on, whether it is new or known.

    Attributes
    ----------
    directory:
        Folder of the proposal, as the catalogue has it.

    Raises
    ------
    StoreError
        If another core books runs of this proposal, or `lock` cannot be made.
    """

    def __init__(
        self, catalog: Catalog, proposal: str, directory: Path, lock: Path, moved_to: Path | None = None
    ) -> None:
        self._catalog = catalog
        self._proposal = proposal
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            self._lock = lock.open("a")
        except OSError as error:
            what = f"{lock} cannot be made: {error.strerror}."
            raise StoreError(what, "See that state_dir of the configuration can be written.") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            what = f"Another core books the runs of proposal {proposal}: {lock} is locked."
            raise StoreError(what, "Stop it, or give another proposal: --proposal NAME.") from error
        try:
            known = catalog.proposal(proposal)
        except UnknownError:
            known = catalog.put_proposal(proposal, moved_to or directory)
        if moved_to is not None and known.directory != str(moved_to):
            known = catalog.put_proposal(proposal, moved_to)
        self.directory = known.directory
        self._open: OpenRun | None = None
        for i, run in enumerate(catalog.runs(proposal)):
            if run.ended_ns is None and i == 0:
                who, components = str(run.parameters.get("who")), dict(run.parameters.get("components", {}))
                self._open = OpenRun(run.number, who, components, run.state == "running")
            elif run.ended_ns is None:
                self.end(run.number, CUT_OFF, {})

    def open_run(self) -> OpenRun | None:
        """See `forebay.front.larpix.book.Book`."""
        return self._open

    def prepare(
        self, who: str, comment: str, configuration: dict[str, Any], components: Mapping[str, str]
    ) -> int:
        """See `forebay.front.larpix.book.Book`."""
        parameters = {"who": who, "configuration": configuration, "components": dict(components)}
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
            path, n_packets = Path(str(said.get("file", ""))), said.get("packets_stored")
            n_bytes = _size_of(path) if path.is_absolute() else None
            if n_bytes is not None:
                acquisition = self._catalog.begin_acquisition(self._proposal, run)
                self._catalog.add_file(
                    File(
                        path=str(path),
                        proposal=self._proposal,
                        run=run,
                        acquisition=acquisition.number,
                        source=name,
                        n_bytes=n_bytes,
                        n_got=n_packets if isinstance(n_packets, int) else 0,
                    )
                )
        self._catalog.advance_run(self._proposal, run, "ended", from_states=(before.state,), ends=True)

    def close(self) -> None:
        """Close the catalogue."""
        self._catalog.close()
        self._lock.close()


def _size_of(path: Path) -> int | None:
    """Return the bytes of a file, None where there is none that can be seen from here."""
    try:
        return path.stat().st_size if path.is_file() else None
    except (OSError, ValueError):
        return None
