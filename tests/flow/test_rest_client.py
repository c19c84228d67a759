"""The client against a real server on loopback: the operator's methods, its errors, and watching."""

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager

import pytest
from tests.operator_stand_in import StandInOperator
from tests.waiting import until

from forebay.api import client as client_module
from forebay.api import feed as feed_module
from forebay.api import guard as guard_module
from forebay.api.client import Client
from forebay.api.feed import Feed
from forebay.api.guard import Guard
from forebay.api.rest import rest_app
from forebay.api.route import Rest
from forebay.api.server import Server, open_port
from forebay.api.tokens import TokenFile
from forebay.config import ApiConfig, parse
from forebay.errors import (
    AccessError,
    BusError,
    ConfigError,
    NoWorkerError,
    ServiceError,
    StateError,
    TokenError,
    UnknownError,
)
from forebay.run.values import Update

pytestmark = pytest.mark.flow


class Gateway:
    """A stand-in operator behind a real server; may be stopped and started on the same port."""

    def __init__(self, state_dir):
        self.operator = StandInOperator()
        self.tokens = TokenFile(state_dir)
        self.api = ApiConfig(max_watchers=3)
        self.port = 0
        self.start()

    def start(self):
        port = open_port("127.0.0.1", self.port)
        self.port = port.getsockname()[1]
        self.feed = Feed(self.operator, self.api.max_watchers, heartbeat_s=0.05)
        rest = Rest(parse({}, "test"), self.operator, self.feed, lambda: "forebay_up 1\n", None)
        self.server = Server(Guard(rest_app(rest), self.api, self.tokens), port, self.api)
        self.server.start()

    def stop(self):
        self.feed.close()
        self.server.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def gateway(tmp_path, monkeypatch):
    monkeypatch.setattr(feed_module, "_READ_S", 0.01)
    monkeypatch.setattr(client_module, "_RETRY_S", 0.01)
    monkeypatch.delenv("FOREBAY_URL", raising=False)
    monkeypatch.delenv("FOREBAY_TOKEN", raising=False)
    gateway = Gateway(tmp_path / "state")
    yield gateway
    gateway.stop()


@pytest.fixture
def client(gateway):
    with Client(gateway.url, timeout=10) as client:
        yield client


@contextmanager
def in_background(body):
    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    yield
    thread.join(10)
    assert not thread.is_alive()


def test_the_operators_methods(gateway, client):
    operator = gateway.operator
    (job,) = client.record(["jf"], images=10, id="a", proposal="p1")
    assert job == operator.job("a")
    assert client.record(["jf"], images=10, id="a", proposal="p1") == [job]
    assert client.job("a") == job
    assert client.jobs(states=["queued"], proposal="p1", limit=5) == [job]
    assert client.jobs(states=["failed", "finished"]) == []
    assert client.retrieve(["jf"], "1..5", file="x.h5")[0].parameters["file"] == "x.h5"
    assert client.plan("record", {"sources": ["jf"], "images": 3}) == operator.plan(
        "record", {"sources": ["jf"], "images": 3}
    )
    assert client.wait("a", 0.05).state == "queued"
    assert client.cancel("a") == operator.job("a")
    assert client.wait("a", 5).state == "cancelled"
    assert client.finish(client.jobs()[0].id).state == "finished"
    assert client.prepare(["jf"], tag="t", proposal="p2").state == "ready"
    assert client.start(proposal="p2").state == "running"
    assert client.run_status("p2") == operator.run_status("p2")
    assert client.stop(proposal="p2").state == "idle"
    assert client.runs("p2") == operator.runs("p2")
    assert client.runs("p2", before=1) == []
    assert client.files("p1", run=1, job_id="a") == operator.files("p1")
    assert client.proposals() == operator.proposals()
    assert client.routines() == operator.routines()
    assert client.status("p1").run == operator.run_status("p1")
    client.record(["jf"], images=1, id="b")
    assert [one.id for one in client.status().jobs] == ["b"]


