"""Dump and replay: the same datagrams come out, whole files or none, errors that say what to do."""

import os
import socket
import threading
from ipaddress import IPv4Address
from pathlib import Path

import numpy as np
import pytest
from tests.one_cpu import one_cpu

from forebay.errors import ConfigError, StoreError, WireError
from forebay.service.capture import convert, dump, save
from forebay.service.replay import replay
from forebay.wire import pcap
from forebay.wire.pcap import Datagram

pytestmark = [pytest.mark.system, pytest.mark.calm]

VECTORS = Path(__file__).parents[1] / "vectors"
LOOPBACK = IPv4Address("127.0.0.1")


class DumpThread:
    """A dump in a thread: `finish` stops it and returns its result."""

    def __init__(self, ports, path, **kwargs):
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._results = []
        self._thread = threading.Thread(target=self._run, args=(ports, path, kwargs))
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self, ports, path, kwargs):
        self._results.append(
            dump(ports, LOOPBACK, path, stop=self._stop.is_set, ready=self._ready.set, **kwargs)
        )

    def finish(self):
        self._stop.set()
        return self.wait()

    def wait(self):
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self._results[0]


def read(path):
    with path.open("rb") as file:
        return list(pcap.read(iter(lambda: file.read(1000), b"")))


def sent_by_hand(ports):
    """Send a little of everything; return (port, payload) in order."""
    sent = []
    with one_cpu(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for i in range(60):
            payload = os.urandom([0, 1, 48, 1440, 8240, 60000][i % 6])
            out.sendto(payload, ("127.0.0.1", ports[i % len(ports)]))
            sent.append((ports[i % len(ports)], payload))
    return sent


def flat(datagrams):
    return [(d.destination[1], d.payload) for d in datagrams]


def by_port(sent):
    """Order holds within a port."""
    return sorted(sent, key=lambda pair: pair[0])


def test_dump_replay_dump_is_the_same(free_udp_port, tmp_path):
    first = free_udp_port(3)
    ports = [first, first + 1, first + 2]
    dumping = DumpThread(ports, tmp_path / "a.pcap")
    sent = sent_by_hand(ports)
    dumped = dumping.finish()
    a = read(tmp_path / "a.pcap")
    assert by_port(flat(a)) == by_port(sent)
    assert dumped.datagrams == 60
    assert dumped.bytes == sum(len(p) for _, p in sent)
    assert dumped.by_port == dict.fromkeys(ports, 20)
    assert dumped.kernel_drops == dict.fromkeys(ports, 0)
    assert dumped.receive_buffer_bytes > 0
    for port in ports:
        times = [d.time_ns for d in a if d.destination[1] == port]
        assert times == sorted(times)

    dumping = DumpThread(ports, tmp_path / "b.pcap")
    with one_cpu():
        replayed = replay(tmp_path / "a.pcap", "127.0.0.1", speed=1)
    assert dumping.finish().datagrams == 60
    assert by_port(flat(read(tmp_path / "b.pcap"))) == by_port(sent)
    assert (replayed.datagrams, replayed.bytes, replayed.loops) == (60, dumped.bytes, 1)
    assert replayed.by_port == dumped.by_port
    assert list(tmp_path.glob("*.part")) == []


def test_vendor_packets_from_an_archive(free_udp_port, tmp_path, udp_inlet):
    archive = VECTORS / "jungfrau-virtual" / "packets.npz"
    with np.load(archive) as arrays:
        packets = arrays["packets"]
    port = free_udp_port()
    assert convert(archive, tmp_path / "v.pcap", start_udp_port=port, interval_ns=200_000) == 512
    with udp_inlet(port, 1) as inlet:  # slow enough for a socket buffer that does not hold all of them
        with one_cpu():
            replay(tmp_path / "v.pcap", "127.0.0.1")
        inlet.finish()
        assert [d for d, _ in inlet.received[0]] == [p.tobytes() for p in packets]


def test_foreign_file_with_its_sources_to_other_ports(free_udp_port, udp_inlet):
    port = free_udp_port(2)
    golden = VECTORS / "pcap" / "chec_golden.pcap"
    recorded = read(golden)
    with udp_inlet(port, 2) as inlet:
        with one_cpu():
            by_map = replay(golden, "127.0.0.1", speed=0, ports={2209: port}, keep_sources=True)
            by_offset = replay(golden, "127.0.0.1", speed=0, port_offset=port + 1 - 2209, loops=2)
        inlet.finish()
        assert inlet.received[0] == [(d.payload, d.source[0]) for d in recorded]
        assert inlet.received[1] == [(d.payload, "127.0.0.1") for d in recorded] * 2
    assert (by_map.datagrams, by_offset.datagrams, by_offset.loops) == (167, 334, 2)


def test_count_ends_a_dump(free_udp_port, tmp_path):
    port = free_udp_port()
    dumping = DumpThread([port], tmp_path / "a.pcap", count=7)
    sent = sent_by_hand([port])
    assert dumping.wait().datagrams == 7
    assert flat(read(tmp_path / "a.pcap")) == sent[:7]


def test_kernel_drops_are_counted(free_udp_port, tmp_path):
    port = free_udp_port()
    filled = threading.Event()
    payload = bytes(8240)

    def stop_after_the_flood():
        return filled.wait(20)

    results = []
    ready = threading.Event()
    dumping = threading.Thread(
        target=lambda: results.append(
            dump(
                [port],
                LOOPBACK,
                tmp_path / "a.pcap",
                stop=stop_after_the_flood,
                receive_buffer_bytes=2**16,
                ready=ready.set,
            )
        )
    )
    dumping.start()
    assert ready.wait(10)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for _ in range(100):
            out.sendto(payload, ("127.0.0.1", port))
    filled.set()
    dumping.join(20)
    (dumped,) = results
    assert dumped.kernel_drops[port] > 0
    assert dumped.datagrams + dumped.kernel_drops[port] == 100


def test_stop_ends_a_dump_under_traffic(free_udp_port, tmp_path):
    port = free_udp_port()
    dumping = DumpThread([port], tmp_path / "a.pcap")
    quiet = threading.Event()

    def talk():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            while not quiet.is_set():
                out.sendto(b"never quiet", ("127.0.0.1", port))

    talking = threading.Thread(target=talk)
    talking.start()
    try:
        dumped = dumping.finish()
    finally:
        quiet.set()
        talking.join(10)
    assert dumped.datagrams == len(read(tmp_path / "a.pcap"))


def test_stop_ends_a_replay_that_loops_or_pauses(tmp_path, free_udp_port):
    here = ("127.0.0.1", free_udp_port())
    save([Datagram(0, here, here, b"a"), Datagram(10**15, here, here, b"b")], tmp_path / "a.pcap")
    asked = iter([False] * 5)
    replayed = replay(tmp_path / "a.pcap", "127.0.0.1", stop=lambda: next(asked, True))
    assert (replayed.datagrams, replayed.loops) == (1, 0)
    asked = iter([False] * 20)
    replayed = replay(tmp_path / "a.pcap", "127.0.0.1", speed=0, loops=0, stop=lambda: next(asked, True))
    assert replayed.loops > 1


def test_empty_file_does_not_loop_forever(tmp_path):
    assert save([], tmp_path / "a.pcap") == 0
    assert replay(tmp_path / "a.pcap", "127.0.0.1", loops=0).datagrams == 0


def test_nothing_is_overwritten(tmp_path, free_udp_port):
    path = tmp_path / "a.pcap"
    path.write_bytes(b"mine")
    with pytest.raises(StoreError, match="exists"):
        dump([free_udp_port()], LOOPBACK, path, stop=lambda: True)
    assert path.read_bytes() == b"mine"
    (tmp_path / "b.pcap.part").write_bytes(b"mine")
    with pytest.raises(StoreError, match="did not end"):
        save([], tmp_path / "b.pcap")
    assert (tmp_path / "b.pcap.part").read_bytes() == b"mine"
    assert not (tmp_path / "b.pcap").exists()


def test_file_that_appears_meanwhile_is_kept(tmp_path):
    path = tmp_path / "a.pcap"

    def datagrams():
        path.write_bytes(b"mine")
        yield Datagram(0, ("127.0.0.1", 1), ("127.0.0.1", 2), b"x")

    with pytest.raises(StoreError, match="exists"):
        save(datagrams(), path)
    assert path.read_bytes() == b"mine"
    assert len(read(tmp_path / "a.pcap.part")) == 1


def test_broken_dump_leaves_a_readable_part(tmp_path):
    def datagrams():
        yield Datagram(0, ("127.0.0.1", 1), ("127.0.0.1", 2), b"x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save(datagrams(), tmp_path / "a.pcap")
    assert not (tmp_path / "a.pcap").exists()
    assert len(read(tmp_path / "a.pcap.part")) == 1


def test_wrong_requests_are_explained(tmp_path, free_udp_port):
    path = tmp_path / "a.pcap"
    port = free_udp_port()
    with pytest.raises(ConfigError, match="at least one"):
        dump([], LOOPBACK, path, stop=lambda: True)
    with pytest.raises(ConfigError, match="each once"):
        dump([port, port], LOOPBACK, path, stop=lambda: True)
    with pytest.raises(ConfigError, match="between 1 and 65535"):
        dump([70000], LOOPBACK, path, stop=lambda: True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", port))
        with pytest.raises(ConfigError, match=str(port)):
            dump([port], LOOPBACK, path, stop=lambda: True)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreError, match="Cannot read"):
        replay(path, "127.0.0.1")
    path.write_bytes(b"this is no capture file at all")
    with pytest.raises(WireError, match="no pcap file"):
        replay(path, "127.0.0.1")
    with pytest.raises(ConfigError, match="speed"):
        replay(path, "127.0.0.1", speed=-1)
    with pytest.raises(ConfigError, match="loops"):
        replay(path, "127.0.0.1", loops=-1)
    golden = VECTORS / "pcap" / "chec_golden.pcap"
    with pytest.raises(ConfigError, match="port 67209"):
        replay(golden, "127.0.0.1", port_offset=65000)
    save([Datagram(0, ("192.0.2.1", 1), ("127.0.0.1", port), b"x")], tmp_path / "b.pcap")
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1"):
        replay(tmp_path / "b.pcap", "127.0.0.1", keep_sources=True)
    with pytest.raises(StoreError, match="NumPy"):
        convert(path, tmp_path / "c.pcap", start_udp_port=1)
    np.savez(tmp_path / "wrong.npz", x=np.zeros(3))
    with pytest.raises(StoreError, match="uint8"):
        convert(tmp_path / "wrong.npz", tmp_path / "c.pcap", start_udp_port=1)
    with pytest.raises(StoreError, match="Opening"):
        save([], tmp_path / "no" / "such" / "folder.pcap")
