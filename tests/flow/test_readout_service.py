"""The whole way of a readout: simulated modules, assembler, publishers, listener, file."""

import socket
import threading
from contextlib import closing
from ipaddress import ip_address

import numpy as np
import pytest
from tests.one_cpu import one_cpu
from tests.waiting import until

from forebay.assemble.receiver import Buffered
from forebay.assemble.timed import TimedRules
from forebay.errors import StoreError
from forebay.service.port_buffer import warn_if_small
from forebay.service.readout import CameraInput, ReadoutAssembler, rates, write_readouts
from forebay.sim.camera import Camera, CameraFaults, CameraOptions
from forebay.store.check import check_file
from forebay.store.readout_file import ReadoutFile
from forebay.store.readout_layout import ReadoutRecording
from forebay.store.readout_reader import ReadoutReader
from forebay.store.readout_series import ReadoutSeries
from forebay.stream.readouts import ReadoutListener, ReadoutPublisher
from forebay.wire import target

pytestmark = pytest.mark.flow

T0 = 1_700_000_000_000_000_000
INPUT = CameraInput(ip_address("127.0.0.1"), 0, rules=TimedRules(window_ns=10_000_000, buffer_ns=10**9))


class Running:
    """Something that runs in a thread until it is stopped."""

    def __init__(self, run):
        self.stop = threading.Event()
        self.result = None
        self._thread = threading.Thread(target=self._run, args=(run,))
        self._thread.start()

    def _run(self, run):
        self.result = run(self.stop)

    def end(self):
        self.stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.result


def send(assembler, n_cycles, **options):
    """Send cycles as fast as the assembler takes them."""
    camera = Camera(CameraOptions(port=assembler.port, signal="pattern", start_ns=T0, rate_hz=500, **options))
    with closing(camera), one_cpu():
        for _ in range(n_cycles):
            camera.send()
    return camera.counts


def numbers_in(path):
    with closing(ReadoutReader(path)) as reader:
        readouts = reader.read()
    truths = target.counts_of(np.nan_to_num(readouts["data"][:, 0, 0])) // 3
    return truths.tolist(), readouts


def test_every_readout_sent_is_in_the_file_whole_and_once(tmp_path):
    publishers = [ReadoutPublisher("127.0.0.1", "*"), ReadoutPublisher("127.0.0.1", "*", generation="B")]
    ports = [one.endpoint.rpartition(":")[2] for one in publishers]
    assembler = ReadoutAssembler(INPUT, publishers)
    series = [
        ReadoutSeries(tmp_path, f"{kind}", ReadoutRecording(generation=kind), "order") for kind in ("A", "B")
    ]
    listeners = [ReadoutListener("127.0.0.1", port, hwm=100_000) for port in ports]
    until(lambda: all(one.count_subscribers() for one in publishers))
    writers = [
        Running(lambda stop, a=a, b=b: write_readouts(a, b, stop))
        for a, b in zip(listeners, series, strict=True)
    ]
    running = Running(assembler.run)
    send(assembler, 60)
    until(lambda: assembler.status()["builder"]["readouts"] == 600)
    assembler.reset_count()
    send(assembler, 20, modules=range(31))
    until(lambda: assembler.status()["receiver"]["datagrams"] == 60 * 32 + 20 * 31)
    running.end()  # what was in flight, and not complete, is drained
    assert [one.end() for one in writers] == [800, 800]
    status = assembler.status()
    assert status["builder"]["used"] == 60 * 320 + 20 * 310
    assert status["receiver"]["kernel_drop"] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{k}00{i}.hdf5" for k in "AB" for i in (1, 2)
    ]
    for kind in "AB":
        first, readouts = numbers_in(tmp_path / f"{kind}001.hdf5")
        assert first == list(range(600))
        assert readouts["number"].tolist() == list(range(1, 601))
        assert check_file(tmp_path / f"{kind}001.hdf5").problems == []
        second, readouts = numbers_in(tmp_path / f"{kind}002.hdf5")
        assert second == list(range(200))
        assert np.isnan(readouts["data"][:, 31]).all()


def test_what_waits_in_the_socket_at_a_stop_is_taken(tmp_path):
    file = ReadoutFile(tmp_path / "a.h5", ReadoutRecording())
    assembler = ReadoutAssembler(INPUT, [file])
    for _ in range(10):  # more of these than one batch takes
        send(assembler, 1, faults=CameraFaults(short=1.0))
    send(assembler, 20)
    stop = threading.Event()
    stop.set()
    assembler.run(stop)
    assert file.counters["written"] == 200
    assert assembler.status()["receiver"]["malformed"] == 320


