"""Finished frames from the receivers to the builder: batches of a few integers, never pixels."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
import zmq

from forebay.errors import WireError
from forebay.event import Array
from forebay.stream.sequence import Sequence
from forebay.stream.socket import Socket
from forebay.wire.frames import FrameBatch, decode, encode

__all__ = ["FrameBatch", "FramePuller", "FramePusher"]


class FramePusher:
    """Sends the batches of one receiver; never waits. One thread at a time.

    What is sent before the builder is there, or while it restarts, waits in the queue.

    Parameters
    ----------
    endpoint:
        Where the builder's `FramePuller` binds.
    ring, generation:
        The shared ring in which the pixels lie.
    hwm:
        Batches that may wait.

    Attributes
    ----------
    counters:
        ``batches`` and ``frames`` handed over; ``overflow_batches`` and ``overflow_frames`` that found the
        queue full and are lost; the puller sees them as a gap.
    """

    def __init__(self, endpoint: str, *, ring: str, generation: int, hwm: int = 1000) -> None:
        self.counters = dict.fromkeys(("batches", "frames", "overflow_batches", "overflow_frames"), 0)
        self._socket = Socket(zmq.PUSH, endpoint, bind=False, hwm=hwm)
        self._ring = ring
        self._generation = generation
        self._instance = secrets.randbits(63)
        self._sequence = 0

    def write(self, frames: Array) -> bool:
        """Send one batch, (frame,) records; return False if the queue was full.

        The records are copied, or, from 64 KiB up, must not change afterwards. An empty batch is nothing.
        """
        if not len(frames):
            return True
        batch = FrameBatch(frames, self._ring, self._generation, self._instance, self._sequence)
        sent = self._socket.send(encode(batch))
        self._sequence += 1
        prefix = "" if sent else "overflow_"
        self.counters[f"{prefix}batches"] += 1
        self.counters[f"{prefix}frames"] += len(frames)
        return sent

    def close(self, linger: float = 1.0) -> None:
        """Send what waits for at most `linger` seconds, then close; may be called twice."""
        self._socket.close(linger)


class FramePuller:
    """Takes the batches of any number of receivers; one thread at a time.

    Parameters
    ----------
    endpoint:
        Where this side binds.
    record:
        Type of the records, as a rule `forebay.ring.slots.FRAME`.
    hwm:
        Batches of one receiver that may wait on this side.

    Attributes
    ----------
    counters:
        ``batches``, ``frames``: received. ``malformed``: messages that are no batch. ``lost_batches``: gaps
        in a receiver's numbers. ``duplicate_batches``: refused. ``before``: batches that a receiver had
        sent before this side heard of it. ``senders``: receivers heard, each start of one counts.
    """

    def __init__(self, endpoint: str, record: np.dtype[Any], *, hwm: int = 1000) -> None:
        self._socket = Socket(zmq.PULL, endpoint, bind=True, hwm=hwm)
        self.endpoint = self._socket.endpoint
        self._record = record
        self._seen = Sequence()
        self._batches = self._frames = self._malformed = 0

    @property
    def counters(self) -> dict[str, int]:
        """What came and what did not."""
        return {
            "batches": self._batches,
            "frames": self._frames,
            "malformed": self._malformed,
            "lost_batches": self._seen.lost,
            "duplicate_batches": self._seen.duplicate,
            "before": self._seen.before,
            "senders": self._seen.senders,
        }

    def read(self, timeout: float, most: int = 256) -> list[FrameBatch] | None:
        """Return the batches that are there, at most `most`; wait up to `timeout` seconds for the first.

        ``[]`` means nothing yet, None that this side was closed.
        """
        if self._socket.closed:
            return None
        batches: list[FrameBatch] = []
        for _ in range(most):
            parts = self._socket.receive(timeout)
            if parts is None:
                break
            timeout = 0.0
            try:
                batch = decode(parts, self._record)
            except WireError:
                self._malformed += 1
                continue
            if self._seen.accept(batch.instance, batch.sequence):
                self._batches += 1
                self._frames += len(batch.frames)
                batches.append(batch)
        return batches

    def close(self) -> None:
        """Let go of the endpoint; may be called twice."""
        self._socket.close()
