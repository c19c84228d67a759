"""Which packet table a configured detector has."""

from __future__ import annotations

from forebay.assemble.receiver import ReceiveRules
from forebay.config import Config, DetectorConfig
from forebay.errors import ConfigError
from forebay.wire.eiger import eiger
from forebay.wire.jungfrau import jungfrau
from forebay.wire.packet import PacketLayout


def detector_config(config: Config, name: str) -> DetectorConfig:
    """Return the configuration of one detector; `ConfigError` if there is none of that name."""
    if name not in config.detectors:
        known = ", ".join(config.detectors) or "none"
        raise ConfigError(f"Detector {name!r} is not configured.", f"Configured are: {known}.")
    return config.detectors[name]


def packet_layout(detector: DetectorConfig) -> PacketLayout:
    """Return the packet table of a configured detector."""
    if detector.type == "eiger":
        return eiger(detector.bit_depth)
    return jungfrau(detector.pulse_id or "bunchid")


def receive_rules(detector: DetectorConfig) -> ReceiveRules:
    """Return when the receiver of this detector gives up on packets: before the builder does."""
    build = detector.build
    return ReceiveRules(
        reorder=max(1, build.patience // 8),
        window=max(1, min(4 * build.patience, detector.ring.slots // 2)),
        max_rate=build.max_jump / build.deadline_s,
        timeout_s=build.deadline_s / 2,
        quiet_s=build.deadline_s,
    )
