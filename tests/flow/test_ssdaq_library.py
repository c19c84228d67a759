"""SSDAQ's Python library: the README's snippets as printed, but for their slips, and what they rely on."""

import asyncio
import queue
import socket
import struct
import threading
from contextlib import closing
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from tests.waiting import until

from forebay.errors import ConfigError, NoAnswerError, StoreError, StreamError
from forebay.front import ssdaq
from forebay.front.ssdaq import (
    SSDataReader,
    SSDataWriter,
    SSFileWriter,
    SSReadout,
    SSReadoutAssembler,
    SSReadoutListener,
    ZMQReadoutPublisher,
)
from forebay.front.ssdaq.async_subscribers import AsyncSubscriber
from forebay.front.ssdaq.readout import SSReadoutB
from forebay.front.ssdaq.subscribers import BasicSSReadoutSubscriber, BasicTriggerSubscriber
from forebay.service.readout_successor import DataReader, SSDataReaderB, SSDataWriterB
from forebay.service.sof_writer import TriggerWriter
from forebay.sim.camera import Camera, CameraOptions
from forebay.stream.request import ask
from forebay.wire import ssreadout

pytestmark = pytest.mark.flow

VECTORS = Path(__file__).parents[1] / "vectors" / "ssdaq"


def random_readout(i):
    stamps = np.random.default_rng(i).integers(1, 2**60, (32, 2), dtype=np.uint64)
    return SSReadout(i * 10, i, np.random.default_rng(i).random((32, 64)), stamps)


def write(path, n=100):
    writer = SSDataWriter(path, attrs={"run": 7})
    for i in range(n):
        writer.write_readout(random_readout(i))
    assert writer.readout_counter == n
    writer.close_file()


def test_the_snippets_that_write_and_read(tmp_path):
    path = str(tmp_path / "ssdata.hdf5")
    writer = ssdaq.SSDataWriter(path)
    for i in range(100):
        data = np.random.default_rng().random((32, 64))
        ro = ssdaq.SSReadout(i * 10, i, data, np.ones((32, 2), dtype=np.uint64))
        writer.write_readout(ro)
    writer.close_file()

    reader = ssdaq.SSDataReader(path)
    seen = []
    for r in reader.read(start=0, stop=10):
        seen.append((reader.readout_number, float(np.max(reader.data))))
        assert r is reader.data
    assert reader.n_readouts == 100
    assert [number for number, _ in seen] == list(range(10))
    assert all(0 < most <= 1 for _, most in seen)
    reader.close_file()


def test_what_was_written_is_read(tmp_path):
    write(tmp_path / "a.hdf5", 300)
    reader = SSDataReader(tmp_path / "a.hdf5", mapping="ssl2colrow")
    assert (len(reader), reader.attrs["run"]) == (300, 7)
    for i, data in enumerate(reader):
        one = random_readout(i)
        assert (reader.readout_number, reader.readout_time) == (i, i * 10)
        np.testing.assert_array_equal(data, one.colrow_mapped_data.astype(np.float32))
        np.testing.assert_array_equal(reader.raw_readout, one.data.astype(np.float32))
        np.testing.assert_array_equal(reader.readout_timestamps, one.timestamps)
    assert [reader.iro for _ in reader.read(290, None, 4)] == [290, 294, 298]
    assert reader[-1].shape == (32, 64)
    assert reader.iro == 299
    assert reader[5:8].shape == reader[[5, 6, 7]].shape == (3, 32, 64)
    with pytest.raises(IndexError):
        reader[300]
    of_module = reader.load_all_data_tm(3, calib=2.0, mapping="raw")
    assert (of_module.amps.shape, of_module.tm) == ((300, 64), 3)
    np.testing.assert_allclose(of_module.amps[7], 2 * random_readout(7).data[3], rtol=1e-6)
    np.testing.assert_array_equal(reader.load_all_data_tm(3).amps[5], reader[5][3])
    with pytest.raises(ConfigError, match="no module 32"):
        reader.load_all_data_tm(32)
    reader.close_file()


def test_a_writer_never_writes_over_a_file(tmp_path):
    write(tmp_path / "a.hdf5", 3)
    with pytest.raises(StoreError):
        SSDataWriter(tmp_path / "a.hdf5")


@pytest.mark.parametrize(("name", "reader_of"), [("A", SSDataReader), ("B", SSDataReaderB)])
def test_files_of_the_original_are_read(name, reader_of):
    reader = reader_of(VECTORS / "hdf5" / f"golden_{name}_001.hdf5")
    numbers = [reader.readout_number for _ in reader]
    assert len(numbers) == reader.n_readouts > 30
    assert numbers == sorted(numbers)
    reader.close_file()


