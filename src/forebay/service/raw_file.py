"""Messages at the end of a file, one behind the other with nothing between them: SSDAQ's `RawWriter`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forebay.errors import StoreError
from forebay.wire.ssreadout import encode


class RawWriter:
    """Appends messages, or readouts as messages of 0.9, to a file.

    A file that is there already is kept, as in the original; on return of `send` a kill loses nothing.

    Raises
    ------
    StoreError
        If the file cannot be opened; also from `send` and `append`, if it cannot be written.

    Attributes
    ----------
    counters:
        ``offered = sent``, unless it failed.
    """

    def __init__(self, file_name: Path, name: str = "RawWriter") -> None:
        self.name, self.endpoint, self.mode = name, str(file_name), "file"
        self.counters = {"offered": 0, "sent": 0}
        self._path = file_name
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._fd = os.open(file_name, flags, 0o640)
        except OSError as error:
            raise StoreError(f"Cannot open {file_name}: {error.strerror}.", "Name another file.") from error

    def send(self, messages: Sequence[bytes | memoryview]) -> None:
        """Append messages."""
        self.counters["offered"] += len(messages)
        data = memoryview(b"".join(messages))
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            raise StoreError(f"Cannot write to {self._path}: {error.strerror}.") from error
        self.counters["sent"] += len(messages)

    def append(self, readouts: NDArray[np.void]) -> None:
        """Append readouts, (readout,) of `forebay.wire.ssreadout.READOUT`."""
        self.send(encode(readouts, "B"))

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
