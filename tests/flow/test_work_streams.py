"""Cameras and boards as jobs: recorded from their stream, taken over from a dead worker, refused, planned."""

import tempfile
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from forebay.config import parse
from forebay.errors import ConfigError, StoreError
from forebay.event import Event
from forebay.job import Change, Job
from forebay.run.jobs import parse_parameters
from forebay.service.boards import Numbered, block_stream
from forebay.service.camera import EventStream, readout_stream
from forebay.service.task import Task
from forebay.service.work_plan import plan
from forebay.service.work_record import record
from forebay.sim.larpix import BoardOptions, SimulatedBoard
from forebay.store.check import check_file
from forebay.store.left import manifest_of_stream
from forebay.store.manifest import Request
from forebay.store.paths import journal_of, part_of
from forebay.store.readout_file import ReadoutFile
from forebay.store.readout_layout import ReadoutRecording
from forebay.store.readout_reader import ReadoutReader
from forebay.stream.zmq import Publisher
from forebay.wire import ssreadout
from forebay.wire.pacman_batch import PacmanArrays

pytestmark = pytest.mark.flow

LIMIT_S = 30.0
NO_MODULES = np.zeros(0, np.uint32)
T0_S = 1_795_000_000


@pytest.fixture
def config(tmp_path):
    (tmp_path / "data").mkdir()
    with tempfile.TemporaryDirectory(prefix="fb-") as runtime:
        Path(runtime).chmod(0o700)
        yield parse(
            {
                "cameras": {"chec": {"deadline_s": 0.1}},
                "boards": {"tpc": {"members": [{"io_group": 1}], "drain_s": 1}},
                "record": {"directory": str(tmp_path / "data"), "min_free_bytes": 0},
                "runtime_dir": runtime,
            },
            "test",
        )


def task(config, source, n_tries=1, kind="record", **parameters):
    asked = parse_parameters(kind, {"sources": [source], **parameters})
    job = Job(
        id="j1",
        kind=kind,
        parameters=asked.model_dump(mode="json"),
        run=7,
        acquisition=1,
        n_asked=asked.n_asked,
        history=(Change("running", 1),) * n_tries,
    )
    return Task(config, job, config.record.directory)


def path_of(config, source):
    return config.record.directory / "run0007" / f"acq0001.{source}.h5"


def readouts(first, n):
    """Return readouts with these numbers, a millisecond apart."""
    found = ssreadout.new(n)
    found["number"] = first + np.arange(n)
    found["time_ns"] = found["number"] * 1_000_000
    found["arrived_ns"] = 1
    found["data"] = found["number"][:, None, None]
    found["timestamps"] = 5
    return found


class Doing:
    """A job in a thread, and how it ended."""

    def __init__(self, one):
        self.task, self.outcome = one, None
        self._pause = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        self.outcome = record(self.task)

    def until(self, condition, what):
        for _ in range(int(LIMIT_S / 0.01)):
            if condition():
                return
            self._pause.wait(0.01)
        self.task.end("finish")
        raise AssertionError(f"never came: {what}")

    def ended(self):
        self._thread.join(LIMIT_S)
        assert self.outcome is not None
        return self.outcome


def feed(doing, stream):
    """Send readouts one by one until the job has one; return the number of the next."""
    sent = iter(range(1, 10_000))

    def has_some():
        stream.append(readouts(next(sent), 1))
        return doing.task.standing.n_done > 0

    doing.until(has_some, "a readout")
    return next(sent)


def rows(path):
    with closing(ReadoutReader(path)) as reader:
        return reader.read()


def test_a_number_of_readouts_and_not_one_more(config):
    with closing(EventStream(readout_stream(config, "chec"), "chec")) as stream:
        doing = Doing(task(config, "chec", images=5000))
        first = feed(doing, stream)
        for start in range(0, 6000, 250):
            stream.append(readouts(first + start, 250))
        done = doing.ended()
    assert (done.failed, done.reason, done.result["got"], done.result["lost"]) == (
        False,
        "count reached",
        5000,
        0,
    )
    path = path_of(config, "chec")
    numbers = rows(path)["number"].astype(int)
    assert (np.diff(numbers) == 1).all()
    assert len(numbers) == 5000
    assert check_file(path).problems == []
    (file,) = done.files
    assert (file.n_got, file.n_expected, file.n_missing, file.run) == (5000, 5000, 0, 7)
    assert (file.first_pulse, file.last_pulse) == (numbers[0] * 1_000_000, numbers[-1] * 1_000_000)
    assert manifest_of_stream(path).requested == Request(images=5000, job="j1")


def test_what_had_come_before_the_end_is_written(config):
    with closing(EventStream(readout_stream(config, "chec"), "chec")) as stream:
        doing = Doing(task(config, "chec"))
        first = feed(doing, stream)
        stream.append(readouts(first, 700))
        doing.task.end("finish")
        done = doing.ended()
    assert not done.failed
    assert rows(path_of(config, "chec"))["number"][-1] == first + 699


