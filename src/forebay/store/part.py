"""A file in the making: images and journal side by side, then one whole file in its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from forebay.errors import StoreError
from forebay.event import Array
from forebay.store import manifest as m
from forebay.store.journal import AppendOnly, Journal, record_type, records_of
from forebay.store.layout import ImageLayout, build_manifest, status_of
from forebay.store.paths import check_free, explain, journal_of, link_in_place, part_of, sync

_J = TypeVar("_J", bound=AppendOnly)
_L = TypeVar("_L")


def create(final: Path, journal: Callable[[Path], _J], layout: Callable[[Path], _L]) -> tuple[_J, _L]:
    """Make the journal and the part of a file, in this order; if either fails, nothing is left.

    Raises
    ------
    StoreError
        If `final` cannot be written.
    """
    check_free(final)
    part = part_of(final)
    doing = f"Cannot create {part}"
    try:
        made = journal(journal_of(part))
    except OSError as error:
        raise explain(error, doing) from error
    try:
        filled = layout(part)
        sync(final.parent)
    except BaseException as error:
        made.close()
        part.unlink(missing_ok=True)
        made.path.unlink()
        if isinstance(error, OSError | RuntimeError):
            raise explain(error, doing) from error
        raise
    return made, filled


def put_in_place(final: Path) -> None:
    """Give a closed part its name `final`, and remove it and its journal; raises as `link_in_place`."""
    part = part_of(final)
    link_in_place(part, final)
    part.unlink()
    journal_of(part).unlink()
    sync(final.parent)


def unclosed(part: Path, held: str, error: Exception) -> StoreError:
    """Return the `StoreError` for a part that could not be closed; `held` is what it holds."""
    failure = explain(error, f"Cannot close {part}, which holds {held}")
    failure.todo = f"{failure.todo} Then run: forebay recover {part}".strip()
    return failure


@dataclass(frozen=True)
class Ending:
    """Why and with what account a recording ended.

    Attributes
    ----------
    seen:
        First and last pulse id that came, written or not; None if none came.
    """

    reason: str
    counters: m.Counters
    seen: tuple[int, int] | None
    overwritten: list[int]
    not_written: list[int]


class Part:
    """``NAME.part`` and ``NAME.part.journal``, which become ``NAME``.

    Used from one thread. A kill at any moment leaves what `forebay.store.recover` needs.

    Raises
    ------
    StoreError
        From every method, if the system refuses; it says what to do.
    """

    def __init__(self, final: Path, recording: m.Recording) -> None:
        self.final = final
        self.path = part_of(final)
        self.recording = recording
        self._n = 0
        self._packets_per_module = recording.packets_per_module
        self._record = np.zeros(1, record_type(recording))
        self._journal, self._layout = create(
            final, lambda path: Journal(path, recording), lambda path: ImageLayout(path, recording)
        )

    @property
    def n(self) -> int:
        """Number of images written."""
        return self._n

    def append(
        self,
        pulse_id: int,
        time_ns: int,
        missing_packets: NDArray[np.uint32],
        header: Array | None,
        chunk: NDArray[np.uint8],
        checksum: int,
    ) -> None:
        """Write one image; on return a kill of this process does not lose it.

        Parameters
        ----------
        missing_packets:
            (module,).
        header:
            (module,) of the detector's header, or None where the recording has none.
        chunk, checksum:
            The stored bytes of the image and their xxh3_64.
        """
        record = self._record
        record["pulse_id"] = pulse_id
        record["time_ns"] = time_ns
        record["status"] = status_of(missing_packets, self._packets_per_module)
        record["missing_packets"] = missing_packets
        if header is not None:
            record["header"] = header
        record["size"] = chunk.nbytes
        record["checksum"] = checksum
        try:
            record["offset"] = self._layout.append(chunk)
            self._journal.append(record)
        except (OSError, RuntimeError) as error:
            self._layout.n = self._n  # the image without a record is left out
            raise explain(error, f"Cannot write pulse {pulse_id} to {self.path}") from error
        self._n += 1

    def finish(self, ending: Ending) -> m.Manifest:
        """Write what belongs to the images and put the file in its place.

        If that fails, the part and its journal stay, and the error says how to recover them.
        """
        try:
            records = records_of(self._journal.path, self.recording)
            manifest = build_manifest(
                self.recording,
                records,
                ending.counters,
                "recorder",
                ending.reason,
                ending.seen,
                ending.overwritten,
                ending.not_written,
            )
            self._layout.finish(records, manifest)
            put_in_place(self.final)
        except (OSError, RuntimeError) as error:
            raise unclosed(self.path, f"{self._n} images", error) from error
        finally:
            self.close()
        return manifest

    def close(self) -> None:
        """Let go of everything and leave the files as they are; may be called twice."""
        try:
            self._layout.close()
        except (OSError, RuntimeError) as error:
            raise unclosed(self.path, f"{self._n} images", error) from error
        finally:
            self._journal.close()
