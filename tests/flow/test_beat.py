"""A worker goes on saying that it lives, whatever its job does."""

import threading
from types import SimpleNamespace

import pytest
from tests.memory_bus import MemoryBus

from forebay.config import parse
from forebay.job import Job
from forebay.service import beat
from forebay.service.beat import Beat
from forebay.service.task import Task

pytestmark = pytest.mark.flow


@pytest.fixture
def job():
    return Job(id="j1", kind="check", parameters={"files": ["a.h5"]}, worker="me")


def test_a_standing_that_cannot_be_told_ends_no_heartbeat(job, monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(beat, "PROGRESS_S", 0.001)
    monkeypatch.setattr(beat, "HEARTBEAT_S", 0.001)
    beats = threading.Semaphore(0)
    catalog = SimpleNamespace(heartbeat=lambda *_: beats.release() or "running", jobs=lambda **_: [])
    task = Task(parse({}, "test"), job, tmp_path)
    said = iter([RuntimeError("dictionary changed size during iteration")])

    def standing():
        for error in said:
            raise error
        return SimpleNamespace(n_done=1, n_asked=2, facts={})

    task.follow(standing)
    one = Beat(MemoryBus(), catalog, "me", "worker.h.record.1", [])
    with one.beating(threading.Event()), one.in_hand(task):
        assert all(beats.acquire(timeout=20) for _ in range(3))


def test_the_first_reason_counts(job, tmp_path):
    task = Task(parse({}, "test"), job, tmp_path)
    for why in ("finish", "cancel", "shutdown"):
        task.end(why)
    assert (task.why, task.stop.is_set()) == ("finish", True)
