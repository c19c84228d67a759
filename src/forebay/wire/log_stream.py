"""Log records that a camera's programs send one after the other, with nothing between them.

A record is a protobuf message (`forebay.wire.cdts.LOG`) whose fields come in the order of their numbers, as
every implementation writes them. So a record ends where the numbers begin anew with 1. That the last one has
ended is known when its sender is silent, and all that must be in a record is there.
"""

from __future__ import annotations

import re
from typing import Final

from forebay.errors import WireError
from forebay.wire.cdts import LOG, wire_type

MAX_RECORD_BYTES: Final = 2**20
"""Longer records are taken for garbage."""

_REQUIRED: Final = {number for number, field in LOG.items() if field.is_required}
_BEGIN: Final = re.compile(rb"\x08[\x80-\xff]{0,9}[\x00-\x7f]\x10[\x80-\xff]{0,9}[\x00-\x7f]\x1a")
_BEGIN_BYTES: Final = 23
"""Longest match of `_BEGIN`: the fields systemType and severity, and the key of sender."""

_FIXED: Final = {1: 8, 5: 4}
_VARINT, _BYTES = 0, 2
_MOST_VARINT_BYTES: Final = 10


class LogSplitter:
    """Cuts the bytes of one connection into records; what is none is counted and passed over.

    Attributes
    ----------
    n_malformed:
        Stretches of bytes that are no record.
    n_skipped_bytes:
        How many bytes they had.
    """

    def __init__(self) -> None:
        self.n_malformed = self.n_skipped_bytes = 0
        self._data = bytearray()
        self._end = 0  # of the last whole field of the record that begins at 0
        self._last = 0  # its number
        self._seen: set[int] = set()
        self._is_lost = False

    @property
    def n_waiting(self) -> int:
        """Bytes that wait for what comes behind them."""
        return len(self._data)

    def feed(self, data: bytes) -> list[bytes]:
        """Take the bytes that came next and return the records that are known to have ended."""
        self._data += data
        found: list[bytes] = []
        while not self._is_lost or self._find():
            try:
                self._walk(found)
                break
            except WireError:
                self._lose()
        return found

    def pause(self) -> list[bytes]:
        """Return the last record if it may have ended; to be asked when nothing came for a while."""
        if self._end and self._end == len(self._data) and self._seen >= _REQUIRED:
            return [self._take()]
        return []

    def close(self) -> list[bytes]:
        """Return the last record; what is left of another one is counted as malformed."""
        found = self.pause()
        if self._data and not self._is_lost:
            self._lose()
        self._skip(len(self._data))
        return found

    def _walk(self, found: list[bytes]) -> None:
        while (field := self._field()) is not None:
            number, end = field
            if self._last and number == 1 and self._seen >= _REQUIRED:
                found.append(self._take())
                continue
            if number <= self._last or (not self._last and number != 1):
                raise WireError(f"Field {number} of a log record is out of order.")
            self._seen.add(number)
            self._last, self._end = number, end

    def _field(self) -> tuple[int, int] | None:
        """Return number and end of the next field, None if it is not whole yet."""
        key, position = self._varint(self._end)
        if position > len(self._data):
            return None
        number, wire = key >> 3, key & 7
        known = LOG.get(number)
        if not number or (known is not None and wire != wire_type(known.kind)):
            raise WireError(f"Field {number} of a log record is of wire type {wire}.")
        if wire == _VARINT:
            position = self._varint(position)[1]
        elif wire == _BYTES:
            n, position = self._varint(position)
            position += n
        elif wire in _FIXED:
            position += _FIXED[wire]
        else:
            raise WireError(f"Field {number} of a log record is of wire type {wire}.")
        if position > MAX_RECORD_BYTES:
            raise WireError(f"A log record has more than {MAX_RECORD_BYTES} bytes.")
        return None if position > len(self._data) else (number, position)

    def _varint(self, position: int) -> tuple[int, int]:
        """Return a number and where it ends: beyond the data if it is not whole yet."""
        value = 0
        for i in range(_MOST_VARINT_BYTES):
            if position + i >= len(self._data):
                return 0, len(self._data) + 1
            byte = self._data[position + i]
            value |= (byte & 0x7F) << 7 * i
            if byte < 0x80:
                return value, position + i + 1
        raise WireError("A number in a log record has no end.")

    def _take(self) -> bytes:
        record = bytes(self._data[: self._end])
        del self._data[: self._end]
        self._begin()
        return record

    def _begin(self) -> None:
        self._end = self._last = 0
        self._seen.clear()

    def _lose(self) -> None:
        self.n_malformed += 1
        self._is_lost = True
        self._skip(1)

    def _skip(self, n: int) -> None:
        self.n_skipped_bytes += n
        del self._data[:n]
        self._begin()

    def _find(self) -> bool:
        """Skip to where a record may begin; return whether there is such a place."""
        match = _BEGIN.search(self._data)
        if match is None:
            self._skip(max(len(self._data) - _BEGIN_BYTES + 1, 0))
            return False
        self._skip(match.start())
        self._is_lost = False
        return True
