"""Writers at full speed in a ring of four slots, readers in other processes: nothing torn is ever read."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from forebay.errors import OverwrittenError
from forebay.event import Event, lend
from forebay.ring.arrays import SlotArrays
from forebay.ring.shared import RingShape, SharedRing
from forebay.ring.slots import FRAME
from forebay.wire.eiger import eiger

pytestmark = [pytest.mark.system, pytest.mark.calm, pytest.mark.timeout(300)]

LAYOUT = eiger(8)
SHAPE = RingShape(n_slots=4, n_modules=2)
GOOD_READS = 100_000
N_READERS = 2
CONTEXT = multiprocessing.get_context("spawn")


def write_module(runtime: Path, module: int, stop) -> None:
    """Write one module, every 8 bytes of a frame the pulse id."""
    ring = SharedRing.attach("torn", runtime, writable=True)
    frame = np.empty(LAYOUT.frame_bytes // 8, np.uint64)
    header, out = np.zeros(LAYOUT.header.itemsize, np.uint8), np.empty(FRAME.itemsize, np.uint8)
    pulse_id = 0
    while not stop.is_set():
        for _ in range(100):
            frame[:] = pulse_id
            ring.slots.write_frame(module, pulse_id, 0, header, frame.view(np.uint8), out)
            pulse_id += 1
    ring.close()


def read_slots(runtime: Path, n_good: int, how: str, result) -> None:
    """Read slots until `n_good` reads were called good; tell how many of them were torn."""
    ring = SharedRing.attach("torn", runtime)
    good = torn = 0
    while good < n_good:
        frames = ring.resting_frames()
        for slot in frames["slot"][np.argsort(frames["owner"])[-1:]]:  # the others are overwritten too soon
            here = frames[frames["slot"] == slot]
            owners = np.zeros(ring.n_modules, np.uint64)
            owners[here["module"]] = here["owner"]
            expected = np.zeros(ring.n_modules, np.uint64)
            expected[here["module"]] = here["pulse_id"]
            arrays = SlotArrays(ring, int(slot), 0, owners)
            try:
                modules = read(arrays, ring, int(slot), how)
            except OverwrittenError:
                continue
            good += 1
            torn += bool((modules != expected[:, None]).any())
    result.put((good, torn))
    ring.close()


def read(arrays: SlotArrays, ring: SharedRing, slot: int, how: str) -> np.ndarray:
    if how == "one look":
        return ring.slots.pixels(slot).view(np.uint64).reshape(ring.n_modules, -1).copy()
    if how == "copy":
        return arrays["data"].reshape(ring.n_modules, -1).view(np.uint64)
    event = Event("torn", 0, 0, arrays, np.zeros(ring.n_modules, np.uint32))
    with lend(event, "data") as pixels:
        return pixels.reshape(ring.n_modules, -1).view(np.uint64).copy()


def torn_reads(runtime: Path, n_good: int, how: str) -> tuple[int, int]:
    ring = SharedRing.create("torn", LAYOUT, SHAPE, runtime)
    stop, result = CONTEXT.Event(), CONTEXT.Queue()
    writers = [CONTEXT.Process(target=write_module, args=(runtime, i, stop)) for i in range(SHAPE.n_modules)]
    readers = [
        CONTEXT.Process(target=read_slots, args=(runtime, n_good // N_READERS, how, result))
        for _ in range(N_READERS)
    ]
    for process in (*writers, *readers):
        process.start()
    counts = [result.get() for _ in readers]
    stop.set()
    for process in (*writers, *readers):
        process.join()
        assert process.exitcode == 0
    ring.close()
    return sum(good for good, _ in counts), sum(torn for _, torn in counts)


@pytest.fixture
def runtime(tmp_path_factory):
    path = tmp_path_factory.mktemp("r")
    path.chmod(0o700)
    return path


@pytest.mark.parametrize("how", ["copy", "lend"])
def test_no_torn_read(runtime, how):
    good, torn = torn_reads(runtime, GOOD_READS, how)
    assert good >= GOOD_READS
    assert torn == 0


def test_without_the_second_look_reads_are_torn(runtime):
    """The control: what the second look saves us from does happen here."""
    _, torn = torn_reads(runtime, 2_000, "one look")
    assert torn > 0
