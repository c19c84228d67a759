"""The operator over a catalogue on disk and a bus in memory: nothing is lost, nothing is done twice."""

import threading
import time
from contextlib import closing, contextmanager

import pytest
from tests.memory_bus import MemoryBus

from forebay.config import parse
from forebay.errors import BusError, ConfigError, NoWorkerError, ServiceError, StateError, UnknownError
from forebay.job import ENDS, Job
from forebay.run import claims
from forebay.run.answers import error_body
from forebay.run.claims import MOST_TRIES, Sweep, claim
from forebay.run.operator import Operator
from forebay.run.owner import owner
from forebay.store.catalog import open_catalog

pytestmark = pytest.mark.flow

RECORD = {"sources": ["jf"], "images": 10}
DEAD = owner("record.dead", 2**22 + 1)  # larger than any pid: it was never born


@pytest.fixture
def config(tmp_path):
    return parse(
        {
            "detectors": {"jf": {"type": "jungfrau"}, "eiger": {"type": "eiger", "start_udp_port": 60_000}},
            "record": {"directory": str(tmp_path / "data")},
            "state_dir": str(tmp_path / "state"),
            "runtime_dir": str(tmp_path / "run"),
        },
        "test",
    )


@pytest.fixture
def catalog(config):
    with closing(open_catalog(config)) as catalog:
        yield catalog


class Worker:
    """Plans everything, and takes jobs when it is told to; `refuses` makes its plans fail."""

    def __init__(self, bus, catalog, sources=("jf", "eiger"), name="record.1"):
        self.bus, self.catalog, self.me = bus, catalog, owner(name)
        self.refuses = None
        self.n_planned = 0
        bus.declare("record.here", [f"job.record.{source}" for source in sources])
        self.queue = bus.work("record.here")
        self._answers = [bus.answer(f"plan.record.{source}") for source in sources]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._plan, args=(one,)) for one in self._answers]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _plan(self, answers):
        while not self._stop.is_set():
            if (call := answers.read(0.02)) is not None:
                message, reply = call
                self.n_planned += 1
                (source,) = message.body["parameters"]["sources"]
                plan = {
                    "source": source,
                    "file": message.body["directory"],
                    "host": "here",
                    "n_asked": 10,
                    "most_bytes": 10,
                    "free_bytes": 100,
                }
                reply(error_body(self.refuses) if self.refuses else plan)

    def take(self):
        """Return the next job, claimed; None if there is none to be had."""
        delivery = self.queue.take(0)
        if delivery is None:
            return None
        job = claim(self.bus, self.catalog, delivery.message.id, self.me)
        delivery.ack()
        return job

    def end(self, job, state="finished"):
        return self.catalog.advance(
            job.id, state, from_states=["running", "cancelling"], from_worker=job.worker, reason="done"
        )


@pytest.fixture
def bus():
    return MemoryBus()


@pytest.fixture
def worker(bus, catalog):
    with Worker(bus, catalog) as worker:
        yield worker


@pytest.fixture
def operator(config, bus, catalog):
    with Operator(config, bus, catalog, who="test") as operator:
        yield operator


def n_ends(job):
    return [change.state in ENDS for change in job.history].count(True)


def test_a_row_and_a_message(operator, worker, bus):
    (job,) = operator.request("record", RECORD)
    assert (job.state, job.proposal, job.run, job.acquisition) == ("queued", "default", 1, 1)
    assert [(one.key, one.id) for one in bus.requests] == [("job.record.jf", job.id)]
    taken = worker.take()
    assert (taken.id, taken.state, taken.worker) == (job.id, "running", worker.me)
    assert worker.end(taken)
    assert operator.wait(job.id, 0).state == "finished"


def test_several_sources_are_jobs_of_one_acquisition(operator, worker):
    jobs = operator.request("record", {"sources": ["jf", "eiger"], "images": 1}, id="both")
    assert [job.id for job in jobs] == ["both.jf", "both.eiger"]
    assert {(job.run, job.acquisition) for job in jobs} == {(1, 1)}
    assert [job.parameters["sources"] for job in jobs] == [["jf"], ["eiger"]]


def test_a_refused_plan_uses_up_no_number(operator, worker, catalog):
    worker.refuses = ConfigError("No.", "Ask for something else.")
    with pytest.raises(ConfigError, match=r"No\. Ask for something else\."):
        operator.request("record", RECORD)
    worker.refuses = None
    assert operator.request("record", RECORD)[0].run == 1


