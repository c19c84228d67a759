"""Requests through operator, hub and workers, each a process of its own: done, cancelled, refused, told."""

import json
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest

from forebay.errors import ConfigError, NoWorkerError, OverwrittenError, ServiceError, StateError, StoreError
from forebay.job import ENDS
from forebay.store.check import check_file

from .control_stand import RATE_HZ, ControlStand, many_hosts, one_host
from .stand import wait_until

pytestmark = pytest.mark.system

WAIT_S = 60.0
LONG_S = 3600
"""Of recordings that somebody ends long before."""


@pytest.fixture(scope="module", params=[one_host, many_hosts])
def stand(tmp_path_factory, request):
    routines = {
        "add": {"function": "operator:add", "description": "Adds."},
        "hypot": {"function": "math:hypot"},
    }
    with ControlStand(
        tmp_path_factory.mktemp("jobs"),
        slots=1024,
        routines=routines,
        quotas={"pulses": 5000, "queued_jobs": 20},
        **request.param(request),
    ) as stand:
        stand.serve_detector()
        stand.work_all(("record", "1"), ("record", "2"), ("retrieve", "1"))
        yield stand


@pytest.fixture(scope="module")
def operator(stand):
    with stand.operator() as operator:
        yield operator


def span_of(stand):
    with closing(stand.ring()) as ring:
        return ring.span


def record(operator, stand, **measure):
    (job,) = operator.request("record", {"sources": [stand.name], **measure})
    return job


def ended(operator, job):
    found = operator.wait(job.id, WAIT_S)
    assert found.has_ended, found
    return found


def test_a_range_to_come_is_recorded_exactly(stand, operator):
    first = span_of(stand).last + 2 * RATE_HZ
    job = ended(operator, record(operator, stand, pulses=f"{first}..{first + 49}"))
    assert (job.state, job.reason, job.n_done, job.n_asked) == ("finished", "last pulse", 50, 50)
    account = job.result["sources"][stand.name]
    assert (account["expected"], account["got"], account["missing"]["n"]) == (50, 50, 0)
    port = job.result["counters"]["receiver"][str(stand.port)]
    assert port["received"] == port["placed"] > 0
    (file,) = operator.files(job_id=job.id)
    assert (file.path, file.first_pulse, file.last_pulse) == (job.result["file"], first, first + 49)
    assert (file.run, file.acquisition, file.n_got) == (job.run, job.acquisition, 50)
    report = check_file(Path(file.path))
    assert report.is_good, report.problems


def test_a_range_that_went_by_is_retrieved(stand, operator):
    span = span_of(stand)
    first = span.last - 30
    (asked,) = operator.request("retrieve", {"sources": [stand.name], "pulses": f"{first}..{first + 19}"})
    job = ended(operator, asked)
    assert (job.state, job.n_done) == ("finished", 20), job.reason
    assert job.worker.startswith("retrieve.1 ")
    assert [change.state for change in job.history] == ["queued", "running", "finished"]


def test_a_running_recording_that_is_cancelled_keeps_what_is_whole(stand, operator):
    job = record(operator, stand, seconds=LONG_S)
    wait_until(lambda: operator.job(job.id).n_done > 10, "images")
    assert operator.cancel(job.id).state == "cancelling"
    job = ended(operator, job)
    assert job.state == "cancelled"
    assert 10 < job.result["sources"][stand.name]["got"] == job.n_done
    report = check_file(Path(job.result["file"]), skip=["missing-pulses"])
    assert not [problem for problem in report.problems if problem.severity == "problem"]
    assert operator.files(job_id=job.id)[0].n_got == job.n_done
    with pytest.raises(StateError, match="cancelled already"):
        operator.cancel(job.id)


def test_a_waiting_job_is_cancelled_at_once_and_never_begins(stand, operator):
    going = [record(operator, stand) for _ in range(2)]
    wait_until(lambda: all(operator.job(one.id).state == "running" for one in going), "both workers busy")
    waiting = record(operator, stand, images=5)
    assert operator.cancel(waiting.id).state == "cancelled"
    for one in going:
        operator.finish(one.id)
        assert ended(operator, one).state == "finished"
    after = ended(operator, record(operator, stand, images=5))
    assert after.state == "finished"
    assert operator.job(waiting.id).state == "cancelled"
    assert operator.files(job_id=waiting.id) == []
    numbers = {waiting.run, after.run}
    wait_until(
        lambda: {run.state for run in operator.runs() if run.number in numbers} == {"done"}, "the runs"
    )


def test_the_same_request_twice_is_one(stand, operator):
    parameters = {"sources": [stand.name], "images": 5}
    one = operator.request("record", parameters, id="twice")
    again = operator.request("record", parameters, id="twice")
    assert ended(operator, one[0]).id == again[0].id == "twice"
    assert one[0].run == again[0].run
    with pytest.raises(StateError, match="another request"):
        operator.request("record", parameters | {"images": 6}, id="twice")


