"""Jobs whose workers died: whoever looks next sends them again, gives them on, or draws the consequences."""

from contextlib import closing

import pytest
from tests.memory_bus import MemoryBus
from tests.waiting import until

from forebay.config import parse
from forebay.errors import StateError
from forebay.job import Job
from forebay.ports import Message
from forebay.run import claims, watch
from forebay.run.claims import Sweep, claim
from forebay.run.ending import OPEN, settle_run
from forebay.run.intake import Intake
from forebay.run.owner import owner
from forebay.store.catalog import open_catalog

pytestmark = pytest.mark.flow

DEAD = owner("record.dead", 2**22 + 1)  # larger than any pid: it was never born
ME = owner("record.me")


@pytest.fixture
def catalog(tmp_path):
    config = parse(
        {
            "detectors": {"jf": {"type": "jungfrau"}},
            "record": {"directory": str(tmp_path / "data")},
            "state_dir": str(tmp_path / "state"),
            "runtime_dir": str(tmp_path / "run"),
        },
        "test",
    )
    with closing(open_catalog(config)) as catalog:
        catalog.put_proposal("p1", config.record.directory)
        yield catalog


@pytest.fixture
def bus():
    bus = MemoryBus()
    bus.declare("record.here", ["job.#"])
    return bus


@pytest.fixture
def clock(monkeypatch):
    """The clock of those who sweep, in seconds."""
    now = [1000.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: now[0])
    return now


def book(catalog, kind="record", run=None, **parameters):
    parameters = parameters or {"sources": ["jf"], "images": 10}
    job = Job(id=f"{kind}-1", kind=kind, parameters=parameters, proposal="p1", run=run, created_ns=1)
    (booked,) = catalog.add_request([job], draws=kind == "record")
    return booked


def test_a_job_of_a_dead_worker_is_sent_again_and_can_be_had(catalog, bus, clock):
    """The bus may have lost it with the worker, or the worker lived on another bus."""
    job = book(catalog)
    assert claim(bus, catalog, job.id, DEAD) is not None
    sweep = Sweep(bus, catalog, ME)
    assert sweep.run() == 0
    clock[0] += claims.SEND_AGAIN_S
    assert sweep.run() == 1
    assert [message.id for message in bus.requests] == [job.id]
    assert claim(bus, catalog, job.id, ME).worker == ME


def test_a_job_that_waits_is_sent_ever_more_rarely(catalog, bus, clock):
    book(catalog)
    sweep = Sweep(bus, catalog, ME)
    sent_at = []
    for second in range(80):
        clock[0] = 1000.0 + second
        if sweep.run():
            sent_at.append(second)
    assert sent_at == [5, 15, 35, 75]


def test_who_comes_upon_a_job_that_has_ended_ends_its_run(catalog, bus):
    """Its worker died between the two."""
    job = book(catalog)
    assert catalog.run("p1", job.run).state == OPEN
    claim(bus, catalog, job.id, DEAD)
    catalog.advance(job.id, "finished", from_states=["running"], from_worker=DEAD, who=DEAD)
    assert catalog.run("p1", job.run).state == OPEN
    assert claim(bus, catalog, job.id, ME) is None
    assert catalog.run("p1", job.run).state == "done"


@pytest.mark.parametrize(("kind", "state"), [("record", "failed"), ("retrieve", "running")])
def test_a_run_that_is_running_fails_with_its_recordings_only(catalog, bus, kind, state):
    run = catalog.begin_run("p1", state="running")
    job = book(catalog, kind, run.number, sources=["jf"], pulses="1..10")
    catalog.advance(job.id, "running", from_states=["queued"], who=ME, worker=ME)
    catalog.advance(job.id, "failed", from_states=["running"], who=ME, reason="disk full")
    settle_run(bus, catalog, catalog.job(job.id))
    assert catalog.run("p1", run.number).state == state


def test_so_many_jobs_may_wait_and_no_more(catalog, bus, tmp_path):
    config = parse({"quotas": {"queued_jobs": 2}, "record": {"directory": str(tmp_path)}}, "test")
    intake = Intake(config, bus, catalog, "test")
    book(catalog)
    intake._check_queue(1)
    with pytest.raises(StateError, match="1 jobs wait already; 2 may"):
        intake._check_queue(2)


def test_who_has_said_nothing_for_long_is_not_listed(bus, monkeypatch):
    now = [10**18]
    monkeypatch.setattr(watch.time, "time_ns", lambda: now[0])
    with closing(watch.Roll(bus)) as roll:
        bus.publish(Message("service.here.receive.jf", "one", {"state": "ready"}))
        until(roll.services)
        now[0] += int(watch.FORGET_S * 1e9) - 1
        assert [one.state for one in roll.services()] == ["ready"]
        now[0] += 1
        assert roll.services() == []
