"""The live service: the newest image of a detector for whoever looks."""

from __future__ import annotations

import threading
import time

from forebay.config import Config
from forebay.errors import ConfigError, RingError
from forebay.service.follow import RingFollower
from forebay.service.process import notify, say
from forebay.service.pump import pump
from forebay.service.tables import detector_config
from forebay.stream.live import LivePublisher

_ATTACH_TIMEOUT_S = 10.0


def follow(config: Config, name: str, stop: threading.Event, start: str = "newest") -> RingFollower:
    """Follow a detector's ring, as soon as there is one; `RingError` if there is none within 10 s."""
    end = time.monotonic() + _ATTACH_TIMEOUT_S
    while True:
        try:
            return RingFollower(name, config.runtime_dir, start)
        except RingError:
            if stop.wait(0.05) or time.monotonic() > end:
                raise


def live(config: Config, name: str, stop: threading.Event) -> None:
    """Publish the newest images of detector `name` until `stop`.

    Raises
    ------
    ConfigError
        If the detector has no live stream configured.
    RingError
        If there is no ring within 10 s.
    StreamError
        If the endpoint is taken or not allowed.
    """
    detector = detector_config(config, name)
    if detector.live is None:
        raise ConfigError(
            f"Detector {name} has no live stream.", f"Add detectors.{name}.live to the configuration."
        )
    publisher = LivePublisher(detector.live)
    try:
        source = follow(config, name, stop)
        notify("READY=1")
        say("publishing", endpoint=detector.live.endpoint, rate_hz=detector.live.rate_hz)
        try:
            pump(source, [publisher], stop.is_set)
        finally:
            source.close()
    finally:
        say("published", **publisher.counters)
        publisher.close()
