"""The EIGER packet: the detector group's standard header, then 4096 bytes of a half module's port.

Source: slsDetectorPackage manual, "UDP header". One port sends 256 x 512 pixels.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from forebay.wire.jungfrau import standard_header
from forebay.wire.packet import PacketLayout


def eiger(bit_depth: Literal[8, 16, 32] = 16) -> PacketLayout:
    """Return the table of one port of 256 x 512 pixels; the pulse id is the frame number."""
    return PacketLayout(
        name="eiger",
        header=standard_header("<u8"),
        payload_bytes=4096,
        packets_per_frame=32 * bit_depth // 8,
        frame_shape=(256, 512),
        pixel=np.dtype(f"<u{bit_depth // 8}"),
        pulse_id="framenum",
        packet="packetnum",
        module="module_id",
        constants={"detector_type": 1, "header_version": 2},
    )
