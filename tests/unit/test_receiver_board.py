"""What receivers told becomes what people see."""

import pytest
from rich.console import Console

from forebay.cli import daq_dash
from forebay.errors import WireError
from forebay.front.ssdaq.receiver_board import ReceiverBoard
from forebay.service.monitored import monitor_message
from forebay.wire import cdts

pytestmark = pytest.mark.unit


def test_a_receiver_is_online_until_it_is_silent():
    board = ReceiverBoard(["A", "B"])
    board.take(monitor_message("B", (10, [5, 0, 5]), (30, [15, 0, 15]), 2.0), 100.0)
    silent, busy = board.rows(101.4)
    assert (silent.name, silent.is_online) == ("A", False)
    assert (busy.is_online, busy.receives, busy.rate_hz, busy.modules) == (True, True, 10.0, (0, 2))
    (_, gone) = board.rows(101.6)
    assert (gone.is_online, gone.receives, gone.pid) == (False, False, busy.pid)
    board.take(monitor_message("B", (30, ()), (30, ()), 1.0), 102.0)
    (_, idle) = board.rows(102.0)
    assert (idle.is_online, idle.receives, idle.modules) == (True, False, ())


def test_others_are_shown_as_soon_as_they_tell():
    board = ReceiverBoard([])
    board.take(monitor_message("New", (0, ()), (1, ()), 1.0), 1.0)
    assert [one.name for one in board.rows(1.0)] == ["New"]
    with pytest.raises(WireError):
        board.take(b"\xff", 1.0)
    board.take(cdts.encode(cdts.MONITOR, {"time": {"sec": 1}}), 1.0)
    assert len(board.rows(1.0)) == 1


def test_what_a_receiver_says_of_a_second():
    message = monitor_message("R", (7, [1, 1, 1]), (17, [1, 2, 3]), 0.5)
    found = cdts.decode(cdts.MONITOR, message)["reciver"]
    assert (found["name"], found["data_rate"], found["recv_data"]) == ("R", 20.0, True)
    assert found["from_tm"] == [1, 2]


def test_the_table():
    board = ReceiverBoard(["A"])
    board.take(monitor_message("B", (0, [0] * 32), (5, [1, 1, 0, 1] + [0] * 28), 1.0), 1.0)
    console = Console(width=100, force_terminal=False)
    with console.capture() as capture:
        console.print(daq_dash.table(board.rows(1.0)))
    lines = capture.get().splitlines()
    assert lines[2].split() == ["A", "offline", "no", "-"]
    assert lines[3].split() == ["B", "online", "yes", "5", "0-1", "3"]
