"""The packet debug stream of SSDAQ: a line for each block, beside the work, every one accounted for."""

import socket
import threading
from contextlib import closing

import numpy as np
import pytest
from tests.one_cpu import one_cpu

from forebay.errors import ConfigError, StoreError
from forebay.front.ssdaq import SSReadoutAssembler
from forebay.service.block_log import LINE, BlockLog
from forebay.service.queued import QueuedSink
from forebay.sim.camera import Camera, CameraOptions

pytestmark = pytest.mark.flow

T0 = 1_700_000_000_000_000_000


def lines(n):
    out = np.zeros(n, LINE)
    out["time_ns"] = T0 + np.arange(n)
    out["arrived_ns"] = 7
    out["module"] = np.arange(n) % 32
    return out


def assembler_with(path, publishers=()):
    return SSReadoutAssembler(
        readout_tw=1e6,
        listen_ip="127.0.0.1",
        listen_port=0,
        control="",
        publishers=publishers,
        packet_debug_stream_file=path,
    )


def test_every_block_that_came_has_its_line(tmp_path):
    path = tmp_path / "blocks.txt"
    path.write_text("what was there stays\n", encoding="utf-8")
    assembler = assembler_with(path)
    running = threading.Thread(target=assembler.run)
    running.start()
    options = CameraOptions(port=assembler.port, modules=(3, 31), packed=5, start_ns=T0, rate_hz=100)
    with closing(Camera(options)) as camera, one_cpu():
        for _ in range(20):
            camera.send()
    for _ in range(3000):
        if assembler.status()["builder"]["used"] == 200:
            break
        threading.Event().wait(0.01)
    assembler.stop()
    running.join(20)
    first, *rest = path.read_text(encoding="utf-8").splitlines()
    assert first == "what was there stays"
    found = [line.split("  ") for line in rest]
    expected = [
        (T0 + 10**7 * (5 * cycle + i), module) for cycle in range(20) for module in (3, 31) for i in range(5)
    ]
    assert [(int(tag), int(module)) for tag, _, module in found] == expected
    arrived = [int(when) for _, when, _ in found]
    assert arrived == sorted(arrived)
    assert arrived[0] > T0
    assert assembler.status()["block_log"] == {"offered": 200, "taken": 200, "overflow": 0}


def test_what_the_disk_does_not_take_is_counted(tmp_path):
    is_held = threading.Event()

    class Slow(BlockLog):
        def append(self, lines):
            is_held.wait(30)
            super().append(lines)

    log = QueuedSink(Slow(tmp_path / "a.txt"), 50)
    for _ in range(10):
        log.append(lines(20))
    is_held.set()
    log.close()
    counters = log.counters
    assert counters["overflow"] > 0
    assert counters["offered"] == counters["taken"] + counters["overflow"] == 200
    assert len((tmp_path / "a.txt").read_text(encoding="utf-8").splitlines()) == counters["taken"]


def test_a_full_disk_ends_the_log_and_nothing_else(tmp_path):
    class Kept:
        readouts = 0

        def publish(self, readout):
            self.readouts += 1

    kept = Kept()
    assembler = assembler_with("/dev/full", [kept])
    failures = []

    def run():
        try:
            assembler.run()
        except StoreError as error:
            failures.append(str(error))

    running = threading.Thread(target=run)
    running.start()
    with closing(Camera(CameraOptions(port=assembler.port, rate_hz=1000, count=200))) as camera:
        camera.run()
    for _ in range(3000):
        if assembler.status()["builder"]["readouts"] == 200:
            break
        threading.Event().wait(0.01)
    assembler.stop()
    running.join(20)
    assert kept.readouts == 200
    assert "/dev/full" in failures[0]


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"packet_debug_stream_file: .*nowhere"):
        assembler_with(tmp_path / "nowhere" / "a.txt")
    (tmp_path / "link").symlink_to(tmp_path / "b.txt")
    with pytest.raises(ConfigError, match="packet_debug_stream_file"):
        assembler_with(tmp_path / "link")


def test_an_assembler_that_cannot_start_lets_the_file_go(tmp_path):
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ConfigError, match="cannot be bound"):
            SSReadoutAssembler(
                listen_ip="127.0.0.1",
                listen_port=taken.getsockname()[1],
                packet_debug_stream_file=tmp_path / "a.txt",
            )
    assert "sink" not in [thread.name for thread in threading.enumerate()]
