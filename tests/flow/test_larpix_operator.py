"""Operator of larpix-daq with a core in the hands of the test: what it sends, what it makes of answers."""

import socket
import threading

import pytest
from tests.system.stand import free_ports

from forebay.errors import StreamError
from forebay.front.larpix.operator import Operator
from forebay.stream.xylem import RouterSocket
from forebay.wire import xylem as x

pytestmark = pytest.mark.flow

BOARD, MONITOR = "LArPix board", "Online monitor"
WAIT_S = 20.0
CHIP = "1-1-246"
RUN = [
    ("prepare_physics_run", "READY"),
    ("prepare_run", "READY"),
    ("begin_physics_run", "RUN"),
    ("begin_run", "RUN"),
    ("end_physics_run", "STOP"),
    ("end_run", "STOP"),
]
ASK = [("get_clients", "CLIENTS"), ("get_state", "STATE REQUEST"), ("get_actions", "ACTIONS")]
ACT = [
    ("get_boards", [], BOARD, "get_boards", []),
    ("load_board", ["controller/pcb-1_chip_info.json"], BOARD, "load_board", None),
    ("write_configuration", [CHIP], BOARD, "write_config", None),
    ("read_configuration", [CHIP], BOARD, "read_config", None),
    ("validate_configuration", [CHIP], BOARD, "validate_config", None),
    ("retrieve_configuration", [CHIP], BOARD, "retrieve_config", None),
    ("send_configuration", [{CHIP: {"csa_gain": 0}}], BOARD, "send_config", None),
    ("list_routines", [], BOARD, "list_routines", None),
    ("load_routines", ["here"], BOARD, "load_routines", None),
    ("run_routine", ["scan", 1, "b"], BOARD, "run_routine", None),
    ("routine_progress", [], BOARD, "routine_progress", None),
    ("abort_routine", [], BOARD, "abort_routine", None),
    ("retrieve_pixel_layout", [], MONITOR, "retrieve_pixel_layout", None),
    ("load_pixel_layout", ["2.4.0"], MONITOR, "load_pixel_layout", None),
]


class Home:
    """A core that answers every request with what `answers` gives for it, and keeps the requests."""

    def __init__(self):
        self.port = free_ports(1, socket.SOCK_STREAM)
        self.router = RouterSocket([f"tcp://127.0.0.1:{self.port}"])
        self.asked = []
        self.answers = self.usual
        self.is_late = False
        self.late = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    @staticmethod
    def usual(asked):
        if asked.header == "ACTION":
            meta = {**asked.message, "id": 1}
            return [
                x.Control("ACTION TICKET", {"result": "pending", "metadata": meta}),
                x.Control("ACTION RESULT", {"result": asked.message["action_name"], "metadata": meta}),
            ]
        return [x.Control(asked.header, {"result": "UPDATED"})]

    def run(self):
        while not self.stop.is_set():
            received = self.router.receive(0.02)
            if received is not None:
                identity, frames = received
                self.asked.append(x.decode(frames))
                late, self.late = self.late, []
                for answer in self.answers(self.asked[-1]):
                    late.append((identity, answer if isinstance(answer, list) else x.encode(answer)))
                if self.is_late:
                    self.late = late
                    continue
                for to, answer in late:
                    self.router.send(to, answer)

    def close(self):
        self.stop.set()
        self.thread.join()
        self.router.close()


@pytest.fixture
def home():
    home = Home()
    yield home
    home.close()


@pytest.fixture
def operator(home):
    operator = Operator("tcp://127.0.0.1", who="ann", port=home.port)
    yield operator
    operator.cleanup()


@pytest.mark.parametrize(("method", "state"), RUN)
def test_states_are_asked_for(home, operator, method, state):
    answers = list(getattr(operator, method)(timeout=WAIT_S))
    assert answers == [{"header": "STATE", "message": {"result": "UPDATED"}}]
    (asked,) = home.asked
    assert (asked.header, asked.message, asked.more["who"]) == ("STATE", state, "ann")


