"""bsread streams as jobs: pulses past and to come, a number, a time, until told, each into a booked file."""

import shutil
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import h5py
import msgspec
import pytest

from forebay.cli.job_view import is_good
from forebay.config import parse
from forebay.errors import ConfigError, OverwrittenError, RingError, StoreError
from forebay.job import Job
from forebay.ring.memory import MemoryRing
from forebay.run.jobs import parse_parameters
from forebay.service.bsread_disk import DiskSink
from forebay.service.task import Task
from forebay.service.work_plan import plan
from forebay.service.work_record import record
from forebay.service.worker import abouts
from forebay.sim.bsread import BsreadOptions, BsreadSimulator
from forebay.store.channel_file import ChannelFile
from forebay.store.channel_manifest import ChannelRecording
from forebay.store.check import check_file
from forebay.store.left import manifest_of
from forebay.store.manifest import Request
from forebay.stream.fanout import FanOut
from forebay.wire.bsread import HeaderCache, decode, encode

pytestmark = pytest.mark.flow

SIMULATOR = BsreadSimulator(BsreadOptions(scalars=2))
NAMES = sorted(SIMULATOR.values(0))
N_MEMORY = 50
PERIOD_NS = 10_000_000
T0 = 1_795_000_000_000_000_000


class Stand:
    """A buffer of 50 messages in memory, with the pulses from 1000 on, and where jobs find it."""

    def __init__(self, directory, *, with_disk=True, **settings):
        self.folder = directory / "data"
        self.folder.mkdir()
        ring = directory / "ring"
        self.disk = DiskSink(ring, 10**8) if with_disk else None
        self.memory = MemoryRing(N_MEMORY, 10**9)
        self.output = FanOut(self.memory.reader, encode, "tcp://127.0.0.1:*")
        port = int(self.output.endpoint.rpartition(":")[2])
        stream = {"source": "tcp://127.0.0.1:9", "output_port": port, **settings}
        if with_disk:
            stream["disk"] = {"directory": str(ring)}
        self.config = parse(
            {
                "bsread": {"bs": stream},
                "record": {"directory": str(self.folder), "min_free_bytes": 0},
                "workers": {"record": 1},
            },
            "test",
        )
        self.next, self.began_ns = 1000, T0
        self.step = settings.get("pulse_step", 1)
        self._cache = HeaderCache()

    def come(self, n):
        """Let so many messages come."""
        pulses = range(self.next, self.next + n * self.step, self.step)
        self.next += n * self.step
        self.send(pulses)

    def send(self, pulses):
        """Let messages of these pulses come, in this order."""
        times = [self.began_ns + (p - 1000) * PERIOD_NS for p in pulses]
        events = [decode(SIMULATOR.parts(p, at), self._cache) for p, at in zip(pulses, times, strict=True)]
        for ring in (self.disk, self.memory):
            if ring is not None:
                ring.write(events)

    def restart(self):
        """Let the source begin to count anew, a little later."""
        self.began_ns += (self.next - 1000 + 100) * PERIOD_NS
        self.next = 1000

    @contextmanager
    def coming(self):
        """Let messages come beside the body."""
        over = threading.Event()

        def keep_coming():
            while not over.wait(0.002):
                self.come(1)

        thread = threading.Thread(target=keep_coming)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def task(self, kind="retrieve", job_id="j1", **parameters):
        asked = parse_parameters(kind, {"sources": ["bs"], **parameters})
        job = Job(
            id=job_id,
            kind=kind,
            parameters=asked.model_dump(mode="json"),
            proposal="p",
            run=1,
            acquisition=1,
            n_asked=asked.n_asked,
        )
        return Task(self.config, job, self.folder)

    def end_buffer(self):
        self.memory.close()
        self.output.close()

    def close(self):
        self.end_buffer()
        if self.disk is not None:
            self.disk.close()


@pytest.fixture
def stand(tmp_path):
    with closing(Stand(tmp_path)) as stand:
        yield stand


