"""Who watches everything is told that news may be missing; who watches a job looks at it anyway."""

import pytest
from tests.memory_bus import MemoryBus

from forebay.cli.job_view import update_text
from forebay.errors import UnknownError
from forebay.job import Job
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


def test_after_a_gap_no_job_is_left_running_that_has_ended():
    bus = MemoryBus()
    jobs = {one: Job(id=one, kind="record", parameters={}, state="finished") for one in ("j1", "j2")}
    jobs["j2"] = Job(id="j2", kind="record", parameters={}, state="running", n_done=7)

    def look_up(job_id):
        try:
            return jobs[job_id]
        except KeyError:
            raise UnknownError(f"There is no job {job_id}.") from None

    def tell(job_id, state):
        bus.publish(Message("job.record", job_id, {"state": state}))

    with Watch(bus, job=look_up) as watch:
        for job_id, state in (("j1", "running"), ("j2", "queued"), ("j3", "running"), ("j4", "finished")):
            tell(job_id, state)
        assert topics(watch) == ["job"] * 4
        tell("j1", "running")  # it comes late, out of what a new hub tells again
        tell("j5", "running")
        watch._statuses.n_gaps += 1
        found = []
        while (update := watch.read(0)) is not None:
            found.append((update.id, update.body.get("state")))
        assert found == [("", None), ("j1", "finished"), ("j2", "running"), ("j5", "running")]