@pytest.mark.parametrize("when", ["before", "between"])
def test_random_datagrams_harm_nobody(tmp_path, when):
    random = np.random.default_rng(1)
    file = ReadoutFile(tmp_path / "a.h5", ReadoutRecording())
    assembler = ReadoutAssembler(INPUT, [file])
    running = Running(assembler.run)
    n_sent = 0
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as stranger:
        stranger.bind(("127.0.0.105", 0))

        def disturb():
            for _ in range(500):
                data = random.bytes(int(random.choice([0, 7, 144, 288, 1440, 14400])))
                stranger.sendto(data, ("127.0.0.1", assembler.port))

        if when == "before":
            disturb()
        send(assembler, 10)
        if when == "between":
            disturb()
        send(assembler, 10, faults=CameraFaults(leap={0: 0.2}))
        n_sent = 500 + 20 * 32
    until(lambda: assembler.status()["receiver"]["datagrams"] == n_sent)
    running.end()
    status = assembler.status()
    assert status["receiver"]["malformed"] > 100
    assert status["builder"]["implausible"] > 100
    truths, readouts = numbers_in(tmp_path / "a.h5")
    whole = ~np.isnan(readouts["data"]).any(axis=(1, 2))
    assert np.array(truths)[whole].tolist() == [*range(100), *range(100)]


def test_rates_and_losses_in_a_line(tmp_path):
    assembler = ReadoutAssembler(INPUT, [])
    before = assembler.status()
    running = Running(assembler.run)
    send(assembler, 10, modules=range(20))
    send(assembler, 5, modules=[31], faults=CameraFaults(leap={0: 0.0}))
    until(lambda: assembler.status()["receiver"]["datagrams"] == 205)
    running.end()
    said = rates(before, assembler.status(), 2.0)
    assert said == "50.0 readouts/s, 21 modules, 0 open, module 31: 25.0/s" or "late" in said


@pytest.mark.parametrize(("given", "is_said"), [(4096, True), (8192, False)])
def test_a_small_socket_buffer_is_said(caplog, given, is_said):
    with caplog.at_level("WARNING"):
        warn_if_small(Buffered(8192, given))
    mends = [record.fields["mend"] for record in caplog.records]
    assert mends == (["sysctl -w net.core.rmem_max=8192"] if is_said else [])


def test_what_the_kernel_dropped_is_in_the_status():
    camera = CameraInput(ip_address("127.0.0.1"), 0, receive_buffer_bytes=4096)
    assembler = ReadoutAssembler(camera, [])
    sent = send(assembler, 20)["datagrams"]
    running = Running(assembler.run)
    until(lambda: assembler.status()["receiver"]["datagrams"])
    running.end()
    receiver = assembler.status()["receiver"]
    assert receiver["kernel_drop"] == sent - receiver["datagrams"] > 0
    assert assembler.status()["receive_buffer"]["asked"] == 4096


def test_pausing_withholds_and_counts(tmp_path):
    file = ReadoutFile(tmp_path / "a.h5", ReadoutRecording())
    assembler = ReadoutAssembler(INPUT, [file])
    running = Running(assembler.run)
    send(assembler, 2)
    until(lambda: assembler.status()["builder"]["readouts"] == 20)
    until(lambda: file.n == 20)
    assembler.publish(False)
    send(assembler, 2, faults=CameraFaults(leap={0: 10.0}))
    until(lambda: assembler.status()["withheld"] == 20)
    assembler.publish(True)
    send(assembler, 2, faults=CameraFaults(leap={0: 20.0}))
    until(lambda: assembler.status()["builder"]["readouts"] == 60)
    running.end()
    _, readouts = numbers_in(tmp_path / "a.h5")
    assert readouts["number"].tolist() == [*range(1, 21), *range(41, 61)]


def test_one_sink_that_fails_does_not_take_the_others_along(tmp_path):
    class Broken:
        def append(self, readouts):
            raise StoreError("The disk is full.")

        def close(self):
            raise StoreError("It was full before.")

    file = ReadoutFile(tmp_path / "a.h5", ReadoutRecording())
    assembler = ReadoutAssembler(INPUT, [Broken(), file])
    running = Running(assembler.run)
    send(assembler, 3)
    until(lambda: assembler.status()["builder"]["readouts"] == 30)
    running.end()
    assert file.counters["written"] == 30
    assert [str(one) for one in assembler.failed] == ["The disk is full.", "It was full before."]


def test_a_writer_that_cannot_write_says_so(tmp_path):
    class Full:
        closed = False

        def append(self, readouts):
            if len(readouts):
                raise StoreError("The disk is full.")

        def close(self):
            self.closed = True

    publisher = ReadoutPublisher("127.0.0.1", "*")
    listener = ReadoutListener("127.0.0.1", publisher.endpoint.rpartition(":")[2])
    until(lambda: publisher.count_subscribers())
    assembler = ReadoutAssembler(INPUT, [publisher])
    running = Running(assembler.run)
    send(assembler, 1)
    sink = Full()
    with pytest.raises(StoreError, match="disk is full"):
        write_readouts(listener, sink, threading.Event())
    assert sink.closed
    running.end()
