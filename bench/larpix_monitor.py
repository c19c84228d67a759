"""What the monitor of boards costs: a recording of four boards at 1 M packets/s with it and without it.

The two take turns. All are processes of their own: four simulated boards, what ``forebay run`` starts, the
recording. It is right when nothing was lost with the monitor that is not lost without it, and the monitor
itself says how much of what passed it counted chip by chip.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from larpix import WORDS, free_ports

COMMAND = [sys.executable, "-m", "forebay"]
LIMIT_S = 60


def configuration(directory, ports, page):
    members = [{"io_group": group, "host": "127.0.0.1", "port": port} for group, port in enumerate(ports, 1)]
    monitor = {"monitor": {"port": page}} if page else {}
    return {
        "boards": {"tpc": {"members": members, "drain_s": 20, **monitor}},
        "record": {"directory": str(directory / "data")},
        "workers": {"record": 1, "retrieve": 0},
        "runtime_dir": str(directory / "run"),
        "state_dir": str(directory / "state"),
    }


def look(page):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{page}/glance", timeout=30) as answer:
            return json.load(answer)
    except OSError:
        return None


def until(condition):
    end = time.monotonic() + LIMIT_S
    while not (found := condition()):
        if time.monotonic() > end:
            raise SystemExit("It did not come about.")
        time.sleep(0.1)
    return found


def part(processes, name):
    """Return the processes of a service."""
    return [one for one in processes if f" serve {name} " in " ".join(one.cmdline())]


def cpu(processes):
    return sum(sum(one.cpu_times()[:2]) for one in processes)


def run(seconds, rate, has_monitor):
    """Record for so long; return words stored, words lost, and what the monitor used and says."""
    with TemporaryDirectory(dir=os.environ.get("TMPDIR", "/tmp")) as name, ExitStack() as stack:
        directory = Path(name)
        *ports, page = free_ports(5)
        path = directory / "forebay.yaml"
        path.write_text(json.dumps(configuration(directory, ports, page if has_monitor else 0)))
        for group, port in enumerate(ports, 1):
            options = f"-p {port} --io-group {group} --rate {rate / 4} --words {WORDS} --chips 100 --hwm 0"
            board = subprocess.Popen(
                [*COMMAND, "larpix", "simulate", *options.split()], stdout=subprocess.DEVNULL
            )
            stack.callback(board.wait)
            stack.callback(board.kill)
        main = subprocess.Popen([*COMMAND, "run", str(path)], stderr=(directory / "log").open("wb"))
        stack.callback(main.wait)
        stack.callback(main.terminate)
        log = directory / "log"
        until(lambda: "all services are ready" in log.read_text() or main.poll() is not None)
        if main.poll() is not None:
            raise SystemExit(log.read_text())
        services = psutil.Process(main.pid).children(recursive=True)
        monitors, boards = part(services, "monitor"), part(services, "boards")
        before, start = (cpu(monitors), cpu(boards)), time.monotonic()
        done = subprocess.run(
            [*COMMAND, "record", "tpc", "--seconds", str(seconds), "-c", str(path), "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
        elapsed = time.monotonic() - start
        if done.returncode:
            raise SystemExit(done.stderr + done.stdout + log.read_text())
        result = json.loads(done.stdout.splitlines()[-1])[0]["result"]
        counted = part_counted(look(page)) if has_monitor else 0.0
        check = subprocess.run(
            [*COMMAND, "check", result["file"]], capture_output=True, text=True, check=False
        )
        return Measured(
            words=result["got"],
            lost=result["lost"] + result["not_written"],
            is_good=not check.returncode,
            monitor_cpu=(cpu(monitors) - before[0]) / elapsed,
            boards_cpu=(cpu(boards) - before[1]) / elapsed,
            memory=sum(one.memory_info().rss for one in monitors),
            counted=counted,
        )


def part_counted(seen):
    """Return the least part of the words of a board that the monitor counted chip by chip."""
    return min(1.0, seen["rates"]["share"])


@dataclass
class Measured:
    words: int
    lost: int
    is_good: bool
    monitor_cpu: float
    boards_cpu: float
    memory: int
    counted: float


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=int, default=0, help="of each recording; 20, or 5 with --quick")
    parser.add_argument("--rounds", type=int, default=0, help="3, or 1 with --quick")
    parser.add_argument("--rate", type=float, default=1e6, help="packets a second of all boards")
    options = parser.parse_args()
    seconds = options.seconds or (5 if options.quick else 20)
    rounds = options.rounds or (1 if options.quick else 3)
    found = {False: [], True: []}
    for _ in range(rounds):
        for has_monitor in (False, True):
            one = run(seconds, options.rate, has_monitor)
            found[has_monitor].append(one)
            print(
                f"{'with' if has_monitor else 'without'} monitor: {one.words / seconds:,.0f} words/s stored, "
                f"{one.lost} lost, check {'good' if one.is_good else 'BAD'}, boards service "
                f"{one.boards_cpu:.0%} of a processor, monitor {one.monitor_cpu:.0%}, "
                f"{one.memory / 1e6:.0f} MB, {one.counted:.0%} counted chip by chip",
                flush=True,
            )
    ratios = [b.words / a.words for a, b in zip(found[False], found[True], strict=True)]
    spread = f"{min(ratios):.3f} .. {max(ratios):.3f}"
    print(f"stored with / without: median {statistics.median(ratios):.3f} ({spread})")
    is_right = all(b.is_good and b.lost <= a.lost for a, b in zip(found[False], found[True], strict=True))
    raise SystemExit(not is_right)


if __name__ == "__main__":
    main()