def test_a_dry_run_says_what_would_be_and_does_nothing(stand, operator):
    (before,) = operator.runs(limit=1)
    (plan,) = operator.plan("record", {"sources": [stand.name], "images": 100, "file": "dry/{run:04}.h5"})
    assert plan.file == str(stand.data / "dry" / "{run:04}.h5")
    assert plan.most_bytes == 100 * 256 * 512 * 2
    assert plan.free_bytes > 0
    assert not (stand.data / "dry").exists()
    assert operator.runs(limit=1) == [before]


@pytest.mark.parametrize(
    ("kind", "parameters", "kind_of_error", "said"),
    [
        ("record", {"sources": ["NOBODY"]}, NoWorkerError, ["NOBODY", "forebay run"]),
        ("record", {"pulses": "1..2"}, OverwrittenError, ["1..2", "have left", "slots"]),
        ("record", {"file": "there.h5"}, StoreError, ["there.h5", "exists", "another name"]),
        ("record", {"file": "out/a.h5"}, StoreError, ["out", "outside"]),
        ("record", {"images": 5001}, ConfigError, ["5001", "5000", "quotas.pulses"]),
        ("check", {"files": ["none.h5"]}, StoreError, ["none.h5", "no file"]),
        ("routine", {"name": "nix"}, NoWorkerError, ["routine.nix"]),
    ],
)
def test_what_cannot_be_is_refused_before_a_number_is_used_up(
    stand, operator, kind, parameters, kind_of_error, said
):
    (stand.data / "there.h5").touch()
    if not (stand.data / "out").is_symlink():
        (stand.data / "out").symlink_to("/")
    if kind == "record":
        parameters = {"sources": [stand.name]} | parameters
    before = operator.runs(limit=1), len(operator.jobs(limit=1000))
    with pytest.raises(kind_of_error) as refused:
        operator.request(kind, parameters)
    assert all(word in str(refused.value) for word in said), refused.value
    assert (operator.runs(limit=1), len(operator.jobs(limit=1000))) == before


def test_a_deadline_ends_a_recording_and_says_so(stand, operator):
    (job,) = operator.request("record", {"sources": [stand.name], "seconds": LONG_S}, deadline_s=4.0)
    job = ended(operator, job)
    assert job.state == "failed"
    assert "deadline" in job.reason
    assert job.n_done > 0
    assert Path(job.result["file"]).exists()


def test_files_are_checked_and_booked_as_checked(stand, operator):
    job = ended(operator, record(operator, stand, images=5))
    name = str(Path(job.result["file"]).relative_to(stand.data))
    checked = ended(operator, operator.request("check", {"files": [name]})[0])
    assert (checked.state, checked.result["n_good"]) == ("finished", 1)
    assert operator.files(job_id=job.id)[0].checked == "ok"


def test_routines(stand, operator):
    assert operator.routines()["add"] == "Adds."
    done = ended(operator, operator.request("routine", {"name": "hypot"})[0])
    assert (done.state, done.result) == ("finished", {"returned": 0.0})
    failed = ended(operator, operator.request("routine", {"name": "add", "arguments": {"a": 1}})[0])
    assert failed.state == "failed"
    assert "TypeError" in failed.reason


def test_a_run_is_told_as_running_when_it_is_and_as_ended_when_its_file_is_whole(stand, operator):
    prepared = operator.prepare([stand.name], comment="dark")
    assert (prepared.state, prepared.allowed) == ("ready", ["start", "stop", "abort"])
    with pytest.raises(StateError, match=r"start, stop, abort"):
        operator.prepare([stand.name])
    running = operator.start()
    assert running.state == "running"
    assert operator.job(running.jobs[0]).state == "running"
    wait_until(lambda: operator.job(running.jobs[0]).n_done > 10, "images")
    stopped = operator.stop()
    assert (stopped.state, stopped.run) == ("idle", prepared.run)
    job = operator.job(running.jobs[0])
    assert job.state == "finished"
    assert check_file(Path(job.result["file"])).is_good
    run = operator.runs(limit=1)[0]
    assert (run.comment, run.state, run.ended_ns is not None) == ("dark", "idle", True)


def test_aborting_a_run_cancels_its_jobs(stand, operator):
    operator.prepare([stand.name])
    running = operator.start()
    assert operator.abort().state == "idle"
    assert operator.job(running.jobs[0]).state == "cancelled"


