"""Writers of ``.sof`` files object by object, by the names that SSDAQ 0.9's Python library gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from forebay.errors import ConfigError
from forebay.front.ssdaq.frame import Frame
from forebay.front.ssdaq.records import LogData, TriggerMessage
from forebay.store.sof_file import SofFile
from forebay.wire import trigger
from forebay.wire.sof import BUNCH_BYTES, Compressor, Kind
from forebay.wire.trigger import TriggerPattern


class ObjectWriter:
    """Writes objects to a new file, which appears under its name when it is closed.

    Parameters
    ----------
    compressor:
        ``bz2`` or None.
    bunchsize:
        Behind so many bytes a bunch ends.

    Raises
    ------
    ConfigError
        If there is no such compressor.
    StoreError
        If the file cannot be written, or something is there; also from `write` and `close`.
    """

    kind: ClassVar[Kind]

    def __init__(
        self, filename: str | Path, compressor: str | None = "bz2", bunchsize: int = BUNCH_BYTES
    ) -> None:
        if compressor not in ("bz2", None):
            raise ConfigError(f"There is no compressor {compressor!r}.", "Choose bz2, or None.")
        packed = Compressor.NONE if compressor is None else Compressor.BZ2
        self._file = SofFile(Path(filename), self.kind, packed, bunchsize)

    @property
    def data_counter(self) -> int:
        """Objects written."""
        return self._file.n

    def write(self, data: Any) -> None:
        """Write one object, or its bytes.

        Raises
        ------
        forebay.errors.WireError
            If it cannot be packed.
        """
        self._file.append(
            [bytes(data) if isinstance(data, bytes | bytearray | memoryview) else _packed(data)]
        )

    def close(self) -> None:
        """Finish the file and give it its name; may be called twice."""
        self._file.close()


def _packed(data: Any) -> bytes:
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    if isinstance(data, TriggerPattern):
        return trigger.encode(data)
    if isinstance(data, LogData | TriggerMessage | Frame):
        return data.pack()
    raise ConfigError(f"A {type(data).__name__} cannot be written to a .sof file.", "Write its bytes.")


class LogWriter(ObjectWriter):
    """Writes `LogData`."""

    kind = Kind.LOG


class TimestampWriter(ObjectWriter):
    """Writes `TriggerMessage`."""

    kind = Kind.TIMESTAMP


class TriggerWriter(ObjectWriter):
    """Writes trigger patterns."""

    kind = Kind.TRIGGER


class FrameWriter(ObjectWriter):
    """Writes frames."""

    kind = Kind.FRAME
