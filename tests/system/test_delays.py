"""How long a fault of the detector holds up what is well: at most one deadline, with the real services."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from tests.system.stand import PATIENCE_S, Stand, wait_until

from forebay._native import send_datagrams
from forebay.event import Event
from forebay.wire.eiger import eiger
from forebay.wire.packet import join

pytestmark = [pytest.mark.system, pytest.mark.calm]

RATE_HZ = 50
SLACK_S = 3.0
"""What a loaded machine may add to any delay."""

NEVER_S = 60.0


def arrivals(stand: Stand, n_pulses: int, *faults: str) -> list[tuple[Event, float]]:
    """Return every event of `n_pulses` simulated ones with its age when it could be read, seconds.

    The age counts from the arrival of the event's first packet; it waits until nothing more comes.
    """
    ring = stand.ring()
    reader = ring.reader("oldest")
    words = [word for fault in faults for word in ("--fault", fault)]
    simulator = stand.simulate("--bit-depth", 8, "--rate", RATE_HZ, "--count", n_pulses, *words)
    seen: list[tuple[Event, float]] = []
    end = time.monotonic() + PATIENCE_S + n_pulses / RATE_HZ
    quiet = time.monotonic()
    limit = stand.config.detectors[stand.name].build.deadline_s + SLACK_S
    while simulator.lives or time.monotonic() < quiet + min(limit, 2 * SLACK_S):
        assert time.monotonic() < end, f"{len(seen)} events\n{stand.logs()}"
        for event in reader.read(0.01) or ():
            seen.append((event, time.time() - event.time_ns / 1e9))
            quiet = time.monotonic()
    ring.close()
    assert reader.n_lost == 0
    return seen


def pulses(seen: list[tuple[Event, float]]) -> list[int]:
    return [event.pulse_id for event, _ in seen]


@contextmanager
def start(tmp_path, **build: float) -> Iterator[Stand]:
    with Stand(tmp_path, n_modules=2, slots=300, detector={"bit_depth": 8}, build=build) as stand:
        stand.run()
        yield stand


def test_a_lost_frame_delays_nothing_by_more_than_the_deadline(tmp_path):
    deadline_s = 1.0
    with start(tmp_path, deadline_s=deadline_s, patience=250) as stand:
        seen = arrivals(stand, 150, "dead=1:60..60")
    assert pulses(seen) == list(range(1, 151))
    assert [event.pulse_id for event, _ in seen if not event.is_complete] == [60]
    assert seen[59][0].missing_modules == (1,)
    ages = {event.pulse_id: age for event, age in seen}
    assert max(ages.values()) < deadline_s + SLACK_S
    assert ages[60] >= deadline_s * 0.9, "it was not waited for: this test would see nothing"
    assert ages[61] < ages[60], "each later one waits less"


def test_patience_ends_the_wait_before_the_deadline(tmp_path):
    with start(tmp_path, deadline_s=NEVER_S, patience=4) as stand:
        seen = arrivals(stand, 100, "dead=1:60..60")
    assert pulses(seen) == list(range(1, 101))
    assert [event.pulse_id for event, _ in seen if not event.is_complete] == [60]
    assert all(age < SLACK_S for event, age in seen if event.pulse_id >= 2)


@pytest.mark.parametrize(
    ("leap", "before", "after"),
    [("restart=101:1", 100, 1), ("restart=101:40", 100, 40), ("jump=101:5000000", 100, 5_000_000)],
    ids=["from 1", "a little back", "far forward"],
)
def test_a_counter_that_leaps_is_followed_within_one_deadline(tmp_path, leap, before, after):
    deadline_s = 1.0
    with start(tmp_path, deadline_s=deadline_s) as stand:
        seen = arrivals(stand, 300, leap)
    ids = pulses(seen)
    assert ids[:before] == list(range(1, before + 1))
    rest = ids[before:]
    assert rest == list(range(rest[0], after + 200)), "from where it was followed on, nothing is missing"
    assert all(event.is_complete for event, _ in seen[before + 1 :]), "at most the first is torn"
    gap_s = (seen[before][0].time_ns - seen[before - 1][0].time_ns) / 1e9
    assert gap_s < deadline_s + 0.5 / RATE_HZ + SLACK_S
    assert after <= rest[0] < after + (deadline_s + SLACK_S) * RATE_HZ
    assert max(age for _, age in seen) < deadline_s + SLACK_S
    print(f"{leap}: followed at {rest[0]}, {gap_s:.3f} s, oldest {max(age for _, age in seen):.3f} s")


def test_a_receiver_that_was_held_up_finds_what_waits_in_its_socket(tmp_path):
    """A busy machine may stop a process longer than a frame may be silent: that is not the frame's fault."""
    layout = eiger(8)
    headers = np.zeros(layout.packets_per_frame, layout.header)
    headers[layout.pulse_id] = 7
    headers[layout.packet] = np.arange(layout.packets_per_frame)
    packets = np.ascontiguousarray(join(layout, headers, np.full(layout.frame_shape, 5, layout.pixel)))
    half = layout.packets_per_frame // 2
    with start(tmp_path, deadline_s=10.0) as stand, socket.socket(type=socket.SOCK_DGRAM) as sender:
        ring = stand.ring()
        sender.connect(("127.0.0.1", stand.config.detectors[stand.name].start_udp_port))

        def received(n_packets: int) -> bool:
            return ring.counters()["module 0"]["received"] >= n_packets

        send_datagrams(sender.fileno(), packets[:half], True)
        wait_until(lambda: received(half), stand.logs)
        receiver = stand.service("receive")
        os.kill(receiver, signal.SIGSTOP)
        held = time.monotonic() + 0.3
        wait_until(lambda: time.monotonic() > held, "time")
        for length in (10, 9, 8, 7):
            sender.send(bytes(length))
        send_datagrams(sender.fileno(), packets[half:], True)
        os.kill(receiver, signal.SIGCONT)
        wait_until(lambda: received(layout.packets_per_frame + 4), stand.logs)
        counters = ring.counters()["module 0"]
        ring.close()
    assert (counters["placed"], counters["malformed"], counters["late"]) == (layout.packets_per_frame, 4, 0)
