"""What assembling costs when datagrams come in time, evenly or back to back, and how late readouts are.

The assembler is a process of its own, as it is run; so is the sender. It takes turns with a stand-in for the
original (`readout_original.py`, cheaper than the original was), for the CPU time of a datagram; and, for the
latency, with a process that does nothing but count datagrams and publish as many messages of the same size.
CPU time is that of the whole process, as the kernel counts it, from 0.4 s after the beginning on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import zmq

from forebay import _native
from forebay.assemble.timed import TimedRules
from forebay.service.process import stop_on_signal
from forebay.service.readout import CameraInput, ReadoutAssembler
from forebay.sim.camera import CameraOptions, Signals
from forebay.stream.readouts import ReadoutListener, ReadoutPublisher
from forebay.wire.ssreadout import MESSAGE_A
from readout_original import Original

N_MODULES = 32
T0 = 1_700_000_000_000_000_000
WARM_S = 0.4
KNOWN_US = {10: 261.0, 1: 31.0}
"""CPU us a datagram of the original itself, by the readouts in it, on a machine of the same kind."""
KNOWN_S = 3.5
"""From the last datagram of a readout to publishing in the original: 3.4 to 3.8 s."""
GOAL_S = 0.002


@dataclass(frozen=True)
class Load:
    """Readouts a second, how many of them are in a datagram, and whether modules send one after the other."""

    rate_hz: float
    packed: int
    is_even: bool

    @property
    def datagrams_hz(self) -> float:
        """Datagrams a second of all modules."""
        return N_MODULES * self.rate_hz / self.packed

    def __str__(self) -> str:
        how = "evenly" if self.is_even else "back to back"
        return f"{self.rate_hz:4.0f} Hz, {self.packed:2} in a datagram, {how:12}"


def be_ours(publishes: bool) -> None:
    """Be the assembler until SIGTERM."""
    publisher = [ReadoutPublisher("127.0.0.1", "*")] if publishes else []
    rules = TimedRules(window_ns=10_000_000, buffer_ns=4_000_000_000)
    assembler = ReadoutAssembler(CameraInput(ip_address("127.0.0.1"), 0, rules=rules), publisher)
    print(assembler.port, publisher[0].endpoint.rpartition(":")[2] if publisher else 0, flush=True)
    with stop_on_signal() as stop:
        assembler.run(stop)
    print(assembler.status()["receiver"]["datagrams"], flush=True)


def be_original() -> None:
    """Be the stand-in until SIGTERM; it publishes to nobody."""

    async def run() -> int:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        port.bind(("127.0.0.1", 0))
        port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 2**20)
        original = Original(None)
        await loop.create_datagram_endpoint(lambda: original, sock=port)
        working = loop.create_task(original.assemble())
        print(port.getsockname()[1], 0, flush=True)
        await stop.wait()
        working.cancel()
        await asyncio.sleep(0.1)
        return original.n_datagrams

    print(asyncio.run(run()), flush=True)


def be_limit(packed: int) -> None:
    """Count datagrams and publish until SIGKILL: as many messages as there are readouts in each cycle."""
    message = bytes(MESSAGE_A.itemsize)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port, zmq.Context() as context:
        port.bind(("127.0.0.1", 0))
        port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 2**20)
        publisher = context.socket(zmq.PUB)
        print(port.getsockname()[1], publisher.bind_to_random_port("tcp://127.0.0.1"), flush=True)
        while True:
            for _ in range(N_MODULES):
                port.recv(2048)
            for _ in range(packed):
                publisher.send(message)


def send(port: int, load: Load, seconds: float) -> None:
    """Send, and print when the last datagram of each cycle went: ns of the monotonic clock."""
    options = CameraOptions(rate_hz=load.rate_hz, packed=load.packed, start_ns=T0)
    signals = Signals(options, T0)
    cycle_s = load.packed / load.rate_hz
    cycles = [signals.cycle() for _ in range(int(seconds / cycle_s))]
    outs = []
    for module in range(N_MODULES):
        out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        out.bind((f"127.0.0.{100 + module}", 0))
        out.connect(("127.0.0.1", port))
        outs.append(out)
    fds = [out.fileno() for out in outs]
    step_s = cycle_s / N_MODULES if load.is_even else 0.0
    sent = []
    origin = time.monotonic()
    for number, rows in enumerate(cycles):
        for i, fd in enumerate(fds):
            due = origin + number * cycle_s + i * step_s
            while (left := due - time.monotonic()) > 0:
                if left > 2e-4:
                    time.sleep(left - 1e-4)
            _native.send_datagrams(fd, rows[i : i + 1], segment=False)
        sent.append(time.monotonic_ns())
    json.dump(sent, sys.stdout)


def cpu_s(pid: int) -> float:
    """CPU time of all threads of a process so far."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    return total * 1e-9


