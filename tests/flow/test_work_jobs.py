"""What a worker does with one job: recorded, begun again, recovered, planned; and routines."""

import shutil
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest
import xxhash

from forebay.config import parse
from forebay.errors import ConfigError, OverwrittenError, RingError, ServiceError, StoreError
from forebay.event import Event
from forebay.job import Change, Job
from forebay.ring.shared import RingShape, SharedRing
from forebay.run.jobs import parse_parameters
from forebay.run.owner import is_gone, owner
from forebay.service.task import Task
from forebay.service.work_plan import plan
from forebay.service.work_record import record
from forebay.service.work_routine import routine
from forebay.store.check import check_file
from forebay.store.left import manifest_of
from forebay.store.manifest import Recording, Request, fields_of
from forebay.store.part import Part
from forebay.wire.compress import compress
from forebay.wire.eiger import eiger

pytestmark = pytest.mark.flow

LAYOUT = eiger(8)
SLOTS = 64
ROUTINES = {
    "hypot": "math:hypot",
    "sleep": "time:sleep",
    "exit": "os:_exit",
    "object": "builtins:object",
    "dict": "builtins:dict",
}


def image(pulse_id):
    return np.full(LAYOUT.frame_shape, pulse_id % 251, LAYOUT.pixel)


def event(pulse_id):
    headers = np.zeros(1, LAYOUT.header)
    headers["framenum"] = pulse_id
    nothing = np.zeros(1, np.uint32)
    return Event("e1", pulse_id, pulse_id, {"data": image(pulse_id), "header": headers}, nothing, 1)


@pytest.fixture
def config(tmp_path, tmp_path_factory):
    runtime = tmp_path_factory.mktemp("r")
    runtime.chmod(0o700)
    (tmp_path / "data").mkdir()
    return parse(
        {
            "detectors": {"e1": {"type": "eiger", "bit_depth": 8, "ring": {"slots": SLOTS}}},
            "record": {"directory": str(tmp_path / "data"), "min_free_bytes": 0},
            "routines": {name: {"function": f, "timeout_s": 5} for name, f in ROUTINES.items()},
            "runtime_dir": str(runtime),
            "state_dir": str(tmp_path / "state"),
        },
        "test",
    )


@pytest.fixture
def ring(config):
    """A ring that holds the pulses 101..164."""
    shape = RingShape(n_slots=SLOTS, n_modules=1)
    with closing(SharedRing.create("e1", LAYOUT, shape, config.runtime_dir)) as ring:
        ring.write([event(pulse_id) for pulse_id in range(100, 165)])
        yield ring


def task(config, kind="record", job_id="j1", **parameters):
    if kind in ("record", "retrieve"):
        parameters = {"sources": ["e1"], "file": "a.h5", "idle_s": 0.1} | parameters
    job = Job(
        id=job_id,
        kind=kind,
        parameters=parse_parameters(kind, parameters).model_dump(mode="json"),
        proposal="p",
        run=1,
        acquisition=1,
        state="running",
        n_asked=parse_parameters(kind, parameters).n_asked,
    )
    return Task(config, job, config.record.directory)


def leave(config, written, job_id="j1", **request):
    """Leave a part as a worker that was killed does."""
    final = config.record.directory / "alive" / "a.h5"
    final.parent.mkdir()
    asked = Request(**request, job=job_id)
    part = Part(
        final, Recording("e1", LAYOUT.frame_shape, "uint8", header=fields_of(LAYOUT.header), requested=asked)
    )
    for pulse_id in written:
        chunk = compress(image(pulse_id))
        header = event(pulse_id).arrays["header"]
        checksum = xxhash.xxh3_64_intdigest(chunk.data)
        part.append(pulse_id, pulse_id, np.zeros(1, np.uint32), header, chunk, checksum)
    for path in final.parent.iterdir():  # a copy has no lock
        shutil.copy(path, config.record.directory)
    part.close()
    shutil.rmtree(final.parent)


