"""A worker that was taken for dead and comes to its end all the same: the job is another's by now."""

from contextlib import closing

import pytest
from tests.memory_bus import MemoryBus

from forebay.config import parse
from forebay.job import Job
from forebay.run import claims
from forebay.run.claims import claim
from forebay.run.owner import owner
from forebay.service import worker
from forebay.service.task import Outcome
from forebay.service.worker import Worker
from forebay.store.catalog import open_catalog

pytestmark = pytest.mark.flow

OTHER = owner("retrieve.other")


@pytest.fixture
def config(tmp_path):
    directories = {"state_dir": str(tmp_path / "state"), "runtime_dir": str(tmp_path / "run")}
    return parse({"record": {"directory": str(tmp_path / "data")}, **directories}, "test")


@pytest.mark.parametrize("is_lost", [False, True])
def test_only_whose_job_it_is_ends_it(config, monkeypatch, is_lost):
    bus = MemoryBus()
    bus.declare("retrieve.here", ["job.#"])
    with closing(open_catalog(config)) as catalog:
        catalog.put_proposal("p1", config.record.directory)
        catalog.add_job(
            Job(id="c1", kind="check", parameters={"files": ["a.h5"]}, proposal="p1", created_ns=1)
        )
        me = Worker(config, "retrieve", "1", bus, catalog)

        def work(task):
            if is_lost:
                assert claims.free(catalog, task.job, "somebody who heard nothing of it")
                assert claim(bus, catalog, "c1", OTHER).worker == OTHER
            return Outcome({"done": "by me"}, "all files are good", failed=False)

        monkeypatch.setitem(worker.WORK, "check", work)
        me._carry_out(claim(bus, catalog, "c1", me.me))
        job = catalog.job("c1")
        if is_lost:
            assert (job.state, job.worker, job.result) == ("running", OTHER, {})
        else:
            assert (job.state, job.worker, job.result) == ("finished", me.me, {"done": "by me"})