def test_proposals_are_for_administrators(gateway, client):
    with pytest.raises(AccessError, match="--scope admin"):
        client.put_proposal("p8", "/data/p8")
    with Client(gateway.url, token=gateway.tokens.add("boss", "admin")) as boss:
        assert boss.put_proposal("p8", "/data/p8") == gateway.operator.proposals()[-1]
        assert boss.close_proposal("p8").closed


def test_errors_are_those_of_the_operator(gateway, client):
    with pytest.raises(UnknownError, match="no job x"):
        client.job("x")
    with pytest.raises(StateError, match="Allowed is only: prepare"):
        client.start()
    with pytest.raises(ConfigError, match="images"):
        client.record(["jf"], images=0)
    with pytest.raises(ConfigError, match=r"quotas\.pulses"):
        client.retrieve(["jf"], "1..90000000")
    for error in (NoWorkerError("no", "do"), BusError("no", "do")):
        gateway.operator.fault = error
        with pytest.raises(type(error), match="no do"):
            client.jobs()


def test_tokens(gateway, client, monkeypatch):
    secret = gateway.tokens.add("ann", "read", ["p1"])
    with pytest.raises(TokenError):
        client.jobs()
    monkeypatch.setenv("FOREBAY_TOKEN", secret)
    monkeypatch.setenv("FOREBAY_URL", gateway.url)
    with Client() as ann:
        assert ann.jobs() == []
        with pytest.raises(AccessError, match="needs the scope operate"):
            ann.record(["jf"], proposal="p1")
        with pytest.raises(AccessError, match="is for p1"):
            ann.jobs(proposal="p2")


@pytest.mark.parametrize("url", ["", "x", "ftp://x", "http://", "127.0.0.1:8700"])
def test_what_is_no_url(url, monkeypatch):
    monkeypatch.setenv("FOREBAY_URL", "nonsense")
    with pytest.raises(ConfigError, match="not the URL of a gateway"):
        Client(url)


def test_nobody_there(gateway, client):
    gateway.stop()
    with pytest.raises(ServiceError, match=r"cannot be reached.*Is it running"):
        client.jobs()
    with pytest.raises(ServiceError, match="cannot be reached"):
        next(client.watch())
    gateway.start()


def test_a_gateway_that_came_back(gateway, client):
    assert client.jobs() == []
    gateway.stop()
    gateway.start()
    assert len(client.record(["jf"], images=1)) == 1  # over a connection that was closed meanwhile
    assert len(client.jobs()) == 1


# --- watching


def test_a_job_is_watched_from_how_it_stands_to_its_end(gateway, client):
    operator = gateway.operator
    client.record(["jf"], images=10, id="a")
    seen = []

    def follow():
        with Client(gateway.url) as other:
            seen.extend(
                (update.id, update.body["state"], update.body["n_done"]) for update in other.watch("a")
            )

    with in_background(follow):
        until(lambda: gateway.feed.n_watchers)
        operator.say("job", "job.record", "other", {"state": "running"})
        operator.advance("a", "running", 5)
        operator.advance("a", "finished", 10)
    assert seen == [("a", "queued", 0), ("a", "running", 5), ("a", "finished", 10)]
    assert [update.body["state"] for update in client.watch("a")] == ["finished"]
    with pytest.raises(UnknownError):
        next(client.watch("nothing"))


def test_an_end_that_nobody_told_is_found_out(gateway, client):
    client.record(["jf"], images=10, id="a")
    seen = []

    def follow():
        with Client(gateway.url) as other:
            seen.extend(update.body["state"] for update in other.watch("a"))

    with in_background(follow):
        until(lambda: gateway.feed.n_watchers)
        watches, gateway.operator.watches = gateway.operator.watches, []
        gateway.operator.advance("a", "finished")
        gateway.operator.watches = watches
    assert seen == ["queued", "finished"]


def test_wait_hears_the_end(gateway, client):
    client.record(["jf"], images=10, id="a")
    found = []

    def wait():
        with Client(gateway.url) as other:
            found.append(other.wait("a", 20))

    with in_background(wait):
        until(lambda: gateway.feed.n_watchers)
        gateway.operator.advance("a", "failed", reason="the disk is full")
    assert (found[0].state, found[0].reason) == ("failed", "the disk is full")


