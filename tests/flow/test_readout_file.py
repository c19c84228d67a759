"""Files of readouts: whole or not there, never over another, checked, recovered, read back."""

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.errors import ConfigError, StoreError
from forebay.store import readout_series
from forebay.store.check import check_file
from forebay.store.readout_file import ReadoutFile
from forebay.store.readout_layout import ReadoutRecording
from forebay.store.readout_reader import ReadoutReader
from forebay.store.readout_series import ReadoutSeries
from forebay.store.recover import recover
from forebay.wire import ssreadout

pytestmark = pytest.mark.flow

T0 = 1_700_000_000_000_000_000
GENERATIONS = ("A", "B")
COMPRESSIONS = ("zlib", "bzip2", "none")


def some(n, first=0, missing=()):
    random = np.random.default_rng(first)
    readouts = ssreadout.new(n)
    i = first + np.arange(n)
    readouts["number"] = i + 1
    readouts["time_ns"] = T0 + i * 10**7
    readouts["arrived_ns"] = T0 + i * 10**7 + 123
    readouts["data"] = random.integers(0, 2**16, (n, 32, 64)) * 0.0763
    readouts["timestamps"] = readouts["time_ns"][:, None, None] + np.arange(64, dtype="u8").reshape(32, 2)
    for row, module in missing:
        readouts["data"][row, module] = np.nan
        readouts["timestamps"][row, module] = 0
    return readouts


def kept(readouts, generation):
    """Return what a file of this generation keeps."""
    found = readouts.copy()
    found["data"] = readouts["data"].astype("f4")
    found["timestamps" if generation == "B" else "arrived_ns"] = 0
    return found


def write(path, readouts, steps=(1000,), **recording):
    file = ReadoutFile(path, ReadoutRecording(**recording))
    start = 0
    for step in (*steps, len(readouts)):
        file.append(readouts[start : start + step])
        start += step
    file.close()
    return file


def read(path):
    reader = ReadoutReader(path)
    try:
        return reader.read()
    finally:
        reader.close()


def problems(path):
    return [(one.check, one.severity) for one in check_file(path).problems]


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("n", [0, 1, 64, 65, 200])
def test_what_is_written_is_read(tmp_path, generation, compression, n):
    readouts = some(n)
    file = write(tmp_path / "a.h5", readouts, (7, 60), generation=generation, compression=compression)
    np.testing.assert_array_equal(read(tmp_path / "a.h5"), kept(readouts, generation))
    assert problems(tmp_path / "a.h5") == []
    assert file.counters == {"received": n, "written": n, "not_written": 0}
    assert file.manifest.counters.end.recorder == file.counters
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5"]


def test_default_compression_is_read_without_plug_ins(tmp_path):
    write(tmp_path / "a.h5", some(70))
    with h5py.File(tmp_path / "a.h5") as file:
        table = file["SlowSignal/readout"]
        assert set(table._filters) == {"shuffle", "gzip"}
        assert (table[69]["readout_number"], len(table)) == (70, 70)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 90), max_size=6))