def count_wakes(pid: int) -> int:
    """How often the main thread of a process was woken so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("voluntary_ctxt_switches")).split()[1])


@dataclass(frozen=True)
class Run:
    """CPU time a datagram that came, s; wake-ups, Hz; datagrams that did not; latency of each cycle, s."""

    cpu_s: float
    wakes_hz: float
    lost: int
    late_s: list[float]


def run(kind: str, load: Load, seconds: float, listens: bool) -> Run:
    """Let one kind of receiver take a load."""
    me = [sys.executable, __file__, "--child"]
    what = [kind, str(int(listens)), str(load.packed)]
    receiver = subprocess.Popen([*me, *what], stdout=subprocess.PIPE, text=True)
    assert receiver.stdout is not None
    udp, tcp = map(int, receiver.stdout.readline().split())
    arrived: list[int] = []
    over = threading.Event()

    def listen() -> None:
        with closing(ReadoutListener("127.0.0.1", tcp, hwm=100_000)) as listener:
            while not over.is_set():
                n = len(listener.read(0.2))
                arrived.extend([time.monotonic_ns()] * n)

    listening = threading.Thread(target=listen)
    if listens:
        listening.start()
        time.sleep(0.5)
    told = [str(udp), str(load.rate_hz), str(load.packed), str(int(load.is_even)), str(seconds + 2 * WARM_S)]
    sender = subprocess.Popen([*me, "send", *told], stdout=subprocess.PIPE, text=True)
    wait_for_data(udp)
    time.sleep(WARM_S)
    start, used, woken = time.monotonic(), cpu_s(receiver.pid), count_wakes(receiver.pid)
    time.sleep(seconds)
    used, woken = cpu_s(receiver.pid) - used, count_wakes(receiver.pid) - woken
    passed_s = time.monotonic() - start
    sent = json.loads(sender.communicate()[0])
    time.sleep(0.3)
    over.set()
    receiver.terminate() if kind != "limit" else receiver.kill()
    came = receiver.communicate()[0]
    if listens:
        listening.join()
        assert len(arrived) == len(sent) * load.packed, f"{len(arrived)} of {len(sent) * load.packed} came"
    n_warm = int(WARM_S * load.rate_hz / load.packed)
    last = arrived[load.packed - 1 :: load.packed]
    late_s = [(at - went) * 1e-9 for at, went in zip(last, sent, strict=False)][n_warm:]
    n_sent = N_MODULES * len(sent)
    n_came = n_sent if kind == "limit" else int(came)
    n_taken = load.datagrams_hz * passed_s * n_came / n_sent
    return Run(used / n_taken, woken / passed_s, n_sent - n_came, late_s)


def wait_for_data(port: int) -> None:
    """Wait until a sender is connected to a port of this host."""
    wanted = f":{port:04X} 01"
    while wanted not in Path("/proc/net/udp").read_text():
        time.sleep(0.02)


def compare_cost(load: Load, rounds: int, seconds: float, with_original: bool) -> None:
    """Print what a datagram costs us and the stand-in, which take turns; nobody listens."""
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(run("ours", load, seconds, listens=False))
        if with_original:
            theirs.append(run("original", load, seconds, listens=False))
    costs = [one.cpu_s * 1e6 for one in ours]
    known = KNOWN_US[load.packed]
    said = (
        f"{load}: {statistics.median(costs):5.1f} us a datagram ({min(costs):.1f} .. {max(costs):.1f}), "
        f"{100e-6 * statistics.median(costs) * load.datagrams_hz:.1f} % of a core, "
        f"{statistics.median(one.wakes_hz for one in ours):.0f} wake-ups/s; "
        f"the original's own {known:.0f} us : this = {known / statistics.median(costs):.0f}"
    )
    if theirs:
        ratios = [b.cpu_s / a.cpu_s for a, b in zip(ours, theirs, strict=True)]
        said += (
            f"; stand-in : this = {statistics.median(ratios):.1f} ({min(ratios):.1f} .. {max(ratios):.1f})"
        )
    for name, runs in (("lost", ours), ("the stand-in lost", theirs)):
        if n_lost := sum(one.lost for one in runs):
            said += f"; {name} {n_lost}"
    print(said, flush=True)


def compare_latency(load: Load, rounds: int, seconds: float) -> None:
    """Print how late the last readout of a cycle is at a subscriber, beside the limit."""
    found: dict[str, list[Run]] = {"ours": [], "limit": []}
    for _ in range(rounds):
        for kind, runs in found.items():
            runs.append(run(kind, load, seconds, listens=True))
    late = np.sort(np.concatenate([one.late_s for one in found["ours"]])) * 1e3
    limit = np.sort(np.concatenate([one.late_s for one in found["limit"]])) * 1e3
    medians = [
        statistics.median(a.late_s) / statistics.median(b.late_s)
        for a, b in zip(found["ours"], found["limit"], strict=True)
    ]
    cost, least = (statistics.median(one.cpu_s * 1e6 for one in runs) for runs in found.values())
    p50, p99 = np.quantile(late, [0.5, 0.99])
    print(
        f"{load}: p50 {p50:.2f} ms, p99 {p99:.2f}, most {late[-1]:.1f}; goal {1e3 * GOAL_S:.0f} ms; "
        f"limit p50 {np.median(limit):.2f}, p99 {np.quantile(limit, 0.99):.2f}; p50 : limit = "
        f"{statistics.median(medians):.1f} ({min(medians):.1f} .. {max(medians):.1f}); "
        f"the original's {KNOWN_S} s : p50 = {1e3 * KNOWN_S / p50:.0f}; "
        f"{cost:.1f} us CPU a datagram with publishing, the limit {least:.1f}",
        flush=True,
    )


def main() -> None:
    """Print both comparisons, or be a part of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        kind, *rest = options.child
        if kind == "send":
            port, rate_hz, packed, is_even, seconds = rest
            load = Load(float(rate_hz), int(packed), bool(int(is_even)))
            return send(int(port), load, float(seconds))
        if kind == "ours":
            return be_ours(bool(int(rest[0])))
        return be_original() if kind == "original" else be_limit(int(rest[1]))
    rounds, seconds = (1, 0.7) if options.quick else (3, 2.0)
    print("CPU time of the assembler, nobody listens:")
    for load in (Load(144, 10, False), Load(144, 10, True), Load(1000, 10, False), Load(1000, 10, True)):
        compare_cost(load, rounds, seconds, with_original=True)
    compare_cost(Load(500, 1, True), rounds, seconds, with_original=True)
    compare_cost(Load(1000, 1, True), rounds, seconds, with_original=False)
    print("From the last datagram of a cycle to the last of its readouts at a subscriber:")
    for load in (Load(144, 10, True), Load(1000, 10, False), Load(1000, 10, True), Load(1000, 1, True)):
        compare_latency(load, rounds, seconds)
    return None


if __name__ == "__main__":
    main()