def raw_watch(gateway, last="", path="/watch", token=""):
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    headers = {"Last-Event-ID": last} if last else {}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    connection.request("GET", path, headers=headers)
    return connection, connection.getresponse()


def events(response, n_events):
    found, one = [], {}
    while len(found) < n_events:
        line = response.readline().decode().rstrip("\n")
        if line.startswith((":", "retry")):
            response.readline()
            continue
        if not line:
            found.append(one)
            one = {}
        else:
            key, _, value = line.partition(": ")
            one[key] = value
    return found


def say(gateway, *numbers):
    for number in numbers:
        gateway.operator.say("service", "service.h.x", body={"n": number})


def test_a_client_that_comes_back_misses_nothing(gateway):
    connection, response = raw_watch(gateway)
    until(lambda: gateway.feed.n_watchers == 1)
    say(gateway, 0, 1, 2)
    first = events(response, 3)
    connection.close()
    until(lambda: gateway.feed.n_watchers == 0)
    say(gateway, 3, 4)
    connection, response = raw_watch(gateway, last=first[1]["id"])
    more = events(response, 3)
    connection.close()
    assert [json.loads(one["data"])["body"]["n"] for one in first + more] == [0, 1, 2, 2, 3, 4]
    assert more[0]["id"] == first[2]["id"]
    assert {one["event"] for one in first + more} == {"service"}


@pytest.mark.parametrize("last", ["x", "0000-1", "-5", "{epoch}-99", "{epoch}-" + "9" * 30])
def test_what_was_missed_is_said(gateway, last):
    until(lambda: gateway.operator.watches)
    say(gateway, 1)
    until(lambda: gateway.feed.counters["updates"] == 1)
    epoch = gateway.feed._epoch
    connection, response = raw_watch(gateway, last=last.replace("{epoch}", epoch))
    assert events(response, 1)[0]["event"] == "gap"
    connection.close()


def test_the_client_says_that_news_were_missed(gateway, client):
    watch = client.watch()
    with in_background(lambda: (until(lambda: gateway.feed.n_watchers), say(gateway, 1))):
        assert next(watch).body == {"n": 1}
    gateway.stop()
    gateway.start()  # another epoch
    with pytest.raises(ServiceError, match="missed"):
        next(watch)


def test_a_bus_that_went_away_is_said(gateway, client, monkeypatch):
    connection, response = raw_watch(gateway)
    until(lambda: gateway.operator.watches and gateway.feed.n_watchers)

    def stays_away():
        raise BusError("gone")

    monkeypatch.setattr(gateway.operator, "watch", stays_away)
    gateway.operator.watches[0].queue.put(BusError("gone"))
    assert events(response, 1)[0]["event"] == "gap"
    assert client._ask("GET", "/health", dict)["state"] == "alive"
    with pytest.raises(BusError, match="cannot be heard"):
        client._ask("GET", "/ready", dict)
    connection.close()


def test_news_that_may_be_missing_on_the_bus_are_said(gateway, client):
    watch = client.watch()
    with in_background(lambda: (until(lambda: gateway.feed.n_watchers), say(gateway, 1))):
        assert next(watch).body == {"n": 1}
    gateway.operator.watches[0].queue.put(Update(topic="gap", key="gap", id="", body={}, time_ns=1))
    with pytest.raises(ServiceError, match="missed"):
        next(watch)
    assert gateway.feed.counters["gaps"] == 1
    assert client._ask("GET", "/ready", dict)


def test_a_slow_client_is_dropped_and_counted(gateway, monkeypatch):
    monkeypatch.setattr(feed_module, "QUEUE", 10)
    slow, _unread = raw_watch(gateway)
    quick, response = raw_watch(gateway)
    until(lambda: gateway.feed.n_watchers == 2)
    n_said = 0
    big = "x" * 100_000
    for _ in range(1000):
        if gateway.feed.counters["slow"]:
            break
        for _ in range(5):
            gateway.operator.say("service", "service.h.x", body={"n": n_said, "big": big})
            n_said += 1
        events(response, 5)
    assert gateway.feed.counters["slow"] == 1
    assert gateway.feed.n_watchers == 1
    say(gateway, -1)
    assert json.loads(events(response, 1)[0]["data"])["body"]["n"] == -1
    slow.close()
    quick.close()


