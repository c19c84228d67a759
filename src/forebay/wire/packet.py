"""A detector as a table: where the numbers are in its datagrams and where its payload goes.

One `PacketLayout` drives the decoder, the native receiver and the simulator. Adding a detector means
writing one such table; native code knows none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from forebay.errors import ConfigError, WireError
from forebay.event import Array


@dataclass(frozen=True)
class PacketLayout:
    """How one module sends one frame: `packets_per_frame` datagrams of header and payload.

    Packet ``i`` carries bytes ``i * payload_bytes`` to ``(i + 1) * payload_bytes`` (end excluded) of
    the C-ordered frame.

    Attributes
    ----------
    name:
        Name of the detector type, lower case.
    header:
        Packed structured dtype of the header, little endian.
    payload_bytes:
        Bytes after the header; every datagram has exactly ``header.itemsize + payload_bytes``.
    packets_per_frame:
        Datagrams of one module for one pulse.
    frame_shape:
        (row, column) of one module.
    pixel:
        dtype of a pixel.
    pulse_id, packet:
        Header fields that hold the pulse id (integer, or an integral double) and the packet number.
    module:
        Header field that names the module, or None where only the port tells modules apart.
    constants:
        Header fields that never change, as a real detector fills them; used by the simulator.
    """

    name: str
    header: np.dtype[np.void]
    payload_bytes: int
    packets_per_frame: int
    frame_shape: tuple[int, int]
    pixel: np.dtype[np.generic]
    pulse_id: str
    packet: str
    module: str | None = None
    constants: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fields = self.header.names or ()
        named = (self.pulse_id, self.packet, *([self.module] if self.module else []), *self.constants)
        for name in named:
            if name not in fields:
                raise ConfigError(
                    f"Layout {self.name!r}: the header has no field {name!r}; it has {', '.join(fields)}."
                )
        if self.payload_bytes * self.packets_per_frame != self.frame_bytes:
            raise ConfigError(
                f"Layout {self.name!r}: {self.packets_per_frame} packets of {self.payload_bytes} bytes "
                f"do not fill a frame of {self.frame_bytes} bytes."
            )

    @property
    def packet_bytes(self) -> int:
        """Length of every datagram."""
        return self.header.itemsize + self.payload_bytes

    @property
    def frame_bytes(self) -> int:
        """Bytes of one module's pixels."""
        return self.frame_shape[0] * self.frame_shape[1] * self.pixel.itemsize


def split(layout: PacketLayout, datagram: bytes) -> tuple[np.void, bytes]:
    """Return header and payload of one datagram.

    The plain reading of the table, for tools and tests; the receiver does the same in native code.

    Raises
    ------
    WireError
        If the length, the packet number or the pulse id cannot be right.
    """
    if len(datagram) != layout.packet_bytes:
        raise WireError(f"A {layout.name} packet has {layout.packet_bytes} bytes, this one {len(datagram)}.")
    header: np.void = np.frombuffer(datagram, layout.header, count=1)[0]
    number = int(header[layout.packet])
    if number >= layout.packets_per_frame:
        raise WireError(
            f"Packet number {number}: a {layout.name} frame has {layout.packets_per_frame} packets."
        )
    pulse_id_of(layout, header)
    return header, datagram[layout.header.itemsize :]


def pulse_id_of(layout: PacketLayout, header: np.void) -> int:
    """Return the pulse id that a header carries; `WireError` if it is not an integer in 0 .. 2**63 - 1."""
    value = header[layout.pulse_id]
    if isinstance(value, np.floating):
        if not (0 <= value < 2.0**53 and float(value).is_integer()):
            raise WireError(
                f"Pulse id {value} in field {layout.pulse_id!r} is not an integer in 0 .. 2**53 - 1."
            )
    elif not 0 <= value < 2**63:
        raise WireError(f"{layout.pulse_id} = {value} is outside 0 .. 2**63 - 1.")
    return int(value)


def join(layout: PacketLayout, headers: Array, frame: Array) -> NDArray[np.uint8]:
    """Return the datagrams of one frame, (packet, byte) uint8.

    Parameters
    ----------
    headers:
        (packet,) of `layout.header`.
    frame:
        `layout.frame_shape` of `layout.pixel`.
    """
    datagrams = np.empty((layout.packets_per_frame, layout.packet_bytes), np.uint8)
    n = layout.header.itemsize
    datagrams[:, :n] = headers.view(np.uint8).reshape(layout.packets_per_frame, n)
    datagrams[:, n:] = np.ascontiguousarray(frame).view(np.uint8).reshape(layout.packets_per_frame, -1)
    return datagrams
