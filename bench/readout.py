"""Readouts of a camera, assembled, encoded, written and read back in a CPU second, beside the original.

The original's figures are those of SSDAQ 0.7 (A) and 0.9 (B) on a machine of the same kind: 261 and 179 us
CPU a datagram of 10 readouts, 137-150 and 1505-1597 readouts/s written, 2980-3500 and 2730-3010 read, 3.4 to
3.8 s from a trigger to the message, 8000 readouts/s published to a listener without loss. Where PyTables is
there, the original's way of writing (one row and a flush a readout, bzip2) takes turns with ours in the same
run, and so does a bare Python loop that unpacks datagrams and looks readouts up in a dictionary, which is the
least that the original could do.
"""

from __future__ import annotations

import argparse
import statistics
import struct
import threading
import time
from collections.abc import Callable
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from forebay.assemble.datagrams import BlockReceiver
from forebay.assemble.timed import TimedBuilder, TimedRules
from forebay.sim.camera import Camera, CameraOptions, Signals
from forebay.store.readout_file import ReadoutFile
from forebay.store.readout_layout import ReadoutRecording
from forebay.store.readout_reader import ReadoutReader
from forebay.stream.readouts import ReadoutListener, ReadoutPublisher
from forebay.wire import ssreadout, target
from forebay.wire.senders import ModuleRule

try:
    import tables
except ImportError:
    tables = None

T0 = 1_700_000_000_000_000_000
ORIGINAL = {
    "assemble": (1 / 261e-6, "datagrams"),
    "write": (144.0, "readouts"),
    "read": (3240.0, "readouts"),
}
RULES = TimedRules(window_ns=10_000_000, buffer_ns=4 * 10**9)
CYCLES_A_FILL = 20  # of the socket: what its buffer holds


def cpu(run: Callable[[], int]) -> tuple[float, int]:
    start = time.thread_time()
    n = run()
    return time.thread_time() - start, n


def report(name: str, kind: str, rates: list[float], reference: float, what: str) -> None:
    median = statistics.median(rates)
    ratios = [rate / reference for rate in rates]
    print(
        f"  {name:34} {median:10.0f} {kind}/CPU s ({min(rates):.0f} .. {max(rates):.0f})"
        f"  {statistics.median(ratios):6.1f} times {what} ({min(ratios):.1f} .. {max(ratios):.1f})"
    )


def assemble(n_cycles: int, batch: int) -> float:
    """Datagrams through a real socket, closed loop: nothing is lost; CPU of the receiving side only."""
    receiver = BlockReceiver(ip_address("127.0.0.1"), 0, ModuleRule(), 64 * 2**20)
    builder = TimedBuilder(RULES)
    options = CameraOptions(port=receiver.port, rate_hz=1000, start_ns=T0)
    used = n_readouts = 0.0
    with closing(receiver), closing(Camera(options)) as camera:
        for _ in range(0, n_cycles, batch):
            for _ in range(batch):
                camera.send()
            start = time.thread_time()
            while receiver.fill(builder.readouts, 0)[0]:
                n_readouts += len(builder.tick(time.monotonic_ns()))
            used += time.thread_time() - start
        n_readouts += len(builder.drain())
    assert n_readouts == 10 * n_cycles, (n_readouts, builder.counters, receiver.counters)
    assert builder.counters["used"] == builder.counters["blocks"] == 320 * n_cycles
    return 32 * n_cycles / used


def one_by_one(n_cycles: int) -> float:
    """Take datagrams one a call, unpack each, and keep blocks in a dictionary by time tag."""
    receiver = BlockReceiver(ip_address("127.0.0.1"), 0, ModuleRule(), 64 * 2**20)
    options = CameraOptions(port=receiver.port, rate_hz=1000, start_ns=T0)
    block = struct.Struct(">Q32HQ32H")
    open_: dict[int, np.ndarray] = {}
    n, used = 0, 0.0
    sock = receiver._socket  # noqa: SLF001
    sock.setblocking(False)
    with closing(receiver), closing(Camera(options)) as camera:
        for _ in range(n_cycles):
            camera.send()
            start = time.thread_time()
            while True:
                try:
                    data, sender = sock.recvfrom(9000)
                except BlockingIOError:
                    break
                module = int(sender[0].rpartition(".")[2]) % 100
                for values in block.iter_unpack(data):
                    key = values[0]
                    if key not in open_:
                        open_[key] = np.full((33, 64), np.nan)
                    row = np.array(values[1:33] + values[34:], np.uint16)
                    open_[key][module] = (row ^ 0x8000) * 0.0763
                    open_[key][32, 0] = n_there = np.nan_to_num(open_[key][32, 0]) + 1
                    if n_there == 32:
                        n += 1
                        del open_[key]
            used += time.thread_time() - start
    assert n == 10 * n_cycles
    return 32 * n_cycles / used


