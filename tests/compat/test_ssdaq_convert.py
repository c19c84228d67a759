"""Files of SSDAQ from one version to another."""

from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest

from forebay.errors import StoreError
from forebay.store.check import check_file
from forebay.store.readout_convert import convert_readouts
from forebay.store.readout_layout import ReadoutRecording
from forebay.store.readout_reader import ReadoutReader

pytestmark = pytest.mark.compat

VECTORS = Path(__file__).parents[1] / "vectors" / "ssdaq" / "hdf5"


def read(path):
    with closing(ReadoutReader(path)) as reader:
        return reader.generation, reader.read()


@pytest.mark.parametrize("source", ["A", "B"])
@pytest.mark.parametrize("generation", ["A", "B"])
def test_readouts_stay_what_they_are(tmp_path, source, generation):
    golden = VECTORS / f"golden_{source}_001.hdf5"
    recording = ReadoutRecording(generation=generation, attributes={"run": 5})
    manifest = convert_readouts(golden, tmp_path / "a.h5", recording)
    before, (kind, after) = read(golden)[1], read(tmp_path / "a.h5")
    assert kind == generation
    kept = ["number", "time_ns", "data"]
    kept += [{"A": "timestamps", "B": "arrived_ns"}[source]] if source == generation else []
    for name in kept:
        np.testing.assert_array_equal(after[name], before[name])
    assert manifest.reason == f"converted from {golden.name}, generation {source}"
    assert {one.severity for one in check_file(tmp_path / "a.h5").problems} <= {"note", "loss"}
    with closing(ReadoutReader(tmp_path / "a.h5")) as reader:
        assert reader.attributes["run"] == 5


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "a.h5").touch()
    with pytest.raises(StoreError, match="never overwritten"):
        convert_readouts(VECTORS / "golden_A_001.hdf5", tmp_path / "a.h5", ReadoutRecording())


def test_what_cannot_be_read_leaves_nothing(tmp_path):
    with pytest.raises(StoreError):
        convert_readouts(tmp_path / "b.h5", tmp_path / "a.h5", ReadoutRecording())
    assert not list(tmp_path.iterdir())
    damaged = bytearray((VECTORS / "golden_A_001.hdf5").read_bytes())
    with h5py.File(VECTORS / "golden_A_001.hdf5") as file:
        damaged[file["SlowSignal/readout"].id.get_chunk_info(2).byte_offset + 100] ^= 1
    (tmp_path / "b.h5").write_bytes(damaged)
    with pytest.raises(StoreError, match="cannot be read"):
        convert_readouts(tmp_path / "b.h5", tmp_path / "a.h5", ReadoutRecording())
    assert [one.name for one in tmp_path.iterdir()] == ["b.h5"]
    assert ("readable", "problem") in [
        (one.check, one.severity) for one in check_file(tmp_path / "b.h5").problems
    ]
