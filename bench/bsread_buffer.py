"""The bsread buffer and writer: rates without loss, latency, CPU a message, beside a bare forwarder.

    python bench/bsread_buffer.py [--quick]

Source, program under test and sink are processes of their own. The bare forwarder is the least that Python
can do: PULL from the source, PUSH to the sink, with no ring and no second consumer. Both alternate, the
ratio is ours / bare. What sf_bsread_writer 1.2.0 reached on a machine of this kind stands beside: scalars
400 messages/s at 1.8-2.7 ms of CPU each and 9-14 ms of latency through its buffer, 35/s through buffer,
writer and disk; images 200-300/s at 1.8-3.3 ms, and 50-75/s to disk.
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
from pathlib import Path
from urllib.request import Request, urlopen

import h5py
import numpy as np
import zmq

from forebay.wire.bsread import announce, describe, message
from forebay.wire.bsread.header import decode_main, pulse_id_of, time_ns_of

ORIGINAL_HZ = {"scalars": 400, "image": 250}  # through its buffer, without loss
ORIGINAL_DISK_HZ = {"scalars": 35, "image": 60}
ORIGINAL_CPU_US = {"scalars": 2400, "image": 2500}
ORIGINAL_WRITER_US = {"scalars": 25_000, "image": 7_500}


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
        while len(ids) < n and source.poll(3000):
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
        found = json.loads(receiver.communicate(timeout=seconds * 3 + 30)[0])
        found["cpu_us"] = (cpu_s(program) - before) / n * 1e6
        found["rate"] = json.loads(source.communicate(timeout=30)[0])["rate"]
    finally:
        for one in (source, receiver, program):
            one.send_signal(signal.SIGKILL)
            one.wait()
    return {**found, "asked": n, "lost": n - found["n"]}


def to_disk(case: str, rate: float, seconds: float, directory: str) -> dict[str, float]:
    port, output, rest = free_port(), free_port(), free_port()
    path = Path(directory) / f"{case}-{rate:.0f}.h5"
    buffer = script("bsread_buffer", f"tcp://127.0.0.1:{port}", "-o", output, "-b", 100)
    writer = script("bsread_writer", f"tcp://127.0.0.1:{output}", path, -1, rest)
    n = round(rate * seconds)
    time.sleep(2.0)
    source = start(__file__, "--role", "send", case, port, rate, seconds)
    try:
        for words in ("start_pulse_id/0", f"stop_pulse_id/{n - 1}"):
            urlopen(Request(f"http://localhost:{rest}/{words}", method="PUT"), timeout=30).close()
        idle = [cpu_s(buffer), cpu_s(writer)]
        used = list(idle)
        begun = time.monotonic()
        while writer.poll() is None and time.monotonic() < begun + seconds * 3 + 30:
            try:
                used = [cpu_s(buffer), cpu_s(writer)]
            except OSError:
                break
            time.sleep(0.05)
        writer.wait(30)
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
        "buffer_us": (used[0] - idle[0]) / n * 1e6,
        "writer_us": (used[1] - idle[1]) / n * 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
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
    rates = {"scalars": (100, 1000) if arguments.quick else (100, 500, 1000, 1500), "image": (100, 250)}
    print(
        "case     Hz      what  rate/s   lost  CPU us  p50 ms  p99 ms   (medians; spread of CPU in brackets)"
    )
    for case, several in rates.items():
        for rate in several:
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
                f"original / ours {ORIGINAL_CPU_US[case] / ours:.1f}; "
                f"the original loses nothing up to {ORIGINAL_HZ[case]}/s"
            )
    with tempfile.TemporaryDirectory() as directory:
        for case in rates:
            for rate in (100,) if arguments.quick else (100, 200, 400) if case == "scalars" else (100,):
                runs = [to_disk(case, rate, seconds, directory) for _ in range(rounds)]
                m = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
                per_value = m["writer_us"] / (100 if case == "scalars" else 1280 * 1024)
                spread = [run["writer_us"] for run in runs]
                lost = max(run["lost"] for run in runs)
                print(
                    f"{case:8} {rate:<7} to disk: lost {lost:.0f} of {m['asked']:.0f}, "
                    f"CPU a message: buffer {m['buffer_us']:.0f} us, writer {m['writer_us']:.0f} us "
                    f"[{min(spread):.0f}..{max(spread):.0f}], {per_value:.3g} s a million"
                )
                print(
                    f"{'':16} original / ours {ORIGINAL_WRITER_US[case] / m['writer_us']:.1f}; "
                    f"the original sustains {ORIGINAL_DISK_HZ[case]}/s"
                )


if __name__ == "__main__":
    main()