@pytest.mark.parametrize(("method", "header"), ASK)
def test_the_core_is_asked(home, operator, method, header):
    (answer,) = getattr(operator, method)(timeout=WAIT_S)
    assert answer["header"] == header
    assert (home.asked[0].header, home.asked[0].message) == (header, "")


@pytest.mark.parametrize(("method", "arguments", "client", "action", "params"), ACT)
def test_components_are_asked(home, operator, method, arguments, client, action, params):
    ticket, result = getattr(operator, method)(*arguments, timeout=WAIT_S)
    assert [ticket["header"], result["header"]] == ["ACTION TICKET", "ACTION RESULT"]
    assert result["message"]["result"] == action
    sent = {"client_name": client, "action_name": action, "params": arguments if params is None else params}
    assert (home.asked[0].header, home.asked[0].message) == ("ACTION", sent)


def test_nothing_is_sent_before_an_answer_is_wanted(home, operator):
    answers = operator.get_boards(timeout=WAIT_S)
    assert next(operator.get_state(timeout=WAIT_S))["header"] == "STATE REQUEST"
    assert [one.header for one in home.asked] == ["STATE REQUEST"]
    assert next(answers)["header"] == "ACTION TICKET"


def test_a_run_is_ended_when_that_is_called_and_its_result_is_at_hand(home, operator):
    done = operator.end_run(timeout=WAIT_S)
    assert [one.message for one in home.asked] == ["STOP"]
    assert done["message"]["result"] == "UPDATED"
    assert "UPDATED" in repr(done)
    assert [one["header"] for one in done] == ["STATE"]


def test_comment_and_configuration_go_with_the_run(home, operator):
    operator.prepare_run(WAIT_S, comment="cosmics", configuration={"threshold": 40})
    assert home.asked[0].more == {"who": "ann", "comment": "cosmics", "configuration": {"threshold": 40}}


def test_a_time_out_is_none_and_says_so(home, operator):
    home.answers = lambda _asked: []
    assert list(operator.get_boards(timeout=0.05)) == [None]
    done = operator.end_run(timeout=0.05)
    with pytest.raises(StreamError, match="did not answer in time"):
        done["message"]
    assert list(done) == [None]


def test_a_ticket_and_then_nothing_is_a_ticket_and_none(home, operator):
    home.answers = lambda asked: home.usual(asked)[:1]
    headers = [one and one["header"] for one in operator.run_routine("scan", timeout=0.3)]
    assert headers == ["ACTION TICKET", None]


def test_a_late_answer_is_taken_for_no_other(home, operator):
    home.is_late = True
    assert list(operator.get_boards(timeout=0.05)) == [None]
    home.is_late = False  # the answer to the first question is sent before that to the second
    answers = list(operator.list_routines(timeout=WAIT_S))
    assert [one["message"]["result"] for one in answers] == ["pending", "list_routines"]
    assert answers[0]["message"]["metadata"]["action_name"] == "list_routines"


def test_two_questions_at_once_have_each_its_answer(home, operator):
    first, second = operator.get_boards(timeout=WAIT_S), operator.list_routines(timeout=WAIT_S)
    next(first), next(second)
    assert next(second)["message"]["result"] == "list_routines"
    assert next(first)["message"]["result"] == "get_boards"


def test_an_answer_that_is_none_is_an_error(home, operator):
    home.answers = lambda _asked: [[b"NONSENSE"]]
    with pytest.raises(StreamError, match="answers something else"):
        list(operator.get_state(timeout=WAIT_S))


def test_cleanup_ends_what_was_not_finished(home, operator):
    home.answers = lambda asked: home.usual(asked)[:1]
    answers = operator.run_routine("scan", timeout=WAIT_S)
    assert next(answers)["header"] == "ACTION TICKET"
    operator.cleanup()
    operator.cleanup()
    with pytest.raises(StreamError, match="was closed"):
        next(answers)
