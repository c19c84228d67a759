"""LArPix files: every word once, whole or not there, recovered, checked; what is wrong is said."""

import errno
import json
import shutil

import h5py
import msgspec
import numpy as np
import pytest
from tests.larpix_events import SECOND, block, blocks, message

from forebay.errors import ConfigError, StoreError
from forebay.store import larpix_manifest as lm
from forebay.store.check import check_file
from forebay.store.larpix_convert import convert
from forebay.store.larpix_file import LarpixFile
from forebay.store.larpix_read import PacketFile, RawFile
from forebay.store.recover import recover
from forebay.store.room import Room
from forebay.wire import pacman
from forebay.wire.larpix import registers, word
from forebay.wire.larpix.row import FLAGGED_ROW

pytestmark = pytest.mark.flow

BOARDS = {"board1": lm.Board(1), "board2": lm.Board(2, "2b")}
FORMS = ["packets", "raw"]


def two_boards(n=3, **about):
    first = blocks(n, **about)
    second = blocks(n, seed=2, source="board2", io_group=2, asic_version="2b", **about)
    return [event for pair in zip(first, second, strict=True) for event in pair]


def write(path, events, **recording):
    file = LarpixFile(path, lm.LarpixRecording(boards=BOARDS, **recording))
    file.write(events)
    file.close()
    return file


def expected_rows(events):
    rows = [
        event.arrays.batch.rows(event.arrays.io_group, event.arrays.word_format)[0].tobytes()
        for event in events
    ]
    return b"".join(rows)


def problems(path):
    report = check_file(path)
    return {(one.check, one.severity) for one in report.problems if one.severity != "note"}


@pytest.mark.parametrize("n_messages", [1, 7, 3000])
def test_packets(tmp_path, n_messages):
    events = two_boards(n_messages=n_messages)
    file = write(tmp_path / "a.h5", events, run=7, subrun=2)
    with PacketFile(tmp_path / "a.h5") as read:
        assert read.stored().tobytes() == expected_rows(events)
        assert read.file["packets"].attrs["packet_types"].startswith("\n0: 'data',\n1: 'test'")
        assert read.file["_header"].attrs["run"] == 7
    assert not problems(tmp_path / "a.h5")
    counters = file.counters
    assert (
        counters["words_received"]
        == counters["words_written"]
        == sum(len(e.arrays.batch.words) for e in events)
    )
    manifest = file.manifest
    assert manifest.boards["board2"].counters["syncs"] == 3
    assert manifest.boards["board2"].asic_version == "2b"
    assert manifest.sources["board1"].got == 3
    assert not list(tmp_path.glob("*.part*"))


@pytest.mark.parametrize("n_messages", [1, 7, 3000])
def test_raw(tmp_path, n_messages):
    events = two_boards(n_messages=n_messages)
    write(tmp_path / "a.h5", events, form="raw")
    with RawFile(tmp_path / "a.h5") as read:
        messages = read.read()
        stored = [one.tobytes() for one in read.file["msgs"][:]]
    assert stored == [one for event in events for one in event.arrays.messages()]
    assert messages.data.tobytes() == b"".join(event.arrays.data for event in events)
    groups = [event.arrays.io_group for event in events for _ in event.arrays.messages()]
    assert messages.io_groups.tolist() == groups
    assert not problems(tmp_path / "a.h5")


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.2", "2.3"])
def test_older_versions(tmp_path, version):
    file = write(tmp_path / "a.h5", two_boards(), format_version=version)
    with PacketFile(tmp_path / "a.h5") as read:
        assert read.version == version
        data = read.rows()[read.rows()["packet_type"] == 0]
        assert "configs" not in read.file
        n_special = np.count_nonzero(read.rows()["packet_type"] > 5)
    assert (n_special, file.manifest.words_without_row) == ((0, 12) if version < "2.2" else (12, 0))
    assert not problems(tmp_path / "a.h5")
    assert bool(data["register_data"].any()) == (version == "2.3")


