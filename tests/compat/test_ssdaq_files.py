"""Files of SSDAQ are read, and ours are read by PyTables with the documented table."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from forebay.store import readout_layout as layout
from forebay.store.check import check_file
from forebay.store.readout_file import ReadoutFile
from forebay.store.readout_layout import ReadoutRecording
from forebay.store.readout_reader import ReadoutReader
from forebay.wire import ssreadout

tables = pytest.importorskip("tables")

pytestmark = pytest.mark.compat

VECTORS = Path(__file__).parents[1] / "vectors" / "ssdaq"
T0 = 1_700_000_000_000_000_000


def read(path):
    reader = ReadoutReader(path)
    try:
        return reader.generation, reader.read(), reader.attributes
    finally:
        reader.close()


def some(n):
    readouts = ssreadout.new(n)
    readouts["number"] = np.arange(1, n + 1)
    readouts["time_ns"] = T0 + np.arange(n) * 10**7
    readouts["arrived_ns"] = readouts["time_ns"] + 77
    readouts["data"] = np.random.default_rng(0).integers(0, 2**16, (n, 32, 64)) * 0.0763
    readouts["timestamps"] = readouts["time_ns"][:, None, None]
    return readouts


@pytest.mark.parametrize(("generation", "n"), [("A", 61), ("B", 53)])
def test_golden_files_are_read(generation, n):
    kind, readouts, attributes = read(VECTORS / f"hdf5/golden_{generation}_001.hdf5")
    assert (kind, len(readouts)) == (generation, n)
    with tables.open_file(VECTORS / f"hdf5/golden_{generation}_001.hdf5") as file:
        rows = file.root.SlowSignal.readout.read()
    number, time = ("readout_number", "ro_time") if generation == "A" else ("iro", "time")
    np.testing.assert_array_equal(readouts["data"], rows["data"])
    np.testing.assert_array_equal(readouts["number"], rows[number])
    np.testing.assert_array_equal(readouts["time_ns"], rows[time])
    if generation == "A":
        np.testing.assert_array_equal(readouts["timestamps"], rows["time_stamps"])
        assert attributes["ssdata_version"] == 1
    else:
        np.testing.assert_array_equal(readouts["arrived_ns"] // 10**9, rows["cpu_t_s"])
        np.testing.assert_array_equal(readouts["arrived_ns"] % 10**9, rows["cpu_t_ns"])


@pytest.mark.parametrize("generation", ["A", "B"])
def test_golden_files_are_checked(generation):
    report = check_file(VECTORS / f"hdf5/golden_{generation}_001.hdf5")
    assert report.layout == "readouts"
    assert {one.severity for one in report.problems} <= {"note", "loss"}
    assert any("SSDAQ wrote it" in one.message for one in report.of("format"))


@pytest.mark.parametrize("generation", ["A", "B"])
@pytest.mark.parametrize("compression", ["zlib", "bzip2", "none"])
def test_pytables_reads_ours_with_the_table_of_the_original(tmp_path, generation, compression):
    readouts = some(150)
    recording = ReadoutRecording(
        generation=generation, compression=compression, attributes={"run": 7, "note": "abc"}
    )
    file = ReadoutFile(tmp_path / "a.hdf5", recording)
    file.append(readouts)
    file.close()
    with (
        tables.open_file(VECTORS / f"hdf5/golden_{generation}_001.hdf5") as golden,
        tables.open_file(tmp_path / "a.hdf5") as ours,
    ):
        expected, found = golden.root.SlowSignal.readout, ours.root.SlowSignal.readout
        assert isinstance(found, tables.Table)
        assert found.description._v_dtype == expected.description._v_dtype
        assert found.title == expected.title
        assert ours.title == golden.title
        assert ours.root.SlowSignal._v_title == golden.root.SlowSignal._v_title
        names = set(expected.attrs._v_attrnames)
        assert names <= set(found.attrs._v_attrnames)
        version = "ssdata_version" if generation == "A" else "ss_data_version"
        assert found.attrs[version] == expected.attrs[version]
        assert (found.attrs["run"], found.attrs["note"]) == (7, "abc")
        rows = found.read()
        assert len(rows) == found.nrows == 150
        np.testing.assert_array_equal(rows["data"], readouts["data"].astype("f4"))
        number = "readout_number" if generation == "A" else "iro"
        np.testing.assert_array_equal(rows[number], readouts["number"])
        assert found[149][number] == 150
        if generation == "B":
            telescope = golden.root.SlowSignal.tel_table
            assert ours.root.SlowSignal.tel_table.description._v_dtype == telescope.description._v_dtype
            np.testing.assert_array_equal(found.attrs["ssl2asic_ch"], expected.attrs["ssl2asic_ch"])


def test_pytables_can_go_on_with_ours(tmp_path):
    file = ReadoutFile(tmp_path / "a.hdf5", ReadoutRecording())
    file.append(some(70))
    file.close()
    shutil.copy(tmp_path / "a.hdf5", tmp_path / "b.hdf5")
    with tables.open_file(tmp_path / "b.hdf5", "a") as ours:
        table = ours.root.SlowSignal.readout
        table.append(table.read(0, 10))
    assert len(read(tmp_path / "b.hdf5")[1]) == 80


def test_the_oldest_files_are_read(tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        rows = np.zeros(20, layout.ROW_OLD)
        rows["event_number"] = np.arange(20)
        rows["ev_time"] = T0 + np.arange(20)
        rows["data"][:] = 2.5
        rows["time_stamps"][:] = 9
        file["SlowSignal/readout"] = rows
    kind, readouts, _ = read(tmp_path / "a.hdf5")
    assert kind == "old"
    assert readouts["number"].tolist() == list(range(20))
    assert readouts["time_ns"][3] == T0 + 3
    assert (readouts["data"] == 2.5).all()
    assert (readouts["timestamps"] == 9).all()


@pytest.mark.parametrize(
    ("row", "size"), [(layout.ROW_A, 8720), (layout.ROW_B, 8232), (layout.ROW_OLD, 8728)]
)
def test_rows_are_as_long_as_the_originals(row, size):
    assert row.itemsize == size
