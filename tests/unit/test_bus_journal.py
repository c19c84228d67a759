"""The hub's journal against a plain model: queues in order, one hand a request, nothing lost or doubled."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from forebay.errors import BusError
from forebay.run.bus.journal import Journal

pytestmark = pytest.mark.unit


class JournalAsModel(RuleBasedStateMachine):
    """Random requests, hands, ends and restarts; the model is a list of [id, client or None, n_handed]."""

    @initialize()
    def open(self):
        self.directory = Path(tempfile.mkdtemp(dir=self.root))
        self.journal = Journal(self.directory)
        with self.journal.transaction(durable=False):
            self.journal.declare("q", ["a.*"])
        self.model = []
        self.n = 0

    @rule(name=st.integers(0, 8))
    def request(self, name):
        self.n += 1
        with self.journal.transaction(durable=False):
            assert self.journal.add(f"token-{self.n}", "a.b", f"{name}", b"%d" % name) == ["q"]
        if all(one[0] != name for one in self.model):
            self.model.append([name, None, 0])

    @rule()
    def nowhere(self):
        with self.journal.transaction(durable=False):
            assert self.journal.add("token", "b", "x", b"") == []

    @rule(client=st.sampled_from("xyz"))
    def hand(self, client):
        if any(one[1] == client for one in self.model):
            return
        waiting = next((one for one in self.model if one[1] is None), None)
        with self.journal.transaction(durable=False):
            held = self.journal.hand("q", client, 1)
        assert (held is None) == (waiting is None)
        if waiting is not None:
            assert (held.message, held.redelivered) == (b"%d" % waiting[0], waiting[2] > 0)
            waiting[1:] = client, waiting[2] + 1

    @rule(client=st.sampled_from("xyz"), other=st.sampled_from("xyz"))
    def finish(self, client, other):
        held = self.journal.held(client, 1)
        if held is None:
            return
        with self.journal.transaction(durable=False):
            assert self.journal.finish(other, 1, held.seq) is (other == client)
        if other == client:
            self.model = [one for one in self.model if one[1] != client]
            with self.journal.transaction(durable=False):
                assert self.journal.finish(client, 1, held.seq)  # said again

    @rule(client=st.sampled_from("xyz"), worker=st.sampled_from([None, 1, 2]))
    def give_back(self, client, worker):
        with self.journal.transaction(durable=False):
            self.journal.give_back(client, worker)
        for one in self.model:
            if one[1] == client and worker != 2:
                one[1] = None

    @rule(name=st.integers(0, 8))
    def withdraw(self, name):
        self.n += 1
        there = [one for one in self.model if one[0] == name and one[1] is None]
        with self.journal.transaction(durable=False):
            assert self.journal.withdraw(f"token-{self.n}", "q", f"{name}") is bool(there)
            assert self.journal.withdraw(f"token-{self.n}", "q", f"{name}") is bool(there)  # said again
        self.model = [one for one in self.model if one not in there]

    def break_off(self):
        with self.journal.transaction(durable=True):
            self.journal.declare("other", ["#"])
            self.journal.add("token", "a.b", "99", b"")
            raise ZeroDivisionError

    @rule()
    def fail(self):
        with pytest.raises(ZeroDivisionError):
            self.break_off()
        assert not self.journal.has("other")

    @rule()
    def restart(self):
        self.journal.close()
        self.journal = Journal(self.directory)

    @invariant()
    def counts(self):
        if hasattr(self, "model"):
            n_in_hand = sum(one[1] is not None for one in self.model)
            assert self.journal.queues() == {"q": (len(self.model) - n_in_hand, n_in_hand)}

    def teardown(self):
        if hasattr(self, "journal"):
            self.journal.close()


def test_journal_against_a_model(tmp_path):
    class Here(JournalAsModel):
        root = tmp_path

    case = Here.TestCase
    case.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
    case("runTest").debug()


def test_a_request_said_again_after_it_was_done_is_not_queued(tmp_path):
    journal = Journal(tmp_path)
    with journal.transaction(durable=True):
        journal.declare("q", ["#"])
        journal.add("token", "a", "1", b"")
        held = journal.hand("q", "x", 1)
        assert journal.finish("x", 1, held.seq)
        assert journal.add("token", "a", "1", b"") == ["q"]
        assert journal.hand("q", "x", 1) is None
        assert journal.add("another", "a", "1", b"") == ["q"]
        assert journal.hand("q", "x", 1) is not None
    journal.close()
    journal.close()


def test_one_journal_one_hub(tmp_path):
    journal = Journal(tmp_path)
    with pytest.raises(BusError, match="Another hub"):
        Journal(tmp_path)
    journal.close()
    Journal(tmp_path).close()


def test_a_request_that_never_reached_its_worker_is_not_called_redelivered(tmp_path):
    journal = Journal(tmp_path)
    with journal.transaction(durable=True):
        journal.declare("q", ["#"])
        journal.add("token", "a", "1", b"")
        journal.hand_missed(journal.hand("q", "x", 1).seq)
        assert not journal.hand("q", "y", 1).redelivered
        journal.give_back("y")
        assert journal.hand("q", "x", 1).redelivered
    journal.close()
