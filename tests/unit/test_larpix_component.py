"""A component of larpix-daq between a core and its work: what it confirms, and what it says again."""

import queue

import pytest

from forebay.errors import StoreError
from forebay.front.larpix.component import LATER, Component, DieError
from forebay.wire import xylem as x

pytestmark = pytest.mark.unit


class Line:
    def __init__(self):
        self.inbox = queue.SimpleQueue()
        self.sent = []

    def send(self, message, registration):
        self.sent.append((registration, message))


class Stand:
    def __init__(self, **actions):
        self.line = Line()
        self.entered = []
        self.account = {}
        self.error = None
        self.component = Component(self.line, self.enter, actions)
        self.registration = 0
        self.register()

    def enter(self, state, run):
        self.entered.append((state, run))
        if self.error is not None:
            raise self.error
        return self.account

    def register(self):
        self.registration += 1
        assert self.say(x.Registered({})) == [x.StateRequest()]

    def say(self, message):
        self.line.inbox.put((self.registration, message))
        return self.got()

    def got(self):
        self.component.poll()
        out, self.line.sent = self.line.sent, []
        assert all(registration == self.registration for registration, _ in out)
        return [message for _, message in out]


def report(state, transition, account=None, failed=""):
    return [x.StateReport(state, transition, failed, account or {})]


def test_a_state_is_entered_once_and_confirmed_with_its_account():
    stand = Stand()
    stand.account = {"file": "a"}
    assert stand.say(x.StateUpdate("READY", 1, 7)) == report("READY", 1, {"file": "a"})
    assert stand.entered == [("READY", 7)]


def test_who_is_asked_again_says_the_same_again():
    stand = Stand()
    stand.account = {"file": "a"}
    stand.say(x.StateUpdate("READY", 1, 7))
    stand.register()
    assert stand.say(x.StateUpdate("READY", 1, 7)) == report("READY", 1, {"file": "a"})
    assert len(stand.entered) == 1


def test_who_still_enters_a_state_does_not_confirm_it_because_it_is_asked_again():
    stand = Stand()
    stand.account = None
    assert stand.say(x.StateUpdate("READY", 1, 7)) == []
    stand.register()
    assert stand.say(x.StateUpdate("READY", 1, 7)) == []
    stand.component.confirm({"packets": 3})
    assert stand.got() == report("READY", 1, {"packets": 3})


def test_what_was_done_without_being_asked_is_told_to_a_core_that_asks():
    stand = Stand()
    stand.say(x.StateUpdate("READY", 1, 7))
    stand.account = {"packets": 3}
    assert stand.say(x.StateUpdate("STOP", None, 7)) == []  # nobody waits for it
    assert stand.say(x.StateUpdate("STOP", 2, 7)) == report("STOP", 2, {"packets": 3})
    assert stand.say(x.StateUpdate("STOP", 3, 8)) == report("STOP", 3)  # of another run


def test_a_failure_is_told_to_a_core_that_may_not_know_it():
    stand = Stand()
    stand.say(x.StateUpdate("RUN", 1, 7))
    stand.component.fail("disk full", {"packets": 3})
    assert stand.got() == report("RUN", None, {"packets": 3}, "disk full")
    stand.register()
    assert stand.say(x.StateUpdate("RUN", None, 7)) == report("RUN", None, {"packets": 3}, "disk full")
    assert stand.say(x.StateUpdate("STOP", 2, 7)) == report("STOP", 2)


def test_a_state_that_cannot_be_entered():
    stand = Stand()
    stand.error = StoreError("no room")
    assert stand.say(x.StateUpdate("READY", 1, 7)) == report("READY", 1, failed="no room")


def test_actions_and_what_they_answer():
    later = []

    def slow():
        later.append(stand.component.reply)
        return LATER

    def broken(_number):
        raise ValueError("no")

    stand = Stand(slow=slow, broken=broken, add=lambda a, b: a + b, odd=object)
    results = {
        ("add", (1, 2)): 3,
        ("add", (1,)): "ERROR: Invalid parameters missing a required argument: 'b'",
        ("broken", (1,)): "ERROR: no",
        ("nothing", ()): "ERROR: Could not execute action nothing",
    }
    for i, ((name, params), result) in enumerate(results.items()):
        assert stand.say(x.Action(i, name, list(params))) == [x.ActionResult(i, name, list(params), result)]
    assert stand.say(x.Action(9, "slow", [])) == []
    later[0]("done")
    assert stand.got() == [x.ActionResult(9, "slow", [], "done")]
    with pytest.raises(DieError):
        stand.say(x.Action(10, "die", []))