def test_without_a_worker_nothing_is_accepted(operator, catalog, monkeypatch):
    monkeypatch.setattr("forebay.run.intake.EXPECTED_S", 0.0)
    with pytest.raises(NoWorkerError, match=r"record\.jf.*forebay run"):
        operator.request("record", RECORD)
    assert catalog.n_jobs() == {}


def test_a_message_that_is_lost_is_sent_again(operator, worker, bus, catalog, monkeypatch):
    bus.loses = 1
    (job,) = operator.request("record", RECORD)
    assert worker.take() is None
    sweep = Sweep(bus, catalog, "test")
    assert sweep.run() == 0  # not at once: it may be on its way
    monkeypatch.setattr(claims, "SEND_AGAIN_S", 0.0)
    assert Sweep(bus, catalog, "test").run() == 1
    assert worker.take().id == job.id


def test_a_bus_that_is_down_after_the_row_delays_a_request_only(operator, worker, bus, catalog, monkeypatch):
    bus.is_down = True
    (job,) = operator.request("record", RECORD)
    assert job.state == "queued"
    bus.is_down = False
    monkeypatch.setattr(claims, "SEND_AGAIN_S", 0.0)
    Sweep(bus, catalog, "test").run()
    assert worker.take().id == job.id


def test_what_runs_is_not_sent_again_while_its_worker_lives(operator, worker, bus, catalog, monkeypatch):
    operator.request("record", RECORD)
    worker.take()
    monkeypatch.setattr(claims, "SEND_AGAIN_S", 0.0)
    assert Sweep(bus, catalog, "test").run() == 0


def test_a_message_that_comes_twice_is_carried_out_once(operator, worker, bus):
    (job,) = operator.request("record", RECORD)
    bus.request(bus.requests[0])
    first = worker.take()
    bus.request(bus.requests[0])
    other = Worker(bus, worker.catalog, sources=(), name="record.2")
    assert worker.queue.take(0) is not None
    assert claim(bus, worker.catalog, job.id, other.me) is None
    assert worker.end(first)
    assert not worker.end(first)
    assert claim(bus, worker.catalog, job.id, other.me) is None
    assert n_ends(operator.job(job.id)) == 1


