"""A shared ring in one process: what it holds, when it says no, and that nothing torn is returned."""

import gc
import os
import resource
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from forebay.errors import AbsentError, ConfigError, NotYetError, OverwrittenError, RingError
from forebay.event import Event, lend
from forebay.pulse import PulseRange
from forebay.ring.shared import RingShape, SharedRing
from forebay.ring.slots import FRAME
from forebay.wire.eiger import eiger
from forebay.wire.jungfrau import jungfrau

pytestmark = pytest.mark.flow

LAYOUT = eiger(8)
N_MODULES = 2


def image(pulse_id: int) -> np.ndarray:
    rows, columns = LAYOUT.frame_shape
    return np.full((N_MODULES * rows, columns), pulse_id % 251, LAYOUT.pixel)


def event(pulse_id: int) -> Event:
    headers = np.zeros(N_MODULES, LAYOUT.header)
    headers["framenum"] = pulse_id
    return Event(
        source="E1",
        pulse_id=pulse_id,
        time_ns=1000 * pulse_id,
        arrays={"data": image(pulse_id), "header": headers},
        missing_packets=np.zeros(N_MODULES, np.uint32),
        packets_per_module=LAYOUT.packets_per_frame,
    )


@pytest.fixture
def runtime(tmp_path_factory):
    path = tmp_path_factory.mktemp("r")
    path.chmod(0o700)
    return path


@pytest.fixture
def ring(runtime):
    ring = SharedRing.create("E1", LAYOUT, RingShape(n_slots=8, n_modules=N_MODULES), runtime)
    yield ring
    ring.close()


def test_what_was_written_is_read_by_another_mapping(ring, runtime):
    other = SharedRing.attach("E1", runtime)
    reader = other.reader("oldest")
    ring.write([event(p) for p in range(10, 15)])
    got = reader.read(1.0)
    assert [e.pulse_id for e in got] == [10, 11, 12, 13, 14]
    for e in got:
        assert e.source == "E1"
        assert e.time_ns == 1000 * e.pulse_id
        assert e.is_complete
        np.testing.assert_array_equal(e.arrays["data"], image(e.pulse_id))
        assert e.arrays["header"]["framenum"].tolist() == [e.pulse_id] * N_MODULES
        assert e.arrays["packets"].all()
        assert e.arrays["packets"].shape == (N_MODULES, LAYOUT.packets_per_frame)
        with lend(e, "data") as lent:
            np.testing.assert_array_equal(lent, image(e.pulse_id))
            with pytest.raises(ValueError, match="read-only"):
                lent[0, 0] = 1
    assert other.resolve(got[2].reference).pulse_id == 12
    other.close()


def test_span_and_get_say_what_is_there(ring):
    with pytest.raises(NotYetError, match="none"):
        ring.get(10)
    assert ring.span is None
    ring.write([event(p) for p in (9, 10, 11, *range(13, 19))])
    assert ring.span == PulseRange(11, 18)  # 8 slots: 18 took the slot of 10
    assert ring.get(13).pulse_id == 13
    with pytest.raises(OverwrittenError, match="pulse 10 was asked for"):
        ring.get(10)
    with pytest.raises(AbsentError, match="nothing came"):
        ring.get(12)
    with pytest.raises(NotYetError, match="the newest is 18"):
        ring.get(19)


def test_span_begins_anew_when_the_counter_restarts(ring):
    ring.write([event(p) for p in (100, 101, 1, 2, 3)])
    assert ring.span == PulseRange(1, 3)


def test_an_overwritten_event_is_never_returned(ring):
    ring.write([event(1)])
    held = ring.get(1)
    ring.write([event(9)])  # same slot
    with pytest.raises(OverwrittenError, match="reused"):
        held.arrays["data"]
    with pytest.raises(OverwrittenError), lend(held, "data"):
        pytest.fail("nothing is lent")


def test_a_view_says_afterwards_that_it_was_overwritten(ring):
    ring.write([event(1)])
    with pytest.raises(OverwrittenError, match="reused"), lend(ring.get(1), "data"):
        ring.write([event(9)])


