"""Updates between protocols and reader: order, bounds, counts; configuration, missing libraries."""

import sys

import numpy as np
import pytest
from pydantic import ValidationError

from forebay.config import EpicsConfig
from forebay.errors import ConfigError
from forebay.stream import epics_inbox
from forebay.stream.epics import EpicsSource
from forebay.stream.epics_inbox import Inbox

pytestmark = pytest.mark.unit

VALUE = np.array(1.0)


def accounted(inbox, n_read, n_pending=0):
    counters = inbox.counters
    assert counters.received == counters.values + counters.disconnections
    assert counters.received == n_read + n_pending + counters.not_taken


def test_updates_come_in_order_and_no_two_at_the_same_time():
    inbox = Inbox(["A", "B"])
    for i in range(1000):
        inbox.put_value("AB"[i % 2], i, "NO_ALARM", 0, np.array(i))
    taken = inbox.take(0)
    assert [update.value.item() for update in taken] == list(range(1000))
    assert (np.diff([update.received_ns for update in taken]) > 0).all()
    assert inbox.now() > taken[-1].received_ns
    assert inbox.take(0) == []
    accounted(inbox, 1000)


def test_only_a_channel_that_was_connected_can_be_lost():
    inbox = Inbox(["A"])
    inbox.put_disconnected("A")
    inbox.put_value("A", 1, "NO_ALARM", 0, VALUE)
    assert inbox.n_connected == 1
    inbox.put_disconnected("A")
    inbox.put_disconnected("A")
    assert [update.connected for update in inbox.take(0)] == [True, False]
    assert inbox.n_connected == 0
    assert inbox.counters.disconnections == 1


@pytest.mark.parametrize(("bound", "value"), [("MAX_PENDING", 3), ("MAX_PENDING_BYTES", 24)])
def test_what_is_not_read_in_time_is_counted(monkeypatch, bound, value):
    monkeypatch.setattr(epics_inbox, bound, value)
    inbox = Inbox(["A"])
    for _ in range(5):
        inbox.put_value("A", 1, "NO_ALARM", 0, VALUE)
    inbox.put_unreadable()
    accounted(inbox, 0, 3)
    assert inbox.counters.not_taken == 2
    assert len(inbox.take(0)) == 3
    inbox.put_value("A", 1, "NO_ALARM", 0, VALUE)
    assert len(inbox.take(0)) == 1
    assert inbox.counters.unreadable == 1


def test_what_came_before_the_end_can_be_read():
    inbox = Inbox(["A"])
    inbox.put_value("A", 1, "NO_ALARM", 0, VALUE)
    inbox.close()
    assert len(inbox.take(0)) == 1
    assert inbox.take(10) is None


@pytest.mark.parametrize(("library", "name"), [("aioca", "A"), ("p4p.client.thread", "pva://A")])
def test_a_missing_library_is_named_with_the_extra_that_brings_it(monkeypatch, library, name):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=r"forebay\[epics\]") as error:
        EpicsSource([name])
    assert library.partition(".")[0] in str(error.value)


def test_a_name_given_twice_is_an_error():
    with pytest.raises(ConfigError, match="twice: A"):
        EpicsSource(["A", "B", "A"])


def test_no_names_no_threads():
    source = EpicsSource([])
    source.close()
    source.close()
    assert source.read(10) is None


def test_the_pulse_id_pv_is_buffered_too():
    assert EpicsConfig(pvs=["A"], pulse_id_pv="P", directory="x").names == ["A", "P"]
    assert EpicsConfig(pvs=["P", "A"], pulse_id_pv="P", directory="x").names == ["P", "A"]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"pvs": ["A", "B", "A"]}, "A more than once"),
        ({"pvs": ["A"], "long_strings": ["B"]}, "long_strings names B"),
        ({"pvs": ["two words"]}, "pattern"),
        ({"pvs": [""]}, "pattern"),
        ({"pvs": ["A"], "max_bytes": 5}, "max_bytes"),
    ],
)
def test_mistakes_in_the_configuration_are_named(keys, says):
    with pytest.raises(ValidationError, match=says):
        EpicsConfig(directory="x", **keys)
