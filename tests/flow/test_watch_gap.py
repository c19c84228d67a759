"""Who watches everything is told that news may be missing; who watches a job looks at it anyway."""

import pytest
from tests.memory_bus import MemoryBus

from forebay.cli.job_view import update_text
from forebay.ports import Message
from forebay.run.watch import Watch

pytestmark = pytest.mark.flow


def say(bus, *keys):
    for key in keys:
        bus.publish(Message(key, "j1", {"state": "running"}))


def topics(watch):
    found = []
    while (update := watch.read(0)) is not None:
        found.append(update.topic)
    return found


def test_a_gap_is_told_once_before_what_comes_after_it():
    bus = MemoryBus()
    with Watch(bus) as watch:
        say(bus, "job.record", "gap.x", "other.x")
        assert topics(watch) == ["job"]
        watch._statuses.n_gaps += 2
        say(bus, "run.p")
        gap = watch.read(0)
        assert (gap.topic, gap.id) == ("gap", "")
        assert "may be missing" in gap.body["reason"]
        assert "may be missing" in update_text(gap).plain
        assert topics(watch) == ["run"]
        assert topics(watch) == []


def test_a_watcher_of_one_job_hears_of_the_job_only():
    bus = MemoryBus()
    with Watch(bus, "j1") as watch:
        watch._statuses.n_gaps += 1
        say(bus, "job.record")
        assert topics(watch) == ["job"]


def test_what_was_missed_before_a_watch_is_no_gap():
    bus = MemoryBus()
    statuses = bus.statuses
    bus.statuses = lambda pattern: later(statuses(pattern))

    def later(found):
        found.n_gaps = 7
        return found

    with Watch(bus) as watch:
        assert topics(watch) == []
