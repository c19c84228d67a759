"""A killed recorder's file of channels comes back with every message that its journal holds."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.channel_events import channels_of, event, image, write

from forebay.errors import StoreError
from forebay.store import channel_tree
from forebay.store.channel_file import ChannelFile
from forebay.store.channel_journal import ChannelJournal, JournalReader, Message, Stored
from forebay.store.channel_layout import LAYOUTS
from forebay.store.channel_manifest import ChannelRecording, from_json
from forebay.store.check import check_file
from forebay.store.recover import recover
from forebay.wire.bsread import Channel, announce

pytestmark = pytest.mark.flow

IDS = range(100, 112)


def values(pulse_id):
    return {
        "A": float(pulse_id) if pulse_id < 108 else np.arange(2) + pulse_id,
        "T": f"text {pulse_id}",
        "CAM:FPICTURE": image(pulse_id) if pulse_id % 2 else None,
    }


@pytest.fixture(params=LAYOUTS)
def left(tmp_path, request, monkeypatch):
    """A folder as a kill leaves it: twelve messages, of which HDF5 has written some rows."""
    monkeypatch.setattr(channel_tree, "_BLOCK_MESSAGES", 5)
    alive, dead = tmp_path / "alive", tmp_path / "dead"
    alive.mkdir()
    dead.mkdir()
    file = ChannelFile(alive / "a.h5", ChannelRecording("stream", request.param, general={"user": "me"}))
    file.write([event(p, values(p)) for p in IDS])
    for path in alive.iterdir():  # a copy has no lock, and what HDF5 still keeps in memory is not in it
        shutil.copy(path, dead)
    file.close()
    return dead


def same(first, second):
    assert first.keys() == second.keys()
    for name, columns in first.items():
        assert columns.keys() == second[name].keys()
        for column, found in columns.items():
            np.testing.assert_array_equal(found, second[name][column])


def test_recovered_is_what_would_have_been(left):
    final = recover(left / "a.h5.part")
    assert [path.name for path in left.iterdir()] == ["a.h5"]
    same(channels_of(final), channels_of(left.parent / "alive" / "a.h5"))
    assert check_file(final).is_good
    with h5py.File(final) as file:
        manifest = from_json(file["general/manifest"][()])
    assert (manifest.closed_by, manifest.reason) == ("recover", "the recorder was killed")
    assert manifest.sources["stream"].got == len(IDS)
    assert recover(left / "a.h5.part") == final


def test_a_torn_journal_gives_what_is_whole(left):
    journal = left / "a.h5.part.journal"
    journal.write_bytes(journal.read_bytes()[:-10])
    final = recover(journal)
    found = channels_of(final)
    assert found["T"]["pulse_id"].reshape(-1).tolist() == list(IDS)[:-1]
    assert check_file(final).is_good
    with h5py.File(final) as file:
        assert "1 journal records were torn" in from_json(file["general/manifest"][()]).reason


def test_a_damaged_image_is_refused(left):
    part = left / "a.h5.part"
    stored = [one for message in JournalReader(left / "a.h5.part.journal") for one in message.frames]
    third = [one for one in stored if isinstance(one, Stored)][2]
    data = bytearray(part.read_bytes())
    data[third.offset + 20] ^= 1
    part.write_bytes(data)
    final = recover(part)
    assert channels_of(final)["CAM:FPICTURE"]["pulse_id"].reshape(-1).tolist() == [101, 103, 107, 109, 111]
    assert [problem.check for problem in check_file(final).problems if problem.severity == "loss"] == [
        "not-written"
    ]


def test_a_part_that_is_gone_is_told(left):
    (left / "a.h5.part").unlink()
    with pytest.raises(StoreError, match="is gone"):
        recover(left / "a.h5.part")
    assert [path.name for path in left.iterdir()] == ["a.h5.part.journal"]


@pytest.mark.parametrize("n", [0, 3, 9, 15, 24, 60])
def test_a_journal_cut_in_its_head_is_removed(left, n):
    journal = left / "a.h5.part.journal"
    journal.write_bytes(journal.read_bytes()[:n])
    (left / "a.h5.part").unlink()
    with pytest.raises(StoreError, match="before it began"):
        recover(journal)
    assert not list(left.iterdir())


def test_a_file_being_written_is_left_alone(tmp_path):
    file = ChannelFile(tmp_path / "a.h5", ChannelRecording("stream"))
    with pytest.raises(StoreError, match="in use"):
        recover(tmp_path / "a.h5.part")
    file.close()


def test_the_final_name_is_never_taken_from_another(left):
    (left / "a.h5").write_bytes(b"mine")
    with pytest.raises(StoreError, match="never overwritten"):
        recover(left / "a.h5.part")
    assert (left / "a.h5").read_bytes() == b"mine"


HEADERS = [announce([Channel("A"), Channel("B")]), announce([Channel("A")], "lz4"), announce([])]
FRAMES = st.one_of(st.binary(max_size=40), st.builds(Stored, *[st.integers(0, 2**64 - 1)] * 3))


@settings(max_examples=80, deadline=None)
@given(
    messages=st.lists(
        st.tuples(
            st.integers(0, 2),
            st.integers(0, 2**63 - 1),
            st.integers(-(2**63), 2**63 - 1),
            st.lists(FRAMES, max_size=4),
        ),
        max_size=6,
    ),
    cut=st.integers(0, 60),
    flip=st.integers(0, 10_000),
)
def test_journal_gives_back_what_is_whole(tmp_path_factory, messages, cut, flip):
    path = Path(tmp_path_factory.mktemp("journal")) / "j"
    journal = ChannelJournal(path, ChannelRecording("s"))
    head = path.stat().st_size
    numbers = [journal.announce(header) for header in HEADERS]
    written = []
    for i, pulse_id, time_ns, frames in messages:
        has_images = any(isinstance(frame, Stored) for frame in frames)
        written.append(Message(HEADERS[i], pulse_id, time_ns, frames, has_images))
        journal.append(written[-1], numbers[i])
    journal.close()
    reader = JournalReader(path)
    assert list(reader) == written
    assert reader.n_torn == 0
    data = bytearray(path.read_bytes())
    data = data[: max(head, len(data) - cut)]
    if flip < len(data) - head:
        data[head + flip] ^= 0x55
    path.write_bytes(data)
    found = list(reader)
    remaining = iter(written)
    assert all(message in remaining for message in found)  # a part of what was written, in its order


def test_journal_of_another_kind_is_refused(tmp_path):
    (tmp_path / "a.h5.part").write_bytes(b"x")
    (tmp_path / "a.h5.part.journal").write_bytes(b"forebay charlie" * 10)
    with pytest.raises(StoreError, match="not a journal"):
        recover(tmp_path / "a.h5.part")


def test_a_recording_without_messages_is_recovered(tmp_path):
    journal = ChannelJournal(tmp_path / "a.h5.part.journal", ChannelRecording("stream", channels=("A",)))
    journal.close()
    final = recover(tmp_path / "a.h5.part")
    assert [problem.message for problem in check_file(final).problems] == ["Channel A has no value."]


def test_same_as_a_recording_that_ended(tmp_path):
    write(tmp_path / "a.h5", [event(p, values(p)) for p in IDS])
    assert check_file(tmp_path / "a.h5").is_good