def test_version_1_0(tmp_path):
    boards = {"board1": lm.Board(1, "1")}
    random = np.random.default_rng(2)
    kinds = [0, 0, 1, 2, 3]
    fields = {"packet_type": kinds, "chip_id": [7, 8, 7, 9, 9], "channel_id": [31, 2, 0, 0, 0]}
    words = word.encode(fields | {"dataword": [1000, 7, 0, 0, 0], "fifo_full": [1, 0, 0, 0, 0]}, word.V1)
    words = np.where(np.array(kinds) > 1, words | np.uint64(5 << 10 | 6 << 18), words)
    records = pacman.data_words(random.integers(1, 5, 5), 0, words)
    file = LarpixFile(tmp_path / "a.h5", lm.LarpixRecording(boards=boards, format_version="1.0"))
    file.note(SECOND, "hello")
    file.write([block([pacman.encode(pacman.DATA_MESSAGE, SECOND, records)], asic_version="1")])
    file.close()
    with PacketFile(tmp_path / "a.h5") as read:
        rows, stored = read.rows(), read.stored()
    assert stored["chip_key"][:2].tolist() == [b"", b""]
    assert stored["chip_key"][2] == f"1-{records['channel'][0]}-7".encode()
    assert rows["packet_type"].tolist() == [5, 4, *kinds]
    assert rows["dataword"].tolist() == [0, 0, 1000, 7, 0, 0, 0]
    assert rows["channel_id"].tolist() == [0, 0, 31, 2, 0, 0, 0]
    assert rows["local_fifo"].tolist() == [0, 0, 2, 0, 0, 0, 0]
    assert rows["register_data"].tolist() == [0, 0, 0, 0, 0, 6, 6]
    assert rows["io_channel"][2:].tolist() == records["channel"].tolist()
    assert not problems(tmp_path / "a.h5")


def test_conversion_of_a_raw_file_is_the_packet_file(tmp_path):
    events = two_boards()
    write(tmp_path / "raw.h5", events, form="raw")
    convert(tmp_path / "raw.h5", tmp_path / "packets.h5", asic_versions={2: "2b"})
    with PacketFile(tmp_path / "packets.h5") as read:
        assert read.stored().tobytes() == expected_rows(events)
    assert not problems(tmp_path / "packets.h5")


def test_conversion_with_several_kinds_of_words(tmp_path):
    random = np.random.default_rng(3)
    events = [
        block([message(random, 5)], 0),
        block([message(random, 5, word_format=word.V3)], 0, "board3", 3, "3"),
    ]
    boards = {"board1": lm.Board(1), "board3": lm.Board(3, "3")}
    raw = LarpixFile(tmp_path / "raw.h5", lm.LarpixRecording(form="raw", boards=boards))
    packets = LarpixFile(tmp_path / "live.h5", lm.LarpixRecording(boards=boards))
    for file in (raw, packets):
        file.write(events)
        file.close()
    convert(tmp_path / "raw.h5", tmp_path / "packets.h5", asic_versions={3: "3"})
    with PacketFile(tmp_path / "packets.h5") as one, PacketFile(tmp_path / "live.h5") as other:
        assert one.stored().dtype == FLAGGED_ROW
        assert one.stored().tobytes() == other.stored().tobytes()
        assert one.rows()["dataword"].max() > 255
        words = events[1].arrays.batch.words["word"].astype(np.uint64)
        of_chips = one.rows()[one.rows()["io_group"] == 3][1:]
        assert of_chips["reset_sample_flag"].tolist() == (words >> np.uint64(44) & np.uint64(1)).tolist()
        assert of_chips["cds_flag"].tolist() == (words >> np.uint64(45) & np.uint64(1)).tolist()


def test_configurations_of_several_versions(tmp_path):
    chips = tuple(
        lm.ChipRegisters(1, 2, i, version, registers.default_registers(version).tobytes())
        for i, version in enumerate(("2", "2b", "lightpix-1", "2"))
    )
    write(tmp_path / "a.h5", two_boards(), chips=chips)
    with PacketFile(tmp_path / "a.h5") as read:
        assert read.file["configs"].attrs["asic_version"] == "2"
        assert read.file["configs"].dtype["registers"].shape == (239,)
        found = {chip.chip_id: chip for chip in read.chips}
    for chip in chips:
        assert found[chip.chip_id].asic_version == chip.asic_version
        assert found[chip.chip_id].registers.rstrip(b"\0") == chip.registers.rstrip(b"\0")


