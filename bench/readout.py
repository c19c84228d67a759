"""Readouts of a camera, assembled, encoded, published, written and read back in a CPU second.

The original's figures are those of SSDAQ 0.7 (A) on a machine of the same kind: 261 us CPU a datagram of 10
readouts, 31 us of 1 readout, 137-150 readouts/s written, 2980-3500 read; 8000 readouts/s published to a
listener without loss. In the same run a stand-in for its assembler (`readout_original.py`, cheaper than the
original was) takes turns with ours; and, where PyTables is there, its way of writing (one row and a flush a
readout, bzip2). Datagrams wait in the socket here; what they cost when they come one by one, and how late
readouts are, says `readout_load.py`.
"""

from __future__ import annotations

import argparse
import statistics
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
from readout_original import closed_loop

try:
    import tables
except ImportError:
    tables = None

T0 = 1_700_000_000_000_000_000
ORIGINAL = {
    "assemble, 10 a datagram": 1 / 261e-6,
    "assemble, 1 a datagram": 1 / 31e-6,
    "write": 144.0,
    "read": 3240.0,
}
"""Datagrams, or readouts, that the original took in a CPU second."""
RULES = TimedRules(window_ns=10_000_000, buffer_ns=4 * 10**9)
CYCLES_A_FILL = 20  # of the socket: what its buffer holds


def cpu(run: Callable[[], int]) -> tuple[float, int]:
    start = time.thread_time()
    n = run()
    return time.thread_time() - start, n


def report(name: str, rates: list[float]) -> None:
    """Print a rate, and what it is to the original's own, where that is known."""
    kind = "datagrams" if name.startswith(("assemble", "the stand-in")) else "readouts"
    said = f"  {name:38} {statistics.median(rates):10.0f} {kind}/CPU s ({min(rates):.0f} .. {max(rates):.0f})"
    for part, known in ORIGINAL.items():
        if part in name:
            said += f"; the original's own x {statistics.median(rates) / known:.1f}"
    print(said)


def assemble(n_cycles: int, batch: int, packed: int) -> float:
    """Datagrams a CPU second through a real socket, closed loop: nothing is lost; the receiving side only."""
    receiver = BlockReceiver(ip_address("127.0.0.1"), 0, ModuleRule(), 64 * 2**20)
    builder = TimedBuilder(RULES)
    options = CameraOptions(port=receiver.port, rate_hz=1000, start_ns=T0, packed=packed)
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
    assert n_readouts == packed * n_cycles, (n_readouts, builder.counters, receiver.counters)
    assert builder.counters["used"] == builder.counters["blocks"] == 32 * packed * n_cycles
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
        while not publisher.count_subscribers():
            time.sleep(0.01)
        start, n = time.process_time(), 0
        for first in range(0, len(data), 100):
            publisher.append(data[first : first + 100])
            while n < first + 100:
                n += len(listener.read(1.0))
        assert listener.counters["lost"] == 0
        return n / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute")
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
            for packed in (10, 1):
                n_packed = n_cycles * 10 // packed
                note(f"the stand-in, {packed} a datagram", 1e6 / closed_loop(packed, n_packed // 4))
                for batch in (1, CYCLES_A_FILL):
                    name = f"assemble, {packed} a datagram, {batch} cycles at once"
                    note(name, assemble(n_packed, batch, packed))
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
    print(f"32 modules; {rounds} rounds; zlib takes {size:.0f} bytes a readout")
    for name, found in rates.items():
        report(name, found)
    beside = {
        name: f"the stand-in, {packed} a datagram"
        for packed in (10, 1)
        for name in rates
        if name.startswith(f"assemble, {packed} ")
    }
    beside |= {"write, zlib": "write as the original", "read, zlib": "read as the original"}
    for name, other in beside.items():
        if other in rates:
            ratios = [a / b for a, b in zip(rates[name], rates[other], strict=True)]
            spread = f"({min(ratios):.1f} .. {max(ratios):.1f})"
            print(f"  {name} : {other} = {statistics.median(ratios):.1f} {spread}")


if __name__ == "__main__":
    main()
