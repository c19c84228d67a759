"""Simulated boards over real sockets: every word that was sent is in the files, every fault is counted."""

import threading
import time
from contextlib import ExitStack, closing

import numpy as np
import pytest

from forebay.errors import ConfigError, StreamError
from forebay.service.larpix_board import serve_board
from forebay.service.larpix_lines import NetworkBoards, addresses_of
from forebay.service.larpix_record import counters_of, record
from forebay.sim.larpix import WORDS_SENT, BoardOptions, SimulatedBoard
from forebay.sim.larpix_faults import parse_faults
from forebay.store import larpix_manifest as lm
from forebay.store.check import check_file
from forebay.store.larpix_read import PacketFile
from forebay.store.larpix_series import LarpixSeries
from forebay.stream.pacman import BoardAddress, PacmanCommands, PacmanInlet
from forebay.stream.pacman_board import BoardSockets
from forebay.wire import pacman
from forebay.wire.larpix.configure import read_words, registers_read, write_words

pytestmark = pytest.mark.flow

ANY = "tcp://127.0.0.1:*"
BOUND_S = 30


class Boards:
    """Boards in threads of this process; those that hear nobody wait until they are listened to."""

    def __init__(self, *options, hwm=0, patience=5.0):
        self._stop = threading.Event()
        self.made = {}
        self.addresses = []
        self._sockets = []
        self._threads = []
        for one in options:
            sockets = BoardSockets(ANY, ANY, ANY, hwm=hwm)
            name = f"board{one.io_group}"
            self.addresses.append(
                BoardAddress(name, one.io_group, one.asic_version, sockets.data, sockets.command)
            )
            self._sockets.append(sockets)
            run = threading.Thread(target=self._serve, args=(name, one, sockets, patience))
            self._threads.append(run)
            run.start()

    def _serve(self, name, options, sockets, patience):
        def make(now):
            self.made[name] = SimulatedBoard(options, now)
            return self.made[name]

        with closing(sockets):
            serve_board(make, sockets, self._stop.is_set, waits=True, patience=patience)

    def are_done(self):
        return len(self.made) == len(self.addresses) and all(board.is_done for board in self.made.values())

    @property
    def words_sent(self):
        return {name: board.words_sent for name, board in self.made.items()}

    def recording(self, **more):
        boards = {one.name: lm.Board(one.io_group, one.asic_version) for one in self.addresses}
        return lm.LarpixRecording(boards=boards, run=3, **more)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop.set()
        for one in self._threads:
            one.join()


def record_all(directory, *options, form="packets", hwm=0, **patience):
    """Record boards to their end; return the boards, the drained rest, the counters and the series."""
    with Boards(*options, hwm=hwm, **patience) as boards, ExitStack() as stack:
        inlet = PacmanInlet(boards.addresses, block_s=0.01)
        stack.callback(inlet.close)
        series = LarpixSeries(directory, boards.recording(form=form), counters=lambda: counters_of(inlet))
        end = time.monotonic() + BOUND_S
        drained = record(inlet, [series], lambda: boards.are_done() or time.monotonic() > end)
        assert boards.are_done()
        series.close()
        return boards, drained, inlet.counters, series


@pytest.mark.parametrize("form", ["packets", "raw"])
def test_words_sent_are_words_stored(tmp_path, form):
    options = [
        BoardOptions(io_group=1, rate_hz=40_000, count=20_000, trigger_hz=100),
        BoardOptions(io_group=2, asic_version="2b", rate_hz=40_000, count=20_003, words_per_message=7),
        BoardOptions(io_group=3, asic_version="3", rate_hz=40_000, count=10_000, words_per_message=1000),
    ]
    boards, drained, counters, series = record_all(tmp_path, *options, form=form)
    (manifest,) = series.manifests
    written = {name: board.counters["words"] for name, board in manifest.boards.items()}
    for name, board in boards.made.items():
        # A board counts on after the stop; what it sent then is behind the run.
        assert board.data_words_made == manifest.boards[name].counters["data_words"]
        assert counters[name]["connections"] == 1
        assert counters[name]["full_queues"] == 0
    assert series.counters["words_written"] == sum(written.values())
    assert series.counters["words_not_written"] == 0
    assert not drained.late
    report = check_file(series.paths[0])
    assert report.is_good, report.problems
    assert manifest.counters.end.receiver["board1"]["malformed"] == 0
    if form == "packets":
        with PacketFile(series.paths[0]) as file:
            rows = file.rows()
        assert np.count_nonzero((rows["io_group"] == 3) & (rows["packet_type"] < 4)) == 10_000
        assert rows["valid_parity"][rows["packet_type"] < 4].all()
        assert rows["dataword"].max() > 100
        assert np.count_nonzero(rows["packet_type"] == 7) > 20


def test_faults_are_counted(tmp_path):
    faults = parse_faults(["parity=0.01", "cut=0.02", "miscount=0.02", "drop=0.05"])
    options = BoardOptions(rate_hz=40_000, count=20_000, faults=faults)
    boards, _, counters, series = record_all(tmp_path, options)
    found = counters["board1"]
    assert 100 < found["parity_errors"] < 300
    assert 10 < found["malformed"] < 90
    assert 10 < found["miscounted"] < 90
    assert boards.words_sent["board1"] > found["words"] > 17_000
    (manifest,) = series.manifests
    assert manifest.boards["board1"].counters["malformed"] == found["malformed"]
    report = check_file(series.paths[0])
    assert {one.check for one in report.problems if one.severity == "loss"} == {"boards"}


