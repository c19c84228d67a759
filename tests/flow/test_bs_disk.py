"""The ring on disk beside a bsread buffer: its tail comes back to memory, and what it counts is shown."""

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forebay.errors import RingError
from forebay.front.bsread.arguments import BufferArguments
from forebay.front.bsread.buffer_rest import buffer_app
from forebay.ring.disk_limits import DiskLimits
from forebay.ring.disk_tail import tail
from forebay.ring.disk_writer import RecordWriter
from forebay.ring.memory import MemoryRing
from forebay.service.bsread_buffer import Buffer
from forebay.service.bsread_disk import DiskSink, open_ring
from forebay.sim.bsread import BsreadOptions, BsreadSimulator
from forebay.wire.bsread import HeaderCache, decode

pytestmark = pytest.mark.flow

SIMULATOR = BsreadSimulator(BsreadOptions(scalars=2))


def events(first, last):
    cache = HeaderCache()
    return [decode(SIMULATOR.parts(p, 10**18 + p * 10**7), cache) for p in range(first, last + 1)]


def drained(follower):
    found = []
    while records := follower.read(0):
        found += records
    follower.close()
    return found


def filled(directory, pulses, segment_bytes=1000):
    writer = RecordWriter(directory, DiskLimits(10**7, segment_bytes=segment_bytes))
    for p in pulses:
        writer.write([(p, p, (b"x" * (p % 50),))])
    return writer


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(n=st.integers(1, 120), asked=st.integers(1, 150), n_bytes=st.integers(1, 20_000))
def test_the_tail_is_the_newest_that_fits(tmp_path_factory, n, asked, n_bytes):
    directory = tmp_path_factory.mktemp("ring")
    writer = filled(directory, range(n))
    follower = tail(directory, asked, n_bytes)
    found = [] if follower is None else drained(follower)
    writer.close()
    ids = [record.pulse_id for record in found]
    assert ids == list(range(n - len(ids), n))
    assert len(ids) <= asked
    sizes = [8 * ((p % 50 + 7) // 8) for p in range(n)]
    assert sum(sizes[n - len(ids) :]) <= n_bytes
    if len(ids) < min(n, asked):  # one more would not have fitted, with what a record has around it
        assert sum(sizes[n - len(ids) - 1 :]) + 64 * (len(ids) + 1) > n_bytes


def test_the_tail_goes_on_with_what_comes(tmp_path):
    writer = filled(tmp_path / "ring", range(30))
    follower = tail(tmp_path / "ring", 5, 10**6)
    ids = []
    while records := follower.read(0):
        ids += [one.pulse_id for one in records]
    assert ids == [25, 26, 27, 28, 29]
    writer.write([(30, 30, (b"new",))])
    assert [one.pulse_id for one in follower.read(1)] == [30]
    writer.close()


def test_no_tail_of_nothing(tmp_path):
    filled(tmp_path / "ring", ()).close()
    assert tail(tmp_path / "ring", 5, 100) is None
    with pytest.raises(RingError, match="cannot be read"):
        tail(tmp_path / "none", 5, 100)


@pytest.mark.parametrize(("n", "kept"), [(10, range(41, 51)), (1000, range(1, 51))])
def test_memory_is_filled_again_from_the_disk(tmp_path, n, kept):
    first = DiskSink(tmp_path / "ring", 10**8)
    came = events(1, 50)
    first.write(came)
    first.close()
    second = DiskSink(tmp_path / "ring", 10**8)
    memory = MemoryRing(n, 10**9)
    second.refill(memory, n, 10**9)
    held = memory.reader().read(0)
    assert [one.pulse_id for one in held] == list(kept)
    for one, wanted in zip(held, came[-len(held) :], strict=True):
        assert [bytes(part) for part in one.arrays.parts] == [bytes(part) for part in wanted.arrays.parts]
        assert one.time_ns == wanted.time_ns
    assert second.counters["refilled"] == len(held)
    assert second.counters["written"] == 0
    second.close()


def test_the_newest_that_fit_into_the_bytes_of_the_memory(tmp_path):
    disk = DiskSink(tmp_path / "ring", 10**8)
    came = events(1, 50)
    disk.write(came)
    n_bytes = came[0].arrays.nbytes * 12
    memory = MemoryRing(1000, n_bytes)
    disk.refill(memory, 1000, n_bytes)
    disk.close()
    assert memory.span.last == 50
    assert 8 <= len(memory) <= 12
    assert memory.expired == 0


def test_a_disk_that_takes_nothing_stops_nobody(tmp_path, monkeypatch):
    disk = DiskSink(tmp_path / "ring", 10**8)

    def refuse(_events):
        raise RingError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(disk._ring, "write", refuse)
        disk.write(events(1, 7))
    disk.write(events(8, 9))
    assert (disk.counters["written"], disk.counters["not_written"]) == (2, 7)
    disk.close()


def test_statistics_show_every_counter(tmp_path):
    arguments = BufferArguments("tcp://127.0.0.1:9", 8000, 20, ring=tmp_path / "ring", analyzer=True)
    buffer = Buffer(arguments)
    for sink in buffer.sinks:
        sink.write([*events(1, 30), *events(32, 40)])
    client = TestClient(buffer_app(buffer), base_url="http://localhost:1")
    assert client.get("/status").json() == {"state": "ok", "status": "buffering"}
    found = client.get("/statistics").json()["statistics"]
    assert (found["first_pulse_id"], found["last_pulse_id"]) == (20, 40)
    assert found["memory"]["messages"] == 20
    assert found["memory"]["expired"] == 19
    assert found["disk"]["written"] == 39
    assert found["anomalies"]["missed_pulses"] == 1
    assert client.put("/stop").status_code == 404
    assert client.get("/status", headers={"host": "elsewhere"}).status_code == 403
    for sink in buffer.sinks:
        sink.close()


def test_what_is_in_memory_is_on_disk_already(tmp_path):
    buffer = Buffer(BufferArguments("tcp://127.0.0.1:9", 8000, 20, ring=tmp_path / "ring"))
    on_disk = open_ring(tmp_path / "ring")
    seen = []

    class Look:
        def write(self, _events):
            seen.append(on_disk.span is None)

        def close(self):
            pass

    place = buffer.sinks.index(buffer.ring)
    for sink in [*buffer.sinks[:place], Look(), *buffer.sinks[place:]]:
        sink.write(events(1, 3))
    assert seen == [False]
    for sink in buffer.sinks:
        sink.close()


def test_messages_without_a_time_keep_that_of_their_arrival(tmp_path):
    cache = HeaderCache()
    parts = SIMULATOR.parts(7, 10**18)
    parts = [b'{"htype": "bsr_m-1.1", "pulse_id": 7}', *parts[1:]]
    came = decode(parts, cache, arrived_ns=12345)
    first = DiskSink(tmp_path / "ring", 10**8)
    first.write([came])
    reader = open_ring(tmp_path / "ring")
    (got,) = reader.read(reader.span)
    (in_time,) = reader.read_time(12345, 12345)
    assert reader.get(7).time_ns == got.time_ns == in_time.time_ns == 12345
    name = next(iter(got.arrays))
    assert got.arrays.time_ns == 12345
    assert got.arrays.timestamp_ns(name) == came.arrays.timestamp_ns(name)
    first.close()
    second = DiskSink(tmp_path / "ring", 10**8)
    memory = MemoryRing(10, 10**9)
    second.refill(memory, 10, 10**9)
    assert memory.get(7).time_ns == 12345
    second.close()
