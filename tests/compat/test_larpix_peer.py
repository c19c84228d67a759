"""larpix-control reads what we write, field by field as it was sent, and we read what it writes."""

import json
import os
import threading
from contextlib import closing

import numpy as np
import pytest
from tests.compat.larpix_control import needs_larpix_control, peer
from tests.larpix_events import SECOND, block, blocks, message

from forebay.service.larpix_board import serve_board
from forebay.sim.larpix import BoardOptions, SimulatedBoard
from forebay.store import larpix_manifest as lm
from forebay.store.check import check_file
from forebay.store.larpix_convert import convert
from forebay.store.larpix_file import LarpixFile
from forebay.store.larpix_read import PacketFile, RawFile
from forebay.stream.pacman import COMMAND_PORT, DATA_PORT, ECHO_PORT
from forebay.stream.pacman_board import BoardSockets
from forebay.wire.larpix import registers, word
from forebay.wire.larpix.packets import packets_of

pytestmark = [pytest.mark.compat, needs_larpix_control]

BOARDS = {"board1": lm.Board(1), "board2": lm.Board(2)}
CLASSES = {0: "Packet_v2", 1: "Packet_v2", 2: "Packet_v2", 3: "Packet_v2"} | {
    4: "TimestampPacket",
    5: "MessagePacket",
    6: "SyncPacket",
    7: "TriggerPacket",
}


def write(path, **recording):
    file = LarpixFile(path, lm.LarpixRecording(boards=BOARDS, **recording))
    for pair in zip(blocks(3), blocks(3, seed=2, source="board2", io_group=2), strict=True):
        file.write(pair)
    file.close()


def check_same(theirs, row):
    """Compare a packet of larpix-control with one of our rows, the fields of its type."""
    (packet,) = packets_of(row.reshape(1))
    assert theirs["class"] == CLASSES[packet.packet_type]
    if packet.packet_type < 4:
        for name in ("io_group", "io_channel", "chip_id", "packet_type", "parity", "downstream_marker"):
            assert theirs[name] == getattr(packet, name), name
        assert theirs["valid_parity"] == packet.has_valid_parity()
    names = {
        0: (
            "channel_id",
            "timestamp",
            "dataword",
            "trigger_type",
            "local_fifo",
            "shared_fifo",
            "first_packet",
        ),
        2: ("register_address", "register_data"),
        3: ("register_address", "register_data"),
        4: ("timestamp",),
        6: ("timestamp", "io_group"),
        7: ("timestamp", "trigger_type", "io_group"),
    }
    for name in names.get(packet.packet_type, ()):
        assert theirs[name] == getattr(packet, name), name
    if packet.packet_type == 6:
        assert (theirs["sync_type"].encode(), theirs["clk_source"]) == (packet.sync_type, packet.dataword)


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.2", "2.3", "2.4"])
def test_it_reads_our_packets(tmp_path, version):
    write(tmp_path / "a.h5", format_version=version)
    found = peer("packets", tmp_path / "a.h5")["packets"]
    with PacketFile(tmp_path / "a.h5") as file:
        rows = file.rows()
    assert len(found) == len(rows) > 400
    for theirs, row in zip(found, rows, strict=True):
        check_same(theirs, row)
        if version in ("2.3", "2.4") and row["packet_type"] < 4:
            assert theirs["receipt_timestamp"] == row["receipt_timestamp"]


def test_it_reads_our_packets_of_the_first_chips(tmp_path):
    random = np.random.default_rng(1)
    words = message(random, 50, word_format=word.V1)
    boards = {"board1": lm.Board(1, "1")}
    file = LarpixFile(tmp_path / "a.h5", lm.LarpixRecording(boards=boards, format_version="1.0"))
    file.write([block([words], asic_version="1")])
    file.close()
    found = peer("packets", tmp_path / "a.h5")["packets"]
    with PacketFile(tmp_path / "a.h5") as read:
        rows = read.rows()
    assert [one["class"] for one in found] == ["TimestampPacket"] + ["Packet_v1"] * 50
    for theirs, row in zip(found[1:], rows[1:], strict=True):
        assert theirs["timestamp"] == row["timestamp"]
        assert theirs["dataword"] == int(row["dataword"]) & ~1  # it reads it so
        assert (theirs["io_group"], theirs["chip_id"]) == (1, row["chip_id"])
        assert theirs["channel"] == row["channel_id"]