def test_too_many_watch(gateway):
    open_ones = [raw_watch(gateway)[0] for _ in range(3)]
    until(lambda: gateway.feed.n_watchers == 3)
    connection, response = raw_watch(gateway)
    assert response.status == 503
    assert "api.max_watchers" in response.read().decode()
    for one in [*open_ones, connection]:
        one.close()
    until(lambda: gateway.feed.n_watchers == 0)


def test_a_heartbeat_comes_when_nothing_does(gateway):
    connection, response = raw_watch(gateway)
    lines = [response.readline() for _ in range(4)]
    assert lines[2].startswith(b":")
    connection.close()


def test_news_of_other_proposals_are_not_told(gateway):
    secret = gateway.tokens.add("ann", "read", ["p1"])
    for proposal in ("p1", "p2"):
        gateway.operator.request(
            "record", {"sources": ["jf"], "images": 1}, id=f"of-{proposal}", proposal=proposal
        )
    connection, response = raw_watch(gateway, token=secret)
    until(lambda: gateway.operator.watches and gateway.feed.n_watchers)
    gateway.operator.say("run", "run.p2", body={"proposal": "p2"})
    gateway.operator.say("run", "run.x", body={})
    gateway.operator.say("job", "job.record", "unknown", {"state": "running"})
    gateway.operator.advance("of-p2", "running")
    gateway.operator.advance("of-p1", "running")
    say(gateway, 1)
    found = events(response, 2)
    assert [(one["event"], json.loads(one["data"])["id"]) for one in found] == [
        ("job", "of-p1"),
        ("service", ""),
    ]
    connection.close()


def test_garbage_on_the_port(gateway, client):
    for garbage in (
        b"\x00" * 100,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: \xff\r\n\r\n",
    ):
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        connection.connect()
        connection.sock.sendall(garbage + b"\r\n\r\n")
        connection.sock.recv(1000)
        connection.close()
    assert client.jobs() == []


def test_a_body_that_does_not_come(gateway, client, monkeypatch):
    monkeypatch.setattr(guard_module, "BODY_TIMEOUT_S", 0.05)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as slow:
        slow.sendall(b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        slow.sendall(b"Content-Length: 100\r\n\r\n{")
        answer = slow.recv(10_000)
        assert answer.startswith(b"HTTP/1.1 408 ")
    assert client.jobs() == []


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
def test_tls(gateway, tmp_path):
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=localhost",
        "-days",
        "2",
    ]
    words += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    gateway.stop()
    gateway.api = ApiConfig(certificate=tmp_path / "cert.pem", key=tmp_path / "key.pem")
    gateway.start()
    context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    with Client(f"https://localhost:{gateway.port}", context=context) as client:
        assert len(client.record(["jf"], images=1)) == 1
    with (
        Client(f"https://localhost:{gateway.port}") as stranger,
        pytest.raises(ServiceError, match="certificate verify failed"),
    ):
        stranger.jobs()


def test_a_port_in_use(gateway):
    with pytest.raises(ServiceError, match=rf"Port {gateway.port} of 127\.0\.0\.1 cannot be used"):
        open_port("127.0.0.1", gateway.port)
    with pytest.raises(ServiceError, match="cannot be used"):
        open_port("192.0.2.1", 0)


def test_a_wrong_certificate(gateway, tmp_path):
    (tmp_path / "cert.pem").write_text("nonsense")
    api = ApiConfig(certificate=tmp_path / "cert.pem", key=tmp_path / "cert.pem")
    port = open_port("127.0.0.1", 0)
    with pytest.raises(ServiceError, match="certificate"):
        Server(lambda *_: None, port, api)
    port.close()