def names(config):
    return sorted(path.name for path in config.record.directory.iterdir())


def test_a_range_is_recorded_and_accounted_for(config, ring):
    one = task(config, pulses="140..149")
    done = record(one)
    assert (done.failed, done.reason) == (False, "last pulse")
    assert (one.standing.n_done, one.standing.n_asked) == (10, 10)
    account = done.result["sources"]["e1"]
    assert (account["expected"], account["got"], account["missing"]["n"]) == (10, 10, 0)
    (file,) = done.files
    assert (file.first_pulse, file.last_pulse, file.n_expected, file.n_got) == (140, 149, 10, 10)
    assert (file.job, file.run, file.proposal) == ("j1", 1, "p")
    assert file.n_bytes == Path(file.path).stat().st_size
    assert manifest_of(Path(file.path)).requested.job == "j1"
    assert check_file(Path(file.path)).is_good


def test_what_is_missing_is_in_the_result(config, ring):
    done = record(task(config, pulses="160..169"))
    assert not done.failed
    assert done.result["sources"]["e1"]["missing"] == {"n": 5, "ranges": ["165..169"], "is_whole": True}
    assert done.files[0].n_missing == 5


def test_a_dead_workers_part_is_begun_again_when_nothing_is_lost_by_it(config, ring):
    leave(config, range(140, 144), pulses="140..149")
    done = record(task(config, pulses="140..149"))
    assert not done.failed
    assert done.files[0].n_got == 10
    assert names(config) == ["a.h5"]


def test_a_dead_workers_part_is_recovered_when_its_pulses_are_about_to_go(config, ring):
    leave(config, range(105, 109), pulses="105..114")
    one = task(config, pulses="105..114")
    done = record(one)
    assert done.failed
    assert "4 of 10 images" in done.reason
    assert done.files[0].n_got == one.standing.n_done == 4
    assert names(config) == ["a.h5"]
    assert not [p for p in check_file(config.record.directory / "a.h5").problems if p.severity == "problem"]


def test_images_from_now_on_are_recovered_because_that_now_is_over(config, ring):
    leave(config, range(140, 144), images=10)
    done = record(task(config, images=10))
    assert done.failed
    assert done.files[0].n_got == 4


def test_a_part_with_all_that_was_asked_for_is_a_finished_job(config, ring):
    leave(config, range(140, 150), images=10)
    done = record(task(config, images=10))
    assert not done.failed
    assert "recovered" in done.reason
    assert done.files[0].n_got == 10


def test_an_empty_part_loses_nothing_by_beginning_again(config, ring):
    leave(config, (), images=10)
    one = task(config, images=10)
    done = record(one)
    assert not done.failed
    assert done.reason == "nothing came for 0.1 s"
    assert names(config) == ["a.h5"]


def test_a_journal_that_was_not_begun_is_in_nobodys_way(config, ring):
    (config.record.directory / "a.h5.part.journal").touch()
    one = task(config, pulses="140..149")
    with pytest.raises(StoreError, match="journal"):  # may be somebody else's, who begins right now
        record(one)
    lives = tuple(Change(state="running", time_ns=0) for _ in range(2))
    again = Task(config, msgspec.structs.replace(one.job, history=lives), config.record.directory)
    assert record(again).files[0].n_got == 10
    assert names(config) == ["a.h5"]


def test_a_file_in_its_place_is_the_result(config, ring):
    first = record(task(config, pulses="140..149"))
    again = record(task(config, pulses="140..149"))
    assert again.result == first.result
    assert not again.failed


@pytest.mark.parametrize("gone", [(), (".part",)])
def test_what_a_worker_left_that_died_beside_its_whole_file_goes(config, ring, gone):
    leave(config, range(140, 150), pulses="140..149")
    file = config.record.directory / "a.h5"
    (part,) = [path for path in file.parent.iterdir() if path.suffix == ".part"]
    journal = part.with_name(part.name + ".journal").read_bytes()
    first = record(task(config, pulses="140..149"))
    part.with_name(part.name + ".journal").write_bytes(journal)
    if not gone:
        part.hardlink_to(file)
    again = record(task(config, pulses="140..149"))
    assert (again.result, again.failed) == (first.result, False)
    assert names(config) == ["a.h5"]