def pulses_of(done, channel=NAMES[0], root="data/"):
    (file,) = done.files
    assert not [one for one in check_file(Path(file.path)).problems if one.severity == "problem"]
    with h5py.File(file.path) as data:
        return data[f"{root}{channel}/pulse_id"][:].ravel().tolist()


def names(stand):
    return sorted(path.name for path in stand.folder.rglob("*.h5*"))


def test_a_range_that_only_the_disk_remembers(stand):
    stand.come(200)
    stand.end_buffer()
    one = stand.task(pulses="1020..1059")
    done = record(one)
    assert (done.reason, done.failed) == ("last pulse", False)
    assert pulses_of(done) == list(range(1020, 1060))
    (file,) = done.files
    assert file.path.endswith("/run0001/acq0001.bs.h5")
    assert (file.source, file.first_pulse, file.last_pulse) == ("bs", 1020, 1059)
    assert (file.n_expected, file.n_got, file.n_missing) == (40, 40, 0)
    assert one.standing.n_done == 40
    assert (done.result["channels"], done.result["empty_channels"]) == (len(NAMES), [])


def test_disk_memory_and_what_comes_in_one_range(stand):
    stand.come(150)
    with stand.coming():
        done = record(stand.task("record", pulses="1010..1399"))
    assert not done.failed
    assert pulses_of(done) == list(range(1010, 1400))
    counters = manifest_of(Path(done.files[0].path)).counters.end.receiver["stream"]
    assert counters["from_past"] >= 140
    assert counters["from_past"] + counters["from_live"] == 390


def test_a_range_to_come_leaves_the_memory_alone(stand):
    stand.come(N_MEMORY)
    one = stand.task("record", pulses="1060..1099")
    result = []
    thread = threading.Thread(target=lambda: result.append(record(one)))
    thread.start()
    wait_for(lambda: stand.output.consumers)
    stand.come(30)
    stand.come(30)
    thread.join(30)
    assert pulses_of(result[0]) == list(range(1060, 1100))
    stream = manifest_of(Path(result[0].files[0].path)).counters.end.receiver["stream"]
    assert stream["received"] <= 61, "the newest of the memory, and what came"


@pytest.mark.parametrize("with_disk", [True, False])
def test_messages_that_overtake_each_other_are_all_in_the_file(tmp_path, with_disk):
    with closing(Stand(tmp_path, with_disk=with_disk)) as stand:
        stand.come(10)
        one = stand.task("record", pulses="1005..1029")
        result = []
        thread = threading.Thread(target=lambda: result.append(record(one)))
        thread.start()
        wait_for(lambda: one.standing.n_done >= 5 and stand.output.consumers)
        stand.send([1011, 1010, 1013, 1014, 1012, *range(1015, 1029), 1030, 1029])
        thread.join(30)
    assert pulses_of(result[0]) == list(range(1005, 1030))


def test_a_buffer_without_disk_gives_its_memory(tmp_path):
    with closing(Stand(tmp_path, with_disk=False)) as stand:
        stand.come(120)  # memory holds 1070..1119
        assert pulses_of(record(stand.task(pulses="1080..1099"))) == list(range(1080, 1100))
        some = record(stand.task(pulses="1060..1079", file="some.h5"))
        assert (some.files[0].n_got, some.files[0].n_missing, some.failed) == (10, 10, False)
        none = record(stand.task(pulses="1000..1009", file="none.h5"))
        assert none.failed
        assert "none of these pulses is left" in none.reason


def test_what_has_expired_is_refused_before_anything_is_made(stand):
    stand.come(10)
    for ask in (record, lambda task: plan(task.config, "retrieve", task.job.parameters, task.directory)):
        with pytest.raises(OverwrittenError, match=r"10\.\.20.*1000\.\.1009"):
            ask(stand.task(pulses="10..20"))
    assert names(stand) == []
    planned = plan(stand.config, "retrieve", {"sources": ["bs"], "pulses": "1000..1009"}, stand.folder)
    assert (planned.held, planned.n_asked) == ("1000..1009", 10)


