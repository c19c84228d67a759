"""Boards that go away or fall silent are named once, and once again when they are back."""

import pytest

from forebay.service.larpix_watch import SILENT_S, BoardWatch

pytestmark = pytest.mark.unit


def board(messages, connections=1, disconnections=0):
    return {"east": {"messages": messages, "connections": connections, "disconnections": disconnections}}


def test_a_board_that_loses_its_connection():
    watch = BoardWatch()
    assert watch.look(board(0, connections=0), 0.0) == []  # it never was there: no news
    assert watch.look(board(5), 1.0) == []
    assert watch.look(board(5, disconnections=1), 2.0) == [("east is away: its connection is lost", True)]
    assert watch.look(board(5, disconnections=1), 3.0) == []
    assert watch.look(board(5, connections=2, disconnections=1), 3.5) == []
    assert watch.look(board(5, connections=2, disconnections=1), 30.0) == []
    assert watch.look(board(6, connections=2, disconnections=1), 31.0) == [("east sends again", False)]


def test_a_board_that_falls_silent():
    watch = BoardWatch()
    watch.look(board(5), 0.0)
    assert watch.look(board(5), SILENT_S - 0.1) == []
    assert watch.look(board(5), SILENT_S) == [(f"east has sent nothing for {SILENT_S:g} s", True)]
    assert watch.look(board(5), SILENT_S + 1) == []
    assert watch.look(board(6), SILENT_S + 2) == [("east sends again", False)]


def test_simulated_boards_have_no_connection():
    watch = BoardWatch()
    assert watch.look({"east": {"messages": 3}}, 0.0) == []
    assert watch.look({"east": {"messages": 4}}, 1.0) == []


def test_faults_are_told_when_their_number_has_doubled():
    watch = BoardWatch()
    watch.look(board(1), 0.0)
    told = []
    for n in range(1, 9):
        news = watch.look({"east": {**board(1 + n)["east"], "clock_resets": n}}, float(n))
        assert all(is_bad for _, is_bad in news)
        told += [text for text, _ in news]
    assert told == [
        "east: its clock was reset",
        "east: its clock was reset, 2 times so far",
        "east: its clock was reset, 4 times so far",
        "east: its clock was reset, 8 times so far",
    ]