def test_an_absent_module_is_zeros_whatever_lies_in_its_slot(ring):
    ring.write([event(1)])
    frame = ring.resting_frames()
    assert frame.dtype == FRAME
    owners = np.zeros(N_MODULES, np.uint64)
    owners[0] = frame["owner"][frame["module"] == 0][0]
    missing = np.array([0, LAYOUT.packets_per_frame], np.uint32)
    ring.slots.release(1, 5, 1, owners, missing)
    e = ring.event(ring.n_events - 1)
    assert e.missing_modules == (1,)
    assert not e.is_complete
    rows = LAYOUT.frame_shape[0]
    with lend(e, "data") as pixels:
        assert (pixels[:rows] == 1).all()
        assert not pixels[rows:].any()
    assert not e.arrays["packets"][1].any()
    assert e.arrays["header"]["framenum"].tolist() == [1, 0]


def test_readers_do_not_steal_and_count_their_own_losses(ring):
    slow, quick = ring.reader(), ring.reader()
    for p in range(100):
        ring.write([event(p)])
        quick.read(0)
    assert quick.n_lost == 0
    got = []
    while events := slow.read(0):
        got += events
    assert slow.n_lost == 100 - ring.n_log
    assert [e.pulse_id for e in got] == list(range(100 - ring.n_log, 100))


def test_a_reader_ends_when_the_ring_is_finished(ring):
    reader = ring.reader()
    ring.write([event(1)])
    ring.finish()
    assert [e.pulse_id for e in reader.read(0)] == [1]
    assert reader.read(0) is None


def test_a_second_owner_is_refused_and_told_who_has_it(ring, runtime):
    with pytest.raises(RingError, match=f"in use by process {os.getpid()}"):
        SharedRing.create("E1", LAYOUT, RingShape(8, 1), runtime)


def test_no_ring_says_what_to_do(runtime):
    with pytest.raises(RingError, match="Start the service"):
        SharedRing.attach("nothing", runtime)


def test_more_memory_than_there_is_is_refused(runtime):
    with pytest.raises(RingError, match=r"fewer ring\.slots"):
        SharedRing.create("big", jungfrau(), RingShape(900_000, 32), runtime)
    SharedRing.create("big", LAYOUT, RingShape(4, 1), runtime).close()  # and nothing is left behind


def test_a_directory_of_everybody_is_refused(runtime):
    runtime.chmod(0o755)
    with pytest.raises(ConfigError, match="chmod 700"):
        SharedRing.create("E1", LAYOUT, RingShape(8, 1), runtime)


def test_a_process_with_many_open_files_finds_its_rings(ring, runtime):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 3000:
        pytest.skip(f"this process may open {hard} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3000), hard))
    try:
        with ExitStack() as opened:
            for _ in range(1100):
                opened.callback(os.close, os.dup(0))
            one, two = (SharedRing.attach("E1", runtime) for _ in range(2))
            opened.callback(one.close)
            assert one.owner_lives
            two.close()
            ring.close()
            assert not one.owner_lives
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_reader_cannot_write(ring, runtime):
    other = SharedRing.attach("E1", runtime)
    with pytest.raises(ValueError, match="read-only"):
        other.write([event(1)])
    other.close()


def test_memory_is_private_and_goes_with_its_last_user(runtime):
    def memory() -> list[str]:
        links = (f.readlink() for f in Path("/proc/self/fd").iterdir() if f.is_symlink())
        return [str(link) for link in links if "forebay gone" in str(link)]

    ring = SharedRing.create("gone", LAYOUT, RingShape(8, 1), runtime)
    assert len(memory()) == 1
    assert Path("/proc/self/maps").read_text().count("forebay gone") == 1
    ring.close()
    del ring
    gc.collect()
    assert memory() == []
    assert "forebay gone" not in Path("/proc/self/maps").read_text()
    assert list(runtime.glob("*.ring")) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.pixels(8),
        lambda s: s.whole(8, np.zeros(2, np.uint64)),
        lambda s: s.whole(0, np.zeros(3, np.uint64)),
        lambda s: s.copy_pixels(0, np.zeros(2, np.uint64), np.zeros(10, np.uint8)),
        lambda s: s.release(1, 1, 99, np.zeros(2, np.uint64), np.zeros(2, np.uint32)),
        lambda s: s.counters(3, np.zeros(3, np.uint64)),
        lambda s: s.counters(0, np.zeros(32, np.uint64)),
    ],
)
def test_native_code_checks_its_arguments(ring, call):
    with pytest.raises(ValueError):
        call(ring.slots)
