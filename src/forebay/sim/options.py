"""What a simulated detector is asked to do, and the headers that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from forebay.errors import ConfigError
from forebay.event import Array
from forebay.sim.beats import Beat
from forebay.sim.faults import Faults
from forebay.sim.pattern import PATTERNS
from forebay.wire.packet import PacketLayout

_TICKS_PER_SECOND = 10_000_000
"""Unit of the detector's ``timestamp`` and ``exptime``: 100 ns."""

_EXPOSURE_TICKS = 100
_FULL_SPEED_HZ = 100.0
"""Rate that the timestamps tell where the simulator goes as fast as it can."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """A simulated detector.

    Attributes
    ----------
    layout:
        The detector's packets.
    n_modules:
        Module i sends to UDP port ``start_udp_port + i`` of `host`.
    sources:
        Local address that each module sends from; empty lets the kernel choose.
    rate_hz:
        Mean rate of pulses; 0 is as fast as it goes.
    burst:
        Pulses that are sent back to back, before a pause that keeps the mean rate.
    readout_s:
        Time in which a module sends the packets of one frame, evenly; 0 is back to back, as a fast link
        does. Receivers with small socket buffers need it.
    first_pulse, pulse_step, count:
        Pulse ids; count None is until stopped.
    pattern:
        See `forebay.sim.pattern.pattern`.
    daq_rec:
        Value of the header's ``debug`` field.
    faults:
        What goes wrong.
    threads:
        Modules are dealt to so many threads; 0 is one for each module, up to 4.
    segment:
        Let the kernel cut datagrams (UDP_SEGMENT) where the interface allows it: far cheaper.

    Raises
    ------
    ConfigError
        If a value is outside its bounds; says which and what is allowed.
    """

    layout: PacketLayout
    n_modules: int = 1
    host: str = "127.0.0.1"
    start_udp_port: int = 50_100
    sources: tuple[str, ...] = ()
    rate_hz: float = 100.0
    burst: int = 1
    readout_s: float = 0.0
    first_pulse: int = 1
    pulse_step: int = 1
    count: int | None = None
    pattern: str = "noise"
    daq_rec: int = 0
    faults: Faults = field(default_factory=Faults)
    threads: int = 0
    segment: bool = True

    def __post_init__(self) -> None:
        bounds = {
            "n_modules": (1, 64),
            "rate_hz": (0, 1_000_000),
            "burst": (1, 1_000_000),
            "readout_s": (0, 60),
            "pulse_step": (1, 2**31),
            "first_pulse": (0, 2**53 - 1),
            "start_udp_port": (1, 65536 - self.n_modules),
            "daq_rec": (0, 2**32 - 1),
            "threads": (0, 64),
        }
        for key, (least, most) in bounds.items():
            if not least <= getattr(self, key) <= most:
                raise ConfigError(f"{key} = {getattr(self, key)}: it lies between {least} and {most}.")
        if self.count is not None and self.count < 0:
            raise ConfigError(f"count = {self.count}: it must be at least 0.", "Leave it out to go on.")
        if self.pattern not in PATTERNS:
            raise ConfigError(f"There is no pattern {self.pattern!r}.", f"Take one of {', '.join(PATTERNS)}.")
        if self.sources and len(self.sources) != self.n_modules:
            raise ConfigError(f"sources has {len(self.sources)} addresses for {self.n_modules} modules.")


def beat_fields(options: Options, beat: Beat) -> dict[str, int]:
    """Return the header fields that change with each pulse, in the order in which they are written."""
    values = {
        "framenum": beat.frame_number,
        "timestamp": round(beat.index * _TICKS_PER_SECOND / (options.rate_hz or _FULL_SPEED_HZ)),
        options.layout.pulse_id: beat.pulse_id,
    }
    return _known(options.layout, values)


def module_headers(options: Options, module: int) -> Array:
    """Return the headers of one module's packets without what changes with each pulse, (packet,)."""
    layout = options.layout
    headers = np.zeros(layout.packets_per_frame, layout.header)
    values = {"exptime": _EXPOSURE_TICKS, "debug": options.daq_rec, "module_id": module, "row": module}
    if layout.module is not None:
        values[layout.module] = module
    for name, value in (_known(layout, values) | dict(layout.constants)).items():
        headers[name] = value
    headers[layout.packet] = np.arange(layout.packets_per_frame)
    return headers


def headers(options: Options, beat: Beat, module: int) -> Array:
    """Return the headers of one frame as they are sent, (packet,) of the layout's header."""
    result = module_headers(options, module)
    for name, value in beat_fields(options, beat).items():
        result[name] = value
    return result


def _known(layout: PacketLayout, values: dict[str, int]) -> dict[str, int]:
    fields = layout.header.names or ()
    return {name: value for name, value in values.items() if name in fields}
