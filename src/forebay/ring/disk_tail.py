"""The newest records of a disk ring, as many as fit into a ring in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from forebay.errors import RingError
from forebay.ring.disk_follower import Follower
from forebay.ring.segment_files import Segment, numbers


def tail(directory: Path, max_records: int, max_bytes: int) -> Follower | None:
    """Return a follower that stands before the newest records of the ring in `directory`.

    It gives at most `max_records` of those that are there, which have at most `max_bytes` together, and
    then what comes. None if there are none.

    Raises
    ------
    RingError
        If there is no ring in the directory or it cannot be read.
    """
    first: int | None = None
    try:
        for number in reversed(numbers(directory)):
            try:
                segment = Segment(directory, number)
            except FileNotFoundError:
                break  # dropped just now, and all older ones too
            entries = segment.load()
            sizes = np.where(segment.valid(entries), entries["n_bytes"].astype(np.int64), 0)
            n = min(max_records, int(np.searchsorted(np.cumsum(sizes[::-1]), max_bytes, "right")))
            if n:
                first = number + len(sizes) - n
            max_records -= n
            max_bytes -= int(sizes[len(sizes) - n :].sum())
            if n < len(sizes):
                break
    except OSError as error:
        raise RingError(f"The disk ring {directory} cannot be read: {error}.") from error
    return None if first is None else Follower(directory, first, None)
