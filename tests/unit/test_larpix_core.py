"""The core of larpix-daq: transitions that are confirmed, components that vanish, answers that come late."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.front.larpix.book import CUT_OFF, MemoryBook, OpenRun
from forebay.front.larpix.clients import MOST_CLIENTS
from forebay.front.larpix.conductor import MOST_PENDING, Conductor
from forebay.service.larpix_conductor import WorkClock
from forebay.wire import xylem as x

pytestmark = pytest.mark.unit

BOARD, STORAGE, OPERATOR, OTHER = b"b", b"s", b"o", b"p"


class Stand:
    def __init__(self, **options):
        self.said = []
        self.book = MemoryBook()
        self.core = Conductor(self.book, lambda what, fields: self.said.append((what, fields)), **options)
        self.now = 0.0

    def send(self, who, message):
        self.core.take(who, x.encode(message), self.now)
        return self.got()

    def got(self):
        out, self.core.outbox = self.core.outbox, []
        return [(who, x.decode(frames)) for who, frames in out]

    def register(self, who, name, group, confirms=True, **more):
        return self.send(who, x.Register(name, group, 300, confirms=confirms, **more))

    def ask(self, state, operator=OPERATOR, **more):
        return self.send(operator, x.Control("STATE", state, more))

    def confirm(self, who, got, **account):
        update = next(one for to, one in got if to == who and isinstance(one, x.StateUpdate))
        return self.send(who, x.StateReport(update.UPDATE, update.transition, "", account))

    def later(self, seconds, alive=(BOARD, STORAGE)):
        for _ in range(round(seconds)):
            self.now += 1.0
            for who in alive:
                self.core.take(who, [b"PING"], self.now)
            self.core.tick(self.now)
        return [one for one in self.got() if not isinstance(one[1], x.Pong)]


@pytest.fixture
def stand():
    stand = Stand()
    stand.register(BOARD, "LArPix board", "BOARD", addresses={"BOARD": "tcp://127.0.0.1:50001"})
    stand.register(STORAGE, "Offline storage", "CONSUMER", connections=["AGGREGATOR"])
    return stand


def answer(got, who=OPERATOR):
    found = [one.message for to, one in got if to == who]
    return found[-1] if found else None


def to(stand, state):
    got = stand.ask(state)
    first, second = (BOARD, STORAGE) if state == "STOP" else (STORAGE, BOARD)
    assert [who for who, _ in got] == [first]
    got = stand.confirm(first, got)
    assert [who for who, _ in got] == [second]
    return stand.confirm(second, got)


def test_a_run_with_all_its_confirmations(stand):
    for state in ("READY", "RUN", "STOP"):
        assert answer(to(stand, state)) == {"result": "UPDATED", "metadata": {"run": 1}}
        assert stand.core.state == state
    assert stand.book.runs[0]["state"] == "ended"


def test_a_run_without_storage_is_prepared_with_a_warning():
    stand = Stand()
    stand.register(BOARD, "LArPix board", "BOARD")
    said = answer(stand.confirm(BOARD, stand.ask("READY")))
    assert said["result"] == "UPDATED"
    assert "No Offline storage has registered" in said["metadata"]["reason"]


@pytest.mark.parametrize("warned", [["io_group_2 is not connected"], "all", None, [1]])
def test_warnings_of_a_component_are_passed_on(stand, warned):
    for state in ("READY", "RUN", "STOP"):
        got = stand.ask(state)
        for who in (BOARD, STORAGE) if state == "STOP" else (STORAGE, BOARD):
            got = stand.confirm(who, got, **({"warnings": warned} if who == BOARD else {}))
        expected = "; ".join(f"LArPix board: {one}" for one in warned) if isinstance(warned, list) else None
        assert answer(got)["result"] == "UPDATED"
        assert answer(got)["metadata"].get("reason") == expected
    assert stand.core.control.last_end.endswith(expected or "")


def test_nothing_is_updated_before_the_last_confirmation(stand):
    got = stand.confirm(STORAGE, stand.ask("READY"))
    assert answer(got) is None
    assert stand.core.state == "STOP"


def test_who_does_not_confirm_is_named(stand):
    stand.confirm(STORAGE, stand.ask("READY"))
    got = stand.later(11)
    assert "LArPix board did not confirm READY within 10 s" in answer(got)["metadata"]["reason"]
    assert ("result", "NOT UPDATED") in answer(got).items()
    updates = [(who, one.UPDATE) for who, one in got if isinstance(one, x.StateUpdate)]
    assert updates == [(BOARD, "STOP")]


@pytest.mark.parametrize(("state", "target"), [("STOP", "RUN"), ("READY", "READY"), ("RUN", "READY")])
def test_only_what_makes_sense_is_allowed(stand, state, target):
    for one in x.STATES[1:]:
        if stand.core.state != state:
            to(stand, one)
    said = answer(stand.ask(target))
    assert said["result"] == ("UPDATED" if state == target else "NOT UPDATED")
    assert stand.core.state == state


def test_a_state_that_is_none(stand):
    said = answer(stand.ask(["START"]))
    assert said == {"result": "NOT UPDATED", "metadata": {"reason": "STATE NOT ALLOWED"}}


def test_a_component_of_the_original_confirms_by_an_answer(stand):
    got = stand.register(b"m", "Online monitor", "CONSUMER", confirms=False)
    got = stand.ask("READY")
    probe = next(one for who, one in got if who == b"m" and isinstance(one, x.Action))
    stand.confirm(STORAGE, got)
    assert stand.send(BOARD, x.ActionResult(probe.id, probe.name, [], "")) == []  # not from the one asked
    got = stand.send(
        b"m", x.ActionResult(probe.id, probe.name, [], "ERROR: Could not execute action confirm")
    )
    assert answer(stand.confirm(BOARD, got))["result"] == "UPDATED"


def test_a_lost_component_ends_the_run(stand):
    to(stand, "READY")
    to(stand, "RUN")
    got = stand.later(3, alive=[BOARD])
    assert ("component lost", {"name": "Offline storage", "all": ["LArPix board"]}) in stand.said
    stand.confirm(BOARD, got)
    assert stand.core.state == "STOP"
    assert stand.book.runs[0]["reason"] == "lost Offline storage"


def test_a_component_that_fails_ends_the_run_with_its_reason(stand):
    to(stand, "READY")
    to(stand, "RUN")
    got = stand.send(STORAGE, x.StateReport("RUN", None, "disk full"))
    got = stand.confirm(BOARD, got)
    stand.confirm(STORAGE, got)
    assert stand.book.runs[0]["reason"] == "Offline storage: disk full"
    assert "disk full" in answer(stand.ask("STOP"))["metadata"]["reason"]  # who ends it is told


def test_what_was_sent_and_not_stored_is_said(stand):
    to(stand, "READY")
    to(stand, "RUN")
    got = stand.confirm(BOARD, stand.ask("STOP"), packets_sent=10)
    said = answer(stand.confirm(STORAGE, got, packets_of={"LArPix board": 9}))
    assert said["result"] == "NOT UPDATED"
    assert "Offline storage stored 9 of 10 packets of LArPix board" in said["metadata"]["reason"]
    assert stand.core.state == "STOP"


class Restarted(Stand):
    """A core that was started again while run 4 took data."""

    def __init__(self, *, is_running=True):
        super().__init__()
        self.book.runs = [{"state": "ended"}] * 3 + [{"state": "running"}]
        self.book.left = OpenRun(4, "ann", {"LArPix board": "b1", "Offline storage": "s1"}, is_running)
        self.core.control.resume(self.now)


@pytest.mark.parametrize("packets_of", [None, [1], "all", 3, {"LArPix board": "all"}])
def test_an_account_of_any_shape_ends_a_run_and_no_core(stand, packets_of):
    to(stand, "READY")
    to(stand, "RUN")
    got = stand.confirm(BOARD, stand.ask("STOP"), packets_sent=5)
    said = answer(stand.confirm(STORAGE, got, packets_of=packets_of))
    assert said["result"] == ("NOT UPDATED" if isinstance(packets_of, dict) else "UPDATED")
    assert stand.core.state == "STOP"


def test_a_run_goes_on_when_the_core_was_started_again():
    stand = Restarted()
    assert stand.core.state == "RUN"
    stand.register(BOARD, "LArPix board", "BOARD", instance="b1")
    said = stand.send(BOARD, x.StateRequest())
    assert said == [(BOARD, x.StateUpdate("RUN", None, 4))]
    assert stand.ask("STOP") == []  # carried out when all are back
    busy = answer(stand.ask("STOP", OTHER), OTHER)
    assert busy["metadata"]["reason"] == "The core was started again and waits for Offline storage."
    got = stand.register(STORAGE, "Offline storage", "CONSUMER", instance="s1")
    got = stand.confirm(BOARD, got, packets_sent=3)
    said = answer(stand.confirm(STORAGE, got, packets_of={"LArPix board": 3}))
    assert said == {"result": "UPDATED", "metadata": {"run": 4}}
    assert stand.book.runs[3]["reason"] == f"ended by {OPERATOR.hex()}"


@pytest.mark.parametrize("instance", ["s2", ""])  # those of the original have none
def test_a_run_does_not_go_on_with_a_process_that_was_started_again(instance):
    stand = Restarted()
    stand.register(BOARD, "LArPix board", "BOARD", instance="b1")
    got = stand.register(STORAGE, "Offline storage", "CONSUMER", instance=instance)
    stand.confirm(STORAGE, stand.confirm(BOARD, got))
    assert stand.core.state == "STOP"
    assert "Offline storage was started again too" in stand.book.runs[3]["reason"]


@pytest.mark.parametrize("asked", ["", "STOP", "READY"])
def test_a_run_that_was_to_end_ends_when_the_core_was_started_again(asked):
    stand = Restarted(is_running=False)
    stand.register(BOARD, "LArPix board", "BOARD", instance="b1")
    assert stand.send(BOARD, x.StateRequest()) == [(BOARD, x.StateUpdate("STOP", None, 4))]
    if asked:
        stand.ask(asked)
    got = stand.register(STORAGE, "Offline storage", "CONSUMER", instance="s1")
    if asked == "READY":
        assert "The change to STOP is under way" in answer(got)["metadata"]["reason"]
    got = stand.confirm(BOARD, got, packets_sent=3)
    said = answer(stand.confirm(STORAGE, got, packets_of={"LArPix board": 3}))
    assert stand.book.runs[3]["account"]["LArPix board"] == {"packets_sent": 3}
    if asked == "STOP":
        assert said == {"result": "UPDATED", "metadata": {"run": 4}}
    else:
        assert stand.book.runs[3]["reason"] == CUT_OFF


@pytest.mark.parametrize("is_asked", [False, True])
def test_a_run_ends_if_somebody_did_not_come_back(is_asked):
    stand = Restarted()
    stand.register(BOARD, "LArPix board", "BOARD", instance="b1")
    if is_asked:
        stand.ask("STOP")
    got = stand.later(11, alive=[BOARD])
    got = stand.confirm(BOARD, got)
    assert "Offline storage did not come back" in stand.book.runs[3]["reason"]
    assert stand.core.state == "STOP"
    if is_asked:
        assert "Offline storage did not come back" in answer(got)["metadata"]["reason"]


def test_the_file_of_a_storage_that_was_lost_is_named(stand):
    got = stand.confirm(STORAGE, stand.ask("READY"), file="/data/a.h5")
    stand.confirm(BOARD, got)
    to(stand, "RUN")
    stand.confirm(BOARD, stand.later(3, alive=[BOARD]), packets_sent=10)
    reason = stand.book.runs[0]["reason"]
    assert "lost Offline storage, whose file is /data/a.h5" in reason


def test_names_are_unique_and_free_again(stand):
    got = stand.register(b"x", "LArPix board", "BOARD")
    assert isinstance(got[0][1], x.Refused)
    stand.later(3, alive=[STORAGE])
    got = stand.register(b"x", "LArPix board", "BOARD")
    assert isinstance(got[0][1], x.Registered)


def test_a_process_that_registers_again_takes_its_place(stand):
    got = stand.register(b"1", "Online monitor", "CONSUMER", instance="i")
    asked = stand.ask("READY")
    got = stand.register(b"2", "Online monitor", "CONSUMER", instance="i")
    assert isinstance(got[0][1], x.Registered)
    assert stand.core.clients.names.count("Online monitor") == 1
    stand.confirm(b"2", got)
    got = stand.confirm(STORAGE, asked)
    assert answer(stand.confirm(BOARD, got))["result"] == "UPDATED"


def test_addresses_are_told_when_they_are_known(stand):
    theirs = stand.register(b"m", "monitor", "CONSUMER", connections=["AGGREGATOR"], confirms=False)
    assert (b"m", x.Registered({"AGGREGATOR": {}})) in theirs
    got = stand.register(b"a", "LArPix aggregator", "AGGREGATOR", addresses={"AGGREGATOR": "tcp://h:1"})
    assert (STORAGE, x.Registered({"AGGREGATOR": {"LArPix aggregator": "tcp://h:1"}})) in got
    assert (b"m", x.Registered({"AGGREGATOR": "tcp://h:1"})) in got


def test_several_producers_have_an_address_each(stand):
    stand.register(b"a", "LArPix aggregator", "AGGREGATOR", connections=["BOARD"])
    stand.register(b"t", "aggregator of theirs", "AGGREGATOR", connections=["BOARD"], confirms=False)
    got = stand.register(b"2", "second board", "BOARD", addresses={"BOARD": "tcp://h:2"})
    both = {"LArPix board": "tcp://127.0.0.1:50001", "second board": "tcp://h:2"}
    assert (b"a", x.Registered({"BOARD": both})) in got
    assert (b"t", x.Registered({"BOARD": "tcp://h:2"})) in got
    got = stand.later(3, alive=[BOARD, STORAGE, b"a", b"t"])
    assert (b"a", x.Registered({"BOARD": both | {"second board": ""}})) in got
    assert (b"t", x.Registered({"BOARD": "tcp://127.0.0.1:50001"})) in got
    got = stand.register(b"2", "second board", "BOARD", addresses={"BOARD": "tcp://h:3"})
    assert (b"a", x.Registered({"BOARD": both | {"second board": "tcp://h:3"}})) in got


def test_any_board_that_is_lost_ends_the_run(stand):
    to(stand, "READY")
    to(stand, "RUN")
    stand.register(b"2", "second board", "BOARD")
    got = stand.later(3)
    assert [one.UPDATE for _, one in got if isinstance(one, x.StateUpdate)][-1:] == ["STOP"]


def test_an_unknown_component_is_told_to_register(stand):
    assert isinstance(stand.send(b"?", x.Ping())[0][1], x.Refused)


def original(name, group, **more):
    return x.Register(name, group, 300, **more)


ORIGINALS = (
    original("LArPix board", "BOARD", addresses={"BOARD": "tcp://127.0.0.1:50001"}),
    original("LArPix aggregator", "AGGREGATOR", connections=["BOARD"]),
    original("Offline storage", "CONSUMER", connections=["AGGREGATOR"]),
    original("Online monitor", "CONSUMER", connections=["AGGREGATOR"]),
)
HAS = {"LArPix board": {"get_boards"}, "Online monitor": {"retrieve_pixel_layout"}}


def back(stand, who, name):
    """A component of the original that lived on: says that it lives, and answers what it is asked."""
    got = stand.send(who, x.Ping())
    assert [type(one) for to, one in got if to == who].count(x.Pong) == 1
    for _, asked in got:
        if isinstance(asked, x.Action):
            known = asked.name in HAS.get(name, ())
            result = "ERROR: no layout" if known else f"ERROR: Could not execute action {asked.name}"
            got += stand.send(who, x.ActionResult(asked.id, asked.name, [], result))
    return got


def test_components_of_the_original_live_on_when_the_core_was_started_again():
    stand = Stand()
    stand.book.left = OpenRun(7, "ann", {one.name: "" for one in ORIGINALS[:3]})
    stand.core.resume(ORIGINALS, stand.now)
    names = [one.name for one in ORIGINALS]
    for i in (3, 1, 0, 2):
        assert x.StateUpdate("RUN", None, 7) in [one for _, one in back(stand, bytes([i]), names[i])]
    assert answer(stand.send(OPERATOR, x.Control("CLIENTS", ""))) == {
        "result": ["Online monitor", "LArPix aggregator", "LArPix board", "Offline storage"]
    }
    got = stand.later(20, alive=[bytes([i]) for i in range(4)])
    assert (stand.core.state, stand.core.control.run, got) == ("RUN", 7, [])


def test_one_of_the_original_that_is_lost_is_named_with_who_it_may_be():
    stand = Stand()
    stand.book.runs = [{"state": "running"}]
    stand.book.left = OpenRun(1, "ann", {one.name: "" for one in ORIGINALS[1:3]})
    stand.core.resume(ORIGINALS[1:3], stand.now)
    for i in (1, 2):
        back(stand, bytes([i]), "")
    got = stand.later(4, alive=[bytes([2])])
    (probe,) = [one for _, one in got if isinstance(one, x.Action)]
    stand.send(bytes([2]), x.ActionResult(probe.id, probe.name, [], "ERROR"))
    assert stand.book.runs[0]["reason"] == "lost LArPix aggregator or Offline storage"


def test_nobody_else_is_taken_for_one_of_the_original():
    stand = Stand()
    stand.core.resume(ORIGINALS[:1], stand.now)
    ours = stand.send(b"ours", x.Ping("instance"))
    assert isinstance(ours[0][1], x.Refused)
    back(stand, b"x", "Online monitor")  # is alive, and none of those that were there
    assert isinstance(stand.send(b"x", x.Ping())[-1][1], x.Pong)
    stand.register(b"new", "LArPix board", "BOARD", confirms=False)
    assert isinstance(stand.send(b"y", x.Ping())[0][1], x.Refused)
    assert stand.core.clients.names == ["LArPix board"]


def test_the_core_after_this_one_is_told_of_components_of_the_original():
    known = []
    stand = Stand(remember=lambda now: known.append([one.name for one in now]))
    stand.register(BOARD, "LArPix board", "BOARD", confirms=False)
    stand.register(STORAGE, "Offline storage", "CONSUMER", instance="ours")
    stand.later(3, alive=[STORAGE])
    assert known == [["LArPix board"], ["LArPix board"], []]


def test_one_of_ours_in_the_place_of_one_of_the_original_is_not_remembered():
    known = []
    stand = Stand(remember=lambda now: known.append([one.name for one in now]))
    stand.register(BOARD, "LArPix board", "BOARD", confirms=False)
    stand.later(3)
    stand.register(BOARD, "LArPix board", "BOARD", instance="ours")
    stand.register(OTHER, "Offline storage", "CONSUMER", confirms=False)
    stand.register(OTHER, "Offline storage", "CONSUMER", instance="ours")
    assert known[-1] == []


def test_answers_go_to_who_asked(stand):
    ask = {"client_name": "LArPix board", "action_name": "sleep", "params": [1]}
    got = stand.send(OPERATOR, x.Control("ACTION", ask))
    number = got[0][1].id
    assert answer(got)["result"] == "pending"
    assert stand.send(STORAGE, x.ActionResult(number, "sleep", [1], "forged")) == []
    got = stand.send(BOARD, x.ActionResult(number, "sleep", [1], None))
    assert answer(got) == {"result": None, "metadata": {**ask, "id": number}}
    assert stand.send(BOARD, x.ActionResult(number, "sleep", [1], None)) == []
    assert stand.core.n_late == 2


def test_actions_that_nobody_answers_do_not_pile_up(stand):
    ask = x.Control("ACTION", {"client_name": "LArPix board", "action_name": "sleep", "params": [1]})
    for _ in range(MOST_PENDING):
        assert answer(stand.send(OPERATOR, ask))["result"] == "pending"
    got = stand.send(OPERATOR, ask)
    assert answer(got)["result"].startswith(f"ERROR: {MOST_PENDING} actions are not answered")
    assert [who for who, _ in got] == [OPERATOR]
    stand.send(BOARD, x.ActionResult(1, "sleep", [1], None))
    assert answer(stand.send(OPERATOR, ask))["result"] == "pending"


def test_components_without_end_are_refused(stand):
    for i in range(2, MOST_CLIENTS):
        stand.register(b"%d" % i, f"component {i}", "NOISE")
    ((_, refused),) = stand.register(b"more", "one more", "NOISE")
    assert refused.reason.startswith(f"There are {MOST_CLIENTS} components")
    assert isinstance(stand.register(STORAGE, "Offline storage", "CONSUMER")[0][1], x.Registered)


def test_a_component_that_dies_answers(stand):
    ask = {"client_name": "LArPix board", "action_name": "sleep", "params": [1]}
    stand.send(OPERATOR, x.Control("ACTION", ask))
    said = answer(stand.later(3, alive=[STORAGE]))
    assert said["result"] == "ERROR: component died"
    assert said["metadata"]["client_name"] == "LArPix board"


def test_an_action_for_nobody(stand):
    for message in ({"client_name": "nobody", "action_name": "a", "params": []}, "text", {}):
        assert answer(stand.send(OPERATOR, x.Control("ACTION", message)))["result"].startswith(
            "ERROR: Unable"
        )


def test_a_run_belongs_to_who_prepared_it(stand):
    got = stand.ask("READY", who="ann")
    stand.confirm(BOARD, stand.confirm(STORAGE, got))
    assert "ann" in answer(stand.ask("RUN", OTHER, who="ben"), OTHER)["metadata"]["reason"]
    assert stand.core.state == "READY"
    got = stand.ask("STOP", OTHER, who="ben")
    assert answer(stand.confirm(STORAGE, stand.confirm(BOARD, got)), OTHER)["result"] == "UPDATED"
    assert stand.book.runs[0]["reason"] == "ended by ben"


def test_a_stop_overtakes_a_change_that_hangs(stand):
    stand.ask("READY")
    got = stand.ask("STOP", OTHER)
    assert answer(got)["result"] == "NOT UPDATED"
    assert answer(stand.confirm(STORAGE, stand.confirm(BOARD, got)), OTHER)["result"] == "UPDATED"


def test_questions(stand):
    assert answer(stand.send(OPERATOR, x.Control("CLIENTS", ""))) == {
        "result": ["LArPix board", "Offline storage"]
    }
    assert answer(stand.send(OPERATOR, x.Control("STATE REQUEST", "")))["result"] == "STOP"
    assert set(answer(stand.send(OPERATOR, x.Control("ACTIONS", "")))["result"]) == {
        "LArPix board",
        "Offline storage",
    }
    assert stand.send(OPERATOR, x.Control("PRINT", "hello")) == []


def test_noise_is_counted(stand):
    stand.core.take(b"n", [b"\xff"], 0.0)
    stand.core.take(b"n", [b"DATA", b"{}", b""], 0.0)
    assert stand.core.n_malformed == 2


def test_a_core_that_stood_still_gives_nobody_up():
    times = iter([0.0, 0.1, 0.2, 7.2, 7.3])
    clock = WorkClock(lambda: next(times))
    assert [clock.now() for _ in range(4)] == pytest.approx([0.1, 0.2, 0.2, 0.3])


IDENTITIES = st.sampled_from([BOARD, STORAGE, OPERATOR, b"new"])
WORDS = st.sampled_from(
    ["LArPix board", "Offline storage", "STATE", "ACTION", "CLIENTS", "READY", "RUN", "STOP"]
)
VALUES = st.recursive(
    WORDS | st.none() | st.integers(0, 5), lambda one: st.lists(one, max_size=2), max_leaves=3
)
CONTROL_MESSAGES = VALUES | st.fixed_dictionaries(
    {"client_name": VALUES, "action_name": VALUES, "params": VALUES}
)
ACCOUNTS = st.dictionaries(st.sampled_from(["packets_sent", "packets_of", "file", "x"]), VALUES)
ANYTHING = st.one_of(
    st.builds(x.Register, name=WORDS, short_name=st.sampled_from(["BOARD", "X"]), heartbeat_ms=st.floats()),
    st.builds(
        x.StateReport,
        state=WORDS,
        transition=st.integers(0, 3),
        failed=st.sampled_from(["", "no"]),
        account=ACCOUNTS,
    ),
    st.builds(x.ActionResult, id=st.integers(0, 4), name=WORDS, params=VALUES, result=VALUES),
    st.builds(x.Control, header=WORDS, message=CONTROL_MESSAGES, more=st.dictionaries(WORDS, VALUES)),
    st.just(x.Ping()),
    st.just(x.StateRequest()),
)


@given(st.lists(st.tuples(IDENTITIES, ANYTHING, st.floats(0, 2)), max_size=40))
def test_nothing_that_comes_ends_a_core(messages):
    stand = Stand()
    stand.register(BOARD, "LArPix board", "BOARD")
    for who, message, seconds in messages:
        stand.send(who, message)
        stand.now += seconds
        stand.core.tick(stand.now)
        assert stand.core.state in x.STATES
    assert len(set(stand.core.clients.names)) == len(stand.core.clients.names)
    stand.later(100, alive=[])  # whoever was awaited is given up: it is in no state between states
    assert stand.core.control.where()["transition"] is None


def test_an_answer_that_is_nested_too_deep_is_left_out(stand):
    ask = {"client_name": "LArPix board", "action_name": "a", "params": []}
    got = stand.send(OPERATOR, x.Control("ACTION", ask))
    deep = b"[" * 985 + b"]" * 985
    body = b'{"id": %d, "name": "a", "params": [], "result": %s}' % (got[0][1].id, deep)
    stand.core.take(BOARD, [b"ACTION", body], 0.0)
    assert stand.core.state == "STOP"
