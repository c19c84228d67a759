"""The REST interface under load while a detector is recorded: what it answers, and what the data path loses.

    python bench/api.py [--quick]

Real processes: a simulated JUNGFRAU, its services, a worker and the gateway. Recordings alternate between
nobody asking and 200 requests for the status a second beside 50 clients that watch; packets lost in both are
compared, and the packets that the kernel dropped before us are among them. Those who ask stand for other
hosts: their process has what the others leave of the cores (nice 19).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import yaml

from forebay.api.client import Client
from forebay.ring.shared import wait_attach

FOREBAY = [sys.executable, "-m", "forebay"]
NAME = "BENCH"
LOST = ("missing_packets", "kernel_drop", "overrun", "malformed", "late")


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def ask(port: int, each_s: float, stop: asyncio.Event, times: list[float], bad: list[str]) -> None:
    """Ask for the status over one connection, at a fixed pace."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    due = time.perf_counter()
    while not stop.is_set():
        due += each_s
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        began = time.perf_counter()
        writer.write(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
        times.append(time.perf_counter() - began)
        if not head.startswith("http/1.1 200"):
            bad.append(head.splitlines()[0])
    writer.close()


async def watch(port: int, counts: list[int], i: int) -> None:
    """Count the events of one watching client."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /watch HTTP/1.1\r\nHost: localhost\r\n\r\n")
    try:
        async for line in reader:
            counts[i] += line.startswith(b"event:")
    finally:
        writer.close()


async def load(port: int, seconds: float, rate: float, n_watchers: int, n_connections: int = 8) -> None:
    """Ask and watch for so long, and print what came of it as JSON."""
    os.nice(19)
    stop, times, bad, counts = asyncio.Event(), list[float](), list[str](), [0] * n_watchers
    watchers = [asyncio.create_task(watch(port, counts, i)) for i in range(n_watchers)]
    askers = [
        asyncio.create_task(ask(port, n_connections / rate, stop, times, bad)) for _ in range(n_connections)
    ]
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    stop.set()
    await asyncio.gather(*askers)
    took = time.perf_counter() - began
    for one in watchers:
        one.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*watchers)
    ordered = sorted(times)
    told = {
        "rate": len(times) / took,
        "median_ms": 1000 * statistics.median(ordered),
        "p99_ms": 1000 * ordered[int(0.99 * len(ordered))],
        "bad": len(bad),
        "events": sum(counts),
        "fewest_events": min(counts, default=0),
    }
    print(json.dumps(told))


def record(client: Client, directory: Path, n_images: int, file: str) -> dict[str, int]:
    """Record so many images; return how the port's counters grew meanwhile."""
    ring = wait_attach(NAME, directory / "run", 10)
    before = ring.counters()["module 0"]
    (job,) = client.record([NAME], images=n_images, file=file)
    ended = client.wait(job.id, 120)
    assert ended.state == "finished", ended
    after = ring.counters()["module 0"]
    ring.close()
    return {name: after[name] - before[name] for name in after}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a first look: one short round")
    parser.add_argument("--rate", type=float, default=100, help="pulses a second, 1.05 MB each")
    parser.add_argument("--requests", type=float, default=200, help="requests a second")
    parser.add_argument("--watchers", type=int, default=50)
    parser.add_argument("--load", nargs=2, metavar=("PORT", "SECONDS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        port, seconds = int(options.load[0]), float(options.load[1])
        asyncio.run(load(port, seconds, options.requests, options.watchers))
        return
    rounds, seconds = (1, 3.0) if options.quick else (5, 8.0)
    with tempfile.TemporaryDirectory(prefix="fb-", dir="/tmp") as temporary:
        measure(Path(temporary), options, rounds, seconds)


def measure(directory: Path, options: argparse.Namespace, rounds: int, seconds: float) -> None:
    port = free_port(socket.SOCK_STREAM)
    udp = free_port(socket.SOCK_DGRAM)
    detector = {"type": "jungfrau", "start_udp_port": udp, "ring": {"slots": 512}}
    value = {
        "detectors": {NAME: detector},
        "record": {"directory": str(directory / "data")},
        "workers": {"record": 1, "retrieve": 0},
        "api": {"port": port},
        "runtime_dir": str(directory / "run"),
        "state_dir": str(directory / "state"),
    }
    config = directory / "forebay.yaml"
    config.write_text(yaml.safe_dump(value))
    log = directory / "services.log"
    with log.open("w") as stream:
        services = subprocess.Popen([*FOREBAY, "run", str(config)], stderr=stream)
    simulator = None
    try:
        while "all services are ready" not in log.read_text():
            assert services.poll() is None, log.read_text()
            time.sleep(0.05)
        simulator = subprocess.Popen(
            [
                *FOREBAY,
                "sim",
                "detector",
                "--port",
                str(udp),
                "--rate",
                str(options.rate),
                "--readout-ms",
                "5",
            ],
            stdout=subprocess.DEVNULL,
        )
        time.sleep(1)
        lost: dict[str, list[int]] = {"alone": [], "loaded": []}
        told = []
        n_images = int(options.rate * seconds)
        with Client(f"http://127.0.0.1:{port}") as client:
            record(client, directory, n_images // 4, "warm.h5")
            for i in range(rounds):
                for how in ("alone", "loaded"):
                    loader = None
                    if how == "loaded":
                        words = [sys.executable, __file__, "--load", str(port), str(seconds + 1)]
                        words += ["--requests", str(options.requests), "--watchers", str(options.watchers)]
                        loader = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
                        time.sleep(0.5)
                    grown = record(client, directory, n_images, f"{how}{i}.h5")
                    lost[how].append(sum(grown[name] for name in LOST))
                    print(f"round {i} {how:6}: {grown['received']} packets, {lost[how][-1]} lost", flush=True)
                    if loader is not None:
                        answer, _ = loader.communicate(timeout=60)
                        told.append(json.loads(answer))
    finally:
        for process in (simulator, services):
            if process is not None:
                process.terminate()
                process.wait(30)
    show(options, lost, told)


def show(options: argparse.Namespace, lost: dict[str, list[int]], told: list[dict[str, float]]) -> None:
    def spread(values: list[float]) -> str:
        return f"median {statistics.median(values):.4g} (from {min(values):.4g} to {max(values):.4g})"

    print(f"{os.cpu_count()} cores, {options.rate:g} pulses/s of 128 packets; in each round:")
    print(f"packets lost with nobody asking:  {spread([float(n) for n in lost['alone']])}")
    print(f"packets lost under load:          {spread([float(n) for n in lost['loaded']])}")
    print(f"requests/s answered of {options.requests:g}:     {spread([one['rate'] for one in told])}")
    print(f"ratio to what was asked:          {spread([one['rate'] / options.requests for one in told])}")
    print(f"answer after, ms:                 {spread([one['median_ms'] for one in told])}")
    print(f"answer after, 99 of 100, ms:      {spread([one['p99_ms'] for one in told])}")
    print(f"answers other than 200:           {sum(one['bad'] for one in told):g}")
    print(
        f"events, each of {options.watchers} clients:      {spread([one['fewest_events'] for one in told])}"
    )


if __name__ == "__main__":
    main()