def test_notes_stand_at_their_place(tmp_path):
    file = LarpixFile(tmp_path / "a.h5", lm.LarpixRecording(boards=BOARDS))
    file.note(SECOND, "Beginning run")
    file.write(blocks(1))
    file.note(SECOND + 1, "Ending run")
    file.close()
    with PacketFile(tmp_path / "a.h5") as read:
        assert read.notes == [(SECOND, "Beginning run"), (SECOND + 1, "Ending run")]
        rows = read.rows()
    assert rows["packet_type"][[0, -1]].tolist() == [5, 5]
    assert rows["counter"][[0, -1]].tolist() == [0, 1]
    assert not problems(tmp_path / "a.h5")


def test_what_is_malformed_is_counted(tmp_path):
    random = np.random.default_rng(1)
    good = message(random, 3)
    wrong_count = good[:6] + b"\x09\x00" + good[8:]
    event = block([good, b"\x44\x00", good[:-1], b"X" + good[1:], wrong_count])
    file = write(tmp_path / "a.h5", [event], form="raw")
    counters = file.manifest.boards["board1"].counters
    assert (counters["messages"], counters["malformed"], counters["miscounted"]) == (2, 3, 1)
    assert problems(tmp_path / "a.h5") == {("boards", "loss")}


def test_seconds_without_sync_are_a_loss(tmp_path):
    events = blocks(6)
    write(tmp_path / "a.h5", [events[0], events[1], events[5]])
    assert problems(tmp_path / "a.h5") == {("boards", "loss"), ("blocks", "loss")}


def test_other_chips_than_configured_are_not_written(tmp_path):
    file = LarpixFile(tmp_path / "a.h5", lm.LarpixRecording(boards=BOARDS))
    file.write([*blocks(1, asic_version="3"), *blocks(2)[1:]])
    file.close()
    assert file.counters["not_written"] == 1
    assert file.counters["words_not_written"] == 72
    assert problems(tmp_path / "a.h5") == {("blocks", "loss"), ("counters", "loss")}


@pytest.mark.parametrize("form", FORMS)
def test_recovery(tmp_path, form):
    events = two_boards(4)
    file = LarpixFile(tmp_path / "a.h5", lm.LarpixRecording(boards=BOARDS, form=form))
    file.write(events)
    shutil.copytree(tmp_path, tmp_path / "killed")  # as a kill would leave it
    file.close()
    left = tmp_path / "killed" / "a.h5.part"
    assert left.exists()
    journal = left.with_name("a.h5.part.journal")
    journal.write_bytes(journal.read_bytes()[:-9])
    recover(left)
    done = tmp_path / "killed" / "a.h5"
    assert not problems(done)
    with h5py.File(done) as read:
        manifest = lm.from_json(read["forebay/manifest"][()])
        n = len(read["packets" if form == "packets" else "msgs"])
    assert (manifest.closed_by, manifest.reason) == (
        "recover",
        "the recorder was killed; 1 journal records were torn",
    )
    per_block = 79 if form == "packets" else 7
    assert n == 7 * per_block
    if form == "packets":
        with PacketFile(done) as read:
            assert read.stored().tobytes() == expected_rows(events[:-1])


