"""SSDAQ's packet debug stream: a line of text for each block of a camera, in the order of arrival."""

from __future__ import annotations

from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forebay.errors import ConfigError, StoreError
from forebay.service.daemon import open_log

LINE: np.dtype[np.void] = np.dtype([("time_ns", "<u8"), ("arrived_ns", "<i8"), ("module", "<i8")])
"""Of a line: time tag of the primary board, when the block came (ns since 1970 UTC), and whose it is."""

MOST = 1_000_000
"""Lines that may wait for the disk: 24 MB, 30 s of a whole camera at 1 kHz."""


class BlockLog:
    """Appends ``TIME  ARRIVED  MODULE`` for each block, as ``packet_debug_stream_file`` of SSDAQ 0.7.

    Meant for a `forebay.service.queued.QueuedSink`: text is slow, and a disk may be slower.

    Raises
    ------
    ConfigError
        If the file cannot be opened for appending, is a link, or is not of this user alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._out = FileIO(open_log(path), "ab")
        except ConfigError as error:
            raise ConfigError(f"packet_debug_stream_file: {error.what}", error.todo) from error

    def append(self, lines: NDArray[np.void]) -> None:
        """Write lines, (block,) of `LINE`.

        Raises
        ------
        StoreError
            If they cannot be written.
        """
        text = "".join(f"{time}  {arrived}  {module}\n" for time, arrived, module in lines.tolist())
        left = memoryview(text.encode())
        try:
            while left:
                left = left[self._out.write(left) :]
        except OSError as error:
            raise StoreError(
                f"Cannot write to {self.path}: {error.strerror}.", "Free some space on this disk."
            ) from error

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        self._out.close()
