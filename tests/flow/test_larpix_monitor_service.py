"""The monitor service: what it counts, what did not come to it, recordings that begin."""

import socket
import threading

import pytest
from tests.larpix_events import blocks
from tests.ports import free_ports

from forebay.config import ApiConfig
from forebay.ports import Message
from forebay.service import monitor as service
from forebay.service.larpix_shown import Shown
from forebay.service.larpix_tally import Tally

pytestmark = pytest.mark.flow


class Source:
    """Blocks, then the end; before the third block, two are lost."""

    def __init__(self, events):
        self._events = events
        self.lost = 0

    def read(self, timeout):
        if not self._events:
            return None
        if len(self._events) == 1:
            self.lost = 2
        return [self._events.pop(0)]


def test_what_comes_is_counted_and_what_does_not_come_too(tmp_path, monkeypatch):
    monkeypatch.setattr(service.os, "nice", lambda _n: 0)
    source = Source(blocks(3, n_messages=2, n_words=5, seed=1))
    tally = Tally()
    api = ApiConfig(port=free_port())
    service.watch(source, Shown(tally), tally, api, tmp_path, threading.Event(), lambda: source.lost)
    assert tally.n_words > 0
    assert (tally.n_missing, Shown(tally).glance()["missing"]) == (2, 2)
    assert service.counters_of(tally)["missing"] == 2


def free_port():
    return free_ports(1, socket.SOCK_STREAM)


def news(job, state, run=None):
    return Message("job.record.tpc", job, {"state": state, "run": run, "reason": "time over"})


def test_each_recording_begins_from_nothing():
    tally, recordings = Tally(), service.Recordings()
    made = blocks(1, n_messages=2, n_words=5, seed=1)
    tally.add(made)
    recordings.take(news("a", "queued"), tally)
    assert (recordings.state, tally.run) == ("", None)
    assert tally.n_words > 0
    recordings.take(news("a", "running", 4), tally)
    assert (recordings.state, tally.run, tally.n_words) == ("running", 4, 0)
    tally.add(made)
    recordings.take(news("a", "running", 4), tally)  # its progress
    assert tally.n_words > 0
    recordings.take(news("other", "finished"), tally)
    assert recordings.state == "running"
    recordings.take(news("a", "finished", 4), tally)
    assert (recordings.state, tally.run) == ("finished", 4)
    assert tally.n_words > 0
    assert list(tally.messages) == ["recording began, job a", "recording finished: time over"]
    recordings.take(news("b", "running", 5), tally)
    assert (tally.run, tally.n_words) == (5, 0)
