"""The JUNGFRAU packet: the detector group's standard header, then four rows of 1024 pixels.

Source: slsDetectorPackage manual, "UDP header"; SwissFEL firmware writes its pulse id into ``bunchid``
as a double, other servers write an integer there or leave it 0 and count ``framenum`` only.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from forebay.wire.packet import PacketLayout

PulseField = Literal["bunchid", "bunchid-int64", "framenum"]


def standard_header(bunchid: str) -> np.dtype[np.void]:
    """Return the 48-byte header with `bunchid` of that type (8 bytes)."""
    return np.dtype(
        [
            ("framenum", "<u8"),  # triggers since power-on
            ("exptime", "<u4"),  # units of 100 ns
            ("packetnum", "<u4"),
            ("bunchid", bunchid),
            ("timestamp", "<u8"),
            ("module_id", "<u2"),
            ("row", "<u2"),
            ("column", "<u2"),
            ("reserved", "<u2"),
            ("debug", "<u4"),  # what SwissFEL calls daq_rec
            ("round_robin", "<u2"),
            ("detector_type", "u1"),
            ("header_version", "u1"),
        ]
    )


def jungfrau(pulse_id: PulseField = "bunchid") -> PacketLayout:
    """Return the table of one module of 512 x 1024 pixels.

    Pixels are uint16: bits 15-14 the gain stage, 13-0 the ADC value.

    Parameters
    ----------
    pulse_id:
        Where this server puts the pulse id: ``bunchid`` (double), ``bunchid-int64`` or ``framenum``.
    """
    return PacketLayout(
        name="jungfrau",
        header=standard_header("<i8" if pulse_id == "bunchid-int64" else "<f8"),
        payload_bytes=8192,
        packets_per_frame=128,
        frame_shape=(512, 1024),
        pixel=np.dtype("<u2"),
        pulse_id="framenum" if pulse_id == "framenum" else "bunchid",
        packet="packetnum",
        module="module_id",
        constants={"detector_type": 3, "header_version": 2},
    )
