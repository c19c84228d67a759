"""The simulated board by itself: its rates follow thresholds, its faults come when they are due."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.errors import ConfigError
from forebay.sim.larpix import WORDS_SENT, BoardOptions, SimulatedBoard
from forebay.sim.larpix_faults import CHANCES, MOMENTS, parse_faults
from forebay.wire import pacman
from forebay.wire.larpix import word
from forebay.wire.larpix.configure import BROADCAST, MAGIC, read_words, registers_read, write_words
from forebay.wire.larpix.statistics import FIFO_FLAGS, ChipStatistics
from forebay.wire.pacman_account import BoardAccount
from forebay.wire.pacman_batch import Batch

pytestmark = pytest.mark.unit

T0 = 1_700_000_000.0


def counted(board, seconds, word_format=word.V2):
    account = BoardAccount()
    messages = [one for i in range(1, seconds * 10 + 1) for one in board.messages(T0 + i / 10)]
    batch = Batch(b"".join(messages), np.array(list(map(len, messages)), np.uint32))
    account.add(batch, word_format)
    return account.counters, batch


def ask(board, *commands):
    request = pacman.encode_commands(pacman.REQUEST, 0, commands)
    return pacman.decode_commands(pacman.decode(board.answer(request, T0)))


@pytest.mark.parametrize("version", ["1", "2", "2b", "lightpix-1", "3"])
def test_rate_and_syncs(version):
    board = SimulatedBoard(BoardOptions(asic_version=version, rate_hz=5000, trigger_hz=20), T0)
    counters, batch = counted(board, 4, board.word_format)
    assert counters["words"] == board.words_sent
    assert abs(counters["data_words"] - 20_000) <= 10
    assert (counters["syncs"], counters["sync_words"]) == (4, 8)
    assert abs(counters["trigger_words"] - 80) <= 1
    bad = ("parity_errors", "malformed", "miscounted", "sync_gaps", "clock_resets", "clock_switches")
    assert not any(counters[name] for name in bad)
    assert sorted(set(batch.seconds.tolist())) == [int(T0) + i for i in range(4)]


def test_count_is_exact():
    board = SimulatedBoard(BoardOptions(rate_hz=5000, count=1234), T0)
    assert counted(board, 2)[0]["data_words"] == 1234
    assert board.is_done


@pytest.mark.parametrize("version", ["1", "2", "2b", "lightpix-1", "3"])
@pytest.mark.parametrize(("steps", "factor"), [(0, 1.0), (8, 0.5), (16, 0.25)])
def test_thresholds_change_the_rate(version, steps, factor):
    board = SimulatedBoard(BoardOptions(asic_version=version, rate_hz=50_000), T0)
    address, threshold = (32, 16) if version == "1" else (64, 40)
    (raised,) = write_words(version, BROADCAST, [address], [threshold + steps])
    for channel in (1, 2):
        ask(board, pacman.Command("D", channel=channel, word=int(raised)))
    found = counted(board, 1, board.word_format)[0]["data_words"]
    assert found == pytest.approx(50_000 * factor, rel=0.01)


def test_chips_of_version_3_take_only_words_with_the_magic_number():
    board = SimulatedBoard(BoardOptions(asic_version="3", rate_hz=0), T0)
    (good,) = write_words("3", 11, [64], 77)
    bad = word.encode(
        {"packet_type": 2, "chip_id": 11, "register_address": 65, "register_data": 7, "magic": 1}, word.V3
    )
    (asked,) = read_words("3", 11, [64])
    for one in (good, bad, asked):
        ask(board, pacman.Command("D", channel=1, word=int(one)))
    assert board.chips[1, 11][64:66].tolist() == [77, 4]
    _, batch = counted(board, 1, word.V3)
    words = batch.words["word"][batch.words["kind"] == ord("D")].astype(np.uint64)
    assert registers_read(words, "3")[2].tolist() == [77]
    assert word.field(words, word.V3, "magic").tolist() == [MAGIC]


def test_masked_channels_are_silent():
    board = SimulatedBoard(BoardOptions(rate_hz=50_000, chips=((1, 11),)), T0)
    for word_ in write_words("2", 11, range(131, 138), 255):
        ask(board, pacman.Command("D", channel=1, word=int(word_)))
    _, batch = counted(board, 1)
    words = batch.words["word"][batch.words["kind"] == ord("D")].astype(np.uint64)
    assert set(word.field(words, word.V2, "channel_id").tolist()) == set(range(56, 64))


def test_registers():
    board = SimulatedBoard(BoardOptions(), T0)
    board.messages(T0 + 1)
    write, read = pacman.Command("W", register=0x10, value=3), pacman.Command("R", register=0x10)
    sent = pacman.Command("R", register=WORDS_SENT)
    answers = ask(board, pacman.Command("P"), write, read, sent, pacman.Command("R", register=5))
    assert [one.kind for one in answers] == ["P", "W", "R", "R", "E"]
    assert (answers[2].value, answers[3].value) == (3, board.words_sent)
    assert pacman.decode(board.answer(b"nonsense", T0)).kind == pacman.REPLY


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=100), st.lists(st.binary(min_size=16, max_size=16), max_size=4))
def test_any_request_is_answered(noise, words):
    board = SimulatedBoard(BoardOptions(), T0)
    request = pacman.encode(pacman.REQUEST, 0, np.array(words, "V16").view(pacman.WORD))
    for one in (noise, request):
        assert pacman.decode(board.answer(one, T0)).kind == pacman.REPLY
    assert board.messages(T0 + 0.1)


MOMENT_COUNTERS = {"no-sync": "sync_gaps", "reset": "clock_resets", "switch": "clock_switches"}


@pytest.mark.parametrize("name", sorted(MOMENTS))
def test_moments(name):
    board = SimulatedBoard(BoardOptions(rate_hz=1000, faults=parse_faults([f"{name}=2"])), T0)
    counters, _ = counted(board, 5)
    if name in MOMENT_COUNTERS:
        assert counters[MOMENT_COUNTERS[name]] == 1
    elif name == "silent":
        assert abs(counters["data_words"] - 2000) <= 10
    else:
        assert abs(counters["data_words"] - 5000) <= 10
        again = SimulatedBoard(board.options, T0)
        assert again.messages(T0 + 2)
        assert not again.messages(T0 + 2.99)
        assert again.messages(T0 + 3.1)
    others = set(MOMENT_COUNTERS.values()) - {MOMENT_COUNTERS.get(name)}
    assert not any(counters[other] for other in others)


def flags_of(board, seconds):
    """Return (FIFO, level) -> words with that flag, of a board made anew."""
    statistics = ChipStatistics()
    messages = SimulatedBoard(board.options, T0).messages(T0 + seconds)
    lengths = np.array([len(one) for one in messages])
    good = [one for one, length in zip(messages, lengths, strict=True) if length % 16 == 8]
    batch = Batch(b"".join(good), np.array([len(one) for one in good]))
    statistics.add(batch, 1, board.word_format)
    return {
        tuple(name.split("_")): n for name, n in zip(FIFO_FLAGS, statistics.fifo.sum(0).tolist(), strict=True)
    }


@pytest.mark.parametrize("asic", ["1", "2", "3"])
def test_fifo_flags_of_every_version(asic):
    faults = parse_faults(["local-half=1", "shared-full=1"])
    board = SimulatedBoard(BoardOptions(asic_version=asic, rate_hz=1000, faults=faults), T0)
    n_shared = 0 if asic == "1" else 1000
    assert flags_of(board, 1) == pytest.approx(
        {
            ("local", "half"): 1000,
            ("local", "full"): 0,
            ("shared", "half"): n_shared,
            ("shared", "full"): n_shared,
        },
        abs=10,
    )


@pytest.mark.parametrize("name", sorted(CHANCES))
def test_chances(name):
    board = SimulatedBoard(BoardOptions(rate_hz=10_000, faults=parse_faults([f"{name}=0.1"])), T0)
    counters, _ = counted(board, 1)
    assert board.words_sent == pytest.approx(10_000, abs=20)
    found = {
        "drop": (board.words_sent - counters["words"]) / 10,
        "parity": counters["parity_errors"] / 10,
        "cut": counters["malformed"],
        "miscount": counters["miscounted"],
        **{f"{fifo}-{level}": n / 10 for (fifo, level), n in flags_of(board, 1).items()},
    }
    assert 60 < found[name] < 140


@pytest.mark.parametrize(
    "text", ["parity=2", "parity=x", "fire=1", "stall=-1", "stall=1.5", "drop", "silent=inf"]
)
def test_faults_that_are_none(text):
    with pytest.raises(ConfigError, match="no fault"):
        parse_faults([text])


@pytest.mark.parametrize(
    "options",
    [{"rate_hz": -1.0}, {"words_per_message": 0}, {"chips": ()}, {"asic_version": "7"}],
)
def test_boards_that_cannot_be(options):
    with pytest.raises(ConfigError):
        SimulatedBoard(BoardOptions(**options), T0)