def test_the_file_of_another_job_is_never_taken_for_ones_own(config, ring):
    record(task(config, pulses="140..149"))
    with pytest.raises(StoreError, match="exists"):
        record(task(config, job_id="j2", pulses="140..149"))
    leave(config, range(140, 144), job_id="j3", pulses="140..149")
    (config.record.directory / "a.h5").unlink()
    with pytest.raises(StoreError, match="forebay recover"):
        record(task(config, job_id="j2", pulses="140..149"))


def test_a_job_to_be_cancelled_is_cleaned_up_and_not_begun(config, ring):
    leave(config, range(140, 144), pulses="140..149")
    one = task(config, pulses="140..149")
    one.end("cancel")
    assert record(one).files[0].n_got == 4
    other = task(config, job_id="j2", file="b.h5", pulses="140..149")
    other.end("cancel")
    assert record(other).files == ()
    assert names(config) == ["a.h5"]


def test_a_plan_says_what_and_how_large(config, ring):
    planned = plan(config, "record", {"sources": ["e1"], "images": 7}, config.record.directory)
    assert planned.most_bytes == 7 * LAYOUT.frame_bytes
    assert planned.held == "101..164"
    assert planned.file.endswith("/data/run{run:04}/acq{acquisition:04}.e1.h5")
    assert names(config) == []


@pytest.mark.parametrize(
    ("parameters", "kind", "said"),
    [
        ({"pulses": "1..50"}, OverwrittenError, ["1..50", "101..164"]),
        ({"file": "link/a.h5"}, StoreError, ["link", "outside"]),
        ({"file": "there.h5"}, StoreError, ["there.h5", "exists"]),
        ({"sources": ["e2"]}, ConfigError, ["e2", "e1"]),
        ({"images": 10**12}, StoreError, ["GB free", "min_free_bytes"]),
    ],
)
def test_a_plan_that_cannot_be(config, ring, parameters, kind, said):
    (config.record.directory / "there.h5").touch()
    (config.record.directory / "link").symlink_to("/")
    with pytest.raises(kind) as refused:
        plan(config, "record", {"sources": ["e1"]} | parameters, config.record.directory)
    assert all(word in str(refused.value) for word in said), refused.value


def test_a_plan_without_a_ring(config):
    with pytest.raises(RingError, match="e1"):
        plan(config, "record", {"sources": ["e1"]}, config.record.directory)


def test_routines_return_what_json_can_say(config):
    done = routine(task(config, "routine", name="dict", arguments={"a": [1, None]}))
    assert done.result == {"returned": {"a": [1, None]}}


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("hypot", {"x": 1}, ["TypeError"]),
        ("exit", {"status": 3}, ["exit code 3"]),
        ("object", {}, ["TypeError", "JSON"]),
    ],
)
def test_routines_that_fail_say_why(config, name, arguments, said):
    with pytest.raises(ServiceError) as failed:
        routine(task(config, "routine", name=name, arguments=arguments))
    assert all(word in str(failed.value) for word in said), failed.value


def test_a_routine_that_is_cancelled_ends(config):
    one = task(config, "routine", name="hypot")
    one.end("cancel")
    assert "cancel" in routine(one).reason


def test_only_what_is_registered_is_called(config):
    with pytest.raises(ConfigError, match=r"'system'.*hypot"):
        routine(task(config, "routine", name="system"))


def test_owners_are_told_apart():
    mine = owner("record.1")
    assert not is_gone(mine)
    assert is_gone(owner("record.1", 2**22 + 1))
    assert is_gone(mine.rpartition("-")[0] + "-1)")  # another process had this number
    assert not is_gone(mine.replace(" on ", " on not-"))  # out of sight
    assert not is_gone("")
