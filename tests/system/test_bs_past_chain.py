"""Pulses that went by before the writer was asked: from the buffer's disk, its memory and what comes."""

import json
import socket
import subprocess

import pytest
import zmq
from tests.system.bs_stand import BsStand, check_file, script
from tests.system.stand import free_ports, wait_until

from forebay.service.bsread_disk import open_ring
from forebay.store.check import check_file as check_promises
from forebay.wire.bsread import HeaderCache, decode

pytestmark = pytest.mark.system

MEMORY = 50


@pytest.fixture
def stand(tmp_path):
    with BsStand(tmp_path) as stand:
        yield stand


class Buffer:
    """A buffer with a small memory, a ring on disk and a port for statistics."""

    def __init__(self, stand, length=MEMORY):
        self.ring = stand.directory / "ring"
        self.port = free_ports(1, socket.SOCK_STREAM)
        self.program = stand.buffer("-b", length, "--ring", self.ring, "--rest_port", self.port)

    @property
    def statistics(self):
        url = f"localhost:{self.port}/statistics"
        done = subprocess.run(["curl", "-s", url], capture_output=True, text=True, check=True, timeout=60)
        return json.loads(done.stdout)["statistics"]

    def waits_for(self, pulse_id):
        wait_until(lambda: (self.statistics["last_pulse_id"] or 0) >= pulse_id, f"pulse {pulse_id}")
        return self.statistics


def test_a_range_over_disk_memory_and_what_comes(stand, tmp_path):
    stand.simulate("-i", "0.003")
    buffer = Buffer(stand)
    seen = buffer.waits_for(900)
    assert seen["first_pulse_id"] > 800
    assert seen["disk"]["written"] >= 900
    both = [stand.writer(tmp_path / f"{name}.h5", "--ring", buffer.ring) for name in ("past", "mixed")]
    past, mixed = both
    past.ask("PUT", "/stop_pulse_id/320")
    past.ask("PUT", "/start_pulse_id/20")
    now = seen["last_pulse_id"]
    mixed.ask("PUT", "/start_pulse_id/300")
    mixed.waits_for(now + 100)
    wait_until(
        lambda: any(one["kind"] == "PULL" and one["sent"] for one in buffer.statistics["consumers"]),
        "the writer among the consumers",
    )
    assert mixed.statistics()["stream"]["from_disk"] > 500
    last = mixed.statistics()["last_pulse_id"] + 50
    mixed.ask("PUT", f"/stop_pulse_id/{last}")
    assert past.wait().code == mixed.wait().code == 0
    check_file(tmp_path / "past.h5", 20, 320)
    check_file(tmp_path / "mixed.h5", 300, last)
    for path in (tmp_path / "past.h5", tmp_path / "mixed.h5"):
        assert check_promises(path).problems == []
    statistics = buffer.statistics
    assert statistics["input"]["malformed"] == 0
    assert statistics["output"]["served"] >= 1  # what is past needs no network
    assert buffer.program.stop().code == 0


def test_after_a_restart_the_memory_is_what_it_was(stand, tmp_path):
    source = stand.simulate("-n", "300", "-i", "0.001")
    before = Buffer(stand, 120)
    assert source.wait().code == 0
    before.waits_for(300)
    before.program.kill()
    after = Buffer(stand, 120)
    statistics = after.statistics
    assert (statistics["first_pulse_id"], statistics["last_pulse_id"]) == (181, 300)
    assert statistics["disk"]["refilled"] == 120
    stand.simulate("--first", "301", "-n", "100", "-i", "0.001")
    with zmq.Context() as context, context.socket(zmq.PULL) as sink:
        sink.rcvtimeo = 30_000
        sink.connect(stand.stream)
        cache = HeaderCache()
        assert [decode(sink.recv_multipart(), cache).pulse_id for _ in range(220)] == list(range(181, 401))
        sink.linger = 0
    writer = stand.writer(tmp_path / "a.h5", "--ring", after.ring)
    writer.ask("PUT", "/stop_pulse_id/400")
    writer.ask("PUT", "/start_pulse_id/1")
    assert writer.wait().code == 0
    check_file(tmp_path / "a.h5", 1, 400)


def test_a_buffer_that_is_killed_under_a_writer(stand, tmp_path):
    stand.simulate("-i", "0.002")
    before = Buffer(stand)
    before.waits_for(200)
    writer = stand.writer(tmp_path / "a.h5", "--ring", before.ring)
    writer.ask("PUT", "/start_pulse_id/100")
    writer.waits_for(300)
    before.program.kill()
    after = Buffer(stand)
    reached = after.waits_for(600)["last_pulse_id"]
    writer.ask("PUT", f"/stop_pulse_id/{reached}")
    assert writer.wait().code == 0
    ids = check_file(tmp_path / "a.h5")
    on_disk = [e.pulse_id for e in open_ring(after.ring).read(open_ring(after.ring).span)]
    assert ids == [p for p in on_disk if 100 <= p <= reached]
    assert len(ids) > 300


def test_a_ring_that_is_not_there_is_said(stand, tmp_path):
    words = script("bsread_writer", stand.stream, tmp_path / "a.h5", -1, stand.output_port)
    done = stand.start([*words, "--ring", str(tmp_path / "none")], "writer").wait()
    assert done.code == 1
    assert "no disk ring" in done.err
    assert "Traceback" not in done.err