def test_a_damaged_record_costs_its_block_only(tmp_path):
    file = LarpixFile(tmp_path / "a.h5", lm.LarpixRecording(boards=BOARDS))
    sizes = []
    journal = tmp_path / "a.h5.part.journal"
    for event in blocks(3):
        sizes.append(journal.stat().st_size)
        file.write([event])
    data = bytearray(journal.read_bytes())
    data[sizes[1] + 100] ^= 1
    (tmp_path / "b.h5.part.journal").write_bytes(data)
    (tmp_path / "b.h5.part").write_bytes(b"")
    recover(tmp_path / "b.h5.part")
    file.close()
    with PacketFile(tmp_path / "b.h5") as read:
        seconds = read.rows()["timestamp"][read.rows()["packet_type"] == 4]
    assert sorted(set(seconds.tolist())) == [SECOND, SECOND + 2]


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk(tmp_path, monkeypatch, form):
    file = LarpixFile(tmp_path / "a.h5", lm.LarpixRecording(boards=BOARDS, form=form))
    events = blocks(3, n_messages=10_000)
    file.write(events[:1])

    def full(self, end):
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(Room, "take", full)
        with pytest.raises(StoreError, match="No space left"):
            file.write(events[1:2])
    with pytest.raises(StoreError):
        file.write(events[2:])
    file.close()
    assert file.manifest.reason == "disk full"
    assert file.counters["not_written"] == 2
    assert problems(tmp_path / "a.h5") == {("blocks", "loss"), ("counters", "loss")}


@pytest.mark.parametrize(
    "recording",
    [
        {"format_version": "2.5"},
        {"format_version": "0.0"},
        {"format_version": "1.0", "boards": BOARDS},
        {"form": "raw", "chips": (lm.ChipRegisters(1, 1, 1, "2", b""),)},
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, recording):
    with pytest.raises(ConfigError):
        LarpixFile(tmp_path / "a.h5", lm.LarpixRecording(**recording))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", FORMS)
def test_check_finds_what_was_changed(tmp_path, form):
    path = tmp_path / "a.h5"
    write(path, two_boards(n_messages=1200), form=form)
    assert not problems(path)
    with h5py.File(path, "r+") as file:
        if form == "packets":
            row = file["packets"][70000 % len(file["packets"])]
            row["dataword"] ^= 1
            file["packets"][70000 % len(file["packets"])] = row
        else:
            changed = file["msgs"][2000].copy()
            changed[-1] ^= 1
            file["msgs"][2000] = changed
    assert ("checksum", "problem") in problems(path)
    with h5py.File(path, "r+") as file:
        name = "packets" if form == "packets" else "msgs"
        file[name].resize((len(file[name]) - 1,))
    assert {("manifest", "problem"), ("words", "problem")} <= problems(path)


def test_check_reads_the_manifest(tmp_path):
    path = tmp_path / "a.h5"
    file = write(path, two_boards())
    board = file.manifest.boards["board1"]
    counters = board.counters | {"data_words": board.counters["data_words"] - 1}
    boards = file.manifest.boards | {"board1": msgspec.structs.replace(board, counters=counters)}
    with h5py.File(path, "r+") as opened:
        text = json.dumps(msgspec.to_builtins(msgspec.structs.replace(file.manifest, boards=boards)))
        opened["forebay/manifest"][()] = text
    assert problems(path) == {("words", "problem")}


def test_nothing_is_overwritten(tmp_path):
    write(tmp_path / "a.h5", blocks(1))
    with pytest.raises(StoreError, match="never overwritten"):
        write(tmp_path / "a.h5", blocks(1))
    with pytest.raises(StoreError, match="never overwritten"):
        convert(tmp_path / "a.h5", tmp_path / "a.h5")


def test_words_of_other_kinds_are_no_rows(tmp_path):
    records = pacman.data_words(1, 2, [3, 4])
    records["kind"][0] = ord("x")
    file = write(tmp_path / "a.h5", [block([pacman.encode(pacman.DATA_MESSAGE, SECOND, records)])])
    assert file.manifest.words_without_row == 1
    assert file.manifest.boards["board1"].counters["other_words"] == 1
    assert not problems(tmp_path / "a.h5")


@pytest.mark.parametrize("form", FORMS)
def test_a_board_of_which_nothing_came_is_named(tmp_path, form):
    write(tmp_path / "a.h5", blocks(3), form=form)
    (note,) = check_file(tmp_path / "a.h5").problems
    assert (note.check, note.severity) == ("boards", "note")
    assert "board2: nothing came of io group 2" in note.message
