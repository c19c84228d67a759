"""Files of larpix-control of every version are read as written; a raw file becomes its packet file."""

import hashlib
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from forebay.store.check import check_file
from forebay.store.larpix_convert import convert
from forebay.store.larpix_read import PacketFile, RawFile
from forebay.wire.larpix.row import ROW

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


U1_BEFORE = (
    *("io_group", "io_channel", "chip_id", "packet_type", "downstream_marker", "parity"),
    *("valid_parity", "channel_id"),
)
U1_BEHIND = (
    *("dataword", "trigger_type", "local_fifo", "shared_fifo", "register_address", "register_data"),
    *("direction", "local_fifo_events"),
)


def columns_of(version, shared_fifo_events):
    """Return the columns as larpix-control has had them, up to 3.4.0 (u1 of events) and later (u2)."""
    columns = [(name, "u1") for name in U1_BEFORE] + [("timestamp", "<u8")]
    columns += [(name, "u1") for name in U1_BEHIND]
    columns += [
        ("shared_fifo_events", shared_fifo_events),
        ("counter", "<u4"),
        ("fifo_diagnostics_enabled", "u1"),
    ]
    if version != "2.0" or shared_fifo_events != "u1":
        columns.append(("first_packet", "u1"))
    if version in ("2.3", "2.4") or shared_fifo_events != "u1":
        columns.append(("receipt_timestamp", "<u4"))
    return columns


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.2", "2.3", "2.4"])
@pytest.mark.parametrize("shared_fifo_events", ["u1", "<u2"])
def test_every_layout_of_columns_that_there_was(tmp_path, version, shared_fifo_events):
    kind = np.dtype(columns_of(version, shared_fifo_events))
    sizes = {"2.0": 30, "2.1": 31, "2.2": 31, "2.3": 35, "2.4": 35}
    assert kind.itemsize == (sizes[version] if shared_fifo_events == "u1" else 36)
    random = np.random.default_rng(7)
    stored = np.frombuffer(random.bytes(50 * kind.itemsize), kind).copy()
    stored["packet_type"] %= 4
    with h5py.File(tmp_path / "a.h5", "w") as file:
        about = file.create_group("_header").attrs
        about["version"], about["created"], about["modified"] = version, 1.0, 2.0
        file["packets"] = stored
    with PacketFile(tmp_path / "a.h5") as file:
        rows = file.rows()
    assert rows.dtype == ROW
    for name in ROW.names:
        if name in kind.names:
            assert rows[name].tolist() == stored[name].tolist()
        else:
            assert not rows[name].any()
    assert check_file(tmp_path / "a.h5").is_good
