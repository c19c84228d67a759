"""The bsread buffer and writer: rates without loss, latency, CPU a message, beside a bare forwarder.

    python bench/bsread_buffer.py [--quick] [--part through|disk|past] [--case scalars|image] [--rate HZ]

Source, program under test and sink are processes of their own. The bare forwarder is the least that Python
can do: PULL from the source, PUSH to the sink, with no ring and no second consumer. Both alternate, the
ratio is ours / bare. "past" writes a file of 10 s of 1000 scalar channels at 100 Hz from a ring on disk;
beside it the ring is only read. What sf_bsread_writer 1.2.0 reached on a machine of this kind stands beside:
scalars 400 messages/s at 1.8-2.7 ms of CPU each and 9-14 ms of latency through its buffer, 35/s through
buffer, writer and disk; images 200-300/s at 1.8-3.3 ms, and 50-75/s to disk.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.request import Request, urlopen

import h5py
import numpy as np
import zmq

from forebay.pulse import PulseRange
from forebay.service.bsread_disk import DiskSink, open_ring
from forebay.service.bsread_past import PastAndPresent
from forebay.service.pump import pump
from forebay.store.channel_file import ChannelFile
from forebay.store.channel_manifest import ChannelRecording
from forebay.wire.bsread import HeaderCache, announce, decode, describe, message
from forebay.wire.bsread.header import decode_main, pulse_id_of, time_ns_of

T0 = 1_700_000_000_000_000_000
ORIGINAL_HZ = {"scalars": 400, "image": 250}  # through its buffer, without loss
ORIGINAL_DISK_HZ = {"scalars": 35, "image": 60}
ORIGINAL_CPU_US = {"scalars": 2400, "image": 2500}
ORIGINAL_WRITER_US = {"scalars": 25_000, "image": 7_500}
ORIGINAL_P50_MS = {"scalars": 11.0, "image": 9.5}
MESSAGE_MB = {"scalars": 0.0108, "image": 2.62}


def values(case: str) -> dict[str, object]:
    if case == "scalars":
        return {f"S{i:03}": float(i) for i in range(100)}
    return {"CAM:FPICTURE": np.random.default_rng(1).integers(0, 4000, (1024, 1280)).astype("u2")}


def send(case: str, port: int, rate: float, seconds: float) -> None:
    made = values(case)
    header = announce([describe(name, value) for name, value in made.items()])
    parts = message(header, 0, 0, made)
    with zmq.Context() as context, context.socket(zmq.PUSH) as out:
        out.set_hwm(100)
        out.linger = 20_000
        out.bind(f"tcp://127.0.0.1:{port}")
        time.sleep(1.0)  # everybody connects
        begun = time.monotonic()
        for p in range(round(rate * seconds)):
            parts[0] = header.main(p, time.time_ns())
            out.send_multipart(parts, copy=False)
            wait = begun + (p + 1) / rate - time.monotonic()
            if wait > 0:
                time.sleep(wait)
        print(json.dumps({"rate": round(rate * seconds) / (time.monotonic() - begun)}), flush=True)


def forward(port: int, output: int) -> None:
    with zmq.Context() as context, context.socket(zmq.PULL) as source, context.socket(zmq.PUSH) as out:
        source.set_hwm(100)
        out.set_hwm(100)
        source.connect(f"tcp://127.0.0.1:{port}")
        out.bind(f"tcp://127.0.0.1:{output}")
        while True:
            out.send_multipart(source.recv_multipart(copy=False), copy=False)


def sink(port: int, n: int) -> None:
    delays, ids = [], set()
    with zmq.Context() as context, context.socket(zmq.PULL) as source:
        source.set_hwm(10)
        source.linger = 0
        source.connect(f"tcp://127.0.0.1:{port}")
        while len(ids) < n and source.poll(3000 if ids else 60_000):
            frames = source.recv_multipart(copy=False)
            now = time.time_ns()
            main = decode_main(frames[0].bytes)
            ids.add(pulse_id_of(main))
            delays.append((now - (time_ns_of(main) or 0)) / 1e6)
    delays.sort()
    print(
        json.dumps({"n": len(ids), "p50": delays[len(delays) // 2], "p99": delays[len(delays) * 99 // 100]})
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def start(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, *map(str, words)], stdout=subprocess.PIPE, text=True)


def script(module: str, *words: object) -> subprocess.Popen[str]:
    code = f"from forebay.service.{module} import main; main()"
    return start("-c", code, *words, "--log_level", "WARNING")


def cpu_s(process: subprocess.Popen[str]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def through(what: str, case: str, rate: float, seconds: float) -> dict[str, float]:
    port, output = free_port(), free_port()
    if what == "bare":
        program = start(__file__, "--role", "forward", port, output)
    else:
        program = script("bsread_buffer", f"tcp://127.0.0.1:{port}", "-o", output, "-b", 100)
    n = round(rate * seconds)
    receiver = start(__file__, "--role", "sink", output, n)
    time.sleep(1.0)
    before = cpu_s(program)
    source = start(__file__, "--role", "send", case, port, rate, seconds)
    try:
        found = json.loads(receiver.communicate(timeout=seconds * 10 + 60)[0])
        found["cpu_us"] = (cpu_s(program) - before) / n * 1e6
        found["rate"] = json.loads(source.communicate(timeout=30)[0])["rate"]
    finally:
        for one in (source, receiver, program):
            one.send_signal(signal.SIGKILL)
            one.wait()
    return {**found, "asked": n, "lost": n - found["n"]}


def wait_for(port: int) -> None:
    """Return once somebody listens."""
    end = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


def to_disk(case: str, rate: float, seconds: float, directory: str) -> dict[str, float]:
    port, output, rest = free_port(), free_port(), free_port()
    path = Path(directory) / f"{case}-{rate:.0f}.h5"
    buffer = script("bsread_buffer", f"tcp://127.0.0.1:{port}", "-o", output, "-b", 100)
    writer = script("bsread_writer", f"tcp://127.0.0.1:{output}", path, -1, rest)
    n = round(rate * seconds)
    wait_for(rest)
    source = start(__file__, "--role", "send", case, port, rate, seconds)
    try:
        for words in ("start_pulse_id/0", f"stop_pulse_id/{n - 1}"):
            urlopen(Request(f"http://localhost:{rest}/{words}", method="PUT"), timeout=30).close()
        idle = [cpu_s(buffer), cpu_s(writer)]
        used = list(idle)
        begun = time.monotonic()
        sent = 0.0
        while writer.poll() is None and time.monotonic() < begun + seconds * 3 + 30:
            if source.poll() is not None:
                sent = sent or time.monotonic()
            try:
                used = [cpu_s(buffer), cpu_s(writer)]
            except OSError:
                break
            time.sleep(0.05)
        writer.wait(30)
        whole = time.monotonic()
        with h5py.File(path) as file:
            written = len(next(g for g in file["data"].values() if "pulse_id" in g)["pulse_id"])
    finally:
        for one in (source, writer, buffer):
            one.send_signal(signal.SIGKILL)
            one.wait()
        path.unlink(missing_ok=True)
    return {
        "asked": n,
        "lost": n - written,
        "after_s": whole - sent if sent else 0.0,
        "buffer_us": (used[0] - idle[0]) / n * 1e6,
        "writer_us": (used[1] - idle[1]) / n * 1e6,
    }


class Nothing:
    """A buffer that sends nothing."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}

    def read(self, timeout: float) -> None:
        return None

    def close(self) -> None:
        pass


