"""What a packet costs the receiver as modules grow in number and packets in size.

    python bench/modules.py [--quick]

A simulated detector offers the same packets a second in all cases, well below what is possible. Cost is CPU
time of all receiving threads for each packet, and of the builder for each frame; the first row of each
size is the unit of the ratio.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from subprocess import Popen

import numpy as np

from forebay.assemble.builder import Builder
from forebay.assemble.receiver import Receiver, ReceiveRules
from forebay.ring.shared import RingShape, SharedRing
from forebay.sim.detector import Options, run
from forebay.wire.eiger import eiger
from forebay.wire.jungfrau import jungfrau
from forebay.wire.packet import PacketLayout

PORT = 21_300  # below the ports that the kernel hands out
PACKETS_A_SECOND = 80_000
LAYOUTS = {
    "1072": replace(eiger(16), payload_bytes=1024, packets_per_frame=64, frame_shape=(64, 512)),
    "4144": eiger(16),
    "8240": jungfrau("framenum"),
}


def offered_hz(layout: PacketLayout, n_modules: int) -> float:
    return PACKETS_A_SECOND / (n_modules * layout.packets_per_frame)


def send(size: str, n_modules: int, seconds: float) -> None:
    layout = LAYOUTS[size]
    rate_hz = offered_hz(layout, n_modules)
    count = max(4, round(rate_hz * seconds))
    options = Options(
        layout=layout, n_modules=n_modules, start_udp_port=PORT, rate_hz=rate_hz, count=count, pattern="ramp"
    )
    run(options)


def measure(size: str, n_modules: int, seconds: float) -> tuple[float, float, int]:
    """Return ns CPU a packet in the receiver, ns CPU a frame in the builder, and packets received."""
    layout = LAYOUTS[size]
    with tempfile.TemporaryDirectory() as runtime:
        n_slots = max(64, min(256, 2**29 // (n_modules * layout.frame_bytes)))
        ring = SharedRing.create("bench", layout, RingShape(n_slots, n_modules), Path(runtime))
        receiver = Receiver(ring, layout, IPv4Address("127.0.0.1"), PORT, [], ReceiveRules(), 2**24)
        builder = Builder(
            n_modules, layout.packets_per_frame, patience=32, deadline_ns=10**9, pulse_step=1, max_jump=1000
        )
        receiver.start()
        clocks = [
            time.pthread_getcpuclockid(thread.ident or 0)
            for thread in threading.enumerate()
            if thread.name.startswith("port ")
        ]
        building, n_frames, cpu = 0.0, 0, 0.0
        with Popen([sys.executable, __file__, "--send", size, str(n_modules), str(seconds)]) as sender:
            idle = sum(map(time.clock_gettime, clocks))
            while sender.poll() is None:
                frames = receiver.read(0.05)
                start = time.thread_time()
                builder.add(frames, time.monotonic_ns())
                building += time.thread_time() - start
                n_frames += len(frames)
            cpu = sum(map(time.clock_gettime, clocks)) - idle
        receiver.stop()
        received = sum(ring.counters()[f"module {m}"]["received"] for m in range(n_modules))
        ring.close()
    return 1e9 * cpu / max(received, 1), 1e9 * building / max(n_frames, 1), received


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--send", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        size, n_modules, seconds = options.send
        send(size, int(n_modules), float(seconds))
        return
    rounds, seconds = (2, 1.5) if options.quick else (5, 4.0)
    cases = [(size, n) for size in LAYOUTS for n in (1, 2, 4, 8, 16, 32)]
    results: dict[tuple[str, int], list[tuple[float, float, int]]] = {case: [] for case in cases}
    for _ in range(rounds):
        for case in cases:
            results[case].append(measure(*case, seconds))
    print(f"{PACKETS_A_SECOND} packets a second in all; median (min-max) of {rounds} rounds")
    print(f"{'bytes':>6} {'modules':>8} {'ns CPU a packet':>24} {'ratio':>6} {'builder: ns a frame':>20}")
    for size, n_modules in cases:
        costs = [one[0] for one in results[size, n_modules]]
        unit = [one[0] for one in results[size, 1]]
        ratio = statistics.median(np.array(costs) / np.array(unit))
        builder = statistics.median(one[1] for one in results[size, n_modules])
        spread = f"{statistics.median(costs):.0f} ({min(costs):.0f}-{max(costs):.0f})"
        print(f"{size:>6} {n_modules:8} {spread:>24} {ratio:6.2f} {builder:20.0f}")


if __name__ == "__main__":
    main()
