"""Process variables as jobs: out of a buffer into a booked file, once."""

from pathlib import Path

import numpy as np
import pytest

from forebay.config import parse
from forebay.errors import ConfigError, RangeError, StoreError
from forebay.job import Change, Job
from forebay.ring.disk_limits import DiskLimits
from forebay.ring.pvs import PvRing
from forebay.run.jobs import parse_parameters
from forebay.service.task import Task
from forebay.service.work_plan import plan
from forebay.service.work_record import record
from forebay.store.check import check_file
from forebay.store.paths import part_of
from forebay.wire.epics import Update

pytestmark = pytest.mark.flow

S = 1_000_000_000
T0 = 1_795_000_000 * S


@pytest.fixture
def config(tmp_path):
    """A buffer with pulses 1000..1999 at 100 Hz, and a variable that changes once a second."""
    ring = PvRing(tmp_path / "pvs", DiskLimits(64 * 2**20), "PULSE")
    for i in range(1000):
        at = T0 + i * S // 100
        updates = [Update("PULSE", at, at, True, "NO_ALARM", 0, np.asarray(1000 + i, np.int64))]
        if i % 100 == 0:
            updates.append(Update("X", at, at, True, "NO_ALARM", 0, np.asarray(float(i))))
        ring.write(updates, at)
    ring.close(T0 + 11 * S)
    (tmp_path / "data").mkdir()
    return parse(
        {
            "epics": {
                "slow": {"pvs": ["X"], "pulse_id_pv": "PULSE", "directory": str(tmp_path / "pvs")},
                "empty": {"pvs": ["X"], "directory": str(tmp_path / "nothing")},
            },
            "record": {"directory": str(tmp_path / "data")},
        },
        "test",
    )


def task(config, job_id="j1", n_tries=1, kind="retrieve", **parameters):
    asked = parse_parameters(kind, {"sources": ["slow"], **parameters})
    job = Job(
        id=job_id,
        kind=kind,
        parameters=asked.model_dump(mode="json"),
        run=1,
        acquisition=1,
        n_asked=asked.n_asked,
        history=(Change("running", 1),) * n_tries,
    )
    return Task(config, job, config.record.directory)


def names(config):
    return sorted(path.name for path in config.record.directory.rglob("*.h5*"))


def test_a_range_is_written_and_booked(config):
    one = task(config, pulses="1200..1499")
    done = record(one)
    assert not done.failed
    (file,) = done.files
    assert file.path.endswith("/run0001/acq0001.slow.h5")
    assert done.result["points"] > 300
    assert one.standing.n_done == 300
    report = check_file(config.record.directory / "run0001" / "acq0001.slow.h5")
    assert not [problem for problem in report.problems if problem.severity == "problem"]


def test_a_job_that_comes_again_gives_the_same_file_and_another_job_is_refused(config):
    first = record(task(config, pulses="1200..1499"))
    again = record(task(config, n_tries=2, pulses="1200..1499"))
    assert again.files[0].path == first.files[0].path
    with pytest.raises(StoreError, match="exists"):
        record(task(config, job_id="j2", pulses="1200..1499"))


def test_a_dead_workers_part_is_written_again(config):
    part = part_of(config.record.directory / "run0001" / "acq0001.slow.h5")
    part.parent.mkdir()
    part.write_bytes(b"half")
    with pytest.raises(StoreError, match="part"):
        record(task(config, pulses="1200..1499"))
    assert not record(task(config, n_tries=2, pulses="1200..1499")).failed
    assert names(config) == ["acq0001.slow.h5"]


def test_a_part_beside_its_whole_file_goes(config):
    file = Path(record(task(config, pulses="1200..1499")).files[0].path)
    part_of(file).hardlink_to(file)
    assert not record(task(config, n_tries=2, pulses="1200..1499")).failed
    assert names(config) == ["acq0001.slow.h5"]


def test_a_part_under_a_name_that_others_may_use_is_left_alone(config):
    part = part_of(config.record.directory / "mine.h5")
    part.write_bytes(b"half")
    with pytest.raises(StoreError, match="part"):
        record(task(config, n_tries=2, file="mine.h5", pulses="1200..1499"))
    assert part.exists()


def test_a_range_to_come_waits_until_it_is_ended(config):
    one = task(config, pulses="5000..5999")
    one.end("cancel")
    assert record(one).files == ()
    assert names(config) == []


def test_what_is_gone_and_what_cannot_be_is_refused(config):
    with pytest.raises(RangeError, match=r"1\.\.10 .*1000\.\.1999"):
        record(task(config, kind="record", pulses="1..10"))
    folder = config.record.directory
    assert plan(config, "retrieve", {"sources": ["slow"], "pulses": "1200..1499"}, folder).n_asked == 300
    with pytest.raises(ConfigError, match="seconds"):
        plan(config, "record", {"sources": ["slow"], "images": 5}, folder)
