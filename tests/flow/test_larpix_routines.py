"""Routines that do what they should not: none of it reaches the process that started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forebay.errors import ServiceError
from forebay.service.larpix_routines import Routine, RunningRoutine

pytestmark = pytest.mark.flow

BOUND_S = 30.0


class Stand:
    """The side of the producer."""

    def __init__(self):
        self.infos = []
        self.acts = []
        self.running = None

    def act(self, name, params):
        self.acts.append((name, params))
        return f"ERROR: no {name}" if name == "wrong" else {"did": name}

    def start(self, name, *params):
        routine = Routine(f"{__name__}:{name}")
        self.running = RunningRoutine(name, routine, list(params), self.act, self.infos.append)

    def result(self):
        return self.until(self.running.poll)[0]

    def until(self, condition):
        end = time.monotonic() + BOUND_S
        while not (found := condition()):
            assert time.monotonic() < end
        return found

    def run(self, name, *params):
        self.start(name, *params)
        return self.result()


@pytest.fixture
def stand():
    return Stand()


def all_right(board, *params):
    board.send_info("at work")
    board.progress(0.25)
    return [board.act("get_boards"), *params]


def hangs(board):
    child = subprocess.Popen(["sleep", "1000"])
    board.send_info(child.pid)
    time.sleep(1000)


def leaves_a_child(board):
    child = subprocess.Popen(["sleep", "1000"])
    board.send_info(child.pid)
    return "done"


def dies(_board):
    os.kill(os.getpid(), signal.SIGKILL)


def exits(_board):
    sys.exit(3)


def prints(_board):
    print('{"result": "forged"}\n' * 10_000)
    os.write(1, b"no JSON\n")
    return "printed"


def raises(_board):
    raise ValueError("no luck")


def says_odd_things(board):
    board._out.write("[1]\n")
    return "done"


def odd_progress(board):
    board.progress("half")


def no_json(_board):
    return object()


def does_not_listen(board):
    os.close(0)
    board.act("get_boards")


def acts_wrong(board):
    board.act("wrong", 1)


def floods(board):
    for i in range(5000):
        board.send_info(f"line {i}")
    return "flooded"


def test_a_routine_with_all_it_may_do(stand):
    params = ["x", 2, {"a": [1]}, "y" * 200_000]
    assert stand.run("all_right", *params) == [{"did": "get_boards"}, *params]
    assert stand.infos == ["at work", "all_right: 25 %"]
    assert stand.acts == [("get_boards", [])]
    assert stand.running.progress == 0.25


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("dies", "ERROR: routine dies ended with code -9 and no result"),
        ("exits", "ERROR: routine exits ended with code 3 and no result"),
        ("prints", "printed"),
        ("raises", "ERROR: ValueError: no luck"),
        ("says_odd_things", "ERROR: routine says_odd_things said what it cannot say"),
        ("odd_progress", "ERROR: ValueError: could not convert"),
        ("no_json", "ERROR: TypeError: Object of type object"),
        ("does_not_listen", "ERROR: OSError"),
        ("acts_wrong", f"ERROR: {ServiceError.__name__}: wrong failed: ERROR: no wrong"),
        ("floods", "flooded"),
        ("not_there", "ERROR: AttributeError"),
    ],
)
def test_whatever_it_does_there_is_a_result(stand, name, result):
    assert stand.run(name).startswith(result)


def test_parameters_that_do_not_fit(stand):
    assert stand.run("raises", 1, 2).startswith("ERROR: TypeError")


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_one_that_hangs_is_ended_with_all_that_it_started(stand):
    stand.start("hangs")
    stand.until(lambda: stand.running.poll() is None and stand.infos)
    stand.running.abort()
    stand.until(lambda: is_gone(stand.infos[0]))


def test_what_it_left_behind_ends_with_it(stand):
    assert stand.run("leaves_a_child") == "done"
    stand.until(lambda: is_gone(stand.infos[0]))
