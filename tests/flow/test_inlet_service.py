"""The inlet service: what it takes is published and counted, whichever stream it is."""

import json
import socket
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.ports import free_ports
from tests.waiting import until

from forebay.config import parse
from forebay.errors import ConfigError, ForebayError
from forebay.service.doctor_ends import ends
from forebay.service.inlet import inlet
from forebay.stream.messages import MessageListener
from forebay.wire import cdts

pytestmark = pytest.mark.flow

VECTORS = Path(__file__).parents[1] / "vectors" / "ssdaq"
LOG = (VECTORS / "zmq/B_log_LogData_0.bin").read_bytes()
TRIGGER = (VECTORS / "trigger/trigger_v3.bin").read_bytes()


@contextmanager
def running(value, monkeypatch):
    """Run an inlet in a thread; yields a listener to what it publishes, and what it told its supervisor."""
    told = {}

    def hear(said):
        key, _, rest = said.partition("=")
        told[key] = json.loads(rest) if key == "COUNTERS" else rest

    monkeypatch.setenv("NOTIFY_SOCKET", "nowhere")
    monkeypatch.setattr("forebay.service.inlet.notify", hear)
    monkeypatch.setattr("forebay.service.counted.notify", hear)
    monkeypatch.setattr("forebay.service.counted.PERIOD_S", 0.01)
    out = free_ports(1, socket.SOCK_STREAM)
    publishers = [{"address": "127.0.0.1", "port": out}]
    config = parse({"inlets": {"one": {**value, "publishers": publishers}}}, "test")
    stop, failed = threading.Event(), []

    def run():
        try:
            inlet(config, "one", stop)
        except ForebayError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    listener = MessageListener("127.0.0.1", out)
    try:
        until(lambda: told.get("READY") or failed)
        yield listener, told
    finally:
        stop.set()
        thread.join(30)
        listener.close()
    assert failed == []


def received(listener, send):
    """Send until the first message came: a subscription takes a while."""
    found = []

    def look():
        send()
        found.extend(listener.read(0.05))
        return found

    until(look)
    return found[0]


def test_logs(monkeypatch):
    port = free_ports(1, socket.SOCK_STREAM)
    with running({"kind": "logs", "port": port}, monkeypatch) as (listener, told):
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert received(listener, lambda: client.sendall(LOG)) == LOG
        until(lambda: told["COUNTERS"]["publishers_sent"])
    counters = told["COUNTERS"]
    assert counters["received"] == counters["messages"] == counters["publishers_offered"]
    assert counters["clients"] == 1


def test_triggers(monkeypatch):
    port = free_ports(1, socket.SOCK_DGRAM)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
        running({"kind": "triggers", "port": port}, monkeypatch) as (listener, told),
    ):
        assert received(listener, lambda: out.sendto(TRIGGER, ("127.0.0.1", port))) == TRIGGER
    counters = told["COUNTERS"]
    assert counters["received"] == counters["type_3"] == counters["publishers_offered"] > 0


def test_the_telescope(monkeypatch, tmp_path):
    path = tmp_path / "pointing"

    def append():
        with path.open("a") as file:
            file.write('{"ra": 83.5, "dec": 22.0}\n')

    value = {"kind": "telescope", "file": str(path), "period_s": 0.01}
    with running(value, monkeypatch) as (listener, told):
        assert cdts.decode(cdts.TELESCOPE, received(listener, append))["ra"] == 83.5
    assert told["COUNTERS"]["messages"] > 0


def test_one_inlet_tells_another_how_it_is(monkeypatch):
    port = free_ports(1, socket.SOCK_STREAM)
    monitoring = {"kind": "monitoring", "address": "127.0.0.1", "port": port}
    telescope = {"kind": "telescope", "period_s": 0.01, "monitor": f"tcp://127.0.0.1:{port}"}
    with running(monitoring, monkeypatch) as (listener, _), running(telescope, monkeypatch):
        said = cdts.decode(cdts.MONITOR, received(listener, lambda: None))
    assert said["reciver"]["name"] == "one"
    assert said["reciver"]["recv_data"]


def test_an_inlet_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="'two' is not configured"):
        inlet(parse({"inlets": {"one": {"kind": "logs"}}}, "test"), "two", threading.Event())


def test_the_doctor_looks_at_the_ends_of_inlets():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        udp = free_ports(1, socket.SOCK_DGRAM)
        config = parse(
            {
                "inlets": {
                    "logs": {"kind": "logs", "address": "127.0.0.1", "port": port, "publishers": []},
                    "triggers": {"kind": "triggers", "port": udp, "publishers": []},
                    "stamps": {"kind": "timestamps", "address": "127.0.0.1", "port": port, "publishers": []},
                    "telescope": {"kind": "telescope", "publishers": []},
                }
            },
            "test",
        )
        found = list(ends(config))
    assert [(one.name, one.state) for one in found] == [
        ("logs: TCP ports", "problem"),
        ("triggers: UDP ports", "ok"),
        ("stamps: senders", "ok"),
    ]
