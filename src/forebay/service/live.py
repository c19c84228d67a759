"""The live service: the newest image of a detector for whoever looks."""

from __future__ import annotations

import threading

from forebay.config import Config
from forebay.errors import ConfigError
from forebay.service.counted import counted
from forebay.service.follow import follow
from forebay.service.process import notify, say
from forebay.service.pump import pump
from forebay.service.tables import detector_config
from forebay.stream.live import LivePublisher


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
        if source is None:
            return
        notify("READY=1")
        say("publishing", endpoint=detector.live.endpoint, rate_hz=detector.live.rate_hz)
        try:
            with counted(lambda: publisher.counters):
                pump(source, [publisher], stop.is_set)
        finally:
            source.close()
    finally:
        say("published", **publisher.counters)
        publisher.close()