def readouts(n: int) -> np.ndarray:
    """Readouts of drifting signals."""
    signals = Signals(CameraOptions(rate_hz=1000), T0)
    builder = TimedBuilder(RULES)
    modules = np.repeat(np.arange(32), 10)
    parts = [
        builder.add(modules, signals.cycle().reshape(-1).view(target.BLOCK), T0, 10**10 + i)
        for i in range(n // 10)
    ]
    out = np.empty(n, ssreadout.READOUT)
    for i, part in enumerate(parts):
        out[10 * i : 10 * i + 10] = part
    return out


def write_ours(path: Path, data: np.ndarray, compression: str) -> int:
    path.unlink(missing_ok=True)
    file = ReadoutFile(path, ReadoutRecording(compression=compression))
    for start in range(0, len(data), 10):
        file.append(data[start : start + 10])
    file.close()
    return len(data)


def write_as_the_original(path: Path, data: np.ndarray) -> int:
    path.unlink(missing_ok=True)
    filters = tables.Filters(complevel=9, complib="bzip2", shuffle=True, fletcher32=True)

    class Row(tables.IsDescription):
        readout_number = tables.UInt64Col()
        ro_time = tables.UInt64Col()
        data = tables.Float32Col((32, 64))
        time_stamps = tables.UInt64Col((32, 2))

    with tables.open_file(path, "w", filters=filters) as file:
        table = file.create_table(file.create_group("/", "SlowSignal"), "readout", Row)
        for one in data:
            row = table.row
            row["readout_number"], row["ro_time"] = one["number"], one["time_ns"]
            row["data"], row["time_stamps"] = one["data"], one["timestamps"]
            row.append()
            table.flush()
    return len(data)


def read_ours(path: Path) -> int:
    with closing(ReadoutReader(path)) as reader:
        return sum(map(len, reader))


def read_as_the_original(path: Path) -> int:
    with tables.open_file(path) as file:
        n = 0
        for row in file.root.SlowSignal.readout.iterrows():
            _ = row["data"], row["readout_number"], row["ro_time"], row["time_stamps"]
            n += 1
        return n


def publish(data: np.ndarray) -> float:
    """Published and received over TCP in one process; readouts a CPU second of both sides together."""
    publisher = ReadoutPublisher("127.0.0.1", "*")
    listener = ReadoutListener("127.0.0.1", publisher.endpoint.rpartition(":")[2])
    with closing(publisher), closing(listener):
        while not publisher.n_subscribers:
            time.sleep(0.01)
        start, n = time.process_time(), 0
        for first in range(0, len(data), 100):
            publisher.append(data[first : first + 100])
            while n < first + 100:
                n += len(listener.read(1.0))
        assert listener.counters["lost"] == 0
        return n / (time.process_time() - start)


def latency(rate_hz: float, seconds: float, gather_s: float, spread: bool) -> tuple[list[float], float]:
    """Return how long each cycle takes from its last datagram sent to its readouts released, and the load.

    The load is CPU time of the receiving thread over time.
    """
    receiver = BlockReceiver(ip_address("127.0.0.1"), 0, ModuleRule(), 64 * 2**20)
    builder = TimedBuilder(RULES)
    sent: list[int] = []
    stop = threading.Event()
    options = CameraOptions(port=receiver.port, rate_hz=rate_hz, start_ns=T0, spread=spread)

    def send() -> None:
        with closing(Camera(options)) as camera:
            origin = time.monotonic()
            for cycle in range(int(seconds * rate_hz / 10)):
                due = origin + cycle * 10 / rate_hz
                stop.wait(max(0.0, due - time.monotonic()))
                camera.send(due)
                sent.append(time.monotonic_ns())

    thread = threading.Thread(target=send)
    thread.start()
    released: list[int] = []
    deadline = time.monotonic() + seconds + 5
    n_expected = int(seconds * rate_hz / 10) * 10
    start, used = time.monotonic(), time.thread_time()
    with closing(receiver):
        while len(released) < n_expected and time.monotonic() < deadline:
            receiver.fill(builder.readouts, 0.1, gather_s)
            done = builder.tick(time.monotonic_ns())
            released += [time.monotonic_ns()] * len(done)
    load = (time.thread_time() - used) / (time.monotonic() - start)
    thread.join()
    found = [(released[10 * i + 9] - at) * 1e-9 for i, at in enumerate(sent[: len(released) // 10])]
    return found, load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds")
    parser.add_argument("--directory", type=Path, default=None, help="on the disk to measure")
    options = parser.parse_args()
    rounds = 3 if options.quick else 7
    n_cycles = 60 if options.quick else 300
    n = 1000 if options.quick else 4000
    rates: dict[str, list[float]] = {}

    def note(name: str, rate: float) -> None:
        rates.setdefault(name, []).append(rate)

    data = readouts(n)
    with TemporaryDirectory(dir=options.directory) as folder:
        ours, theirs = Path(folder, "ours.h5"), Path(folder, "theirs.h5")
        for _ in range(rounds):
            note("one by one, Python", one_by_one(min(n_cycles, 60)))
            note("assemble, 1 cycle a batch", assemble(n_cycles, 1))
            note(f"assemble, {CYCLES_A_FILL} cycles a batch", assemble(n_cycles, CYCLES_A_FILL))
            for generation in ("A", "B"):
                used, _ = cpu(lambda g=generation: len(ssreadout.encode(data, g)))
                note(f"encode {generation}", n / used)
            messages = ssreadout.encode(data)
            used, _ = cpu(lambda m=messages: len(ssreadout.decode(m)))
            note("decode A", n / used)
            note("publish and receive", publish(data))
            if tables is not None:
                used, k = cpu(lambda: write_as_the_original(theirs, data[:150]))
                note("write as the original", k / used)
            for compression in ("none", "bzip2", "zlib"):
                used, k = cpu(lambda c=compression: write_ours(ours, data, c))
                note(f"write, {compression}", k / used)
            used, k = cpu(lambda: read_ours(ours))
            note("read, zlib", k / used)
            if tables is not None:
                used, k = cpu(lambda: read_as_the_original(theirs))
                note("read as the original", k / used)
        size = ours.stat().st_size / n
    print(f"32 modules, 10 readouts a datagram; {rounds} rounds; zlib takes {size:.0f} bytes a readout")
    for name, found in rates.items():
        kind = "datagrams" if "assemble" in name or "one by one" in name else "readouts"
        step = {"as": "assemble", "on": "assemble", "wr": "write", "re": "read"}.get(name[:2], "")
        if step:
            report(name, kind, found, ORIGINAL[step][0], "A's own figure")
        else:
            spread = f"({min(found):.0f} .. {max(found):.0f})"
            print(f"  {name:34} {statistics.median(found):10.0f} {kind}/CPU s {spread}")
    for name, beside in (
        ("assemble, 1 cycle a batch", "one by one, Python"),
        (f"assemble, {CYCLES_A_FILL} cycles a batch", "one by one, Python"),
        ("write, zlib", "write as the original"),
        ("read, zlib", "read as the original"),
    ):
        if beside in rates:
            ratios = [a / b for a, b in zip(rates[name], rates[beside], strict=True)]
            spread = f"({min(ratios):.1f} .. {max(ratios):.1f})"
            print(f"  {name} : {beside} = {statistics.median(ratios):.1f} {spread}")
    for rate, gather_s, spread in ((144, 0.0, 0), (1000, 5e-4, 0), (1000, 5e-4, 1), (1000, 0.0, 1)):
        seconds, load = latency(rate, 2 if options.quick else 10, gather_s, bool(spread))
        found = sorted(1000 * one for one in seconds)
        how = (
            f"{rate} Hz, {'spread evenly' if spread else 'back to back'}, gathering {1000 * gather_s:.1f} ms"
        )
        print(
            f"  {how}: last datagram to release p50 {statistics.median(found):.2f} ms, "
            f"p99 {found[int(0.99 * len(found))]:.2f}, most {found[-1]:.2f} (A: 3400-3800); "
            f"{100 * load:.1f} % of one CPU"
        )


if __name__ == "__main__":
    main()
