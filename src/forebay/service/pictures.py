"""Live images made small enough for a web page: from a detector's live stream, binned, 8 bits a pixel."""

from __future__ import annotations

import threading
import time
from collections import defaultdict

import numpy as np

from forebay.api.dashboard import Picture
from forebay.config import Config
from forebay.errors import ConfigError, StreamError
from forebay.service.tables import detector_config
from forebay.stream.viewer import Viewer
from forebay.wire.array10 import LiveImage

MOST_PIXELS = 512
"""Longest side of a picture."""

_FIRST_S = 1.5
_KEEP_S = 30.0


class Pictures:
    """The newest picture of each detector that has a live stream.

    A stream is listened to from the first request on, until nobody has asked for half a minute.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._viewers: dict[str, tuple[Viewer, float]] = {}
        self._last: dict[str, Picture] = {}

    def picture(self, detector: str) -> Picture:
        """Return the newest picture.

        Raises
        ------
        ConfigError
            If there is no such detector, or it has no live stream.
        StreamError
            If no image comes.
        """
        live = detector_config(self._config, detector).live
        if live is None:
            raise ConfigError(f"Detector {detector} has no live stream.", f"Add detectors.{detector}.live.")
        with self._locks[detector]:
            self._forget(detector)
            is_new = detector not in self._viewers
            viewer = Viewer(live.endpoint) if is_new else self._viewers[detector][0]
            self._viewers[detector] = viewer, time.monotonic()
            image = viewer.read(_FIRST_S if is_new else 0.0)
            if image is not None:
                self._last[detector] = small(image)
        if detector not in self._last:
            raise StreamError(
                f"No image of {detector} has come yet.",
                "Is the detector sending, and its live service running?",
            )
        return self._last[detector]

    def _forget(self, detector: str) -> None:
        """Begin anew where nobody has asked for long: what waits in the socket is old."""
        viewer, asked = self._viewers.get(detector, (None, 0.0))
        if viewer is not None and time.monotonic() - asked > _KEEP_S:
            viewer.close()
            del self._viewers[detector]
            self._last.pop(detector, None)

    def close(self) -> None:
        """Listen no longer; may be called twice."""
        for detector, (viewer, _) in tuple(self._viewers.items()):
            with self._locks[detector]:
                viewer.close()
        self._viewers.clear()


def small(image: LiveImage) -> Picture:
    """Return the mean of blocks of pixels, from the 1st to the 99.5th percentile as 0 to 255."""
    rows, columns = image.data.shape
    step = max(1, -(-max(rows, columns) // MOST_PIXELS))
    rows, columns = rows // step * step, columns // step * step
    blocks = image.data[:rows, :columns].reshape(rows // step, step, columns // step, step)
    with np.errstate(all="ignore"):  # a stream may hold what it likes: what is no number is shown as 0
        mean = np.nan_to_num(blocks.mean((1, 3), dtype=np.float64), posinf=0.0, neginf=0.0)
        low, high = (float(value) for value in np.percentile(mean, (1, 99.5))) if mean.size else (0.0, 0.0)
        scaled = np.nan_to_num((mean - low) * (255 / max(high - low, 1e-9)))
    pixels = np.clip(scaled, 0, 255).astype(np.uint8)
    return Picture(image.frame, pixels.shape, low, high, pixels.tobytes())