def test_a_file_of_the_successor(tmp_path):
    writer = SSDataWriterB(tmp_path / "b.hdf5")
    writer.write(random_readout(1))
    writer.write_tel_data(1.0, 2.0, 3.5, 3, 500_000_000)
    writer.close()
    reader = SSDataReaderB(tmp_path / "b.hdf5")
    expected = random_readout(1).asic_mapped_data.astype(np.float32)
    np.testing.assert_array_equal(reader[0], expected)
    reader.close_file()


def listen_as_in_the_readme(ip, port, seen):
    ro_list = SSReadoutListener(port=port, ip=ip)
    ro_list.start()
    while True:
        try:
            readout = ro_list.get_readout(timeout=20)
            if readout is None:
                break
        except BaseException:  # noqa: BLE001 - as printed in the README
            ro_list.close()
            break
        seen.append(readout)
        if readout.readout_number == 5:
            ro_list.close()


def test_the_snippet_that_listens():
    publisher = ZMQReadoutPublisher("127.0.0.1", "*")
    port = int(publisher.endpoint.rpartition(":")[2])
    seen = []
    thread = threading.Thread(target=listen_as_in_the_readme, args=("127.0.0.1", port, seen))
    thread.start()
    with closing(publisher):
        until(publisher.count_subscribers)
        for i in range(1, 6):
            publisher.publish(random_readout(i))
        thread.join(30)
    assert not thread.is_alive()
    assert [one.readout_number for one in seen] == [1, 2, 3, 4, 5]
    assert bytes(seen[2].pack()) == bytes(random_readout(3).pack())


@pytest.mark.parametrize("n_waiting", [0, 1, 3])
def test_close_never_lets_anybody_hang(n_waiting):
    listener = SSReadoutListener("127.0.0.1", 9)
    listener.start()
    with pytest.raises(queue.Empty):
        listener.get_readout(block=False)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(listener.get_readout())) for _ in range(n_waiting)
    ]
    for thread in threads:
        thread.start()
    listener.close()
    listener.close()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert found == [None] * n_waiting
    assert listener.get_readout() is None


def test_a_listener_that_was_never_started_is_closed():
    SSReadoutListener("127.0.0.1", 9).close()


class Kept:
    """A publisher of somebody's own."""

    def __init__(self):
        self.readouts = []
        self.is_closed = False

    def publish(self, readout):
        self.readouts.append(readout)

    def close(self):
        self.is_closed = True


def test_an_assembler_with_publishers_of_ones_own_and_a_file_writer(tmp_path):
    kept, publisher = Kept(), ZMQReadoutPublisher("127.0.0.1", "*")
    port = int(publisher.endpoint.rpartition(":")[2])
    writer = SSFileWriter("own", "127.0.0.1", port, folder=tmp_path)
    writer.start()
    until(publisher.count_subscribers)
    assembler = SSReadoutAssembler(
        readout_tw=1e6, listen_ip="127.0.0.1", listen_port=0, publishers=[kept, publisher], control=""
    )
    running = threading.Thread(target=assembler.run)
    running.start()
    with closing(Camera(CameraOptions(port=assembler.port, rate_hz=1000, count=100))) as camera:
        camera.run()
    until(lambda: assembler.status()["builder"]["readouts"] == 100)
    until(lambda: writer.counters["written"] == 100)
    assert assembler.cmd_set_publish_readouts("False") == b"Paused readout publishing"
    assert assembler.cmd_reset_ro_count() == b"Readout count reset"
    assembler.stop()
    running.join(20)
    writer.close()
    assert [one.readout_number for one in kept.readouts] == list(range(1, 101))
    assert kept.is_closed
    reader = SSDataReader(tmp_path / "own.hdf5")
    for one, data in zip(kept.readouts, reader, strict=True):
        np.testing.assert_array_equal(one.data.astype(np.float32), data)
    reader.close_file()


def test_an_assembler_refuses_what_it_cannot_do():
    with pytest.raises(ConfigError, match="here"):
        SSReadoutAssembler(listen_ip="here")


def test_a_control_channel_belongs_to_one_assembler(tmp_path):
    tmp_path.chmod(0o700)
    endpoint = f"ipc://{tmp_path}/control"
    kept = Kept()
    first, second = (
        SSReadoutAssembler(listen_ip="127.0.0.1", listen_port=0, control=endpoint, publishers=[one])
        for one in (Kept(), kept)
    )
    running = threading.Thread(target=first.run)
    running.start()
    until((tmp_path / "control").exists)
    with pytest.raises(StreamError, match="in use"):
        second.run()
    assert kept.is_closed
    assert ask(endpoint, b"reset_ro_count 1", 20.0) == b"Readout count reset"
    first.stop()
    running.join(20)
    with pytest.raises(NoAnswerError):
        ask(endpoint, b"status", 0.1)


