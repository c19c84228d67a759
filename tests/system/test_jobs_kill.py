"""Workers killed -9 at random under many requests: each request ends exactly once, and everything agrees.

``FOREBAY_KILL_REQUESTS=1000`` for the long version.
"""

import os
import random
import threading
import time
from collections import Counter
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from forebay.errors import NoAnswerError, NoWorkerError, OverwrittenError, StateError
from forebay.job import ENDS
from forebay.run.ending import GOING_ON
from forebay.store.check import check_file

from .control_stand import ControlStand, many_hosts, one_host
from .stand import PATIENCE_S, wait_until

pytestmark = [pytest.mark.system, pytest.mark.timeout(3600)]

N_REQUESTS = int(os.environ.get("FOREBAY_KILL_REQUESTS", "100"))
N_IMAGES = 20
WORKERS = [("record", "1"), ("record", "2"), ("retrieve", "1")]
MOST_KILLED = max(10, N_REQUESTS // 5)
MOST_S = 60 + N_REQUESTS


@pytest.fixture
def started(tmp_path):
    """Return a function that starts a stand with these settings."""
    with ExitStack() as open_:

        def start(**settings):
            quotas = {"queued_jobs": N_REQUESTS + 10}
            stand = open_.enter_context(ControlStand(tmp_path, quotas=quotas, **settings))
            stand.serve_detector()
            stand.work_all(*WORKERS)
            return stand

        yield start


class Killer(threading.Thread):
    """Kills a worker at random every now and then, and starts another in its place, until told to stop."""

    def __init__(self, stand):
        super().__init__(name="killer")
        self._stand = stand
        self._stop_asked = threading.Event()
        self.n_killed = 0

    def run(self):
        rng = random.Random(1)
        while self.n_killed < MOST_KILLED and not self._stop_asked.wait(rng.uniform(0.3, 1.5)):
            which = rng.choice(WORKERS)
            if "takes jobs" not in self._stand.workers[which].err:
                continue  # on a busy machine nobody would ever get to work
            self._stand.workers[which].kill()
            self.n_killed += 1
            self._stand.work(*which)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._stop_asked.set()
        self.join()


def ask(stand, operator, number, rng):
    """Send one request of one kind or another; while all workers are dead, ask again, as a client would."""
    kind = rng.choice(["record", "record", "retrieve"])
    by_range = kind == "retrieve" or rng.random() < 0.3
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        with closing(stand.ring()) as ring:
            first = ring.span.last - N_IMAGES
        measure = {"pulses": f"{first}..{first + N_IMAGES - 1}"} if by_range else {"images": N_IMAGES}
        parameters = {"sources": [stand.name], "idle_s": 5.0, **measure}
        with suppress(NoWorkerError, NoAnswerError, OverwrittenError):  # or its pulses are gone meanwhile
            operator.request(kind, parameters, id=f"r{number}")
            return
    raise AssertionError("no worker comes back")


@pytest.mark.parametrize("settings", [one_host, many_hosts])
def test_every_request_ends_exactly_once_and_the_books_agree_with_the_disk(started, settings, request):
    stand = started(**settings(request))
    rng = random.Random(N_REQUESTS)
    with stand.operator() as operator:
        with Killer(stand) as killer:
            for number in range(N_REQUESTS):
                ask(stand, operator, number, rng)
                if rng.random() < 0.05:
                    with suppress(StateError):  # it has ended
                        operator.cancel(f"r{rng.randrange(number + 1)}")
            wait_until(lambda: n_ended(operator) > 0.9 * N_REQUESTS, lambda: said(operator), MOST_S)
        wait_until(lambda: n_ended(operator) == N_REQUESTS, lambda: said(operator), 120)
        wait_until(lambda: {run.state for run in operator.runs(limit=2 * N_REQUESTS)} == {"done"}, "the runs")
        jobs = operator.jobs(limit=2 * N_REQUESTS)
        runs = operator.runs(limit=2 * N_REQUESTS)
        files = operator.files(limit=2 * N_REQUESTS)
    states = Counter(job.state for job in jobs)
    print(f"{killer.n_killed} workers killed; {dict(states)}; {Counter(j.reason[:50] for j in jobs)}")
    assert killer.n_killed >= 5

    assert {job.id for job in jobs} == {f"r{number}" for number in range(N_REQUESTS)}
    for job in jobs:
        assert [change.state in ENDS for change in job.history].count(True) == 1, job
        assert job.reason, job
    assert states["finished"] > N_REQUESTS / 2, states

    assert sorted(run.number for run in runs) == list(range(1, N_REQUESTS + 1))
    assert sorted(job.run for job in jobs) == list(range(1, N_REQUESTS + 1))

    booked = {file.path: file for file in files}
    on_disk = {str(path) for path in stand.data.rglob("*.h5*")}
    assert on_disk == set(booked)  # no part, no journal, nothing unknown
    for job in jobs:
        if job.state == "finished":
            file = booked[job.result["file"]]
            assert (file.job, file.run, file.n_got) == (job.id, job.run, job.n_done), (job, file)
            assert file.n_got + file.n_missing == N_IMAGES  # what had left the ring by then is told
    for path in on_disk:
        problems = [one for one in check_file(Path(path)).problems if one.severity == "problem"]
        assert not problems, (path, problems)


def test_a_hub_that_is_killed_costs_no_image_and_no_request(started):
    stand = started()
    with stand.operator() as operator:
        (first,) = operator.request("record", {"sources": [stand.name], "images": 400})
        wait_until(lambda: operator.job(first.id).n_done > 10, "images")
        waiting = [
            operator.request("record", {"sources": [stand.name], "images": 400 if i == 0 else 10})[0]
            for i in range(4)
        ]
        stand.hub.kill()
        stand.serve_hub()
        for job in (first, *waiting):
            ended = operator.wait(job.id, 60)
            assert ended.state == "finished", ended
            assert ended.n_done == ended.n_asked
            assert [change.state in ENDS for change in ended.history].count(True) == 1
        (after,) = operator.request("record", {"sources": [stand.name], "images": 10})
        assert operator.wait(after.id, 30).state == "finished"


def test_a_worker_that_is_told_to_stop_ends_its_job_and_keeps_what_is_whole(started):
    stand = started()
    with stand.operator() as operator:
        (job,) = operator.request("record", {"sources": [stand.name], "images": 100_000})
        wait_until(lambda: operator.job(job.id).n_done > 10, "images")
        for which in WORKERS:
            assert stand.workers[which].stop().code == 0
        ended = operator.job(job.id)
        assert (ended.state, ended.worker.split()[0] in ("record.1", "record.2")) == ("failed", True)
        assert "stopped" in ended.reason
        assert operator.files(job_id=job.id)[0].n_got == ended.n_done > 10
        problems = check_file(Path(ended.result["file"])).problems
        assert not [one for one in problems if one.severity == "problem"]


def n_ended(operator):
    counts = operator.status().n_jobs
    return sum(counts.get(state, 0) for state in ENDS)


def said(operator):
    return f"an end of {[(job.id, job.state, job.worker) for job in operator.jobs(states=GOING_ON)][:10]}"