def test_a_slow_listener_loses_what_the_board_says_it_sent():
    """The board drops silently, as real ones do; its register of words sent tells."""
    with (
        Boards(BoardOptions(rate_hz=2_000_000, count=400_000), hwm=10, patience=0.0) as boards,
        ExitStack() as stack,
    ):
        inlet = stack.enter_context(closing(PacmanInlet(boards.addresses, hwm=10)))
        end = time.monotonic() + BOUND_S
        while not boards.are_done() and time.monotonic() < end:
            pass  # nobody reads
        received = 0
        while events := inlet.read(0.5):
            received += sum(len(event.arrays.batch.words) for event in events)
        assert 0 < received < boards.words_sent["board1"]
        assert inlet.counters["board1"]["words"] == received
        assert inlet.counters["board1"]["full_queues"] >= 1  # said, since nobody can count what was dropped


def test_commands(tmp_path):
    with Boards(BoardOptions(rate_hz=1000)) as boards, ExitStack() as stack:
        (address,) = boards.addresses
        inlet = stack.enter_context(closing(PacmanInlet(boards.addresses, block_s=0.0)))
        commands = stack.enter_context(closing(PacmanCommands(address.command)))
        commands.ping()
        commands.write(0x10, 5)
        assert commands.read(0x10) == 5
        with pytest.raises(StreamError, match="bad register"):
            commands.read(0x9999)
        commands.send(1, write_words("2", 11, [64], [200]))
        commands.send(1, read_words("2", 11, [64, 65]))
        commands.send(1, read_words("2", 99, [64]))  # nobody's
        answers, end = [], time.monotonic() + BOUND_S
        while len(answers) < 2 and time.monotonic() < end:
            for event in inlet.read(0.1):
                words = event.arrays.batch.words["word"].astype(np.uint64)
                answers += zip(*(one.tolist() for one in registers_read(words, "2")), strict=True)
        assert answers == [(11, 64, 200), (11, 65, boards.made["board1"].chips[1, 11][65])]
        sent = commands.read(WORDS_SENT) + (commands.read(WORDS_SENT + 4) << 32)
        assert 0 < sent <= boards.words_sent["board1"]


def test_a_board_that_is_not_there():
    commands = PacmanCommands("tcp://127.0.0.1:1", timeout=0.05)
    with pytest.raises(StreamError, match="did not answer"):
        commands.ping()
    commands.close()
    commands.close()


def test_bytes_that_are_no_message_do_no_harm():
    sockets = BoardSockets(ANY, ANY, ANY)
    inlet = PacmanInlet([BoardAddress("board", 1, "2", sockets.data, sockets.command)])
    end = time.monotonic() + BOUND_S
    while not sockets.listeners and time.monotonic() < end:
        sockets.publish(())
    random = np.random.default_rng(1)
    sent = [random.bytes(int(n)) for n in random.integers(0, 200, 500)]
    sockets.publish([*sent, pacman.encode(pacman.DATA_MESSAGE, 1, pacman.data_words(1, 2, [3]))], patience=5)
    counters = inlet.counters["board"]
    while counters["messages"] + counters["malformed"] < 501 and time.monotonic() < end:
        inlet.read(0.1)
        counters = inlet.counters["board"]
    assert counters["messages"] + counters["malformed"] == 501
    inlet.close()
    assert inlet.read(0.1) is None
    sockets.close()


@pytest.mark.parametrize(
    "boards",
    [
        [],
        [BoardAddress("a", 1, "2", "tcp://127.0.0.1:1", "")] * 2,
        [BoardAddress("a", 1, "2", "udp", "")],
        [BoardAddress(name, 1, "2", f"tcp://{name}:1", "") for name in ("127.0.0.1", "no host")],
    ],
)
def test_addresses_that_cannot_be(boards):
    with pytest.raises(StreamError):
        PacmanInlet(boards)


def test_no_commands_go_where_nobody_can_be():
    with pytest.raises(StreamError, match="cannot be connected"):
        PacmanCommands("tcp://no host:1")


def test_unknown_chips_are_refused():
    with pytest.raises(ConfigError, match="lightpix-1"):
        PacmanInlet([BoardAddress("a", 1, "9", "tcp://127.0.0.1:1", "")])


def test_a_board_that_is_not_there_is_told_before_chips_are_asked(monkeypatch):
    monkeypatch.setattr("forebay.service.larpix_lines._CONNECT_S", 0.05)
    with closing(NetworkBoards(*addresses_of("PACMAN_IO", ["1=127.0.0.1:1"]))) as boards:
        with pytest.raises(StreamError, match="io_group_1 does not send"):
            boards.send(1, 1, read_words("2", 11, [64]))
        with pytest.raises(ConfigError, match="io group 2"):
            boards.send(2, 1, [])
        assert boards.counters["io_group_1"]["words_to_chips"] == 0
