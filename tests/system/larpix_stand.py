"""Scripts of larpix-daq as processes, ours and the original's, on ports of their own."""

import json
import socket
import subprocess
import sys
import time

from tests.system.stand import free_ports

from forebay.front.larpix.operator import Operator

BOUND_S = 60
OURS = (sys.executable, "-m", "forebay.cli.larpix_daq")


class DaqStand:
    """Processes that end with the test, whatever happens.

    Ports are free ones, or those that the original cannot change if `fixed`.
    """

    def __init__(self, directory, *, core=None):
        self.directory = directory
        first = free_ports(4, socket.SOCK_STREAM)
        self.core_port = core or first
        self.log = f"tcp://127.0.0.1:{first + 1}"
        self.board = f"tcp://127.0.0.1:{first + 2}"
        self.aggregator = f"tcp://127.0.0.1:{first + 3}"
        self.book = directory / "runs.jsonl"
        self.processes = {}
        self.operators = []

    def start(self, script, *more, command=OURS, **options):
        words = {
            "core": ["--runs", self.book],
            "producer": [self.board, *([] if "--io-config" in more else ["--fake"])],
            "aggregator": [self.aggregator],
            "offline_storage": ["-o", self.directory / "data"],
        }.get(script, [])
        if script == "log":
            words = ["-p", self.log, "-o", self.directory / "log.txt"]
        else:
            words = [*words, "--log-address", self.log, "--core-port", self.core_port]
        self.spawn(script, [*command, script, *words, *more], **options)

    def spawn(self, name, words, **options):
        err = (self.directory / f"{name}.err").open("ab")
        with err:
            self.processes[name] = subprocess.Popen(
                list(map(str, words)), stdout=err, stderr=err, stdin=subprocess.DEVNULL, **options
            )

    def start_all(self, *of_producer):
        for script in ("core", "producer", "aggregator", "offline_storage"):
            self.start(script, *(of_producer if script == "producer" else ()))
        self.until_clients({"LArPix board", "LArPix aggregator", "Offline storage"})

    def operator(self, who="tester"):
        self.operators.append(Operator(who=who, port=self.core_port))
        return self.operators[-1]

    def ask(self, method, *arguments, timeout=30.0):
        """Return the last answer's message."""
        *_, last = getattr(self.operator(), method)(*arguments, timeout=timeout)
        assert last is not None, self.errors()
        return last["message"]

    def clients(self):
        """Return the names of the components; None while there is no core."""
        operator = self.operator()
        *_, last = operator.get_clients(timeout=1.0)
        operator.cleanup()
        return set(last["message"]["result"]) if last else None

    def until_core(self):
        """Wait for a core that answers: components of the original give up within 1.5 s."""
        self.until(lambda: self.clients() is not None)

    def until_clients(self, names):
        self.until(lambda: self.clients() == names)

    def until(self, condition):
        end = time.monotonic() + BOUND_S
        while not condition():
            assert time.monotonic() < end, self.errors()
            time.sleep(0.05)

    def begin_run(self):
        """Prepare a run and begin it."""
        for method in ("prepare_run", "begin_run"):
            said = self.ask(method)
            assert said["result"] == "UPDATED", said

    def until_data(self, n_bytes=30_000):
        """Wait until so much of a run is stored."""
        self.until(lambda: sum(one.stat().st_size for one in (self.directory / "data").iterdir()) > n_bytes)

    def errors(self):
        return "\n".join(f"== {one.name}\n{one.read_text()[-3000:]}" for one in self.directory.glob("*.err"))

    def kill(self, name):
        self.processes[name].kill()
        self.processes[name].wait()

    def logs_again(self, log):
        """Ask something, and return whether the log says so."""
        self.ask("get_boards")
        return "get_boards" in log.read_text()

    def booked(self):
        return [json.loads(line) for line in self.book.read_text().splitlines()]

    def ended(self):
        return [line for line in self.booked() if line["what"] == "ended"]

    def files(self):
        return sorted((self.directory / "data").glob("*.h5"))

    def close(self):
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()
        for one in self.operators:
            one.cleanup()


def forever(board):
    """A routine that does not end by itself."""
    while True:
        board.progress(0.5)
        time.sleep(0.1)


def calibrate(board):
    """A routine that reads every chip and says how many registers answered."""
    chips = board.act("get_boards")["data"][0]["chips"]
    return [len(board.act("read_config", chip).splitlines()) for chip in chips]