def test_many_workers_want_one_job_and_one_gets_it(operator, worker, bus, catalog):
    (job,) = operator.request("record", RECORD)
    got = []
    barrier = threading.Barrier(8)

    def want(i):
        barrier.wait()
        if (claimed := claim(bus, catalog, job.id, owner(f"record.{i}"))) is not None:
            got.append(claimed.worker)

    threads = [threading.Thread(target=want, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    assert operator.job(job.id).worker == got[0]


def test_the_job_of_a_dead_worker_goes_to_another_and_its_history_tells(operator, worker, bus, catalog):
    (job,) = operator.request("record", RECORD)
    assert claim(bus, catalog, job.id, DEAD).worker == DEAD
    taken = claim(bus, catalog, job.id, worker.me)
    assert taken.worker == worker.me
    assert [change.state for change in taken.history] == ["queued", "running", "queued", "running"]
    assert "record.dead" in taken.history[2].reason
    assert not worker.end(job)  # in the name of nobody
    assert worker.end(taken)


def test_a_job_is_not_taken_from_the_worker_who_took_it_over(operator, worker, bus, catalog):
    (job,) = operator.request("record", RECORD)
    seen = claim(bus, catalog, job.id, DEAD)
    taken = claim(bus, catalog, job.id, worker.me)
    assert not claims.free(catalog, seen, "a third one, who looked before")
    assert operator.job(job.id).worker == taken.worker == worker.me


def test_a_job_that_lost_five_workers_has_failed(operator, worker, bus, catalog):
    (job,) = operator.request("record", RECORD)
    for i in range(MOST_TRIES):
        assert claim(bus, catalog, job.id, owner(f"dead.{i}", 2**22 + 1 + i)) is not None
    assert claim(bus, catalog, job.id, worker.me) is None
    ended = operator.job(job.id)
    assert (ended.state, n_ends(ended)) == ("failed", 1)
    assert str(MOST_TRIES) in ended.reason
    assert operator.runs()[0].state == "done"


def test_a_job_being_cancelled_is_ended_by_the_next_worker_when_its_own_dies(operator, worker, bus, catalog):
    (job,) = operator.request("record", RECORD)
    claim(bus, catalog, job.id, DEAD)
    assert operator.cancel(job.id).state == "cancelling"
    taken = claim(bus, catalog, job.id, worker.me)
    assert taken.state == "cancelling"
    assert worker.end(taken, "cancelled")
    assert operator.job(job.id).state == "cancelled"


def test_a_worker_takes_up_its_own_job_again(operator, worker, bus, catalog):
    (job,) = operator.request("record", RECORD)
    first = claim(bus, catalog, job.id, worker.me)
    assert claim(bus, catalog, job.id, worker.me).id == first.id


def test_cancelling_and_claiming_at_once_has_one_winner(operator, worker, bus, catalog):
    for i in range(20):
        (job,) = operator.request("record", RECORD, id=f"race-{i}")
        barrier = threading.Barrier(2)
        claimed = []

        def take(job_id=job.id, barrier=barrier, claimed=claimed):
            barrier.wait()
            claimed.append(claim(bus, catalog, job_id, worker.me))

        thread = threading.Thread(target=take)
        thread.start()
        barrier.wait()
        operator.cancel(job.id)
        thread.join()
        found = operator.job(job.id)
        assert found.state == ("cancelled" if claimed[0] is None else "cancelling")


def test_a_deadline_passes_while_a_job_waits(operator, worker, bus, catalog):
    (job,) = operator.request("record", RECORD, deadline_s=1e-3)
    while time.time_ns() < job.deadline_ns:
        pass
    assert worker.take() is None
    ended = operator.job(job.id)
    assert (ended.state, n_ends(ended)) == ("failed", 1)
    assert "deadline" in ended.reason


def test_a_request_that_was_cut_short_is_completed_under_the_same_numbers(operator, worker, catalog):
    operator.request("record", RECORD)
    acquisition = catalog.begin_acquisition("default")
    parameters = {
        "sources": ["jf"],
        "file": None,
        "pulses": None,
        "images": 1,
        "seconds": None,
        "idle_s": 10.0,
    }
    catalog.add_job(
        Job(
            id="cut.jf",
            kind="record",
            parameters=parameters,
            proposal="default",
            run=acquisition.run,
            acquisition=acquisition.number,
            owner="test",
            created_ns=1,
        )
    )
    jobs = operator.request("record", {"sources": ["jf", "eiger"], "images": 1}, id="cut")
    assert [job.id for job in jobs] == ["cut.jf", "cut.eiger"]
    assert {job.run for job in jobs} == {acquisition.run} == {2}


def test_the_same_id_from_many_threads_is_one_job(operator, worker, catalog):
    with run_at_once(8, lambda: operator.request("record", RECORD, id="one")):
        pass
    assert catalog.n_jobs() == {"queued": 1}
    assert [run.number for run in operator.runs()] == [1]


@contextmanager
def run_at_once(n, work):
    errors = []

    def guarded():
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - shown by the test
            errors.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(n)]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()
    assert not errors


def test_unknown_things_are_named(operator, worker):
    for asked in (
        lambda: operator.job("nix"),
        lambda: operator.cancel("nix"),
        lambda: operator.request("record", RECORD, proposal="nix"),
        lambda: operator.request("record", RECORD, run=9),
    ):
        with pytest.raises(UnknownError, match=r"nix|9"):
            asked()


@pytest.mark.parametrize("text", ["", " ", "a b", "../x", "x" * 65, "ä"])
def test_ids_that_could_lead_elsewhere_are_refused(operator, worker, text):
    if not text:
        assert operator.request("record", RECORD, id=text)[0].id
        return
    with pytest.raises(ConfigError, match="id of a request"):
        operator.request("record", RECORD, id=text)


def test_a_closed_proposal_takes_nothing(operator, worker, catalog, tmp_path):
    catalog.put_proposal("p1", tmp_path)
    catalog.close_proposal("p1")
    with pytest.raises(StateError, match="p1 is closed"):
        operator.request("record", RECORD, proposal="p1")


def test_proposals_are_booked_moved_and_closed(operator, worker, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.symlink_to(one)
    assert operator.put_proposal("p1", str(other)).directory == str(one)
    assert operator.put_proposal("p1", tmp_path).directory == str(tmp_path)
    assert [proposal.name for proposal in operator.proposals()] == ["p1"]
    assert operator.request("record", RECORD, proposal="p1")
    assert operator.close_proposal("p1").closed
    for asked in (
        lambda: operator.close_proposal("p1"),
        lambda: operator.request("record", RECORD, proposal="p1"),
    ):
        with pytest.raises(StateError, match="p1"):
            asked()
    with pytest.raises(UnknownError, match="p9"):
        operator.close_proposal("p9")


@pytest.mark.parametrize(
    ("name", "folder", "said"),
    [
        ("a b", "/tmp", "'a b' cannot be the name"),
        ("default", "/tmp", "folder of proposal default is record.directory"),
        ("p1", "data", "data of proposal p1 is not a full path"),
        ("p1", "/nowhere/at/all", "no folder /nowhere/at/all"),
        ("p1", "/dev/null", "no folder /dev/null"),
        ("p1", "/x\0y", "no folder"),
        ("p1", "/" + "x" * 3000, "no folder"),
    ],
)
def test_proposals_that_cannot_be(operator, name, folder, said):
    with pytest.raises(ConfigError, match=said):
        operator.put_proposal(name, folder)
    assert operator.proposals() == []


class Obedient(threading.Thread):
    """Takes jobs as a worker does, and ends them when it is told to; `deaf` ones never begin."""

    def __init__(self, worker, *, deaf=False):
        super().__init__()
        self._worker, self._deaf = worker, deaf
        self._over = threading.Event()
        self._kills = worker.bus.kills("job.#")
        self.jobs = {}

    def run(self):
        while not self._over.is_set():
            if not self._deaf and (job := self._worker.take()) is not None:
                self.jobs[job.id] = job
            message = self._kills.read(0.02)
            if message is not None and message.id in self.jobs:
                state = "finished" if message.body["how"] == "finish" else "cancelled"
                self._worker.end(self.jobs.pop(message.id), state)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self.join()


def test_a_run_from_prepare_to_stop(operator, worker):
    assert operator.run_status().state == "idle"
    with Obedient(worker), operator.watch() as news:
        ready = operator.prepare(["jf", "eiger"], tag="t", comment="c")
        running = operator.start()
        stopped = operator.stop()
        told = []
        while (update := news.read(0)) is not None:
            if update.topic == "run":
                told.append(update.body["state"])
    assert (ready.state, ready.run, ready.sources) == ("ready", 1, ["jf", "eiger"])
    assert (running.state, len(running.jobs)) == ("running", 2)
    assert stopped.state == "idle"
    assert told == ["ready", "starting", "running", "ending", "idle"]
    assert {operator.job(one).state for one in running.jobs} == {"finished"}
    assert operator.runs()[0].ended_ns is not None


def test_services_that_do_not_confirm_are_named(operator, worker):
    with Obedient(worker, deaf=True):
        operator.prepare(["jf", "eiger"])
        with pytest.raises(ServiceError, match=r"record\.jf, record\.eiger was not recording within 0\.1 s"):
            operator.start(timeout=0.1)
        assert operator.run_status().state == "failed"
        with pytest.raises(StateError, match="abort"):
            operator.start()
        assert operator.abort().state == "idle"


def test_a_second_run_waits_for_the_first(operator, worker):
    operator.prepare(["jf"])
    with pytest.raises(StateError, match="start, stop, abort"):
        operator.prepare(["jf"])
    assert operator.stop().state == "idle"
    assert operator.prepare(["jf"]).run == 2


def test_of_two_who_prepare_at_once_one_is_refused(config, bus, catalog, worker):
    results = []
    barrier = threading.Barrier(2)

    def prepare():
        with Operator(config, bus, catalog) as operator:
            barrier.wait()
            try:
                results.append(operator.prepare(["jf"]).state)
            except StateError:
                results.append("refused")

    catalog.put_proposal("default", config.record.directory)
    threads = [threading.Thread(target=prepare) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["ready", "refused"]


def test_a_bus_that_is_away_is_said_in_the_end(config, catalog):
    class Away(MemoryBus):
        def call(self, message, timeout):
            raise BusError("The bus is away.", "Start it.")

    with Operator(config, Away(), catalog) as operator, pytest.raises(BusError, match="away"):
        operator.request("record", RECORD)
    assert catalog.n_jobs() == {}