def test_what_did_not_come_is_counted(config):
    with closing(EventStream(readout_stream(config, "chec"), "chec")) as stream:
        doing = Doing(task(config, "chec"))
        first = feed(doing, stream)
        unsendable = Event("chec", 1, 1, {"data": np.array([object()])}, NO_MODULES)
        stream._publisher.write([unsendable] * 3)
        stream.append(readouts(first + 3, 1))
        doing.task.end("finish")
        done = doing.ended()
    assert done.result["lost"] == done.files[0].n_missing == 3


def test_a_dead_workers_part_is_recovered_and_an_empty_one_begun_anew(config):
    path = path_of(config, "chec")
    path.parent.mkdir()
    part_of_dead(path, "j1", 0)
    done = record(task(config, "chec", n_tries=2, idle_s=0.2))
    assert (done.failed, done.reason) == (False, "nothing came for 0.2 s")
    path.unlink()
    part_of_dead(path, "j1", 90)
    done = record(task(config, "chec", n_tries=2))
    assert (done.failed, done.result["got"]) == (True, 90)
    assert done.reason == "Its worker died; the file was recovered and has 90 readouts."
    assert len(rows(path)) == 90
    again = record(task(config, "chec", n_tries=3, images=90))
    assert (again.failed, again.reason.startswith("Its worker died with all 90")) == (False, True)


def part_of_dead(path, job, n):
    """Leave what a killed recorder leaves."""
    file = ReadoutFile(path, ReadoutRecording(source="chec", requested=Request(job=job)))
    if n:
        file.append(readouts(1, n))
    file._let_go()


def test_what_belongs_to_another_job_stays(config):
    path = path_of(config, "chec")
    path.parent.mkdir()
    part_of_dead(path, "j2", 3)
    with pytest.raises(StoreError, match="left by a recording"):
        record(task(config, "chec", idle_s=0.2))
    assert journal_of(part_of(path)).exists()
    part_of(path).unlink()
    journal_of(part_of(path)).unlink()
    with closing(ReadoutFile(path, ReadoutRecording(requested=Request(job="j2")))):
        pass
    before = path.read_bytes()
    with pytest.raises(StoreError, match="exists"):
        record(task(config, "chec", idle_s=0.2))
    assert path.read_bytes() == before


def test_blocks_of_two_lives_of_a_service_are_one_file(config):
    board = SimulatedBoard(BoardOptions(io_group=1, rate_hz=2000.0), T0_S)
    clock = iter(range(1, 100_000))
    n_words = []

    def send(stream, numbered):
        messages = board.messages(T0_S + next(clock) * 0.01)
        arrays = PacmanArrays(b"".join(messages), np.array([len(one) for one in messages], np.uint32), 1, "2")
        stream.write(numbered.of([Event("io_group_1", 0, 1, arrays, NO_MODULES)]))
        n_words.append(len(arrays.batch.words))

    doing = Doing(task(config, "tpc"))
    for n_restarts in range(2):
        numbered = Numbered()
        with closing(Publisher(block_stream(config, "tpc"))) as stream:

            def has_come(stream=stream, numbered=numbered, n_restarts=n_restarts):
                send(stream, numbered)
                facts = doing.task.standing.facts
                return facts.get("written", 0) > 0 and facts["restarts"] == n_restarts

            doing.until(has_come, "words")
            stream.close(LIMIT_S)
    doing.task.end("finish")
    done = doing.ended()
    assert (done.failed, done.result["unit"], done.result["restarts"], done.result["lost"]) == (
        False,
        "words",
        1,
        0,
    )
    assert done.result["silent"] == []
    manifest = manifest_of_stream(path_of(config, "tpc"))
    assert manifest.sources["io_group_1"].missing.n == 0
    assert 0 < done.result["got"] == manifest.boards["io_group_1"].counters["words"] <= sum(n_words)
    found = check_file(path_of(config, "tpc")).problems
    assert not [one for one in found if one.severity == "problem"]


@pytest.mark.parametrize(
    ("source", "kind", "asked", "said"),
    [
        ("chec", "record", {"pulses": "3..5"}, "no buffer"),
        ("chec", "retrieve", {"pulses": "3..5"}, "no buffer"),
        ("tpc", "record", {"pulses": "3..5"}, "no buffer"),
        ("tpc", "record", {"images": 3}, "which send words"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_before_anything_is_made(config, source, kind, asked, said):
    with pytest.raises(ConfigError, match=said):
        plan(config, kind, {"sources": [source], **asked}, config.record.directory)
    with pytest.raises(ConfigError, match=said):
        record(task(config, source, kind=kind, **asked))
    assert not list(config.record.directory.iterdir())


def test_a_plan_says_how_large(config):
    planned = plan(config, "record", {"sources": ["chec"], "images": 10}, config.record.directory)
    assert (planned.n_asked, planned.most_bytes) == (10, 87_200)
    assert planned.file.endswith("run{run:04}/acq{acquisition:04}.chec.h5")
    assert plan(config, "record", {"sources": ["tpc"]}, config.record.directory).most_bytes is None
