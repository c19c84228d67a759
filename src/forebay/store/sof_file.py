"""Triggers, time stamps, logs and frames of a camera into a ``.sof`` file, bunch by bunch."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from forebay.errors import StoreError
from forebay.store import manifest as m
from forebay.store.paths import check_free, explain, final_of, link_in_place, part_of, sync
from forebay.store.sof_manifest import SofManifest, manifest_of, write_manifest
from forebay.wire.sof import (
    BUNCH_BYTES,
    TRAILER_BYTES,
    Compressor,
    Kind,
    Sof,
    decode,
    encode,
    encode_bunch,
    encode_header,
)

_FLUSH_S = 1.0


class SofFile:
    """Written as ``NAME.part``, which any bunch but the last can be read from at any time.

    Parameters
    ----------
    path:
        The final name; nothing may exist there.
    kind:
        What the objects are.
    bunch_bytes, flush_s:
        A bunch is written when so many bytes wait, or the first of them for so many seconds, as `append` and
        `tick` see it; what waits is lost if this process is killed.

    source:
        Where the objects come from, for the manifest.

    Raises
    ------
    StoreError
        If the file cannot be written.

    Attributes
    ----------
    n:
        Objects taken.
    n_waiting:
        Those of them that are not in the file yet.
    """

    def __init__(
        self,
        path: Path,
        kind: Kind,
        compressor: Compressor = Compressor.BZ2,
        bunch_bytes: int = BUNCH_BYTES,
        flush_s: float = _FLUSH_S,
        clock: Callable[[], float] = time.monotonic,
        source: str = "",
    ) -> None:
        check_free(path)
        self.path = path
        self.n = 0
        self._kind, self._source, self._start_time = kind, source, m.now()
        self._n_written_bytes = 0
        self._part = part_of(path)
        self._compressor = compressor
        self._bunch_bytes = bunch_bytes
        self._flush_s, self._clock = flush_s, clock
        self._waits_since = 0.0
        self._waiting: list[bytes] = []
        self._n_waiting_bytes = self._position = self._trailer = self._number = 0
        try:
            self._fd = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise explain(error, f"Cannot create {self._part}") from error
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody recovers what is being written
        self._append(encode_header(kind, compressor, int(time.time()), m.software()))

    @property
    def n_waiting(self) -> int:
        """Objects taken that are not in the file yet, or never will be if it was closed."""
        return len(self._waiting)

    def append(self, objects: Sequence[bytes]) -> None:
        """Take objects; `StoreError` if they could not be written, or the file is closed."""
        if self._fd < 0:
            raise StoreError(f"The file {self.path} is closed.")
        if objects and not self._waiting:
            self._waits_since = self._clock()
        self._waiting += objects
        self._n_waiting_bytes += sum(map(len, objects))
        self.n += len(objects)
        if self._n_waiting_bytes > self._bunch_bytes:
            self._flush()
        self.tick()

    def tick(self) -> None:
        """Write what has waited long enough; to be called now and then while nothing comes.

        Raises
        ------
        StoreError
            If it could not be written.
        """
        if self._waiting and self._clock() - self._waits_since >= self._flush_s:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        bunch = encode_bunch(self._waiting, self._compressor, self._position, self._trailer, self._number)
        self._append(bunch)
        self._trailer = self._position - TRAILER_BYTES
        self._number += 1
        self._waiting.clear()
        self._n_written_bytes += self._n_waiting_bytes
        self._n_waiting_bytes = 0

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            os.ftruncate(self._fd, self._position)
            raise explain(error, f"Cannot write to {self._part}") from error
        self._position += len(data)

    def close(self) -> None:
        """Write what waits and put the file in its place; may be called twice.

        Raises
        ------
        StoreError
            If that fails; the part stays.
        """
        if self._fd < 0:
            return
        try:
            self._flush()
        finally:
            os.close(self._fd)
            self._fd = -1
        try:
            link_in_place(self._part, self.path)
            self._part.unlink()
            sync(self.path.parent)
        except OSError as error:
            raise explain(error, f"Cannot close {self._part}") from error
        write_manifest(self.path, self._manifest())

    def _manifest(self) -> SofManifest:
        counters = {
            "received": self.n,
            "written": self.n - self.n_waiting,
            "not_written": self.n_waiting,
            "bytes": self._n_written_bytes,
        }
        return SofManifest(
            software=m.software(),
            kind=self._kind,
            source=self._source,
            start_time=self._start_time,
            end_time=m.now(),
            counters=counters,
            closed_by="writer",
            reason="closed",
        )


def recover_sof(part: Path) -> Path:
    """Make the file that a killed writer was writing of its whole bunches, and return its path.

    May be repeated, also after having been killed itself.

    Raises
    ------
    StoreError
        If it is still being written, another file has the final name, or the system refuses.
    WireError
        If it is no container.
    """
    final = final_of(part)
    with _locked(part):
        found = read_sof(part)
        temporary = part.with_name(part.name + ".recovered")
        try:
            if not _is_done(final, part, temporary):
                temporary.unlink(missing_ok=True)
                with temporary.open("wb") as file:
                    file.writelines(_whole_parts(part, found))
                    file.flush()
                    os.fsync(file.fileno())
                link_in_place(temporary, final)
            part.unlink()
            temporary.unlink(missing_ok=True)
            sync(final.parent)
        except OSError as error:
            raise explain(error, f"Cannot recover {part}") from error
        reason = "the writer was killed; what it had not written yet is missing"
        began, n_lost = _time_of(found), found.n_damaged
        manifest = manifest_of(found.kind, found.objects, "recover", reason, n_lost=n_lost, start_time=began)
        write_manifest(final, manifest)
    return final


def _is_done(final: Path, part: Path, temporary: Path) -> bool:
    """Whether the final file is made of the part already, and only cleaning up is left."""
    return final.exists() and any(one.exists() and one.samefile(final) for one in (part, temporary))


def _whole_parts(part: Path, found: Sof) -> Iterable[bytes]:
    """Return what is whole of a part: its first bytes, or its objects anew if there are gaps between them."""
    if found.bunches and found.bunches[-1].trailer >= found.n_bytes:
        return encode(
            found.objects, found.kind, Compressor(found.compressor), found.created_s, found.software
        )
    return [part.read_bytes()[: found.n_bytes]]


def _time_of(found: Sof) -> str:
    return datetime.fromtimestamp(found.created_s, UTC).isoformat().replace("+00:00", "Z")


@contextmanager
def _locked(part: Path) -> Iterator[None]:
    try:
        with part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError as error:
        raise StoreError(f"{part} is in use: it is still being written.", "Stop its writer.") from error
    except FileNotFoundError as error:
        raise StoreError(f"There is no {part} to recover.", "Name the file that ends in .part.") from error


def read_sof(path: Path) -> Sof:
    """Read a ``.sof`` file, also a part that was left behind.

    Raises
    ------
    StoreError
        If it cannot be read.
    WireError
        If it is no such file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise explain(error, f"Cannot read {path}") from error
    return decode(data)
