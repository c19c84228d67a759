"""What a dead recorder leaves becomes a good file, whatever it was doing and however often we try."""

import os
import shutil
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import numpy as np
import pytest
import xxhash

from forebay.errors import StoreError
from forebay.store import manifest as m
from forebay.store import part as part_module
from forebay.store import recover as recover_module
from forebay.store.check import check_file
from forebay.store.part import Ending, Part
from forebay.store.recover import recover
from forebay.wire.compress import compress

pytestmark = pytest.mark.flow

SHAPE = (16, 32)
RECORDING = m.Recording(
    "det",
    SHAPE,
    "uint16",
    n_modules=2,
    packets_per_module=4,
    header=(("framenum", "<u8"),),
    requested=m.Request(pulses="100..109"),
    configuration={"k": 1},
    start_time="2026-01-01T00:00:00Z",
)


def pixels(pulse_id):
    return np.random.default_rng(pulse_id).integers(1, 4000, SHAPE).astype("u2")


def fill(part, pulses):
    for pulse_id in pulses:
        chunk = compress(pixels(pulse_id))
        header = np.full(2, pulse_id, [("framenum", "<u8")])
        checksum = xxhash.xxh3_64_intdigest(chunk.data)
        part.append(pulse_id, 10**18 + pulse_id, np.zeros(2, np.uint32), header, chunk, checksum)


@pytest.fixture
def left(tmp_path):
    """A folder as a kill leaves it: six images in the part, six records in the journal."""
    alive = tmp_path / "alive"
    alive.mkdir()
    part = Part(alive / "a.h5", RECORDING)
    fill(part, range(100, 106))
    dead = tmp_path / "dead"
    dead.mkdir()
    for path in alive.iterdir():  # a copy has no lock, and what HDF5 still keeps in memory is not in it
        shutil.copy(path, dead)
    part.close()
    return dead


def contents(path):
    with h5py.File(path) as f:
        ids = f["entry/data/pulse_id"][:].tolist()
        for i, pulse_id in enumerate(ids):
            np.testing.assert_array_equal(f["entry/data/data"][i], pixels(pulse_id))
            assert f["entry/instrument/det/header/frame_index"][i].tolist() == [pulse_id] * 2
            assert f["entry/instrument/det/time_ns"][i] == 10**18 + pulse_id
        return ids, m.from_json(f["entry/manifest/data"][()])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_written_image_is_recovered(left):
    assert recover(left / "a.h5.part") == left / "a.h5"
    assert names(left) == ["a.h5"]
    ids, manifest = contents(left / "a.h5")
    assert ids == list(range(100, 106))
    assert (manifest.closed_by, manifest.reason) == ("recover", "the recorder was killed")
    assert manifest.sources["det"].missing.ranges == ["106..109"]
    assert manifest.configuration == {"k": 1}
    assert manifest.start_time == "2026-01-01T00:00:00Z"
    assert check_file(left / "a.h5", skip=["missing-pulses"]).is_good
    assert recover(left / "a.h5.part") == left / "a.h5"  # and again: nothing to do


