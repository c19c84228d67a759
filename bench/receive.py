"""Receive, validate, place and account, against a C loop that only counts and a Python loop.

    python bench/receive.py [--quick]

One sender on another core offers full speed; every way of receiving gets the same packets, in turn. Two
figures tell: CPU time of the receiving thread for each packet, and packets a second while the sender
sends. Packets that the receiver loses cost it nothing, so the share that arrived stands beside.
"""

from __future__ import annotations

import argparse
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from ipaddress import IPv4Address
from pathlib import Path

import numpy as np

from forebay._native import send_datagrams
from forebay.assemble.receiver import Receiver, ReceiveRules
from forebay.ring.shared import RingShape, SharedRing
from forebay.wire.eiger import eiger
from forebay.wire.jungfrau import jungfrau
from forebay.wire.packet import PacketLayout, join

BUFFER_BYTES = 128 * 2**20
PORT = 21_211  # below the ports that the kernel hands out
LAYOUTS = {"jungfrau": jungfrau("framenum"), "eiger": eiger(16)}
PREDECESSORS = {  # measured on one such machine; CPU microseconds a packet
    "jungfrau": "std_udp_recv 2.5 warm, 7.1 cold (its receiver only)",
    "eiger": "std_udp_recv 2.1 to 2.6 (its receiver only)",
}


