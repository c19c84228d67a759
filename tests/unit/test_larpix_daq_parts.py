"""Parts of larpix-daq's components that need no network: blocks, chips, layouts, maps, books, arguments."""

import errno
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.cli.larpix_daq import board_of
from forebay.errors import ConfigError, StoreError
from forebay.front.larpix.arguments import SCRIPTS, parse
from forebay.front.larpix.book import CUT_OFF, OpenRun
from forebay.service.larpix_book import FileBook
from forebay.service.larpix_chips import Chips, read_boards
from forebay.service.larpix_flow import (
    Blocks,
    Sequences,
    arrays_of,
    asic_version_of,
    content_of,
    n_packets,
    newest_of,
    records_of,
    seconds_of,
)
from forebay.service.larpix_layout import find_layout
from forebay.service.larpix_log import line_of
from forebay.service.larpix_picture import chip_map, pixel_map, png
from forebay.service.larpix_routines import load
from forebay.service.larpix_storage import file_path
from forebay.wire import pacman
from forebay.wire.larpix import block, board_block
from forebay.wire.pacman_batch import messages_of
from forebay.wire.xylem import Log

pytestmark = pytest.mark.unit


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 2**54 - 1), st.integers(1, 3), st.integers(0, 4)),
        max_size=30,
    )
)
def test_every_word_of_a_block_comes_through(rows):
    records = np.concatenate(
        [np.zeros(0, block.RECORD)]
        + [
            block.make(kind, np.array([value], np.uint64), group, channel)
            for kind, value, group, channel in rows
        ]
    )
    events = list(Blocks().events([(7, records)]))
    for event in events:
        arrays = messages_of(event)
        own = records_of(arrays)
        mine = records[(records["io_group"] == arrays.io_group) & (records["kind"] == block.WORD)]
        assert own.tobytes() == mine.tobytes()
    with_words = set(records["io_group"][records["kind"] == block.WORD].tolist())
    assert with_words <= {messages_of(event).io_group for event in events}


@given(
    st.lists(st.integers(0, 4), max_size=6),
    st.sampled_from(["1", "2", "3"]),
    st.integers(1, 9),
    st.booleans(),
)
def test_blocks_of_a_board_come_through_as_they_are(counts, version, n, is_noisy):
    messages = [
        pacman.encode(pacman.DATA_MESSAGE, i, pacman.data_words(2, 3, np.arange(count)))
        for i, count in enumerate(counts)
    ] + [b"noise"] * is_noisy
    arrays = arrays_of(messages, 4, version)
    again = content_of(board_block.encode(arrays))
    assert (asic_version_of(again), n_packets(again)) == (version, sum(counts))
    assert n_packets(newest_of(again, n)) >= min(n, sum(counts))
    assert set(newest_of(again, n).messages()) <= set(messages)
    (event,) = Blocks().events([(7, again)])
    assert list(messages_of(event).messages()) == messages
    twice = list(Blocks().events([(7, again), (8, arrays_of(messages, 4, "2b")), (9, again)]))
    assert [len(messages_of(one).lengths) for one in twice] == [2 * len(messages), len(messages)]


def test_messages_that_never_came():
    sequences = Sequences()
    for none in (None, "1", -1, 2**70):
        sequences.add("noise", none)
    for name, number in (("a", 5), ("a", 6), ("b", 0), ("a", 9), ("b", 1), ("b", None), ("a", 0), ("a", 2)):
        sequences.add(name, number)
    assert sequences.n_missing == 3  # 7 and 8, and 1 of a producer that was started again


def test_the_time_of_a_block():
    assert seconds_of({"timestamp": 12.5}) == 12
    for wrong in ({}, {"timestamp": "x"}, {"timestamp": -1}, {"timestamp": float("nan")}):
        assert seconds_of(wrong) > 10**9


def test_configurations_change_as_a_whole():
    chips = Chips(read_boards(None, ["1-1-246", "1-1-245"]), {1: "1"})
    chips.change({"1-1-246": {"global_threshold": 40, "channel_mask": [1] * 32}})
    assert chips.registers("1-1-246")[32] == 40
    assert chips.registers("1-1-246")[52:56].tolist() == [255] * 4
    for wrong in ({"1-1-9": {}}, {"1-1-246": {"nothing": 1}}, {"1-1-246": {"global_threshold": 256}}):
        with pytest.raises(ConfigError):
            chips.change({"1-1-245": {"csa_gain": 0}, **wrong})
    for wrong in ("all", {"1-1-246": 40}):
        with pytest.raises(ConfigError, match="chip key -> name -> value"):
            chips.change(wrong)
    assert chips.settings("1-1-245")["csa_gain"] == 1
    assert chips.name_of("1-1-246", 33) == "csa_gain"
    with pytest.raises(ConfigError, match="pcb-1"):
        chips.load("../../etc/passwd")
    with pytest.raises(ConfigError, match="--boards DIR"):
        chips.load(5)


def test_boards_of_a_directory(tmp_path):
    (tmp_path / "pcb-9_chip_info.json").write_text('{"name": "pcb-9", "chip_list": ["1-1-3"]}')
    assert read_boards(tmp_path, []) == {"pcb-9": ["1-1-3"]}
    (tmp_path / "bad_chip_info.json").write_text('{"name": "bad", "chip_list": ["3"]}')
    with pytest.raises(ConfigError):
        read_boards(tmp_path, [])