@pytest.mark.parametrize("channels", [[], ["ABC"], ["IMAGE", "XYZW", "NOT:THERE"]])
def test_a_plan_says_how_large_the_file_will_be_at_most(stand, channels):
    asked = {"sources": ["bs"], "pulses": "1000..1009", "channels": channels}
    assert plan(stand.config, "retrieve", asked, stand.folder).most_bytes is None  # nothing came yet
    stand.come(10)
    planned = plan(stand.config, "retrieve", asked, stand.folder)
    outcome = record(stand.task(pulses="1000..1009", channels=channels))
    n_bytes = outcome.files[0].n_bytes
    assert n_bytes <= planned.most_bytes < 4 * n_bytes + 32_768
    endless = {"sources": ["bs"], "seconds": 1}
    assert plan(stand.config, "record", endless, stand.folder).most_bytes is None


def test_a_ring_that_is_not_there_is_said(tmp_path):
    with closing(Stand(tmp_path)) as stand:
        stand.disk.close()
        shutil.rmtree(tmp_path / "ring")
        with pytest.raises(RingError, match="no disk ring"):
            record(stand.task(pulses="1..10"))


def test_a_number_from_now_on(stand):
    stand.come(30)
    result = []
    thread = threading.Thread(target=lambda: result.append(record(stand.task("record", images=25))))
    thread.start()
    wait_for(lambda: stand.output.consumers)
    with stand.coming():
        thread.join(30)
    (done,) = result
    found = pulses_of(done)
    assert (done.reason, done.failed, len(found)) == ("count reached", False, 25)
    assert found[0] >= 1030
    assert found == list(range(found[0], found[0] + 25))


def test_a_time_on_the_clock_of_the_source(stand):
    stand.come(30)
    with stand.coming():
        done = record(stand.task("record", seconds=1.0))
    found = pulses_of(done)
    assert (done.reason, done.failed) == ("time over", False)
    assert found == list(range(found[0], found[0] + 100))


@pytest.mark.parametrize(("why", "failed"), [("cancel", False), ("finish", False), ("shutdown", True)])
def test_until_told(stand, why, failed):
    one = stand.task("record")
    result = []
    with stand.coming():
        thread = threading.Thread(target=lambda: result.append(record(one)))
        thread.start()
        wait_for(lambda: one.standing.n_done > 20)
        one.end(why)
        thread.join(30)
    (done,) = result
    found = pulses_of(done)
    assert done.failed == failed
    assert len(found) > 20
    assert found == list(range(found[0], found[-1] + 1))
    assert names(stand) == ["acq0001.bs.h5"]


def test_a_range_to_come_that_is_cancelled_leaves_a_whole_file(stand):
    stand.come(10)
    one = stand.task("record", pulses="5000..5999")
    result = []
    thread = threading.Thread(target=lambda: result.append(record(one)))
    thread.start()
    wait_for(lambda: one.standing.facts)
    one.end("cancel")
    thread.join(30)
    assert result[0].files[0].n_got == 0
    assert manifest_of(Path(result[0].files[0].path)).sources["bs"].missing.n == 1000


def test_a_counter_that_restarts_ends_it(stand):
    stand.come(30)
    one = stand.task("record", images=10_000)
    result = []
    with stand.coming():
        thread = threading.Thread(target=lambda: result.append(record(one)))
        thread.start()
        wait_for(lambda: one.standing.n_done > 20)
    stand.restart()
    with stand.coming():
        thread.join(30)
    found = pulses_of(result[0])
    assert result[0].reason == "the pulse counter restarted"
    assert found == list(range(found[0], found[-1] + 1))