def send(name: str, n_packets: int, segment: bool, pace: float) -> None:
    """Send `n_packets` in whole frames; `pace` packets a second, 0 is full speed."""
    layout = LAYOUTS[name]
    headers = np.zeros(layout.packets_per_frame, layout.header)
    headers[layout.packet] = np.arange(layout.packets_per_frame)
    random = np.random.default_rng(0)
    frames = [
        join(layout, headers, random.integers(0, 200, layout.frame_shape).astype(layout.pixel))
        for _ in range(8)
    ]
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * 2**20)
    sock.connect(("127.0.0.1", PORT))
    began = time.monotonic()
    for pulse_id in range(1, n_packets // layout.packets_per_frame + 1):
        rows = frames[pulse_id % len(frames)]
        rows[:, :8] = np.frombuffer(np.uint64(pulse_id).tobytes(), np.uint8)
        if pace and (wait := began + pulse_id * layout.packets_per_frame / pace - time.monotonic()) > 0:
            time.sleep(wait)
        send_datagrams(sock.fileno(), rows, segment)


def with_forebay(layout: PacketLayout, sender: list[str]) -> tuple[int, float, float]:
    """Return packets, CPU seconds of the receiving thread and wall seconds."""
    with tempfile.TemporaryDirectory() as runtime:
        ring = SharedRing.create("bench", layout, RingShape(256, 1), Path(runtime))
        receiver = Receiver(ring, layout, IPv4Address("127.0.0.1"), PORT, [], ReceiveRules(), BUFFER_BYTES)
        receiver.start()
        (thread,) = (t for t in threading.enumerate() if t.name == "port 0")
        clock = time.pthread_getcpuclockid(thread.ident or 0)
        cpu, began = time.clock_gettime(clock), time.monotonic()
        with subprocess.Popen(sender) as process:
            seen, last, cpu_last = 0, began, cpu
            while process.poll() is None or time.monotonic() - last < 0.3:
                receiver.read(0.02)
                received = ring.counters()["module 0"]["received"]
                if received != seen:
                    if not seen:
                        began = time.monotonic()
                    seen, last, cpu_last = received, time.monotonic(), time.clock_gettime(clock)
        receiver.stop()
        counters = ring.counters()["module 0"]
        assert counters["placed"] == counters["received"] == seen, counters
        ring.close()
    return seen, cpu_last - cpu, last - began


def with_python(layout: PacketLayout, sender: list[str]) -> tuple[int, float, float]:
    """Receive packet by packet in Python: read the header, copy the payload to its place."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, 33, BUFFER_BYTES)
    sock.bind(("127.0.0.1", PORT))
    sock.settimeout(0.5)
    ring = np.ones((256, layout.packets_per_frame, layout.payload_bytes), np.uint8)
    packet = bytearray(layout.packet_bytes)
    view, n = memoryview(packet), layout.header.itemsize
    payload = np.frombuffer(packet, np.uint8)[n:]
    seen, cpu, began, last = 0, time.thread_time(), 0.0, 0.0
    with subprocess.Popen(sender) as process:
        while True:
            try:
                sock.recv_into(view)
            except TimeoutError:
                if process.poll() is None:
                    continue
                break
            last = time.monotonic()
            began = began or last
            pulse_id = int.from_bytes(view[:8], "little")
            ring[pulse_id % 256, int.from_bytes(view[12:16], "little")] = payload
            seen += 1
    sock.close()
    return seen, time.thread_time() - cpu, last - began


def with_count(program: Path, layout: PacketLayout, sender: list[str]) -> tuple[int, float, float]:
    """Count in C."""
    command = [program, str(PORT), str(layout.packet_bytes), str(BUFFER_BYTES)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as counter:
        assert counter.stdout is not None
        assert counter.stdout.readline() == "ready\n"
        subprocess.run(sender, check=True)
        packets, cpu, wall = counter.stdout.readline().split()
    return int(packets), float(cpu), float(wall)


def compare(name: str, segment: bool, n_packets: int, n_rounds: int, pace: float, program: Path) -> None:
    layout = LAYOUTS[name]
    sender = [sys.executable, __file__, "--send", name, str(n_packets), str(int(segment)), str(pace)]
    ways = {
        "C, counts only": lambda: with_count(program, layout, sender),
        "forebay": lambda: with_forebay(layout, sender),
        "Python loop": lambda: with_python(layout, sender),
    }
    results: dict[str, list[tuple[int, float, float]]] = {way: [] for way in ways}
    for _ in range(n_rounds):
        for way, receive in ways.items():
            results[way].append(receive())
    coalesced = "sent as segments (UDP_SEGMENT)" if segment else "sent one by one"
    speed = f"offered {pace:.0f}/s" if pace else "full speed"
    print(f"\n{name}, {layout.packet_bytes} bytes, {coalesced}, {speed}")
    print(f"  {'':16} {'ns CPU/packet':>22} {'packets/s':>12} {'GB/s':>6} {'arrived':>8}")
    for way, runs in results.items():
        costs = [1e9 * cpu / packets for packets, cpu, _ in runs]
        rate = statistics.median(packets / wall for packets, _, wall in runs)
        arrived = statistics.median(packets / n_packets for packets, _, _ in runs)
        spread = f"{statistics.median(costs):7.0f} ({min(costs):.0f}-{max(costs):.0f})"
        print(f"  {way:16} {spread:>22} {rate:12.0f} {rate * layout.packet_bytes / 1e9:6.2f} {arrived:8.1%}")
    for other in ("C, counts only", "Python loop"):
        pairs = list(zip(results[other], results["forebay"], strict=True))
        per_core = [(theirs[1] / theirs[0]) / (ours[1] / ours[0]) for theirs, ours in pairs]
        rates = [(ours[0] / ours[2]) / (theirs[0] / theirs[2]) for theirs, ours in pairs]
        print(
            f"  ratio to {other}: packets per CPU second {statistics.median(per_core):.2f} "
            f"({min(per_core):.2f}-{max(per_core):.2f}), packets/s {statistics.median(rates):.2f} "
            f"({min(rates):.2f}-{max(rates):.2f})"
        )
    print(f"  for comparison, CPU us a packet: {PREDECESSORS[name]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--send", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        name, n_packets, segment, pace = options.send
        send(name, int(n_packets), segment == "1", float(pace))
        return
    n_rounds = 3 if options.quick else 7
    n_packets = 128 * (1000 if options.quick else 3000)
    with tempfile.TemporaryDirectory() as temporary:
        program = Path(temporary) / "count"
        source = Path(__file__).with_name("count.c")
        subprocess.run(["cc", "-O2", "-o", program, source], check=True)
        for name in LAYOUTS:
            compare(name, True, n_packets, n_rounds, 0, program)
            compare(name, False, n_packets, n_rounds, 0, program)
    print(f"\nlargest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