def test_a_service_that_does_not_confirm_is_named(stand, operator):
    going = [record(operator, stand) for _ in range(2)]
    wait_until(lambda: all(operator.job(one.id).state == "running" for one in going), "both workers busy")
    operator.prepare([stand.name])
    with pytest.raises(ServiceError, match=f"record.{stand.name} was not recording within 1 s"):
        operator.start(timeout=1.0)
    assert operator.run_status().state == "failed"
    assert operator.run_status().allowed == ["abort"]
    for one in going:
        operator.finish(one.id)
        assert ended(operator, one).state == "finished"
    assert operator.abort().state == "idle"
    assert operator.jobs(states=["queued", "running", "cancelling"]) == []


def test_watching_shows_progress_and_the_end(stand, operator):
    with operator.watch() as news:
        job = record(operator, stand, images=RATE_HZ)
        states, done = [], []
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end and "finished" not in states:
            update = news.read(1.0)
            if update is not None and update.id == job.id:
                states.append(update.body["state"])
                done.append(update.body["n_done"])
    assert states[0] == "running"
    assert done == sorted(done)
    assert done[-1] == RATE_HZ
    assert 0 < len([n for n in done if 0 < n < RATE_HZ]) < 10  # a few a second, not each image
    workers = {service.key.split(".", 2)[2]: service.state for service in operator.status().services}
    assert {"record.1", "record.2", "retrieve.1"} <= set(workers)


def test_too_many_waiting_jobs_are_refused(stand, operator):
    going = [record(operator, stand) for _ in range(2)]
    wait_until(lambda: all(operator.job(one.id).state == "running" for one in going), "both workers busy")
    waiting = [record(operator, stand, images=1) for _ in range(20)]
    with pytest.raises(StateError, match=r"20 jobs wait.*quotas\.queued_jobs"):
        record(operator, stand, images=1)
    for one in waiting:
        operator.cancel(one.id)
    for one in going:
        operator.cancel(one.id)
        assert ended(operator, one).state == "cancelled"


def test_commands(stand, operator):
    where = ("--config", stand.config_path)
    done = stand.forebay("record", stand.name, "--images", 20, "--json", *where)
    (job,) = json.loads(done.out)
    assert (done.code, job["state"], job["n_done"]) == (0, "finished", 20)
    assert stand.forebay("watch", job["id"], *where).code == 0
    listed = stand.forebay("files", "--job", job["id"], *where)
    assert job["result"]["file"] in listed.out
    asked = ("record", stand.name, "--seconds", LONG_S, "--detach", "--id", "long")
    assert stand.forebay(*asked, *where).code == 0
    assert "long" in stand.forebay("jobs", *where).out
    assert stand.forebay("cancel", "long", *where).code == 0
    assert stand.forebay("watch", "long", *where).code == 1
    assert stand.forebay("cancel", "long", *where).code == 1


def test_commands_for_proposals(stand, operator, tmp_path):
    where = ("--config", stand.config_path)
    folder = tmp_path / "p12345"
    done = stand.forebay("proposal", "add", "p12345", folder, *where)
    assert done.code != 0
    assert "no folder" in done.err
    folder.mkdir()
    (added,) = json.loads(stand.forebay("proposal", "add", "p12345", folder, "--json", *where).out)
    assert (added["name"], added["directory"]) == ("p12345", str(folder.resolve()))
    assert "p12345" in stand.forebay("proposal", "list", *where).out
    recorded = stand.forebay("record", stand.name, "--images", 5, "-p", "p12345", *where)
    assert recorded.code == 0, recorded
    assert list(folder.rglob("*.h5"))
    assert stand.forebay("proposal", "close", "p12345", *where).code == 0
    refused = stand.forebay("record", stand.name, "--images", 5, "-p", "p12345", *where)
    assert refused.code != 0
    assert "closed" in refused.err


def test_ctrl_c_ends_what_was_to_go_on_until_told_and_leaves_the_rest(stand, operator):
    where = ("--config", stand.config_path)
    until = stand.start("record", stand.name, "until.h5", *where)
    wait_until((stand.data / "until.h5.part").exists, "the recording")
    until.process.send_signal(signal.SIGINT)
    assert until.wait().code == 0
    assert check_file(stand.data / "until.h5").is_good
    timed = stand.start("record", stand.name, "timed.h5", "--seconds", LONG_S, "--id", "timed", *where)
    wait_until((stand.data / "timed.h5.part").exists, "the recording")
    timed.process.send_signal(signal.SIGINT)
    done = timed.wait()
    assert done.code == 1
    assert "forebay cancel timed" in done.err
    assert operator.job("timed").state == "running"
    operator.cancel("timed")
    assert operator.wait("timed", WAIT_S).state == "cancelled"


def test_every_job_of_this_module_has_one_end(operator):
    for job in operator.jobs(limit=1000):
        assert [change.state in ENDS for change in job.history].count(True) == 1, job
        assert job.reason, job