def test_any_batches_give_the_same_file(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("a") / "a.h5"
    readouts = some(150)
    write(path, readouts, steps)
    np.testing.assert_array_equal(read(path), kept(readouts, "A"))


def test_events_are_written_as_readouts_are(tmp_path):
    readouts = some(10, missing=[(3, 4)])
    file = ReadoutFile(tmp_path / "a.h5", ReadoutRecording())
    file.write(ssreadout.to_events(readouts, "chec"))
    file.close()
    found, expected = read(tmp_path / "a.h5"), kept(readouts, "A")
    for name in found.dtype.names:
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize("generation", GENERATIONS)
def test_missing_modules_are_a_loss_that_the_file_declares(tmp_path, generation):
    file = write(tmp_path / "a.h5", some(9, missing=[(3, 4), (3, 5), (7, 4)]), generation=generation)
    assert problems(tmp_path / "a.h5") == [("incomplete-readouts", "loss")]
    assert file.manifest.missing_modules == {"4": 2, "5": 1}
    assert [one.pulse_id for one in file.manifest.sources["chec"].incomplete] == [
        T0 + 3 * 10**7,
        T0 + 7 * 10**7,
    ]


def test_gaps_and_leaps_are_notes(tmp_path):
    write(tmp_path / "a.h5", np.concatenate([some(5), some(5, 7), some(3)]))
    assert problems(tmp_path / "a.h5") == [("time-order", "note"), ("numbers", "note"), ("numbers", "note")]
    assert check_file(tmp_path / "a.h5").is_good


def test_a_file_is_never_overwritten(tmp_path):
    write(tmp_path / "a.h5", some(3))
    with pytest.raises(StoreError, match="never overwritten"):
        ReadoutFile(tmp_path / "a.h5", ReadoutRecording())


@pytest.mark.parametrize("wrong", [{"generation": "C"}, {"compression": "lzo"}])
def test_recordings_that_cannot_be(tmp_path, wrong):
    with pytest.raises(ConfigError):
        ReadoutFile(tmp_path / "a.h5", ReadoutRecording(**wrong))
    assert not list(tmp_path.iterdir())


def killed(folder, readouts, generation="A", steps=(7, 60)):
    """Leave what a recorder leaves that is killed."""
    file = ReadoutFile(folder / "b.h5", ReadoutRecording(generation=generation))
    start = 0
    for step in (*steps, len(readouts)):
        file.append(readouts[start : start + step])
        start += step
    if generation == "B":
        file.write_telescope(1.0, 2.0, 3.5, 3, 500_000_000)
    for name in ("b.h5.part", "b.h5.part.journal"):
        shutil.copy(folder / name, folder / name.replace("b.h5", "a.h5"))
    file.close()
    (folder / "b.h5").unlink()
    return folder / "a.h5.part"


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_killed_recorders_file_is_recovered(tmp_path, generation):
    readouts = some(150)
    path = recover(killed(tmp_path, readouts, generation))
    np.testing.assert_array_equal(read(path), kept(readouts, generation))
    assert problems(path) == []
    assert [one.name for one in tmp_path.iterdir()] == ["a.h5"]
    reader = ReadoutReader(path)
    assert len(reader.telescope()) == (1 if generation == "B" else 0)
    reader.close()


def test_a_torn_journal_loses_its_last_record_only(tmp_path):
    part = killed(tmp_path, some(100), steps=(40, 40))
    journal = part.with_name(part.name + ".journal")
    with journal.open("r+b") as file:
        file.truncate(journal.stat().st_size - 5)
    path = recover(part)
    np.testing.assert_array_equal(read(path), kept(some(100)[:80], "A"))
    with h5py.File(path) as file:
        assert b"1 journal records were torn" in file["forebay/manifest"][()]


def test_a_damaged_record_is_left_out(tmp_path):
    part = killed(tmp_path, some(100), steps=(40, 40))
    journal = part.with_name(part.name + ".journal")
    data = bytearray(journal.read_bytes())
    data[-20 * 8728 - 30_000] ^= 1
    journal.write_bytes(data)
    assert len(read(recover(part))) == 60


def test_damage_is_found(tmp_path):
    path = tmp_path / "a.h5"
    write(path, some(100))
    with h5py.File(path) as file:
        offset = file["SlowSignal/readout"].id.get_chunk_info(1).byte_offset
    data = bytearray(path.read_bytes())
    data[offset + 1000] ^= 0x10
    path.write_bytes(data)
    assert ("checksum", "problem") in problems(path)


def test_a_full_disk_ends_the_file_and_keeps_what_was_written(tmp_path, monkeypatch):
    file = ReadoutFile(tmp_path / "a.h5", ReadoutRecording())
    file.append(some(100))

    def full(end):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(file._tree._room, "take", full)
        with pytest.raises(StoreError, match="Free some space"):
            file.append(some(10, 100))
        with pytest.raises(StoreError, match="Free some space"):
            file.append(some(10, 110))
    file.close()
    assert file.counters == {"received": 120, "written": 100, "not_written": 20}
    assert problems(tmp_path / "a.h5") == [("not-written", "loss")]
    assert file.manifest.reason == "disk full"
    assert len(read(tmp_path / "a.h5")) == 100


def test_the_telescope_has_a_table_of_its_own(tmp_path):
    file = ReadoutFile(tmp_path / "a.h5", ReadoutRecording(generation="B"))
    file.append(some(3))
    file.write_telescope(ra=1.5, dec=-2.0, time_s=3.5, seconds=3, rest_ns=500_000_000)
    file.close()
    reader = ReadoutReader(tmp_path / "a.h5")
    assert reader.telescope().tolist() == [(3.5, 500_000_000, 3, -2.0, 1.5)]
    reader.close()


def series(folder, **options):
    options = {"prefix": "Slow", "recording": ReadoutRecording()} | options
    return ReadoutSeries(folder, now=lambda: datetime(2026, 11, 21, 5, 4, tzinfo=UTC), **options)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_are_named_by_date_and_none_takes_anothers_place(tmp_path):
    one = series(tmp_path)
    for _ in range(3):
        one.append(some(5))
    one.close()
    assert names(tmp_path) == [
        "Slow2026-11-21.05:04-2.hdf5",
        "Slow2026-11-21.05:04-3.hdf5",
        "Slow2026-11-21.05:04.hdf5",
    ]
    assert one.paths[0].name == "Slow2026-11-21.05:04.hdf5"
    assert one.counters == {"received": 15, "written": 15, "not_written": 0}
    assert all(len(read(path)) == 5 for path in one.paths)


def test_the_newer_generation_names_dates_otherwise(tmp_path):
    one = series(tmp_path, recording=ReadoutRecording(generation="B"))
    one.append(some(5))
    one.close()
    assert names(tmp_path) == ["Slow2026-11-21_0504.hdf5"]


def test_files_are_named_in_order_also_by_the_next_writer(tmp_path):
    for _ in range(2):
        one = series(tmp_path, enumeration="order")
        one.append(np.concatenate([some(3), some(4)]))
        one.close()
    assert names(tmp_path) == [f"Slow{i:03}.hdf5" for i in (1, 2, 3, 4)]
    assert [len(read(path)) for path in sorted(tmp_path.iterdir())] == [3, 4, 3, 4]


def test_a_part_that_was_left_behind_keeps_its_name(tmp_path):
    (tmp_path / "Slow001.hdf5.part.journal").touch()
    one = series(tmp_path, enumeration="order")
    one.append(some(3))
    one.close()
    assert one.paths == [tmp_path / "Slow002.hdf5"]


def test_two_writers_that_choose_the_same_name_get_two(tmp_path, monkeypatch):
    """Both see that the name is free, and one is quicker."""
    first, second = series(tmp_path, enumeration="order"), series(tmp_path, enumeration="order")
    first.append(some(3))
    answers = iter([True])
    right = readout_series.is_free
    monkeypatch.setattr(readout_series, "is_free", lambda path: next(answers, None) or right(path))
    second.append(some(4))
    first.close()
    second.close()
    assert names(tmp_path) == ["Slow001.hdf5", "Slow002.hdf5"]
    assert [len(read(one.paths[0])) for one in (first, second)] == [3, 4]


@pytest.mark.parametrize(
    ("folder", "said"),
    [("/proc/self", "No file can be made"), ("/dev/null", "not there"), ("/no", "not there")],
)
def test_a_folder_that_takes_no_files_is_refused_before_anything_comes(folder, said):
    with pytest.raises(StoreError, match=said):
        series(Path(folder))


def test_a_long_file_is_followed_by_another(tmp_path):
    one = series(tmp_path, enumeration="order", limit_mib=1)
    for first in range(0, 1000, 50):
        one.append(some(50, first))
    one.close()
    found = [read(path) for path in sorted(tmp_path.iterdir())]
    assert len(found) > 3
    np.testing.assert_array_equal(np.concatenate(found)["number"], np.arange(1, 1001))
    assert all(path.stat().st_size < 3 * 2**20 for path in tmp_path.iterdir())


def test_nothing_came_no_file(tmp_path):
    one = series(tmp_path)
    one.close()
    assert names(tmp_path) == []


@pytest.mark.parametrize("wrong", [{"enumeration": "size"}, {"limit_mib": 0}, {"prefix": "../x"}])
def test_series_that_cannot_be(tmp_path, wrong):
    with pytest.raises(ConfigError):
        series(tmp_path, **wrong)


def test_other_files_are_no_readouts(tmp_path):
    with pytest.raises(StoreError, match="cannot be opened"):
        ReadoutReader(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(StoreError, match=re.escape("no SlowSignal/readout")):
        ReadoutReader(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["SlowSignal/readout"] = np.zeros(3, [("a", "f4")])
    with pytest.raises(StoreError, match="none of SSDAQ's tables"):
        ReadoutReader(tmp_path / "b.h5")
    assert ("format", "problem") in problems(tmp_path / "b.h5")
