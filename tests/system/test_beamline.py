"""Control holds: a day at the beamline, on one host by itself and over several with RabbitMQ and a server."""

import json
import os
from pathlib import Path

import pytest

from forebay.job import ENDS
from forebay.pulse import PulseRange

from . import hosts, postgres, rabbit
from .beamline import RATE_HZ, many_hosts, one_host
from .stand import wait_until

pytest.importorskip("softioc", reason="softioc cannot be installed here")
pytest.importorskip("aioca", reason="aioca cannot be installed here")
pytestmark = [pytest.mark.system, pytest.mark.calm, pytest.mark.timeout(300)]

WAIT_S = 60.0
N_PULSES = 100
OTHERS = ("slow", "beam")
"""Process variables and the beam-synchronous stream."""


@pytest.fixture(scope="module", params=[one_host, many_hosts], ids=lambda param: param.__name__)
def site(tmp_path_factory, request):
    if request.param is many_hosts and (why := hosts.missing() or rabbit.missing() or postgres.missing()):
        must = os.environ.get("CI") and os.getuid() == 0
        (pytest.fail if must else pytest.skip)(why)
    with request.param(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(scope="module")
def operator(site):
    with site.operator() as operator:
        yield operator


def ended(operator, job):
    found = operator.wait(job.id, WAIT_S)
    assert found.has_ended, found
    return found


def is_on(job, post):
    """Whether a job was carried out by a worker of that host."""
    name = os.uname().nodename if post.host is None else post.host.name
    return f" on {name} (" in job.worker


def test_a_day(site, operator):
    sources = list(site.posts)
    span = wait_until(lambda: s if len(s := site.span(operator)) > 2 * N_PULSES else None, "a past")
    coming = str(PulseRange(span.last + N_PULSES, span.last + 2 * N_PULSES - 1))
    past = str(PulseRange(span.last - N_PULSES, span.last - 1))

    recorded = operator.request("record", {"sources": [*sources, *OTHERS], "pulses": coming})
    endless = operator.request("record", {"sources": sources})
    waiting = operator.request("record", {"sources": sources})  # all workers of each host are busy
    retrieved = operator.request("retrieve", {"sources": [*sources, *OTHERS], "pulses": past})

    for job in endless:
        wait_until(lambda job=job: operator.job(job.id).n_done > 0, lambda: f"images\n{site.logs()}")
    for job in waiting:
        operator.cancel(job.id)
    for job in endless:
        operator.cancel(job.id)
    for job in (*endless, *waiting):
        assert ended(operator, job).state == "cancelled"
    for asked, wanted in ((recorded, coming), (retrieved, past)):
        for source, job in zip([*sources, *OTHERS], asked, strict=True):
            job = ended(operator, job)
            assert (job.state, job.n_done, job.n_asked) == ("finished", N_PULSES, N_PULSES), job
            (file,) = operator.files(job_id=job.id)
            assert (file.source, file.run, file.acquisition) == (source, job.run, job.acquisition)
            assert is_on(job, site.posts.get(source, site.slow)), job
            if source in sources:
                assert job.result["sources"][source]["missing"]["n"] == 0
                assert str(PulseRange(file.first_pulse, file.last_pulse)) == wanted
            elif source == "slow":
                assert (job.result["variables"], job.result["not_recorded"]) == (3, [])
                assert job.result["points"] > N_PULSES


def test_every_file_of_it_is_good(site, operator):
    files = sorted(site.data.rglob("*.h5"))
    assert len(files) >= 2 * 4 + 2  # recorded, retrieved; cancelled while they ran
    done = site.desk.stand.forebay("check", *files, "--json")
    assert done.code == 0, done
    names = [str(path.relative_to(site.data)) for path in files]
    checked = ended(operator, operator.request("check", {"files": names})[0])
    assert (checked.state, checked.result["n_good"]) == ("finished", len(files)), checked
    assert {file.checked for file in operator.files()} == {"ok"}


def test_the_books_agree_with_the_disk(site, operator):
    jobs, runs, files = operator.jobs(), operator.runs(), operator.files()
    for job in jobs:
        assert [change.state in ENDS for change in job.history].count(True) == 1, job
        assert job.reason, job
    assert [run.number for run in runs] == [4, 3, 2, 1]
    wait_until(lambda: {run.state for run in operator.runs()} == {"done"}, "the runs")
    of_jobs = {str(path) for path in site.data.glob("run*/*.h5")}
    assert {file.path for file in files} == of_jobs
    assert not list(site.data.rglob("*.part*"))
    for file in files:
        assert file.n_bytes == Path(file.path).stat().st_size
        beside = json.loads((site.data / "runs" / f"run{file.run:04}" / "acq0001.json").read_text())
        assert file.path in json.dumps(beside)


def test_a_cable_is_pulled_during_a_recording(site, operator):
    source, post = next(iter(site.posts.items()))
    if post.host is None:
        pytest.skip("one host by itself has no cable to the others")
    (job,) = operator.request("record", {"sources": [source], "seconds": 8})
    wait_until(lambda: operator.job(job.id).n_done > 0, lambda: f"images\n{site.logs()}")
    post.host.cut()
    try:
        (later,) = operator.request("record", {"sources": [list(site.posts)[1]], "images": 10})
        assert ended(operator, later).state == "finished"  # the others go on
    finally:
        post.host.join()
    job = ended(operator, job)
    assert (job.state, [change.state for change in job.history]) == (
        "finished",
        ["queued", "running", "finished"],
    ), (job, site.logs())
    assert job.result["sources"][source]["got"] == job.n_done
    (again,) = operator.request("record", {"sources": [source], "images": 10})
    assert ended(operator, again).state == "finished"


def test_broker_and_database_are_stopped_during_a_recording(site, operator):
    if site.servers is None:
        pytest.skip("one host by itself has neither broker nor database server")
    broker, database = site.servers
    source, post = next(iter(site.posts.items()))
    (job,) = operator.request("record", {"sources": [source], "images": 8 * RATE_HZ})
    wait_until(lambda: operator.job(job.id).n_done > 0, lambda: f"images\n{site.logs()}")
    broker.kill()
    database.stop()
    try:
        where = ("--config", site.desk.stand.config_path)
        done = site.desk.stand.forebay("record", source, "--images", 1, *where)
        assert (done.code, "Traceback" in done.err) == (1, False), done
        assert "RabbitMQ runs there" in done.err
        assert "guest:guest" not in done.err
    finally:
        database.start()
        broker.start()
    job = ended(operator, job)
    assert (job.state, job.n_done) == ("finished", 8 * RATE_HZ), (job, site.logs())
    assert [change.state for change in job.history] == ["queued", "running", "finished"], job
    (again,) = operator.request("record", {"sources": [source], "images": 10})
    assert ended(operator, again).state == "finished"
    assert all(program.lives for program in post.stand.programs)
