"""Boards by the words of larpix-daq, and data servers: their messages as those of boards, their commands."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from forebay.cli.larpix_daq import board_of
from forebay.config import BoardConfig, BoardsConfig
from forebay.errors import ConfigError
from forebay.front.larpix.arguments import parse
from forebay.service.boards import address_of
from forebay.service.larpix_lines import addresses_of
from forebay.service.larpix_producer import is_original
from forebay.service.larpix_storage import recording_of
from forebay.sim.larpix import BoardOptions
from forebay.sim.larpix_server import SimulatedServer
from forebay.wire.larpix import word
from forebay.wire.larpix.configure import read_words, registers_read, write_words
from forebay.wire.larpix.dataserver import ServerMessage, Translator, decode, encode, send_word
from forebay.wire.pacman_account import BoardAccount
from forebay.wire.pacman_batch import Batch

pytestmark = pytest.mark.unit

T0 = 1_700_000_000.0


def batch_of(messages):
    return Batch(b"".join(messages), np.array(list(map(len, messages)), np.uint32))


def test_times_of_a_server_are_those_of_its_data():
    translator = Translator(word.V1, {4: 7})
    data = encode(ServerMessage("D", 4, np.array([1, 2**54 - 1], np.uint64)))
    time = encode(ServerMessage("T", seconds=500))
    noise = [b"", b"x" * 24, data[:-1], b"\x01\x00X" + bytes(5)]
    made = translator.translate([data, time, data, *noise, encode(ServerMessage("H"))], T0)
    made += translator.translate([data], T0 + 2.5)  # no time came since; the clock of the host goes on
    batch = batch_of(made)
    assert batch.seconds.tolist() == [int(T0), 500, 502]
    assert batch.n_malformed == len(noise)
    assert batch.words["channel"].tolist() == [7] * 6
    assert batch.words["word"].tolist() == [1, 2**54 - 1] * 3
    assert (translator.n_times, translator.n_heartbeats) == (1, 1)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=5), st.floats(-1e9, 2**33))
def test_nothing_that_a_server_sends_does_harm(messages, now_s):
    made = Translator(word.V1).translate([*messages, *(b"\x01\x00" + one for one in messages)], now_s)
    assert batch_of(made).n_miscounted == 0


def test_a_message_of_more_words_than_a_board_has():
    data = encode(ServerMessage("D", 1, np.arange(70_000, dtype=np.uint64)))
    batch = batch_of(Translator(word.V1).translate([data], T0))
    assert batch.counts.tolist() == [65535, 4465]
    assert batch.words["word"].tolist() == list(range(70_000))


def heard(server, seconds):
    """Return what the server sends in the next seconds, counted as a board's."""
    translator, account = Translator(server.board.word_format), BoardAccount()
    messages = [one for i in range(1, 10 * seconds + 1) for one in server.messages(T0 + i / 10)]
    batch = batch_of(translator.translate(messages, T0))
    account.add(batch, server.board.word_format)
    return translator, account.counters, batch


def test_a_simulated_server():
    server = SimulatedServer(BoardOptions(asic_version="1", rate_hz=2000), T0)
    translator, counters, batch = heard(server, 3)
    assert (translator.n_times, translator.n_heartbeats) == (3, 3)
    assert counters["data_words"] == server.words_sent == server.data_words_made > 5900
    assert not any(counters[name] for name in ("parity_errors", "malformed", "sync_words"))
    assert sorted(set(batch.seconds.tolist())) == [int(T0) + i for i in range(3)]
    per_channel = [int(server.answer(b"GETSTAT %d" % i, T0).split(b" ")[0]) for i in range(4)]
    assert sum(per_channel) == counters["data_words"]


def test_commands_of_a_server():
    server = SimulatedServer(BoardOptions(asic_version="1", chips=((1, 11),), rate_hz=0), T0)

    def ask(command):
        return server.answer(command, T0)

    (write,) = write_words("1", 11, [32], 77)
    (read,) = read_words("1", 11, [32])
    assert ask(b"PING_HB")[:2] == b"OK"
    assert ask(send_word(int(write), 1, word.V1)) == b"OK"
    assert ask(send_word(int(read), 1, word.V1)) == b"OK"
    assert (ask(b"SETFREQ 0x1388"), ask(b"SETFTST 0x8")) == (b"OK", b"OK")
    assert (server.clock_khz, server.test_pulse_divisor) == (5000, 8)
    _, _, batch = heard(server, 1)
    chip, address, value = registers_read(batch.words["word"].astype(np.uint64), "1")
    assert (chip.tolist(), address.tolist(), value.tolist()) == ([11], [32], [77])
    assert server.board.chips[1, 11][32] == 77
    assert ask(b"SYRESET") == b"OK"
    assert server.board.chips[1, 11][32] == 16


@settings(deadline=None)
@given(
    st.one_of(
        st.binary(max_size=40),
        st.builds(
            lambda name, numbers: b" ".join([name, *(str(one).encode() for one in numbers)]),
            st.sampled_from([b"SNDWORD", b"SETFREQ", b"SETFTST", b"GETSTAT", b"PING_HB", b"SYRESET"]),
            st.lists(st.integers(-5, 2**70), max_size=3),
        ),
    )
)
def test_any_command_is_answered(command):
    server = SimulatedServer(BoardOptions(asic_version="1", rate_hz=0), T0)
    assert server.answer(command, T0)
    assert all(decode(one, word.V1) for one in server.messages(T0 + 1))


