"""Random streams of frames with every fault at once: every frame is accounted for."""

import random
from bisect import bisect_left

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from forebay.assemble.builder import Builder
from forebay.ring.slots import FRAME

pytestmark = pytest.mark.unit

MS = 1_000_000
DEADLINE = 100 * MS
N_PACKETS = 16


def record(number, pulse_id, module, epoch, rng, time_ns=None):
    """One frame; its owner word is unique, so that it can be found in an event."""
    missing = rng.choice([0, 0, 0, rng.randrange(1, N_PACKETS)])
    arrived = rng.randrange(1, 10**6) if time_ns is None else time_ns
    return (pulse_id, 2 * number, arrived, pulse_id % 64, module, missing, epoch)


@st.composite
def streams(draw):
    """(n_modules, patience, max_jump, calls); a call is (now_ns, frames), without frames a tick."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    n_modules = draw(st.integers(1, 5))
    loss = draw(st.sampled_from([0, 0.02, 0.3]))
    repeat = draw(st.sampled_from([0, 0.02, 0.2]))
    shuffled = draw(st.sampled_from([0, 2, 12]))  # frames that one may be overtaken by
    epochs = draw(st.booleans())
    n_call = draw(st.integers(1, 3 * n_modules))
    period = draw(st.sampled_from([MS // 10, 5 * MS, 40 * MS, 3 * DEADLINE]))
    acts = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["count", "restart", "jump", "pause", "dead", "step", "back"]),
                st.integers(1, 40),
            ),
            min_size=1,
            max_size=8,
        )
    )
    position = [draw(st.sampled_from([0, 1, 1000]))] * n_modules
    epoch, dead, now, number = [0] * n_modules, set(), 0, 0
    sent = []  # (now_ns, frame)
    for act, length in acts:
        victim = rng.randrange(n_modules)
        if act == "restart":
            position = [1] * n_modules
            epoch = [e + epochs for e in epoch]
        elif act == "jump":
            position = [p + length * 20 for p in position]
        elif act == "pause":
            now += length * 20 * MS
        elif act == "dead":
            dead = {victim}
        elif act == "step":
            position[victim] += rng.choice([-1, 1]) * rng.choice([1, length, 20 * length])
            position[victim] = max(0, position[victim])
        elif act == "back":
            position, dead = [max(position)] * n_modules, set()
        for _ in range(length):
            for module in rng.sample(range(n_modules), n_modules):
                if module not in dead and rng.random() >= loss:
                    number += 1
                    frame = record(number, position[module], module, epoch[module], rng)
                    sent.append(frame)
                    if rng.random() < repeat:
                        number += 1
                        sent.append(record(number, position[module], module, epoch[module], rng))
                position[module] += 1
            sent.append(None)
    order = sorted(range(len(sent)), key=lambda i: i + rng.uniform(0, shuffled))
    calls, batch = [], []
    for i in order:
        if sent[i] is None:
            now += period
            if rng.random() < 0.2:
                calls.append((now, []))
        else:
            batch.append(sent[i])
        if len(batch) >= n_call:
            calls.append((now, batch))
            batch = []
    return n_modules, draw(st.integers(1, 10)), draw(st.sampled_from([30, 10_000])), [*calls, (now, batch)]


def play(builder, calls):
    """Yield (now_ns, events, counters) of every call and of the drain at the end."""
    for now, batch in calls:
        built = builder.add(np.array(batch, FRAME), now) if batch else builder.tick(now)
        yield now, built, dict(builder.counters)
    yield None, builder.drain(), dict(builder.counters)


@settings(max_examples=400, deadline=None)
@given(streams())
def test_every_frame_is_accounted_for(stream):
    n_modules, patience, max_jump, calls = stream
    b = Builder(
        n_modules,
        N_PACKETS,
        patience=patience,
        deadline_ns=DEADLINE,
        pulse_step=1,
        max_jump=max_jump,
    )
    fed = {frame[1]: frame for _, batch in calls for frame in batch}
    fed_at = {frame[1]: now for now, batch in calls for frame in batch}
    times = [now for now, _ in calls]
    used, n_fed, n_events, n_incomplete, n_absent = set(), 0, 0, 0, 0
    last, n_falls = None, 0
    for i, (now, built, counters) in enumerate(play(b, calls)):
        n_fed += len(calls[i][1]) if i < len(calls) else 0
        refused = counters["late"] + counters["duplicate"] + counters["implausible"]
        assert counters["frames"] == n_fed == counters["used"] + refused
        for event in built:
            n_falls += last is not None and event.pulse_id <= last
            last = event.pulse_id
            present = [int(owner) for owner in event.owner if owner]
            frames = [fed[owner] for owner in present]
            assert present
            assert not used & set(present)
            used.update(present)
            for module, owner in enumerate(event.owner.tolist()):
                if owner:
                    assert (fed[owner][0], fed[owner][4]) == (event.pulse_id, module)
                    assert event.missing_packets[module] == fed[owner][5]
                else:
                    assert event.missing_packets[module] == N_PACKETS
            assert event.slot == event.pulse_id % 64
            assert event.time_ns == min(frame[2] for frame in frames)
            n_events += 1
            n_absent += n_modules - len(present)
            n_incomplete += bool(event.missing_packets.any())
            if now is not None:  # not one call later than the first one at or after the deadline
                due = min(fed_at[owner] for owner in present) + DEADLINE
                assert i <= bisect_left(times, due)
        assert n_falls <= counters["followed"]  # the output falls only where the detector did
        assert counters["used"] >= len(used)
        assert (counters["events"], counters["incomplete_events"]) == (n_events, n_incomplete)
        assert counters["missing_frames"] == n_absent
    assert counters["used"] == len(used)
    assert n_events * n_modules == counters["used"] + counters["missing_frames"]


class PlainBuilder:
    """The rules without restarts and votes, word for word and as slow as they read."""

    def __init__(self, n_modules, patience):
        self.n_modules, self.patience = n_modules, patience
        self.open, self.last, self.next = {}, -1, None
        self.refused = {"late": 0, "duplicate": 0}

    def call(self, now, batch):
        for pulse_id, owner, _, _, module, _, _ in batch:
            if pulse_id <= self.last:
                self.refused["late"] += 1
            elif module in self.open.setdefault(pulse_id, (now, {}))[1]:
                self.refused["duplicate"] += 1
            else:
                self.open[pulse_id][1][module] = owner
        out = []
        while self.open:
            front = min(self.open)
            in_line = front == self.next and len(self.open[front][1]) == self.n_modules
            overdue = any(now - first >= DEADLINE for first, _ in self.open.values())
            if not in_line and len(self.open) - 1 <= self.patience and not overdue:
                break
            out.append((front, self.open.pop(front)[1]))
            self.last, self.next = front, front + 1
        return out


@settings(max_examples=400, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n_modules=st.integers(1, 4),
    patience=st.integers(4, 8),
    loss=st.sampled_from([0, 0.1, 0.5]),
    shuffled=st.integers(0, 3),
    n_call=st.integers(1, 20),
    period=st.sampled_from([MS, 15 * MS, 60 * MS]),
)
def test_plain_rules(seed, n_modules, patience, loss, shuffled, n_call, period):
    """One counter, frames in the order of their pulses but for a few places, nothing but loss: no vote."""
    rng = random.Random(seed)
    frames = [
        record(i + 1, 500 + i // n_modules, i % n_modules, 0, rng)
        for i in range(60 * n_modules)
        if rng.random() >= loss
    ]
    now_of = {frame[1]: (frame[0] - 500) * period for frame in frames}
    frames.sort(key=lambda frame: frame[1] + rng.uniform(0, 2 * shuffled))
    b = Builder(n_modules, N_PACKETS, patience=patience, deadline_ns=DEADLINE, pulse_step=1, max_jump=10_000)
    plain = PlainBuilder(n_modules, patience)
    now = 0
    for i in range(0, len(frames), n_call):
        batch = frames[i : i + n_call]
        before, now = now, max(now, *(now_of[frame[1]] for frame in batch), 0)
        overdue = plain.call(now, []) if now - before >= DEADLINE else []  # a pause ends what was open
        built = b.add(np.array(batch, FRAME), now)
        assume(not b.counters["followed"] and not b.counters["implausible"])
        expected = overdue + plain.call(now, batch)
        got = [(e.pulse_id, {m: int(o) for m, o in enumerate(e.owner) if o}) for e in built]
        assert got == expected
        assert {name: b.counters[name] for name in plain.refused} == plain.refused


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n_modules=st.integers(1, 5),
    ran=st.integers(1, 60),
    loss=st.sampled_from([0, 0.2]),
    epochs=st.booleans(),
)
def test_restart_is_followed_within_one_deadline_with_its_first_pulses(seed, n_modules, ran, loss, epochs):
    rng = random.Random(seed)
    b = Builder(n_modules, N_PACKETS, patience=8, deadline_ns=DEADLINE, pulse_step=1, max_jump=10_000)
    first = rng.choice([1, 2, 5000])
    number = now = 0
    for pulse_id in range(first, first + ran):
        now += MS
        batch = []
        for module in range(n_modules):
            number += 1
            if rng.random() >= loss:
                batch.append(record(number, pulse_id, module, 0, rng, now))
        b.add(np.array(batch, FRAME), now)
    used = b.counters["used"]
    now += 2 * DEADLINE
    built = []
    for pulse_id in range(1, 41):
        batch = []
        for module in rng.sample(range(n_modules), n_modules):
            number += 1
            batch.append(record(number, pulse_id, module, int(epochs), rng, now + pulse_id * MS))
        built += b.add(np.array(batch, FRAME), now + pulse_id * MS)
    built = [event for event in built if event.owner[event.owner > 0].min() > 2 * ran * n_modules]
    built += b.drain()
    assert [event.pulse_id for event in built] == list(range(1, 41))
    assert b.counters["used"] - used == 40 * n_modules
    assert all(event.owner.all() for event in built)