def test_layouts(tmp_path):
    (tmp_path / "layout-1.yaml").write_text("chips: [[3, [5, null]]]\npixels: [[5, 1.0, 2.0, [], []]]\n")
    layout = find_layout(tmp_path, "1")
    assert layout.lookup == {5: {"channel": 0, "chip": "1-1-3"}}
    rates = layout.by_pixel(np.array([[1, 1, 3]]), np.array([[4.0, 7.0]]))
    assert rates == {5: 4.0}
    assert layout.in_place(rates).tolist() == [4.0]
    (tmp_path / "layout-2.yaml").write_text("chips: 3")
    for name in ("2", "3"):
        with pytest.raises(ConfigError):
            find_layout(tmp_path, name)


def test_maps_are_pictures():
    for image in (
        chip_map(np.arange(64.0).reshape(2, 32)),
        chip_map(np.zeros((0, 128))),
        pixel_map(np.array([[0.0, 0.0], [3.0, 1.0]]), np.array([0.0, 5.0])),
        pixel_map(np.array([[1.0, 1.0]]), np.array([0.0])),
    ):
        data = png(image)
        width, height = struct.unpack(">II", data[16:24])
        assert (height, width, 3) == image.shape
        start = data.index(b"IDAT") + 4
        size = int.from_bytes(data[start - 8 : start - 4], "big")
        rows = np.frombuffer(zlib.decompress(data[start : start + size]), np.uint8).reshape(height, -1)
        assert (rows[:, 1:] == image.reshape(height, -1)).all()


def test_a_book_gives_every_number_once(tmp_path):
    path = tmp_path / "runs.jsonl"
    book = FileBook(path)
    assert [book.prepare("ann", "first", {"a": 1}, {}), book.prepare("ben", "", {}, {})] == [1, 2]
    book.begin(1)
    book.end(1, "done", {})
    with pytest.raises(StoreError, match="cannot be opened"):
        FileBook(path)
    book.close()
    with path.open("a") as file:
        file.write('{"run": 3, "wh')  # killed while it wrote
    again = FileBook(path)
    assert again.open_run() == OpenRun(2, "ben", {}, is_running=False)
    assert again.prepare("ann", "", {}, {"LArPix board": "i"}) == 3
    again.begin(3)
    again.close()
    third = FileBook(path)
    assert '"run": 2, "what": "ended"' in path.read_text().replace("\n", " ")
    assert CUT_OFF in path.read_text()
    assert third.open_run() == OpenRun(3, "ann", {"LArPix board": "i"})
    third.ending(3)
    third.close()
    fourth = FileBook(path)  # nobody wants it to go on
    assert fourth.open_run() == OpenRun(3, "ann", {"LArPix board": "i"}, is_running=False)
    assert fourth.prepare("ann", "", {}, {}) == 4
    fourth.close()


def test_a_line_that_the_disk_refused_is_not_in_the_book(tmp_path, monkeypatch):
    path = tmp_path / "runs.jsonl"
    book = FileBook(path)
    assert book.prepare("ann", "", {}, {}) == 1
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda _file: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
        with pytest.raises(StoreError, match=r"Run 2 cannot be booked .* No space left"):
            book.prepare("ann", "", {}, {})
    assert path.read_bytes() == before
    assert book.prepare("ben", "", {}, {}) == 2
    book.close()


def test_names_of_files_are_never_used_twice(tmp_path):
    from datetime import UTC, datetime

    now = datetime(2019, 7, 15, 1, 2, 3, tzinfo=UTC)
    first = file_path(tmp_path, now)
    assert first.name == "datalog_2019_07_15_01_02_03_UTC_.h5"
    first.with_name(first.name + ".part").touch()
    assert file_path(tmp_path, now).name == "datalog_2019_07_15_01_02_03_UTC_2.h5"


def test_lines_of_the_log():
    line = line_of(Log(0.5, "Core", "INFO", "a\nb"))
    assert line.endswith(" | INFO     | Core                 | a\\nb")
    assert line_of(Log(1e300, "Core", "INFO", "")).startswith("1e+300")


def test_routines_are_registered_by_a_file(tmp_path):
    path = tmp_path / "routines.json"
    path.write_text('{"mine": {"function": "a.b:c", "params": ["x"]}}')
    assert set(load(path)) == {"hello_world", "quickstart", "mine"}
    path.write_text('{"mine": 3}')
    with pytest.raises(ConfigError):
        load(path)


@pytest.mark.parametrize("script", SCRIPTS)
def test_arguments_of_the_readme(script):
    words = {"producer": ["tcp://127.0.0.1:5001", "--fake"], "aggregator": ["tcp://127.0.0.1:5002"]}
    assert parse(script, words.get(script, []))


def test_arguments_of_later_scripts():
    old = parse("producer", ["tcp://127.0.0.1:5001", "--io-config", "io/not_there.json"])
    with pytest.raises(ConfigError, match=r"io/not_there\.json"):
        board_of(old)  # a file of ZMQ_IO
    found = parse("producer", ["tcp://127.0.0.1:50001", "--io-config", "ZMQ_IO", "io/default.json", "-d"])
    assert found.io_config == ["ZMQ_IO", "io/default.json"]
    assert parse("offline_storage", ["-o", "here", "--core", "tcp://h"]).output_dir == "here"
    assert parse("core", ["--address", "tcp://127.0.0.1", "--log-address", "tcp://127.0.0.1:5678"])