def io_file(tmp_path, io_class="ZMQ_IO", io_group=((3, "daq.example.org"),), **more):
    path = tmp_path / "io.json"
    path.write_text(json.dumps({"_config_type": "io", "io_class": io_class, "io_group": io_group, **more}))
    return str(path)


def test_io_configurations_of_larpix_control(tmp_path):
    boards, to_server = addresses_of("ZMQ_IO", [io_file(tmp_path), "{1: 3}", "{5: 6}"])
    (board,) = boards
    assert (board.io_group, board.asic_version, board.is_server) == (3, "1", True)
    assert (board.command, board.data) == ("tcp://daq.example.org:5555", "tcp://daq.example.org:5556")
    assert (board.from_server, to_server) == ({1: 3}, {5: 6})
    places = [[1, "a"], [2, "b:6000"]]
    boards, _ = addresses_of("MultiZMQ_IO", [io_file(tmp_path, "MultiZMQ_IO", places)])
    assert [one.command for one in boards] == ["tcp://a:5555", "tcp://b:6000"]
    boards, _ = addresses_of("PACMAN_IO", [io_file(tmp_path, "PACMAN_IO", places, asic_version="2b")])
    assert [(one.asic_version, one.is_server) for one in boards] == [("2b", False)] * 2
    boards, _ = addresses_of("PACMAN_IO", ["1=a", "2=b:1/lightpix-1"])
    assert [(one.asic_version, one.command) for one in boards] == [
        ("2", "tcp://a:5555"),
        ("lightpix-1", "tcp://b:1"),
    ]


@pytest.mark.parametrize(
    ("io_class", "words"),
    [
        ("ZMQ_IO", []),
        ("ZMQ_IO", ["nowhere.json"]),
        ("ZMQ_IO", ["1=a", "2=b"]),
        ("PACMAN_IO", ["1=a/17"]),
        ("PACMAN_IO", ["0=a"]),
        ("PACMAN_IO", ["1=a:0"]),
        ("PACMAN_IO", ["FILE"]),
        ("ZMQ_IO", ["FILE", "{1: }"]),
        ("ZMQ_IO", ["FILE", "{}", "{}", "{}"]),
    ],
)
def test_boards_that_are_none(tmp_path, io_class, words):
    with pytest.raises(ConfigError):
        addresses_of(io_class, [io_file(tmp_path) if one == "FILE" else one for one in words])


def test_an_io_configuration_is_one_of_its_class(tmp_path):
    addresses_of("MultiZMQ_IO", [io_file(tmp_path, "MultiZMQ_IO")])
    with pytest.raises(ConfigError, match="of ZMQ_IO"):
        addresses_of("MultiZMQ_IO", [io_file(tmp_path, "ZMQ_IO")])
    with pytest.raises(ConfigError, match="MultiZMQ_IO"):
        addresses_of("ZMQ_IO", [io_file(tmp_path, "MultiZMQ_IO", [[1, "a"], [2, "b"]])])


def producer(*words):
    return parse("producer", ["tcp://127.0.0.1:5001", *words])


def test_blocks_follow_the_chips():
    for words, is_theirs in (
        ([], True),
        (["--fake"], True),
        (["--fake", "--block", "1.0"], False),
        (["--io-config", "FakeIO", "1", "2/2b"], False),
    ):
        asked = producer(*words)
        assert is_original(asked, board_of(asked)) is is_theirs
    with pytest.raises(ConfigError, match="no fault"):
        board_of(producer("--fault", "fire=1"))
    asked = producer("--io-config", "FakeIO", "2/2b", "--block", "0.1")
    with pytest.raises(ConfigError, match="version 2b"):
        is_original(asked, board_of(asked))


@pytest.mark.parametrize("words", [["FakeIO", "x"], ["FakeIO", "1", "1"], ["FakeIO", "1/9"], ["SerialPort"]])
def test_no_such_boards(words):
    with pytest.raises(ConfigError):
        board_of(producer("--io-config", *words))


def test_boards_of_the_configuration():
    member = {"io_group": 1, "server": True, "asic": "1"}
    found = BoardsConfig(members=[member])
    assert address_of(found.members[0]).is_server
    assert not address_of(BoardConfig(io_group=2)).is_server
    with pytest.raises(ValidationError, match="embed the folder"):
        BoardsConfig(members=[member], form="raw", chip_configs=["here"])


def test_what_a_storage_writes():
    assert recording_of(parse("offline_storage", [])).format_version == "1.0"
    found = recording_of(parse("offline_storage", ["--asic", "1,3"]))
    assert (found.format_version, found.asic_versions) == ("2.4", ("1", "3"))
    for words in (["--asic", "2", "--format", "1.0"], ["--asic", "9"], ["--format", "3.0"]):
        with pytest.raises(ConfigError):
            recording_of(parse("offline_storage", words))
