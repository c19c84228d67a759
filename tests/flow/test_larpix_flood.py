"""Components of larpix-daq to which more comes than they can take: they see to their end all the same."""

import socket
import threading

import pytest
from tests.system.stand import free_ports

from forebay.front.larpix.arguments import parse
from forebay.service import larpix_conductor, larpix_log
from forebay.service.larpix_aggregator import Aggregator
from forebay.stream.xylem import RouterSocket
from forebay.wire import xylem as x

pytestmark = pytest.mark.flow

WAIT_S = 20.0


class Flood:
    """A socket that has always one message more; `seen` is set when some were taken."""

    def __init__(self, message):
        self.seen = threading.Event()
        self._message, self._n = message, 0

    def __call__(self, *_args, **_options):
        return self  # who opens a socket gets this one

    def read(self, timeout):
        self._n += 1
        if self._n > 3000:
            self.seen.set()
        return self._message

    receive = read
    addresses = ()

    def send(self, *frames):
        """Throw it away."""

    def close(self):
        """Hold nothing."""


def ends(run, flood):
    """Whether `run(stop)` ends in the middle of a flood."""
    stop = threading.Event()
    thread = threading.Thread(target=run, args=[stop], daemon=True)
    thread.start()
    assert flood.seen.wait(WAIT_S)
    stop.set()
    thread.join(WAIT_S)
    return not thread.is_alive()


@pytest.fixture
def port():
    return free_ports(2, socket.SOCK_STREAM)


def words_of(port):
    return ["--core-port", str(port), "--log-address", f"tcp://127.0.0.1:{port + 1}"]


def test_an_aggregator(port, monkeypatch):
    aggregator = Aggregator(parse("aggregator", ["tcp://127.0.0.1:*", *words_of(port)]))
    flood = Flood(x.Data({"name": "LArPix board"}, b""))
    monkeypatch.setattr(aggregator, "listen", lambda: flood)
    assert ends(aggregator.run, flood)


def test_a_core(port, monkeypatch, tmp_path):
    flood = Flood((b"noise", [b"PING"]))
    monkeypatch.setattr(larpix_conductor, "RouterSocket", flood)
    arguments = parse("core", ["--runs", str(tmp_path / "runs.jsonl"), *words_of(port)])
    assert ends(lambda stop: larpix_conductor.run_conductor(arguments, stop), flood)


def test_a_log(port, monkeypatch, tmp_path, capsys):
    flood = Flood(x.Log(1.0, "noise", "INFO", "one\nline"))
    monkeypatch.setattr(larpix_log, "LogIn", flood)
    path = tmp_path / "log.txt"
    arguments = parse("log", ["-p", f"tcp://127.0.0.1:{port}", "-o", str(path)])
    assert ends(lambda stop: larpix_log.run_log(arguments, stop), flood)
    assert {line.partition(" | ")[2] for line in path.read_text().splitlines()} == {
        "INFO     | noise                | one\\nline"
    }
    assert "noise" in capsys.readouterr().err


def test_who_takes_a_free_port_tells_which(port):
    router = RouterSocket([f"tcp://127.0.0.1:{port}"])
    aggregator = Aggregator(parse("aggregator", ["tcp://127.0.0.1:*", *words_of(port)]))
    aggregator.line.start()
    _, frames = router.receive(WAIT_S)
    (address,) = x.decode(frames).addresses.values()
    assert address.rpartition(":")[2].isdecimal()
    aggregator.close()
    router.close()
