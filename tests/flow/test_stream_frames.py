"""Batches of frames between receivers and the builder, in one process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zmq

from forebay.errors import StreamError
from forebay.ring.slots import FRAME
from forebay.stream.endpoint import ipc
from forebay.stream.frames import FrameBatch, FramePuller, FramePusher

pytestmark = pytest.mark.flow


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return ipc(tmp_path / "run", "frames")


def frames(first: int, n: int) -> np.ndarray:
    array = np.zeros(n, FRAME)
    array["pulse_id"] = first + np.arange(n)
    return array


def read(puller: FramePuller, n_batches: int) -> list[FrameBatch]:
    got: list[FrameBatch] = []
    while len(got) < n_batches:
        more = puller.read(10)
        assert more, f"{len(got)} of {n_batches} batches came"
        got += more
    return got


def test_several_receivers_one_builder(endpoint: str) -> None:
    early = FramePusher(endpoint, ring="a", generation=1)
    early.write(frames(0, 3))  # before the builder is there
    puller = FramePuller(endpoint, FRAME)
    late = FramePusher(endpoint, ring="a", generation=1)
    for i in range(1, 50):
        assert early.write(frames(3 * i, 3))
        assert late.write(frames(i, 1))
    assert late.write(frames(0, 0))
    got = read(puller, 99)
    of_early = np.concatenate([b.frames for b in got if len(b.frames) == 3])
    assert of_early["pulse_id"].tolist() == list(range(150))
    assert {(b.ring, b.generation) for b in got} == {("a", 1)}
    assert puller.counters == {
        "batches": 99,
        "frames": 199,
        "malformed": 0,
        "lost_batches": 0,
        "duplicate_batches": 0,
        "before": 0,
        "senders": 2,
    }
    for end in (early, late, puller):
        end.close()
        end.close()
    assert puller.read(0) is None
    with pytest.raises(StreamError, match="closed"):
        early.write(frames(0, 1))


def test_overflow_is_counted_by_both_sides(endpoint: str) -> None:
    pusher = FramePusher(endpoint, ring="a", generation=1, hwm=4)
    taken = [pusher.write(frames(10 * i, 10)) for i in range(20)]
    assert taken == [True] * 4 + [False] * 16
    puller = FramePuller(endpoint, FRAME)
    read(puller, 4)
    n_more = 0
    while not pusher.write(frames(0, 1)):  # until ZeroMQ has noticed that there is room again
        n_more += 1
        assert n_more < 1_000_000
    assert [b.sequence for b in read(puller, 1)] == [20 + n_more]
    assert puller.counters["lost_batches"] == 16 + n_more
    assert pusher.counters == {
        "batches": 5,
        "frames": 41,
        "overflow_batches": 16 + n_more,
        "overflow_frames": 160 + n_more,
    }
    pusher.close()
    puller.close()


def test_garbage_is_counted_and_survived(endpoint: str) -> None:
    puller = FramePuller(endpoint, FRAME)
    with zmq.Context() as context, context.socket(zmq.PUSH) as garbage:
        garbage.connect(endpoint)
        for message in ([b""], [b"{}", b""], [b"\xff" * 100], [b"x"] * 5000, [b"{" * 9999, b"a"]):
            garbage.send_multipart(message)
        while puller.counters["malformed"] < 5:
            assert puller.read(10) == []
    pusher = FramePusher(endpoint, ring="a", generation=1)
    pusher.write(frames(0, 2))
    assert len(read(puller, 1)) == 1
    pusher.close()
    puller.close()