def past(rounds: int, n_channels: int, n_messages: int, directory: str) -> None:
    """Print how much faster than it came a stretch of the past is in a file."""
    ring, path = Path(directory) / "ring", Path(directory) / "past.h5"
    names = [f"S{i:04}" for i in range(n_channels)]
    header = announce([describe(name, 1.0) for name in names])
    values = np.random.default_rng(1).random((n_messages, n_channels))
    cache = HeaderCache()
    disk = DiskSink(ring, 2**30)
    for p, row in enumerate(values):
        parts = message(header, p, T0 + p * 10**7, dict(zip(names, row.tolist(), strict=True)))
        disk.write([decode([bytes(part) for part in parts], cache)])
    disk.close()

    def read() -> None:
        assert sum(1 for _ in open_ring(ring).read(PulseRange(0, n_messages))) == n_messages

    def write() -> None:
        file = ChannelFile(path, ChannelRecording("bench"))
        pump(PastAndPresent(ring, Nothing, 0), [file], lambda: False)
        file.close()
        assert file.counters["written"] == n_messages
        path.unlink()

    stream_s = n_messages / 100
    took: dict[str, list[float]] = {"read": [], "file": []}
    used: list[float] = []
    for _ in range(rounds):
        for what, act in (("read", read), ("file", write)):
            begun, cpu = time.perf_counter(), time.process_time()
            act()
            took[what].append(time.perf_counter() - begun)
            if what == "file":
                used.append((time.process_time() - cpu) / (n_channels * n_messages) * 1e6)
    print(f"past: {stream_s:g} s of {n_channels} scalar channels at 100 Hz from the ring on disk")
    for what, seconds in took.items():
        ratios = sorted(stream_s / one for one in seconds)
        print(
            f"  {what}: {statistics.median(seconds):.3f} s, {statistics.median(ratios):.1f} times faster "
            f"than it came ({ratios[0]:.1f} .. {ratios[-1]:.1f})"
        )
    print(
        f"  file: {statistics.median(used):.2f} CPU s a million values ({min(used):.2f} .. {max(used):.2f})"
    )


