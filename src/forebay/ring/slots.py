"""What lies where in a shared ring: the records that native code and Python both read.

A ring is one piece of shared memory of fixed size:

* a page that says what the ring is, and a page with the words that change,
* counters: one block of uint64 for each port, one for the builder,
* the log: one record for each released event, the last ``n_log`` of them,
* a record for each module of each slot: the owner word, what it holds, the detector's header and one
  bit a packet,
* the pixels, (slot, module, byte).

Pulse ``p`` of every module lies in slot ``p // pulse_step % n_slots``, so that receivers need no word
with each other. A module's *owner word* is 0 before first use, odd while its record and pixels are
being written, and even when they are at rest; it grows with every turn. A reader that knows the value
the owner word had at release looks at it before and after it reads the pixels.
"""

from __future__ import annotations

from typing import Final

import numpy as np

FRAME: Final = np.dtype(
    [
        ("pulse_id", "<u8"),
        ("owner", "<u8"),  # the module's owner word at rest
        ("time_ns", "<u8"),  # arrival of the first packet, UTC
        ("slot", "<u4"),
        ("module", "<u4"),
        ("missing_packets", "<u4"),
        ("epoch", "<u4"),  # how often this module's counter has restarted or jumped
    ]
)
"""What a receiver says of one finished frame: a few integers, never pixels."""

RECEIVE_COUNTERS: Final = (
    "received",
    "placed",
    "duplicate",
    "late",
    "malformed",
    "foreign",
    "overrun",
    "kernel_drop",
    "received_bytes",
    "frames",
    "incomplete_frames",
    "missing_packets",
    "followed",
)
"""Counters of one port, in order. received = placed + duplicate + late + malformed + foreign + overrun;
``kernel_drop`` never reached us; ``followed`` counts restarts and jumps of the detector's counter."""

BUILD_COUNTERS: Final = (
    "frames",
    "used",
    "late",
    "duplicate",
    "implausible",
    "events",
    "incomplete_events",
    "missing_frames",
    "followed",
)
"""Counters of the builder, in order. frames = used + late + duplicate + implausible;
events * n_modules = used + missing_frames once nothing is open."""
