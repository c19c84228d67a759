"""A run through the components of larpix-daq, from boards to the file, stopped at once: ours, the original.

The original (larpix-daq 0.2.1, in the interpreter that FOREBAY_LARPIXDAQ_PYTHON names, else the one that
``make test`` installs) has its own core, aggregator and storage, and a producer that sends blocks of 300
packets that it made before, as fast as asked. Ours has four simulated boards, 10 words a message, over TCP.
Both are asked to end the run the moment the last packet has been sent. What counts is how many of the packets
sent are stored, and what a packet costs the storage. The two take turns.

At the end ours at 1 M packets/s, with the monitor: right when every word that a board sent is stored and the
file passes its check.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py

ROOT = Path(__file__).parents[1]
PEER = os.environ.get("FOREBAY_LARPIXDAQ_PYTHON", ROOT / ".venv/peers-larpixdaq/bin/python")
BOUND_S = 60
N_BOARDS = 4
BLOCK = 300
TICK_S = os.sysconf("SC_CLK_TCK")


def feed(out, rate, count, home, log):
    """Be the original's producer with blocks that are made already; print how many packets were sent."""
    import random

    import larpix.larpix as control
    import larpixdaq.packetformat as form
    from xylem import Producer

    packets = []
    for i in range(BLOCK):
        packet = control.Packet()
        packet.timestamp, packet.dataword, packet.chipid = i, random.randrange(256), 246
        packet.chip_key = "1-1-246"
        packet.assign_parity()
        packets.append(packet)
    data = form.toBytes(packets)
    addresses = {"core_address": home, "log_address": log, "heartbeat_time_ms": 300}
    producer = Producer(out, name="LArPix board", group="BOARD", **addresses)
    producer.request_state()
    while producer.state != "RUN":
        producer.receive(0.05)
    start, sent = time.time(), 0
    while sent < count:
        due = min(rate * (time.time() - start), count)
        while sent < due:
            producer.produce(data)
            sent += BLOCK
        time.sleep(0.001)
    print(sent, flush=True)
    while True:
        producer.receive(0.25)


def part(port, script, words):
    """Be a component of the original, which knows no other port than 50000."""
    import runpy

    import larpixdaq.core

    larpixdaq.core.CORE_PORT = int(port)
    home = f"tcp://127.0.0.1:{port}"
    if script == "core":
        larpixdaq.core.LArPixCore(home, words[0]).run()
    elif script == "log":
        sys.argv = ["Log", *words]
        runpy.run_module("xylem.Log", run_name="__main__")
    elif script == "feed":
        feed(words[0], float(words[1]), int(words[2]), home, words[3])
    else:
        sys.argv = [script, *words]
        runpy.run_module(f"larpixdaq.{script}", run_name="__main__")