def test_torn_at_every_byte_of_the_journal(left, tmp_path):
    journal = left / "a.h5.part.journal"
    whole = journal.read_bytes()
    item = part_module.record_type(RECORDING).itemsize
    head = len(whole) - 6 * item
    for n in range(head, len(whole) + 1, 7):
        folder = tmp_path / f"torn{n}"
        shutil.copytree(left, folder)
        with (folder / journal.name).open("r+b") as file:
            file.truncate(n)
        ids, manifest = contents(recover(folder / "a.h5.part"))
        assert ids == list(range(100, 100 + (n - head) // item))
        assert ("torn" in manifest.reason) == bool((n - head) % item)


def test_a_part_that_lost_its_end_keeps_the_rest(left):
    records = recover_module.read_journal(left / "a.h5.part.journal").records
    with (left / "a.h5.part").open("r+b") as file:
        file.truncate(int(records["offset"][4]) + 1)
    ids, manifest = contents(recover(left / "a.h5.part"))
    assert ids == [100, 101, 102, 103]
    assert manifest.reason == "the recorder was killed; 2 images were damaged"


def test_a_damaged_image_is_left_out(left):
    records = recover_module.read_journal(left / "a.h5.part.journal").records
    with (left / "a.h5.part").open("r+b") as file:
        file.seek(int(records["offset"][2]) + 20)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    ids, _ = contents(recover(left / "a.h5.part"))
    assert ids == [100, 101, 103, 104, 105]


def test_the_journal_may_be_named(left):
    assert recover(left / "a.h5.part.journal") == left / "a.h5"


def test_a_recorder_at_work_is_left_alone(tmp_path):
    part = Part(tmp_path / "a.h5", RECORDING)
    fill(part, [100])
    with pytest.raises(StoreError, match="still writing"):
        recover(tmp_path / "a.h5.part")
    fill(part, [101])
    part.finish(Ending("stopped", m.Counters(), (100, 101), [], []))
    assert contents(tmp_path / "a.h5")[0] == [100, 101]


def test_another_file_of_that_name_stays(left):
    (left / "a.h5").write_text("precious")
    with pytest.raises(StoreError, match=r"Move .* away"):
        recover(left / "a.h5.part")
    assert (left / "a.h5").read_text() == "precious"
    assert len(names(left)) == 3


def test_killed_before_the_first_byte(tmp_path):
    (tmp_path / "a.h5.part.journal").write_bytes(b"forebay jou")
    with pytest.raises(StoreError, match="can be used again"):
        recover(tmp_path / "a.h5.part")
    assert names(tmp_path) == []


def test_a_headless_journal_beside_a_part_is_left_alone(left):
    (left / "a.h5.part.journal").write_bytes(b"forebay jou")
    with pytest.raises(StoreError, match="cut short"):
        recover(left / "a.h5.part")
    assert len(names(left)) == 2


def test_without_its_journal(left):
    (left / "a.h5.part.journal").unlink()
    with pytest.raises(StoreError, match="no journal"):
        recover(left / "a.h5.part")
    assert names(left) == ["a.h5.part"]


def test_without_its_part(left):
    (left / "a.h5.part").unlink()
    with pytest.raises(StoreError, match="is gone"):
        recover(left / "a.h5.part")


def test_nothing_there(tmp_path):
    with pytest.raises(StoreError, match=r"no .*to recover"):
        recover(tmp_path / "a.h5.part")
    with pytest.raises(StoreError, match=r"ends in \.part"):
        recover(tmp_path / "a.h5")


def test_disk_full_while_recovering(left, monkeypatch):
    def full(*_args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("forebay.store.layout.Room.take", full)
        with pytest.raises(StoreError, match="Free some space"):
            recover(left / "a.h5.part")
    assert names(left) == ["a.h5.part", "a.h5.part.journal"]
    recover(left / "a.h5.part")
    assert names(left) == ["a.h5"]


class Killed(BaseException):
    """Stands for a kill in the tests that count steps."""


def kill_at(patch, step):
    """Die before the `step`-th change of a name or sync; return the list that counts them."""
    steps = []

    def dying(real):
        def call(*args, **kwargs):
            steps.append(real)
            if len(steps) > step:
                raise Killed
            return real(*args, **kwargs)

        return call

    patch.setattr(os, "link", dying(os.link))
    patch.setattr(os, "fsync", dying(os.fsync))
    patch.setattr(Path, "unlink", dying(Path.unlink))
    return steps


def test_recover_may_be_killed_at_every_step(left, tmp_path, monkeypatch):
    n_killed = 0
    for step in range(50):
        folder = tmp_path / f"step{step}"
        shutil.copytree(left, folder)
        try:
            with monkeypatch.context() as patch:
                kill_at(patch, step)
                recover(folder / "a.h5.part")
        except Killed:
            n_killed += 1
        else:
            break
        assert recover(folder / "a.h5.part") == folder / "a.h5"
        assert names(folder) == ["a.h5"]
        assert contents(folder / "a.h5")[0] == list(range(100, 106))
    assert n_killed > 5


def test_closing_may_be_killed_at_every_step(tmp_path, monkeypatch):
    n_killed = 0
    for step in range(50):
        folder = tmp_path / f"step{step}"
        folder.mkdir()
        part = Part(folder / "a.h5", RECORDING)
        fill(part, range(100, 110))
        try:
            with monkeypatch.context() as patch:
                kill_at(patch, step)
                part.finish(Ending("last pulse", m.Counters(), (100, 109), [], []))
        except Killed:
            n_killed += 1
        else:
            break
        assert recover(folder / "a.h5.part") == folder / "a.h5"
        assert names(folder) == ["a.h5"]
        assert contents(folder / "a.h5")[0] == list(range(100, 110))
        assert check_file(folder / "a.h5").is_good
    assert n_killed > 4
