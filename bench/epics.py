"""Updates of process variables into the disk ring and back, against a bare loop, alternating.

"bare" appends the bytes of each value and a line of text to one file, which is about the least that keeps an
update. "one by one" gives the ring each update by itself, as the original buffer gave them to Redis: 10-12 k
events/s there (its own figure, another machine). "ring" gives it what came in 0.1 s, as the service does.
"retrieve" is `retrieve_pvs` of all points; the original's writer prepared 166 k points/s.

With --live a real IOC counts up so many records, each ten times a second, over loopback, and the service
buffers them. What is missing between two points of a PV was merged on the way, mostly by the IOC.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from forebay.ring.disk_limits import DiskLimits
from forebay.ring.pv_reader import PvReader, retrieve_pvs
from forebay.ring.pvs import PvRing
from forebay.wire.epics import Update

T0 = 1_795_000_000_000_000_000
LIMITS = DiskLimits(2**33)
ORIGINAL_WRITE = (10_000, 12_000)
ORIGINAL_POINTS = 166_000
N_PVS = 1000


def updates(n, length):
    names = [f"SOME-DEVICE-{i:04}:SOME-VALUE" for i in range(N_PVS)]
    value = np.arange(length, dtype=float) if length else np.array(1.5)
    return [
        Update(names[i % N_PVS], T0 + i * 1000, T0 + i * 1000, True, "NO_ALARM", 0, value + i)
        for i in range(n)
    ]


def bare(directory, some, _batch):
    with (directory / "bare").open("wb", buffering=0) as file:
        for update in some:
            text = (
                f"{update.name} {update.received_ns} {update.timestamp_ns} {update.status} {update.severity}"
            )
            file.write(text.encode() + update.value.tobytes())
        os.fdatasync(file.fileno())


def ring(directory, some, batch):
    made = PvRing(directory / f"ring{batch}", LIMITS)
    for i in range(0, len(some), batch):
        chunk = some[i : i + batch]
        made.write(chunk, chunk[-1].received_ns)
    made.close(some[-1].received_ns + 1)
    assert made.counters.written == made.counters.received


def retrieve(directory, some, batch):
    names = sorted({update.name for update in some})
    got = retrieve_pvs(PvReader(directory / f"ring{batch}"), (0, 2**62), names, after_s=0)
    assert sum(len(points) for points in got.values()) == len(some) + len(names)
    assert got[some[-1].name].data[-2].tolist() == some[-1].value.tolist()


def timed(act, *args):
    begin = time.perf_counter()
    act(*args)
    return time.perf_counter() - begin


def line(name, rates, note=""):
    middle, low, high = statistics.median(rates), min(rates), max(rates)
    print(f"  {name:12s}{middle:12,.0f} /s ({low:,.0f} .. {high:,.0f})  {note}")
    return middle


def measure(title, n, length, rounds):
    some = updates(n, length)
    kinds = [
        ("bare", bare, 1),
        ("one by one", ring, 1),
        ("ring", ring, n_batch(length)),
        ("retrieve", retrieve, 0),
    ]
    rates = {name: [] for name, _, _ in kinds}
    for i_round in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            directory = Path(folder)
            order = kinds[:3][i_round % 3 :] + kinds[:3][: i_round % 3]
            for name, act, batch in order:
                used = some[: n // 10] if name == "one by one" else some
                rates[name].append(len(used) / timed(act, directory, used, batch))
            rates["retrieve"].append(n / timed(retrieve, directory, some, n_batch(length)))
    print(f"\n{title}: {n} updates of {N_PVS} PVs, median of {rounds} rounds (lowest .. highest)")
    line("bare", rates["bare"])
    for name in ("one by one", "ring"):
        ratios = [a / b for a, b in zip(rates[name], rates["bare"], strict=True)]
        middle = statistics.median(rates[name])
        line(
            name,
            rates[name],
            f"{statistics.median(ratios):.2f} times bare ({min(ratios):.2f} .. {max(ratios):.2f}), "
            f"{middle / ORIGINAL_WRITE[1]:.1f} times the original's figure",
        )
    middle = statistics.median(rates["retrieve"])
    of_bytes = f"{middle * 8 * length / 1e6:,.0f} MB/s"
    line(
        "retrieve",
        rates["retrieve"],
        of_bytes if length else f"{middle / ORIGINAL_POINTS:.1f} times the original's figure",
    )


def n_batch(length):
    return 1000 if length <= 100 else 100


IOC = """
import sys
from softioc import asyncio_dispatcher, builder, softioc
builder.SetDeviceName("BENCH")
for i in range(int(sys.argv[1])):
    builder.records.calc(f"N{i}", SCAN=".1 second", CALC="VAL+1")
