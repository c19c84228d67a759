"""The live view as a viewer that knows nothing of forebay sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import zmq

from forebay.config import LiveConfig
from forebay.errors import StreamError
from forebay.event import Event
from forebay.stream.live import LivePublisher
from forebay.wire.array10 import decode

pytestmark = pytest.mark.flow


class Beam:
    """A clock that is moved by hand and a publisher that lives by it: an image for ten pulses.

    It goes in steps of 1/64 s, which add up exactly, however many there were before.
    """

    def __init__(self) -> None:
        self.now = 0.0
        config = LiveConfig(endpoint="tcp://127.0.0.1:*", rate_hz=6.4)
        self.publisher = LivePublisher(config, clock=lambda: self.now)

    def show(self, pulse_id: int, n: int = 4) -> None:
        self.now += 1 / 64
        data = np.full((n, 2 * n), pulse_id % 65536, np.uint16)
        self.publisher.write([Event("jf", pulse_id, 1, {"data": data}, np.zeros(1, np.uint32))])


@pytest.fixture
def beam() -> Iterator[Beam]:
    beam = Beam()
    yield beam
    beam.publisher.close()
    beam.publisher.close()


@pytest.fixture
def viewer(beam: Beam) -> Iterator[Any]:
    """A plain SUB socket; pulses below 1000 are shown until it is there."""
    with zmq.Context() as context, context.socket(zmq.SUB) as viewer:
        viewer.linger = 0
        viewer.subscribe(b"")
        viewer.connect(beam.publisher.endpoint)
        for _ in range(1000):
            for i in range(10):
                beam.show(i)
            if viewer.poll(10):
                break
        while viewer.poll(50):
            viewer.recv_multipart()
        yield viewer


def test_a_viewer_gets_two_parts_at_the_rate(beam: Beam, viewer: Any) -> None:
    before = dict(beam.publisher.counters)
    frames = []
    for pulse_id in range(1000, 1100):
        beam.show(pulse_id)
        while beam.publisher.counters["sent"] > before["sent"] + len(frames):
            assert viewer.poll(10_000)
            header, pixels = viewer.recv_multipart()
            found = json.loads(header)
            assert (found["htype"], found["shape"], found["type"]) == ("array-1.0", [4, 8], "uint16")
            np.testing.assert_array_equal(decode([header, pixels]).data, found["frame"])
            frames.append(found["frame"])
    counters = {name: n - before[name] for name, n in beam.publisher.counters.items()}
    assert len(frames) == 10
    assert set(np.diff(frames)) == {10}
    assert counters == {
        "offered": 100,
        "sent": 10,
        "rate_limited": 90,
        "unwatched": 0,
        "unreadable": 0,
        "congested": 0,
    }


def test_a_viewer_that_stands_still_holds_nobody_up(beam: Beam, viewer: Any) -> None:
    for pulse_id in range(1000, 2000):
        beam.show(pulse_id, n=500)
    assert beam.publisher.counters["congested"] > 0


def test_an_event_without_an_image_is_counted(beam: Beam, viewer: Any) -> None:
    beam.now += 100
    event = Event("beam", 1, 1, {"charge": np.zeros(1)}, np.zeros(0, np.uint32))
    beam.publisher.write([event])
    beam.now += 100
    beam.publisher.write([replace(event, arrays={"data": np.zeros(3)})])
    assert beam.publisher.counters["unreadable"] == 2


def test_the_live_view_stays_on_this_host_unless_told_otherwise() -> None:
    config = LiveConfig(endpoint="tcp://0.0.0.0:*")
    with pytest.raises(StreamError, match="open to other hosts"):
        LivePublisher(config)
    LivePublisher(config, public=True).close()