def test_a_full_disk_is_refused(stand):
    stand.come(30)
    limits = stand.config.record.model_copy(update={"min_free_bytes": 2**62})
    stand.config = stand.config.model_copy(update={"record": limits})
    with pytest.raises(StoreError, match="min_free_bytes"):
        record(stand.task(pulses="1000..1009"))
    with pytest.raises(StoreError, match="min_free_bytes"):
        plan(stand.config, "record", {"sources": ["bs"], "seconds": 1}, stand.folder)


def test_nothing_comes(stand):
    done = record(stand.task("record", images=5, idle_s=0.2))
    assert (done.reason, done.files[0].n_got) == ("nothing came for 0.2 s", 0)


def test_channels_layout_and_step(tmp_path):
    with closing(Stand(tmp_path, layout="data-api", pulse_step=2)) as stand:
        stand.come(60)
        done = record(stand.task(pulses="1010..1049", channels=[NAMES[1], "NOT-THERE"]))
        assert pulses_of(done, NAMES[1], "") == list(range(1010, 1050, 2))
        assert done.files[0].n_expected == 20
        with h5py.File(done.files[0].path) as file:
            assert NAMES[0] not in file
        assert done.result["empty_channels"] == ["NOT-THERE"]
        asked = {"sources": ["bs"], "channels": ["NOT-THERE"]}
        job = Job(id="j", kind="record", parameters=asked, state="finished", result=done.result)
        assert not is_good(job)
        assert is_good(msgspec.structs.replace(job, parameters={"sources": ["bs"]}))
        fourth = record(stand.task(pulses="1010..1049/4", file="b.h5"))
        assert pulses_of(fourth, root="") == list(range(1012, 1050, 4))


def test_only_streams_have_channels(tmp_path):
    config = parse(
        {
            "epics": {"slow": {"pvs": ["X"], "directory": str(tmp_path / "pvs")}},
            "record": {"directory": str(tmp_path)},
        },
        "test",
    )
    with pytest.raises(ConfigError, match="Channels of slow"):
        plan(config, "record", {"sources": ["slow"], "seconds": 1, "channels": ["X"]}, tmp_path)


def test_workers_take_them(stand):
    assert abouts(stand.config, "record") == ["record.bs"]
    assert "retrieve.bs" in abouts(stand.config, "retrieve")


def test_a_job_that_comes_again_gives_the_same_file(stand):
    stand.come(100)
    first = record(stand.task(pulses="1020..1059"))
    again = record(stand.task(pulses="1020..1059"))
    assert again.files[0].path == first.files[0].path
    assert (again.files[0].n_got, again.failed) == (40, False)
    with pytest.raises(Exception, match="exists"):
        record(stand.task(job_id="j2", pulses="1020..1059"))


def leave(stand, n, **request):
    """Leave a part with the first `n` messages on disk, as a worker that was killed does."""
    final = stand.folder / "alive" / "a.h5"
    final.parent.mkdir()
    recording = ChannelRecording("bs", requested=Request(**request, job="j1"))
    file = ChannelFile(final, recording)
    cache = HeaderCache()
    file.write([decode(SIMULATOR.parts(1000 + i, T0 + i * PERIOD_NS), cache) for i in range(n)])
    for path in final.parent.iterdir():  # a copy has no lock
        shutil.copy(path, stand.folder)
    file.close()
    shutil.rmtree(final.parent)


def test_a_dead_workers_part_is_thrown_away_where_the_disk_has_all(stand):
    stand.come(100)
    leave(stand, 7, pulses="1000..1029")
    done = record(stand.task(pulses="1000..1029", file="a.h5"))
    assert (done.failed, pulses_of(done)) == (False, list(range(1000, 1030)))
    assert names(stand) == ["a.h5"]


def test_a_dead_workers_part_is_recovered_where_nobody_has_it(stand):
    leave(stand, 7, images=30)
    done = record(stand.task("record", images=30, file="a.h5"))
    assert done.failed
    assert "Its worker died" in done.reason
    assert pulses_of(done) == list(range(1000, 1007))
    assert (done.files[0].first_pulse, done.files[0].last_pulse) == (1000, 1006)


def wait_for(condition, timeout=30):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.01)
