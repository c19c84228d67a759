"""Files of larpix-control of every version are read as written; a raw file becomes its packet file."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from forebay.store.check import check_file
from forebay.store.larpix_convert import convert
from forebay.store.larpix_read import PacketFile, RawFile

pytestmark = pytest.mark.compat

VECTORS = Path(__file__).parents[1] / "vectors" / "larpix"
PACKET_FILES = sorted(path.name for path in (VECTORS / "hdf5").glob("*.h5"))
RAW_FILES = sorted(path.name for path in (VECTORS / "raw").glob("*.h5"))


def expected(kind, name):
    return json.loads((VECTORS / "expected" / f"{kind}_{name}.json").read_text())


def digest(rows):
    """Return the digest of the vectors: names and columns, in their order."""
    made = hashlib.sha256()
    for name in rows.dtype.names:
        made.update(name.encode())
        made.update(np.ascontiguousarray(rows[name]).tobytes())
    return made.hexdigest()


@pytest.mark.parametrize("name", PACKET_FILES)
def test_packet_files(name):
    said = expected("hdf5", name)
    with PacketFile(VECTORS / "hdf5" / name) as file:
        table = said.get("packets") or said["raw_packet"]
        stored = file.stored()
        assert file.version == said["header"]["version"]
        assert list(stored.shape) == table["shape"]
        assert [[one, stored.dtype[one].str] for one in stored.dtype.names] == table["fields"]
        assert digest(stored) == table["column_digest"]
        rows = file.rows()
        for one in rows.dtype.names:
            if one in stored.dtype.names:
                assert rows[one].tolist() == stored[one].tolist(), one
        assert len(file.notes) == len(file.file["messages"]) if "messages" in file.file else not file.notes
    report = check_file(VECTORS / "hdf5" / name)
    assert report.is_good, report.problems


def test_keys_of_old_files():
    with PacketFile(VECTORS / "hdf5" / "packets_v1.0.h5") as file:
        stored, rows = file.stored(), file.rows()
    for old, new in zip(stored, rows, strict=True):
        if new["packet_type"] < 4 and old["chip_key"] not in (b"", b"None"):
            key = f"{new['io_group']}-{new['io_channel']}-{new['chip_id']}"
            assert old["chip_key"].decode() == key
        assert (old["type"], old["value"]) == (new["packet_type"], new["register_data"])


def test_configurations():
    with PacketFile(VECTORS / "hdf5" / "configs_asic2_v2.4.h5") as file:
        table, chips = file.file["configs"][:], file.chips
    assert [chip.asic_version for chip in chips] == ["2"] * 5
    assert [chip.registers for chip in chips] == [row["registers"].tobytes() for row in table]
    assert [chip.chip_id for chip in chips] == table["chip_id"].tolist()


@pytest.mark.parametrize("name", RAW_FILES)
def test_raw_files(name):
    said = expected("raw", name)
    with RawFile(VECTORS / "raw" / name) as file:
        messages = file.read()
        assert (file.version, file.io_version) == (said["meta"]["version"], said["meta"]["io_version"])
    assert len(messages.lengths) == said["n"]
    assert messages.io_groups[: len(said["io_groups"])].tolist() == said["io_groups"]
    ends = np.cumsum(messages.lengths)
    for text, end, length in zip(said["msgs"], ends, messages.lengths, strict=False):
        assert messages.data[end - length : end].tobytes().hex() == text
    assert check_file(VECTORS / "raw" / name).is_good


def test_conversion(tmp_path):
    convert(VECTORS / "raw" / "raw_v0.0.h5", tmp_path / "packets.h5", direction=0, block=64)
    with PacketFile(tmp_path / "packets.h5") as ours:
        mine = ours.stored()
    with PacketFile(VECTORS / "hdf5" / "raw_v0.0_converted_v2.4.h5") as theirs:
        assert mine.dtype == theirs.stored().dtype
        assert mine.tobytes() == theirs.stored().tobytes()
    report = check_file(tmp_path / "packets.h5")
    assert report.is_good, report.problems
