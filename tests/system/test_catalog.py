"""The catalogue, in a file and in PostgreSQL: what is booked is there, numbers and ends come once."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from forebay.config import Config
from forebay.errors import CatalogError, StateError
from forebay.job import Job
from forebay.store.catalog import Catalog, File, open_catalog

pytestmark = pytest.mark.system


@pytest.fixture(params=["sqlite", "postgresql"])
def config(request, tmp_path) -> Config:
    if request.param == "sqlite":
        return Config(state_dir=tmp_path / "state")
    return Config(catalog=request.getfixturevalue("postgres_server").database(), state_dir=tmp_path / "state")


@pytest.fixture
def catalog(config, tmp_path) -> Catalog:
    opened = open_catalog(config)
    opened.put_proposal("p1", tmp_path / "p1")
    yield opened
    opened.close()


# --- proposals and numbers


def test_proposals(catalog, tmp_path):
    assert catalog.proposal("p1").directory == str(tmp_path / "p1")
    catalog.put_proposal("a", tmp_path / "a")
    assert [one.name for one in catalog.proposals()] == ["a", "p1"]
    assert catalog.put_proposal("a", tmp_path / "b").directory == str(tmp_path / "b")
    with pytest.raises(CatalogError, match="no proposal 'nobody'"):
        catalog.proposal("nobody")


def test_a_closed_proposal_takes_nothing(catalog):
    catalog.begin_run("p1")
    assert catalog.close_proposal("p1").closed
    for refused in (
        lambda: catalog.begin_run("p1"),
        lambda: catalog.begin_acquisition("p1", 1),
        lambda: catalog.close_proposal("p1"),
    ):
        with pytest.raises(StateError, match="closed"):
            refused()
    assert catalog.proposal("p1").last_run == 1


def test_numbers(catalog, tmp_path):
    run = catalog.begin_run("p1", "tag", "words", parameters={"sources": ["a"]})
    assert (run.number, run.tag, run.comment, run.parameters) == (1, "tag", "words", {"sources": ["a"]})
    taken = [catalog.begin_acquisition("p1", one) for one in (1, 1, None, 1, None)]
    assert [(one.run, one.number, one.unique_number) for one in taken] == [
        (1, 1, 1),
        (1, 2, 2),
        (2, 1, 3),
        (1, 3, 4),
        (3, 1, 5),
    ]
    catalog.put_proposal("other", tmp_path / "other")
    assert catalog.begin_run("other").number == 1
    assert catalog.proposal("p1").last_run == 3
    assert catalog.proposal("p1").last_acquisition == 5


def test_a_request_that_cannot_be_uses_no_number(catalog):
    with pytest.raises(CatalogError, match="no run 7"):
        catalog.begin_acquisition("p1", 7)
    with pytest.raises(CatalogError, match="no proposal 'x'"):
        catalog.begin_run("x")
    assert catalog.proposal("p1").last_acquisition == 0
    assert catalog.begin_run("p1").number == 1


def test_runs_come_newest_first_by_pages(catalog):
    for _ in range(5):
        catalog.begin_run("p1")
    assert [run.number for run in catalog.runs("p1", limit=2)] == [5, 4]
    assert [run.number for run in catalog.runs("p1", before=4)] == [3, 2, 1]
    with pytest.raises(CatalogError):
        catalog.runs("x")


def test_a_run_changes_from_the_state_that_it_is_in(catalog):
    catalog.begin_run("p1", state="ready")
    assert not catalog.advance_run("p1", 1, "idle", from_states=["running"])
    assert catalog.advance_run("p1", 1, "running", from_states=["ready", "starting"])
    assert catalog.run("p1", 1).ended_ns is None
    assert catalog.advance_run("p1", 1, "idle", from_states=["running"], ends=True)
    assert catalog.run("p1", 1).ended_ns
    assert catalog.describe_run("p1", 1, comment="beam lost").comment == "beam lost"
    assert catalog.run("p1", 1).state == "idle"


# --- jobs


def job(number, **values) -> Job:
    return Job(id=f"job-{number}", kind="record", created_ns=number, **values)


def test_a_job_comes_back_as_it_was(catalog):
    catalog.begin_acquisition("p1")
    asked = job(
        1,
        parameters={"sources": ["a"], "pulses": "1..2", "deep": [{"ü": None}, 1.5, True]},
        proposal="p1",
        run=1,
        acquisition=1,
        n_asked=2**62,
        owner="me",
        deadline_ns=2**63 - 1,
    )
    assert catalog.add_job(asked)
    found = catalog.job("job-1")
    assert [(one.state, one.time_ns, one.who) for one in found.history] == [("queued", 1, "me")]
    assert found.__class__(**{name: getattr(found, name) for name in found.__struct_fields__}) == found
    assert (found.parameters, found.n_asked, found.deadline_ns) == (asked.parameters, 2**62, 2**63 - 1)
    assert not catalog.add_job(job(1, parameters={"other": 1}))
    assert catalog.job("job-1") == found


def test_a_job_without_its_acquisition_is_refused(catalog):
    with pytest.raises(CatalogError):
        catalog.add_job(job(1, proposal="p1", run=1, acquisition=1))
    with pytest.raises(CatalogError, match="JSON"):
        catalog.add_job(job(1, parameters={"a": object()}))
    with pytest.raises(CatalogError, match="no job 'job-1'"):
        catalog.job("job-1")


def test_the_life_of_a_job(catalog):
    catalog.add_job(job(1))
    assert catalog.heartbeat("job-1", "w1") is None
    assert catalog.advance("job-1", "running", from_states=["queued"], worker="w1", who="w1")
    assert not catalog.advance("job-1", "running", from_states=["queued"], worker="w2", who="w2")
    assert catalog.heartbeat("job-1", "w1", n_done=5, n_asked=10) == "running"
    assert catalog.heartbeat("job-1", "w2", n_done=9) is None
    assert not catalog.advance("job-1", "queued", from_states=["running"], from_worker="w2")
    assert catalog.advance("job-1", "queued", from_states=["running"], from_worker="w1", reason="w1 died")
    assert catalog.job("job-1").worker == ""
    assert catalog.advance("job-1", "running", from_states=["queued"], worker="w2", who="w2")
    assert catalog.advance("job-1", "cancelling", from_states=["running"], who="me")
    assert catalog.heartbeat("job-1", "w2") == "cancelling"
    done = {"file": "a.h5"}
    assert catalog.advance(
        "job-1", "cancelled", from_states=["cancelling"], reason="by me", result=done, progress=(7, 10)
    )
    ended = catalog.job("job-1")
    assert (ended.n_done, ended.n_asked, ended.result, ended.reason) == (7, 10, done, "by me")
    states = ["queued", "running", "queued", "running", "cancelling", "cancelled"]
    assert [one.state for one in ended.history] == states
    assert catalog.heartbeat("job-1", "w2") is None
    assert not catalog.advance("job-1", "finished", from_states=["running"])
    assert not catalog.advance("nobody", "running", from_states=["queued"])


def test_an_end_is_an_end(catalog):
    with pytest.raises(StateError, match="finished cannot become running"):
        catalog.advance("job-1", "running", from_states=["queued", "finished"])


def test_jobs_by_state_proposal_and_page(catalog, tmp_path):
    catalog.put_proposal("p2", tmp_path / "p2")
    for i in range(6):
        catalog.add_job(job(i, proposal="p1" if i % 2 else "p2"))
    catalog.advance("job-5", "running", from_states=["queued"])
    assert [one.created_ns for one in catalog.jobs()] == [5, 4, 3, 2, 1, 0]
    assert [one.created_ns for one in catalog.jobs(limit=2, before="job-4")] == [3, 2]
    assert [one.created_ns for one in catalog.jobs(proposal="p1", states=["queued"])] == [3, 1]
    assert catalog.n_jobs() == {"queued": 5, "running": 1}


@pytest.mark.parametrize("n_threads", [8])
def test_of_many_who_end_a_job_one_does(catalog, n_threads):
    barrier = threading.Barrier(n_threads)

    def end(i: int) -> list[bool]:
        won = []
        for number in range(20):
            barrier.wait()
            state = ("finished", "failed", "cancelled")[i % 3]
            who = f"t{i}"
            won.append(
                catalog.advance(f"job-{number}", state, from_states=["running", "cancelling"], who=who)
            )
        return won

    for number in range(20):
        catalog.add_job(job(number, state="running"))
    with ThreadPoolExecutor(n_threads) as pool:
        won = list(pool.map(end, range(n_threads)))
    for number in range(20):
        assert sum(one[number] for one in won) == 1
        winner = next(i for i in range(n_threads) if won[i][number])
        last = catalog.job(f"job-{number}").history
        assert [one.who for one in last][1:] == [f"t{winner}"]


def test_ids_are_booked_once_by_many(catalog):
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda i: (i // 8, catalog.add_job(job(i // 8))), range(160)))
    assert Counter(number for number, was_new in added if was_new) == dict.fromkeys(range(20), 1)
    assert len(catalog.jobs()) == 20


def test_a_request_is_booked_whole_or_not_at_all(catalog):
    two = [job(i, proposal="p1") for i in (1, 2)]
    assert [(one.run, one.acquisition) for one in catalog.add_request(two, draws=True)] == [(1, 1), (1, 1)]
    with pytest.raises(CatalogError):
        catalog.add_request(
            [job(3, proposal="p1"), job(4, proposal="p1", parameters={"a": object()})], draws=True
        )
    assert [one.number for one in catalog.runs("p1")] == [1], "no number was used up"
    assert len(catalog.jobs()) == 2
    three = [*two, job(3, proposal="p1")]
    assert [(one.id, one.run, one.acquisition) for one in catalog.add_request(three, draws=True)] == [
        ("job-3", 1, 1)
    ]
    assert catalog.add_request(three, draws=True) == []
    (apart,) = catalog.add_request([job(5, proposal="p1")], draws=False)
    assert (apart.run, apart.acquisition) == (None, None)
    assert len(catalog.acquisitions("p1")) == 1


def test_one_request_from_many_draws_one_number(catalog):
    def ask(i):
        return len(catalog.add_request([job(10 * (i // 8) + k, proposal="p1") for k in (0, 1)], draws=True))

    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(ask, range(80)))
    assert sum(added) == 20
    assert sorted(one.number for one in catalog.runs("p1")) == list(range(1, 11))
    assert len(catalog.acquisitions("p1")) == 10


# --- files


def test_files(catalog):
    catalog.begin_acquisition("p1")
    catalog.add_job(job(1, proposal="p1", run=1, acquisition=1))
    file = File(
        path="/data/a.h5",
        job="job-1",
        proposal="p1",
        run=1,
        acquisition=1,
        source="a",
        n_bytes=10**12,
        first_pulse=2**62,
        last_pulse=2**63 - 1,
        n_expected=9,
        n_got=8,
        n_missing=1,
        created_ns=5,
    )
    catalog.add_file(file)
    assert catalog.files() == catalog.files("p1", run=1, job_id="job-1") == [file]
    catalog.add_file(file)
    assert catalog.files() == [file]
    assert catalog.files("p2") == catalog.files(run=2) == catalog.files(job_id="x") == []
    assert catalog.file_checked("/data/a.h5", "loss", sha256="00")
    assert not catalog.file_checked("/data/b.h5", "ok")
    (found,) = catalog.files()
    assert (found.checked, found.sha256, found.n_got) == ("loss", "00", 8)
    assert found.checked_ns


def test_it_is_all_there_after_reopening(config, catalog):
    catalog.begin_run("p1")
    catalog.add_job(job(1))
    again = open_catalog(config)
    assert again.job("job-1") == catalog.job("job-1")
    assert again.begin_run("p1").number == 2
    again.close()
    again.close()
