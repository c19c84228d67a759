"""The journal: whatever a crash leaves of it, whole records are found and nothing else is."""

import shutil

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forebay.errors import StoreError
from forebay.store import journal as j
from forebay.store.manifest import Recording, Request

pytestmark = pytest.mark.unit

RECORDING = Recording(
    "det",
    (4, 6),
    "uint16",
    n_modules=2,
    packets_per_module=3,
    header=(("framenum", "<u8"), ("debug", "<u4"), ("bunchid", "<f8")),
    requested=Request(images=3),
    configuration={"a": [1, 2]},
)
KIND = j.record_type(RECORDING)


def write(path, n):
    journal = j.Journal(path, RECORDING)
    for i in range(n):
        record = np.zeros(1, KIND)
        record["pulse_id"], record["offset"], record["checksum"] = 100 + i, 1000 * i, 2**63 + i
        record["missing_packets"], record["header"]["bunchid"] = (0, i), i + 0.5
        journal.append(record)
    journal.close()
    journal.close()
    return path


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return write(tmp_path_factory.mktemp("journal") / "a.journal", 3)


def test_records_come_back(three):
    found = j.read_journal(three)
    assert found.recording == RECORDING
    assert found.n_torn == 0
    assert found.records["pulse_id"].tolist() == [100, 101, 102]
    assert found.records["header"]["bunchid"][2].tolist() == [2.5, 2.5]
    assert j.records_of(three, RECORDING).tobytes() == found.records.tobytes()


def test_torn_at_every_byte(three, tmp_path):
    whole = three.read_bytes()
    head = len(whole) - 3 * KIND.itemsize
    path = tmp_path / "torn"
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        if n < head:
            with pytest.raises(j.HeadlessError):
                j.read_journal(path)
            continue
        found = j.read_journal(path)
        n_whole, rest = divmod(n - head, KIND.itemsize)
        assert found.records["pulse_id"].tolist() == [100, 101, 102][:n_whole]
        assert found.n_torn == (rest > 0)


def test_a_wrong_byte_costs_its_record_only(three, tmp_path):
    whole = bytearray(three.read_bytes())
    head = len(whole) - 3 * KIND.itemsize
    path = tmp_path / "wrong"
    for n in range(head, len(whole)):
        changed = whole.copy()
        changed[n] ^= 1
        path.write_bytes(changed)
        found = j.read_journal(path)
        hit = (n - head) // KIND.itemsize
        assert found.records["pulse_id"].tolist() == [p for p in (100, 101, 102) if p != 100 + hit]
        assert found.n_torn == 1


def test_a_wrong_byte_in_the_head_is_told(three, tmp_path):
    whole = three.read_bytes()
    head = len(whole) - 3 * KIND.itemsize
    path = tmp_path / "wrong"
    for n in range(head):
        changed = bytearray(whole)
        changed[n] ^= 1
        path.write_bytes(changed)
        with pytest.raises(StoreError):
            j.read_journal(path)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_garbage_is_refused(tmp_path, garbage):
    path = tmp_path / "garbage"
    path.write_bytes(garbage)
    with pytest.raises(StoreError):
        j.read_journal(path)


def test_a_head_that_is_no_recording_is_refused(three, tmp_path):
    path = tmp_path / "other"
    path.write_bytes(j.head_of(j._MAGIC, {"source": 1}))
    with pytest.raises(StoreError, match="cannot be read"):
        j.read_journal(path)


def test_a_header_of_objects_is_refused():
    with pytest.raises(StoreError, match="not numbers"):
        j.record_type(msgspec.structs.replace(RECORDING, header=(("x", "O"),)))


def test_a_failed_append_leaves_no_half_record(tmp_path, monkeypatch):
    path = tmp_path / "full"
    journal = j.Journal(path, RECORDING)
    before = path.stat().st_size
    real, calls = j.os.write, []

    def half(fd, data):
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return real(fd, data[:10])

    monkeypatch.setattr(j.os, "write", half)
    with pytest.raises(OSError, match="No space"):
        journal.append(np.zeros(1, KIND))
    assert len(calls) == 2
    assert path.stat().st_size == before
    journal.close()


def test_a_journal_is_never_written_over(three, tmp_path):
    copy = shutil.copy(three, tmp_path / "a.journal")
    with pytest.raises(FileExistsError):
        j.Journal(copy, RECORDING)