builder.LoadDatabase()
softioc.iocInit(asyncio_dispatcher.AsyncioDispatcher())
print("ready", flush=True)
sys.stdin.read()
"""


def live(n_pvs, protocol, seconds):
    ports = iter(random.sample(range(20_000, 30_000), 4))
    ca, repeater, tcp, udp = (str(next(ports)) for _ in range(4))
    environment = os.environ | {
        "EPICS_CA_SERVER_PORT": ca,
        "EPICS_CA_REPEATER_PORT": repeater,
        "EPICS_PVA_SERVER_PORT": tcp,
        "EPICS_PVAS_SERVER_PORT": tcp,
        "EPICS_PVA_BROADCAST_PORT": udp,
        "EPICS_PVAS_BROADCAST_PORT": udp,
        **{f"EPICS_{one}_ADDR_LIST": "127.0.0.1" for one in ("CA", "PVA", "CAS_INTF", "PVAS_INTF")},
        **{f"EPICS_{one}_AUTO_ADDR_LIST": "NO" for one in ("CA", "PVA")},
        **{f"EPICS_{one}_BEACON_ADDR_LIST": "127.0.0.1" for one in ("CAS", "PVAS")},
        **{f"EPICS_{one}_AUTO_BEACON_ADDR_LIST": "NO" for one in ("CAS", "PVAS")},
    }
    names = [f"{protocol}://BENCH:N{i}" for i in range(n_pvs)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "forebay.yaml"
        path.write_text(json.dumps({"epics": {"b": {"pvs": names, "directory": f"{folder}/b"}}}))
        ioc = subprocess.Popen(
            [sys.executable, "-c", IOC, str(n_pvs)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        command = [sys.executable, "-m", "forebay", "serve", "epics", "b", "-c", str(path)]
        service = None
        try:
            if not any(line.strip() == b"ready" for line in ioc.stdout):
                raise SystemExit("The IOC did not start: is softioc installed?")
            service = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
            time.sleep(3 + n_pvs / 1000 + seconds)
            service.send_signal(signal.SIGTERM)
            _, status, used = os.wait4(service.pid, 0)
            service.returncode = status
        finally:
            for process in (ioc, service):
                if process is not None and process.returncode is None:
                    process.kill()
                    process.wait()
        newest = PvReader(Path(folder) / "b").time_span[1]
        got = retrieve_pvs(PvReader(Path(folder) / "b"), (newest - seconds * 10**9, newest), names, after_s=0)
    steps = np.concatenate([np.diff(one.data[one.connected]) for one in got.values() if one.data is not None])
    lags = np.concatenate([(one.received_ns - one.timestamp_ns)[one.connected][1:] for one in got.values()])
    print(
        f"\nLive, {protocol}: {n_pvs} PVs at 10 Hz for {seconds} s: {len(steps) / seconds:,.0f} updates/s, "
        f"{int((steps - 1).sum())} merged of {int(steps.sum())}; from stamp to us "
        f"{np.median(lags) / 1e6:.2f} ms (99 %: {np.percentile(lags, 99) / 1e6:.2f} ms); the service used "
        f"{used.ru_utime + used.ru_stime:.1f} CPU seconds in all"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="an eighth of the data, three rounds")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--live", type=int, nargs="*", default=[], help="numbers of PVs of a real IOC")
    args = parser.parse_args()
    share, rounds = (8, 3) if args.quick else (1, args.rounds)
    measure("Scalars (float64)", 400_000 // share, 0, rounds)
    measure("Waveforms of 1000 float64", 40_000 // share, 1000, rounds)
    for n_pvs in args.live:
        for protocol in ("ca", "pva"):
            live(n_pvs, protocol, 5 if args.quick else 20)


if __name__ == "__main__":
    main()