def measure_through(
    cases: Sequence[str], seconds: float, rounds: int, rates: dict[str, Sequence[int]]
) -> None:
    print(
        "case     Hz      what  rate/s   lost  CPU us  p50 ms  p99 ms   (medians; spread of CPU in brackets)"
    )
    for case in cases:
        for rate in rates[case]:
            found: dict[str, list[dict[str, float]]] = {"bare": [], "ours": []}
            for _ in range(rounds):
                for what in found:
                    found[what].append(through(what, case, rate, seconds))
            for what, runs in found.items():
                m = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
                spread = [run["cpu_us"] for run in runs]
                lost = max(run["lost"] for run in runs)
                print(
                    f"{case:8} {rate:<7} {what:5} {m['rate']:<8.0f} {lost:<5.0f} {m['cpu_us']:<7.0f} "
                    f"{m['p50']:<7.2f} {m['p99']:<7.2f} [{min(spread):.0f}..{max(spread):.0f}]"
                )
            ours, bare = (statistics.median(r["cpu_us"] for r in found[w]) for w in ("ours", "bare"))
            print(
                f"{'':16} CPU ours / bare {ours / bare:.2f}, "
                f"original / ours {ORIGINAL_CPU_US[case] / ours:.1f}; latency original / ours "
                f"{ORIGINAL_P50_MS[case] / statistics.median(r['p50'] for r in found['ours']):.1f}; "
                f"{rate * MESSAGE_MB[case]:.1f} MB/s; {ratio(rate, found['ours'], ORIGINAL_HZ[case])}"
            )


def ratio(rate: int, runs: Sequence[dict[str, float]], original: int) -> str:
    """Say how many runs came up to the rate and lost nothing, and what that is beside the original."""
    good = sum(run["lost"] == 0 and run["rate"] > 0.98 * rate for run in runs)
    return f"nothing lost in {good} of {len(runs)} at {rate / original:.2f} x the original's {original}/s"


def measure_disk(cases: Sequence[str], seconds: float, rounds: int, quick: bool, directory: str) -> None:
    for case in cases:
        for rate in (100,) if quick else (100, 200, 400) if case == "scalars" else (75, 100):
            runs = [to_disk(case, rate, seconds, directory) for _ in range(rounds)]
            m = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            per_value = m["writer_us"] / (100 if case == "scalars" else 1280 * 1024)
            spread = [run["writer_us"] for run in runs]
            lost = ", ".join(f"{run['lost']:.0f}" for run in runs)
            print(
                f"{case:8} {rate:<7} to disk: lost {lost} of {m['asked']:.0f}, "
                f"CPU a message: buffer {m['buffer_us']:.0f} us, writer {m['writer_us']:.0f} us "
                f"[{min(spread):.0f}..{max(spread):.0f}], {per_value:.3g} s a million"
            )
            print(
                f"{'':16} {rate * MESSAGE_MB[case]:.2f} MB/s, whole {m['after_s']:.2f} s after the last one; "
                f"CPU original / ours {ORIGINAL_WRITER_US[case] / m['writer_us']:.1f}; rate ours / original "
                f"{rate / ORIGINAL_DISK_HZ[case]:.1f} (it sustains {ORIGINAL_DISK_HZ[case]}/s)"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--part", choices=("through", "disk", "past"), help="only this")
    parser.add_argument("--case", choices=("scalars", "image"), help="only this")
    parser.add_argument("--rate", type=int, help="through the buffer, only at this one")
    parser.add_argument("--role", nargs="+")
    arguments = parser.parse_args()
    if arguments.role:
        role, *words = arguments.role
        if role == "send":
            send(words[0], int(words[1]), float(words[2]), float(words[3]))
        elif role == "forward":
            forward(int(words[0]), int(words[1]))
        else:
            sink(int(words[0]), int(words[1]))
        return
    seconds, rounds = (2.0, 1) if arguments.quick else (6.0, 5)
    cases = (arguments.case,) if arguments.case else ("scalars", "image")
    if arguments.part in (None, "through"):
        usual = {"scalars": (100, 1000) if arguments.quick else (100, 500, 1000, 1500), "image": (100, 250)}
        rates = {case: (arguments.rate,) if arguments.rate else usual[case] for case in cases}
        measure_through(cases, seconds, rounds, rates)
    with tempfile.TemporaryDirectory() as directory:
        if arguments.part in (None, "disk"):
            measure_disk(cases, seconds, rounds, arguments.quick, directory)
        if arguments.part in (None, "past"):
            past(rounds, 1000, 100 if arguments.quick else 1000, directory)


if __name__ == "__main__":
    main()