@pytest.mark.parametrize("version", ["2", "2b", "lightpix-1"])
def test_it_reads_our_configurations_and_notes(tmp_path, version):
    asked = {"threshold_global": 40, "pixel_trim_dac": list(range(31)) * 2 + [5, 6]}
    chip = registers.with_settings(registers.default_registers(version), asked, version)
    boards = {name: lm.Board(board.io_group, version) for name, board in BOARDS.items()}
    file = LarpixFile(
        tmp_path / "a.h5",
        lm.LarpixRecording(boards=boards, chips=(lm.ChipRegisters(1, 3, 17, version, chip.tobytes()),)),
    )
    file.note(SECOND, "Beginning run")
    file.close()
    found = peer("packets", tmp_path / "a.h5")
    assert found["chips"] == [{"chip_key": "1-3-17", **asked}]
    assert found["packets"][0]["message"] == "Beginning run"


def test_it_reads_our_raw_messages(tmp_path):
    write(tmp_path / "a.h5", form="raw")
    found = peer("raw", tmp_path / "a.h5")
    with RawFile(tmp_path / "a.h5") as file:
        messages = file.read()
        stored = [one.tobytes().hex() for one in file.file["msgs"][:]]
    assert found["n"] == len(stored) == 42
    assert found["messages"] == stored
    assert found["io_groups"] == messages.io_groups.tolist()


def test_its_conversion_is_ours(tmp_path):
    write(tmp_path / "raw.h5", form="raw")
    convert(tmp_path / "raw.h5", tmp_path / "ours.h5", direction=0)
    peer("convert", tmp_path / "raw.h5", tmp_path / "theirs.h5")
    with PacketFile(tmp_path / "ours.h5") as ours, PacketFile(tmp_path / "theirs.h5") as theirs:
        assert ours.stored().dtype == theirs.stored().dtype
        for name in ours.stored().dtype.names:
            assert np.array_equal(ours.stored()[name], theirs.stored()[name]), name


def test_we_read_its_files(tmp_path):
    made = peer("write", tmp_path / "packets.h5", tmp_path / "raw.h5", 300)
    with PacketFile(tmp_path / "packets.h5") as file:
        rows = file.rows()
    assert len(made["packets"]) == len(rows) == 303
    for theirs, row in zip(made["packets"], rows, strict=True):
        check_same(theirs, row)
    with RawFile(tmp_path / "raw.h5") as file:
        messages = file.read()
    assert messages.data.tobytes().hex() == "".join(made["messages"])
    for name in ("packets.h5", "raw.h5"):
        report = check_file(tmp_path / name)
        assert report.is_good, report.problems


def test_its_controller_runs_our_simulated_board(tmp_path):
    """It uses the ports that boards have, so that the board gets a loopback address of its own."""
    host = f"127.{100 + os.getpid() % 100}.{os.getpid() // 100 % 250}.2"
    ready, stop = threading.Event(), threading.Event()

    def serve():
        ends = (f"tcp://{host}:{port}" for port in (COMMAND_PORT, DATA_PORT, ECHO_PORT))
        with closing(BoardSockets(*ends, hwm=10_000)) as sockets:
            ready.set()
            serve_board(lambda now: SimulatedBoard(BoardOptions(rate_hz=5000), now), sockets, stop.is_set)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert ready.wait(10)
        io = {"_config_type": "io", "io_class": "PACMAN_IO", "io_group": [[1, host]]}
        (tmp_path / "io.json").write_text(json.dumps(io))
        found = peer("board", tmp_path / "io.json")
    finally:
        stop.set()
        thread.join()
    assert found["is_there"]
    assert found["register"] == 5
    assert found["is_written"], found["wrong"]
    assert found["good_parity"]
    assert found["kinds"]["Packet_v2"] > 800
    assert found["kinds"]["TimestampPacket"] > 50
    assert set(found["channels"]) <= set(range(63))  # 63 was masked
    assert len(found["channels"]) > 40
