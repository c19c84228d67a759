"""Streams: envelopes a second and GB/s of pixels, beside raw pyzmq with the same bytes.

    python bench/stream.py [--quick]

The sender is a process of its own; both ways alternate in one run, and the ratio is forebay / raw. The
raw sender has its messages ready and only sends; the raw reader only receives. What forebay adds is
building and checking each envelope, numbering and the account. Frame batches are compared in the same way.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import zmq

from forebay.event import Event, Reference
from forebay.ring.slots import FRAME
from forebay.stream.endpoint import ipc
from forebay.stream.frames import FramePuller, FramePusher
from forebay.stream.zmq import Puller, Pusher
from forebay.wire import frames as frames_codec
from forebay.wire.envelope import PART_BYTES, encode

CASES = {  # side of the square uint16 image in pixels, or what else is sent
    "reference": 0,
    "frames x 64": 0,
    "0.5 MB": 512,
    "2 MB": 1024,
    "8 MB": 2048,
    "32 MB": 4096,
}
N_ARRAYS = 4  # images in turn, so that no cache holds what is sent


def events(case: str) -> list[Event]:
    missing = np.zeros(2, np.uint32)
    if case == "reference":
        return [Event("jf", 10**10, 1, {}, missing, 128, Reference("jf", 2**60, 5))]
    side = CASES[case]
    return [
        Event("jf", 10**10 + i, 1, {"data": np.full((side, side), i, np.uint16)}, missing, 128)
        for i in range(N_ARRAYS)
    ]


def send_raw(case: str, endpoint: str, n: int, whole: bool) -> None:
    if case.startswith("frames"):
        batch = frames_codec.FrameBatch(np.zeros(64, FRAME), "jf", 2**60, 2**60, 10**6)
        messages = [frames_codec.encode(batch)]
    elif whole:
        messages = [
            [encode(e, sequence=1, instance=1, pixels=True)[0], memoryview(e.arrays["data"]).cast("B")]
            for e in events(case)
        ]
    else:
        messages = [
            encode(e, sequence=10**6, instance=2**60, pixels=e.reference is None) for e in events(case)
        ]
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.sndhwm = 1000 if len(messages[0]) == 1 or case.startswith("frames") else 8
        socket.connect(endpoint)
        for i in range(n):
            message = messages[i % len(messages)]
            for part in message[:-1]:
                socket.send(part, zmq.SNDMORE, copy=len(part) < 2**16)
            socket.send(message[-1], copy=len(message[-1]) < 2**16)
        sys.stdin.read()  # until the reader has all: a raw socket that closes earlier loses the end


def send_forebay(case: str, endpoint: str, n: int) -> None:
    if case.startswith("frames"):
        frames = np.zeros(64, FRAME)
        frame_pusher = FramePusher(endpoint, ring="jf", generation=2**60)
        sent = 0
        while sent < n:  # a full queue is tried again here; the receiver would count and go on
            sent += frame_pusher.write(frames)
        frame_pusher.close(60)
        return
    offered = events(case)
    pusher = Pusher(endpoint, timeout_s=60, hwm=1000 if case == "reference" else 8)
    for i in range(n):
        pusher.write([offered[i % len(offered)]])
    pusher.close(60)


def receive_raw(endpoint: str, n: int, sender: list[str]) -> float:
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.rcvhwm = 64
        socket.bind(endpoint)
        process = subprocess.Popen(sender, stdin=subprocess.PIPE)
        receive(socket)
        began = time.perf_counter()
        for _ in range(n - 1):
            receive(socket)
        took = time.perf_counter() - began
        process.communicate()
    assert process.returncode == 0
    return took


def receive(socket: zmq.Socket[bytes]) -> None:
    socket.recv()
    while socket.getsockopt(zmq.RCVMORE):
        socket.recv(copy=False)


def receive_forebay(case: str, endpoint: str, n: int, sender: list[str]) -> float:
    is_frames = case.startswith("frames")
    source = FramePuller(endpoint, FRAME) if is_frames else Puller(endpoint, hwm=64)
    process = subprocess.Popen(sender)
    got = 0
    began = time.perf_counter()
    while got < n:
        found = source.read(10)
        assert found, f"{got} of {n} came"
        if got == 0:
            began = time.perf_counter()
        got += len(found)
    took = time.perf_counter() - began
    assert process.wait() == 0
    if not is_frames:
        assert source.counters["lost"] == 0
    source.close()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="a few seconds, for CI")
    parser.add_argument("--send", nargs=4, metavar=("WAY", "CASE", "ENDPOINT", "N"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.send:
        way, case, endpoint, n = args.send
        if way == "forebay":
            send_forebay(case, endpoint, int(n))
        else:
            send_raw(case, endpoint, int(n), way == "whole")
        return
    seconds_of_bytes, n_small, rounds = (1e9, 30_000, 2) if args.quick else (6e9, 300_000, 5)
    print(f"{'':6}{'':14}{'raw':>12}{'forebay':>12}{'ratio':>8}{'spread':>14}{'raw whole':>12}")
    for transport in ("ipc", "tcp"):
        for case, side in CASES.items():
            n_bytes = 2 * side * side
            n = int(seconds_of_bytes / n_bytes) if n_bytes else n_small
            ways = ["raw", "forebay"] + (["whole"] if n_bytes > PART_BYTES else [])
            took: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(rounds):
                for way in ways:
                    took[way].append(measure(transport, case, way, n))
            ratios = [raw / ours for raw, ours in zip(took["raw"], took["forebay"], strict=True)]
            rates = {
                way: (n_bytes / 1e9 if n_bytes else 1e-3) * n / statistics.median(took[way]) for way in ways
            }
            unit = "GB/s" if n_bytes else "k/s"
            cells = "".join(f"{rates[way]:7.2f} {unit:<4}" for way in ways[:2])
            whole = f"{rates['whole']:7.2f} {unit:<4}" if "whole" in rates else ""
            spread = f"{min(ratios):.2f}..{max(ratios):.2f}"
            print(f"{transport:6}{case:14}{cells}{statistics.median(ratios):8.2f}{spread:>14}{whole:>12}")


def measure(transport: str, case: str, way: str, n: int) -> float:
    with tempfile.TemporaryDirectory() as directory:
        endpoint = ipc(Path(directory), "a") if transport == "ipc" else "tcp://127.0.0.1:45871"
        sender = [sys.executable, __file__, "--send", way, case, endpoint, str(n)]
        if way == "forebay":
            return receive_forebay(case, endpoint, n, sender)
        return receive_raw(endpoint, n, sender)


if __name__ == "__main__":
    main()