def test_subscribers_of_the_successor():
    publisher = ZMQReadoutPublisher("127.0.0.1", "*", generation="B")
    subscriber = BasicSSReadoutSubscriber("127.0.0.1", int(publisher.endpoint.rpartition(":")[2]))
    subscriber.start()
    with closing(publisher):
        until(publisher.count_subscribers)
        publisher.publish(random_readout(4))
        readout = subscriber.get_data(timeout=20)
        assert (readout.iro, readout.time) == (4, 40)
        publisher.publish(random_readout(5))
        until(lambda: not subscriber.empty())
        subscriber.close(hard=False)
        assert subscriber.get_data().iro == 5
        assert subscriber.get_data() is None


def test_trigger_patterns_are_listened_to_and_written(tmp_path):
    """Any publisher will do: here one whose messages are the golden trigger patterns."""
    import zmq

    golden = (VECTORS / "trigger" / "trigger_v3.bin").read_bytes()
    with zmq.Context() as context, context.socket(zmq.XPUB) as publisher:
        publisher.linger = 0
        publisher.setsockopt(zmq.XPUB_VERBOSER, 1)
        port = publisher.bind_to_random_port("tcp://127.0.0.1")
        subscriber = BasicTriggerSubscriber("127.0.0.1", port)
        writer = TriggerWriter("t", "127.0.0.1", port, folder=tmp_path, file_enumerator="order")
        subscriber.start()
        writer.start()
        for _ in range(2):
            assert publisher.poll(20_000)
            publisher.recv()
        publisher.send(b"no trigger")
        publisher.send(golden)
        assert subscriber.get_data(timeout=20).type == 3
        assert subscriber.n_malformed == 1
        until(lambda: writer.n_written == 2)
        subscriber.close()
        writer.close()
    (path,) = writer.paths
    assert path.name == "t001.sof"
    assert DataReader(path).sof.objects == [b"no trigger", golden]


def test_the_publishers_message_is_the_originals():
    """A plain subscriber of the original's own kind: one frame, unpacked by its struct."""
    import zmq

    publisher = ZMQReadoutPublisher("127.0.0.1", "*")
    with closing(publisher), zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
        subscriber.linger = 0
        subscriber.connect(publisher.endpoint)
        subscriber.subscribe(b"")
        until(publisher.count_subscribers)
        publisher.publish(random_readout(9))
        assert subscriber.poll(20_000)
        (message,) = subscriber.recv_multipart()
    assert len(message) == ssreadout.MESSAGE_A.itemsize
    assert struct.unpack_from("<QQ", message) == (9, 90)
    assert message == bytes(random_readout(9).pack())


def test_a_taken_port_is_named():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        taken.listen()
        with pytest.raises(Exception, match=str(port)):
            ZMQReadoutPublisher("127.0.0.1", port)


@pytest.mark.parametrize("hard", [True, False])
def test_subscribers_for_coroutines(hard):
    publisher = ZMQReadoutPublisher("127.0.0.1", "*", generation="B")
    port = int(publisher.endpoint.rpartition(":")[2])

    async def listen():
        passed, all_passed = [], asyncio.Event()

        def take(message):
            passed.append(message)
            if len(passed) == 3:
                all_passed.set()

        queued = AsyncSubscriber("127.0.0.1", port, SSReadoutB.from_bytes)
        passing = AsyncSubscriber("127.0.0.1", port, passoff_callback=take)
        await asyncio.to_thread(until, lambda: publisher.count_subscribers() == 2)
        for i in range(1, 4):
            publisher.publish(random_readout(i))
        numbers = [(await queued.get_data()).iro for _ in range(2)]
        await all_passed.wait()
        await asyncio.to_thread(until, lambda: not queued.empty())
        await queued.close(hard)
        last = await queued.get_data()
        numbers += [] if last is None else [last.iro]
        assert await queued.get_data() is None
        await passing.close()
        assert await passing.get_data() is None
        return numbers, passed

    with closing(publisher):
        numbers, passed = asyncio.run(asyncio.wait_for(listen(), 30))
    assert numbers == ([1, 2] if hard else [1, 2, 3])
    assert [len(one) for one in passed] == [16416] * 3


@pytest.mark.parametrize("name", ssdaq.__all__)
def test_the_front_has_every_class(name):
    assert getattr(ssdaq, name).__name__ == name


def test_scripts_that_import_ssdaq_find_everything(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "packages" / "ssdaq" / "src"))
    modules = ("receivers", "subscribers", "core", "core.publishers", "data", "data.io")
    modules += ("core.receiver_server", "receivers.mon_sender")
    for name in ("ssdaq", *(f"ssdaq.{one}" for one in modules)):
        module = import_module(name)
        assert all(hasattr(module, one) for one in module.__all__)
    assert import_module("ssdaq").SSReadout is SSReadout
    assert import_module("ssdaq.data").SSReadout is SSReadoutB
