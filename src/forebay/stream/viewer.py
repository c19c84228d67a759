"""The viewing end of a live view: always the newest image."""

from __future__ import annotations

import zmq

from forebay.errors import WireError
from forebay.stream.socket import Socket
from forebay.wire.array10 import LiveImage, decode

MAX_IMAGE_BYTES = 2**30


class Viewer:
    """Takes the images of one array-1.0 publisher; one thread at a time.

    Attributes
    ----------
    malformed:
        Messages that were no image.
    """

    def __init__(self, endpoint: str) -> None:
        self._socket = Socket(zmq.SUB, endpoint, bind=False, hwm=2, max_part_bytes=MAX_IMAGE_BYTES)
        self.malformed = 0

    def read(self, timeout: float) -> LiveImage | None:
        """Return the newest image since the last call; None if none came within `timeout` seconds."""
        newest = None
        while (parts := self._socket.receive(timeout if newest is None else 0.0)) is not None:
            try:
                newest = decode(parts)
            except WireError:
                self.malformed += 1
        return newest

    def close(self) -> None:
        """Listen no longer; may be called twice."""
        self._socket.close()