class System:
    """The components of one run, as processes."""

    def __init__(self, stack, directory, is_ours):
        from forebay.front.larpix.operator import Operator  # not there for the original's components

        self.stack, self.directory, self.is_ours = stack, directory, is_ours
        self.processes = {}
        self.port, log, self.board, self.relay, *self.boards = free_ports(4 + 3 * N_BOARDS)
        self.log = f"tcp://127.0.0.1:{log}"
        self.operator = Operator(port=self.port)
        stack.callback(self.operator.cleanup)

    def start(self, script, *words):
        if script not in ("core", "log", "feed"):
            words = [*words, "--log-address", self.log]
        if self.is_ours:
            command = [sys.executable, "-m", "forebay.cli.larpix_daq", script, *words]
            command += ["--core-port", self.port] if script != "log" else []
        else:
            command = [PEER, "-P", __file__, "--part", self.port, script, *words]
        self.spawn(script, command)

    def spawn(self, name, command):
        file = (self.directory / f"{name}.err").open("wb")
        process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=file, stdin=subprocess.DEVNULL, text=True
        )
        self.processes[name] = process
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)

    def ask(self, method, *words):
        *_, last = getattr(self.operator, method)(*words, timeout=BOUND_S)
        if last is None:
            raise SystemExit(f"{method} is not answered")
        return last["message"]

    def until(self, condition):
        end = time.monotonic() + BOUND_S
        while not condition():
            ended = any(one.poll() is not None for one in self.processes.values())
            if ended or time.monotonic() > end:
                raise SystemExit("".join(one.read_text()[-2000:] for one in self.directory.glob("*.err")))
            time.sleep(0.02)

    def has(self, n):
        *_, last = self.operator.get_clients(timeout=1.0)
        return last is not None and len(last["message"]["result"]) >= n

    def cpu(self, name):
        words = Path(f"/proc/{self.processes[name].pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / TICK_S

    def stored(self):
        """Return packets in the file once nothing more is written to it."""
        sizes = [-1]
        while sizes[-1] != self.n_bytes():
            sizes.append(self.n_bytes())
            time.sleep(0.5)
        (path,) = (self.directory / "data").glob("*.h5")
        with h5py.File(path, "r") as file:
            return path, int((file["packets"].fields("type")[:] == 0).sum())

    def n_bytes(self):
        return sum(one.stat().st_size for one in (self.directory / "data").iterdir())


def run(is_ours, rate, seconds, with_monitor=False):
    """Return packets sent, packets stored, s of CPU of the storage a packet, and whether all is right."""
    with TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        (directory / "data").mkdir()
        system = System(stack, directory, is_ours)
        count = int(rate * seconds / N_BOARDS)
        if is_ours:
            system.start("core", "--runs", directory / "runs.jsonl", "--log-address", system.log)
        else:
            system.start("log", "-p", system.log, "-o", directory / "log.txt")
            system.start("core", system.log)
        system.until(lambda: system.has(0))
        board, relay = f"tcp://127.0.0.1:{system.board}", f"tcp://127.0.0.1:{system.relay}"
        commands = system.boards[1::3]
        if is_ours:
            addresses = [f"{group}=127.0.0.1:{port}/1" for group, port in enumerate(commands, 1)]
            system.start("producer", board, "--io-config", "PACMAN_IO", *addresses)
        else:
            system.start("feed", board, rate, N_BOARDS * count, system.log)
        system.start("aggregator", relay)
        system.start("offline_storage", "-o", directory / "data")
        if with_monitor:
            system.start("online_monitor")
        system.until(lambda: system.has(4 if with_monitor else 3))
        for method in ("prepare_run", "begin_run"):
            said = system.ask(method)
            if said["result"] != "UPDATED":
                raise SystemExit(f"{method}: {said}")
        before = system.cpu("offline_storage")
        if is_ours:
            options = f"--asic 1 --rate {rate / N_BOARDS} --count {count} --wait --hwm 0 --patience 5 --json"
            for group, port in enumerate(commands, 1):
                words = f"larpix simulate -p {port} --io-group {group} {options}"
                system.spawn(f"board {group}", [sys.executable, "-m", "forebay", *words.split()])
            boards = [system.processes[f"board {group}"] for group in range(1, N_BOARDS + 1)]
            said = [json.loads(one.communicate(timeout=3 * seconds + BOUND_S)[0]) for one in boards]
            sent = sum(one["data_words"] for one in said)
        else:
            sent = int(system.processes["feed"].stdout.readline())
        end = system.ask("end_run")
        path, stored = system.stored()
        cost = (system.cpu("offline_storage") - before) / max(stored, 1)
        is_right = sent == stored and end["result"] == "UPDATED"
        if is_ours:
            check = [sys.executable, "-m", "forebay", "check", str(path)]
            is_right &= not subprocess.run(check, stdout=subprocess.DEVNULL, check=False).returncode
            if not is_right:
                print(end, file=sys.stderr)
        for process in system.processes.values():
            process.send_signal(signal.SIGINT)
        return sent, stored, cost, is_right


def free_ports(n):
    """Return `n` ports, one behind the other, that are free."""
    for first in range(23000, 32000, n):
        with ExitStack() as stack:
            try:
                for port in range(first, first + n):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return list(range(first, first + n))
    raise SystemExit("There are no free ports.")


def show(name, rate, sent, stored, cost):
    lost = 100 * (sent - stored) / sent
    print(
        f"{name:17} {rate:9,.0f}/s: {sent:10,} sent, {stored:10,} stored, {lost:5.1f} % lost, "
        f"{cost * 1e6:6.2f} us CPU of the storage a packet",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float, default=0, help="of the last run; 60, or 5 with --quick")
    parser.add_argument("--rate", type=float, default=1e6, help="packets a second of the last run")
    parser.add_argument("--part", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        part(options.part[0], options.part[1], options.part[2:])
        return
    costs = {"larpix-daq 0.2.1": [], "forebay": []}
    for rate in (100_000.0,) if options.quick else (50_000.0, 100_000.0, 100_000.0):
        for name, found in costs.items():
            if name != "forebay" and not Path(PEER).exists():
                continue
            sent, stored, cost, _ = run(name == "forebay", rate, 5.0)
            found.append(cost)
            show(name, rate, sent, stored, cost)
    if costs["larpix-daq 0.2.1"]:
        ratios = [theirs / ours for theirs, ours in zip(*costs.values(), strict=True)]
        print(
            f"a packet costs the storage of larpix-daq {statistics.median(ratios):.0f} times as much "
            f"({min(ratios):.0f} .. {max(ratios):.0f})"
        )
    seconds = options.seconds or (5.0 if options.quick else 60.0)
    sent, stored, cost, is_right = run(True, options.rate, seconds, with_monitor=True)
    show("forebay", options.rate, sent, stored, cost)
    print(f"{sent - stored} of {sent:,} words lost in {seconds:g} s: {'right' if is_right else 'WRONG'}")
    raise SystemExit(not is_right)


if __name__ == "__main__":
    main()
