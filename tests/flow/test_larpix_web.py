"""The monitor's interface: routes of both generations of larpix-daq, Socket.IO, who may."""

import builtins
import contextlib
import json
import queue
import socket
import sys
import threading
import time

import numpy as np
import pytest
import requests
import socketio
import websocket
from starlette.testclient import TestClient
from tests.larpix_events import blocks
from tests.ports import free_ports

from forebay.api.tokens import TokenFile
from forebay.config import ApiConfig
from forebay.errors import ConfigError, StreamError
from forebay.front.larpix.desk import TIMED_OUT, Desk
from forebay.front.larpix.web_events import COMMANDS
from forebay.service.larpix_shown import Shown
from forebay.service.larpix_tally import Tally
from forebay.service.larpix_web import interface, served

pytestmark = pytest.mark.flow

WAIT_S = 20.0


def answer(header, result, **metadata):
    return {"header": header, "message": {"result": result, **({"metadata": metadata} if metadata else {})}}


class StandIn:
    """An operator whose core answers at once."""

    asked = None

    def __init__(self, asked, who):
        self.asked, self.who = asked, who

    def get_state(self, timeout=None):
        yield answer("STATE REQUEST", "READY", last_end="lost Offline storage")

    def get_clients(self, timeout=None):
        yield answer("CLIENTS", ["LArPix board"])

    def prepare_physics_run(self, timeout=None):
        self.asked.append((self.who, "prepare", timeout))
        yield answer("STATE", "UPDATED")

    def begin_physics_run(self, timeout=None):
        yield answer("STATE", "UPDATED")

    end_physics_run = begin_physics_run

    def _act(self, number, result):
        yield answer("ACTION TICKET", "pending", id=number)
        yield answer("ACTION RESULT", result, id=number) if result is not None else None

    def get_boards(self, timeout=None):
        return self._act(1, {"data": [], "current": "pcb-1"})

    def load_board(self, filename, timeout=None):
        self.asked.append((self.who, "load", filename))
        return self._act(2, "success" if "pcb-3" in filename else "ERROR: There is no such board.")

    def list_routines(self, timeout=None):
        return self._act(3, [{"name": "hello_world", "params": []}])

    def run_routine(self, name, *params, timeout=None):
        return self._act(4, None if name == "slow" else [name, *params])

    def read_configuration(self, chip, timeout=None):
        return self._act(5, chip)

    write_configuration = validate_configuration = retrieve_configuration = read_configuration

    def send_configuration(self, updates, timeout=None):
        return self._act(6, updates)


@pytest.fixture
def desk():
    made = Desk(lambda who: StandIn(made.asked, who))
    made.asked = []
    yield made
    made.close()


@pytest.fixture
def tally():
    counted = Tally()
    counted.add(blocks(2, n_messages=3, n_words=20, seed=1))
    return counted


@pytest.fixture
def client(tally, desk, tmp_path):
    def make(api=None, token=None, base_url="http://localhost", **more):
        asgi, _ = interface(Shown(tally), tally, api or ApiConfig(), tmp_path, desk)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return TestClient(asgi, base_url=base_url, headers=headers, raise_server_exceptions=False)

    return make


@pytest.fixture
def port():
    return free_ports(1, socket.SOCK_STREAM)


@pytest.mark.parametrize("base", ["", "/api", "/"])
def test_routes_of_both_generations(client, desk, base):
    desk.start()
    web, url = client(), f"http://localhost{base}"
    for method, path, body in (
        ("POST", "/state", {"new": "READY", "old": "STOP"}),
        ("POST", "/component", {"new": "a", "all": ["a"]}),
        ("DELETE", "/component", {"lost": "a", "all": []}),
        ("POST", "/packets", {"rate": "1.00"}),
        ("POST", "/boards", {"filename": "pcb-3", "shortname": True}),
    ):
        done = web.request(method, url + path, json=body)
        assert (done.status_code, done.content) == (204, b""), path
    assert desk.asked[-1] == ("anyone by web", "load", "controller/pcb-3_chip_info.json")
    assert web.get(f"{url}/boards").json() == {"data": [], "current": "pcb-1"}
    assert web.get(f"{url}/routines").json()["message"]["result"][0]["name"] == "hello_world"
    assert web.get(f"{url}/command/actionid/3").json() == [{"name": "hello_world", "params": []}]
    assert web.get(f"{url}/command/actionid/77").status_code == 404
    assert web.get(f"{url}/pixels?filename=x").json()["layout"] is None
    assert web.post(f"{url}/pixels?filename=x").status_code == 400
    assert len(web.get(f"{url}/packets").json()["packets"]) == 100
    for path in ("rates", "histograms", "glance", "messages", "counters", "triggers", "state"):
        assert web.get(f"{url}/{path}").status_code == 200, path


def test_what_the_core_says_is_passed_on(client, desk):
    web = client()
    assert web.get("/component").status_code == 503
    assert web.get("/state").json() == {"state": "", "run": None}
    looked = threading.Event()
    desk.on_news.append(lambda name, _answer: looked.set() if name == "component" else None)
    desk.start()
    assert looked.wait(WAIT_S)
    assert web.get("/component").json() == answer("CLIENTS", ["LArPix board"])
    assert web.get("/state").json()["message"]["result"] == "READY"
    assert web.get("/glance").json()["components"] == ["LArPix board"]
    assert web.get("/glance").json()["last_end"] == "lost Offline storage"


def test_a_core_that_is_away_is_named(tally, tmp_path):
    class Silent(StandIn):
        def get_boards(self, timeout=None):
            yield None

    asgi, _ = interface(Shown(tally), tally, ApiConfig(), tmp_path, Desk(lambda who: Silent([], who)))
    done = TestClient(asgi, base_url="http://localhost").get("/boards")
    assert done.status_code == 503
    assert "No answer came" in done.json()["what"]


def test_a_core_that_misses_some_looks_is_not_taken_for_away(desk, monkeypatch):
    """Each look waits a second for each of two answers, and a second until the next."""
    heard = threading.Event()
    desk.on_news.append(lambda name, answer: heard.set() if name == "component" else None)
    desk.start()
    assert heard.wait(WAIT_S)
    desk.close()
    now = time.monotonic()
    for later_s in (3.5, 7.0):
        monkeypatch.setattr("forebay.front.larpix.desk.time.monotonic", lambda later_s=later_s: now + later_s)
        assert desk.standing("component") == answer("CLIENTS", ["LArPix board"])
    monkeypatch.setattr("forebay.front.larpix.desk.time.monotonic", lambda: now + 11)
    with pytest.raises(StreamError, match="does not answer"):
        desk.standing("component")


@pytest.mark.parametrize("message", ["text", 3, None, [], {}, {"result": 3}, {"result": ["a", 3]}])
def test_a_core_that_says_something_else_does_no_harm(tally, tmp_path, message):
    class Strange(StandIn):
        def get_clients(self, timeout=None):
            yield {"header": "CLIENTS", "message": message}

        get_state = get_boards = get_clients

        def list_routines(self, timeout=None):
            yield {"header": "ACTION RESULT", "message": message}

    desk = Desk(lambda who: Strange([], who))
    asgi, _ = interface(Shown(tally), tally, ApiConfig(), tmp_path, desk)
    web = TestClient(asgi, base_url="http://localhost", raise_server_exceptions=False)
    asked = threading.Event()
    desk.news = lambda name, answer, news=desk.news: (news(name, answer), asked.set())
    desk.start()
    if isinstance(message, dict):
        assert asked.wait(WAIT_S)
    for path in ("/glance", "/state", "/component", "/boards", "/routines"):
        assert web.get(path).status_code in (200, 503), path
    told = queue.SimpleQueue()
    desk.command(lambda operator, timeout: operator.get_boards(timeout), "a", 1.0, told.put)
    assert told.get(timeout=WAIT_S)["message"] == message
    desk.close()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/state", {"new": "GO", "old": "STOP"}),
        ("POST", "/state", {"new": "READY"}),
        ("POST", "/component", {"new": "a", "all": "a"}),
        ("POST", "/component", {"new": "a", "all": ["x" * 256]}),
        ("POST", "/component", {"new": "a", "all": ["x"] * 1001}),
        ("DELETE", "/component", {"new": "a", "all": []}),
        ("POST", "/packets", [1, 2]),
        ("POST", "/boards", {"filename": 3}),
        ("POST", "/pixels", None),
        ("GET", "/rates?most=0", None),
        ("GET", "/rates?most=1000000", None),
        ("GET", "/rates?chip=1-1-1111111", None),
        ("GET", "/command/actionid/x", None),
        ("GET", "/pixels.png?io_group=-1", None),
    ],
)
def test_wrong_requests_are_refused_by_name(client, method, path, body):
    done = client().request(method, f"/api{path}" if "png" not in path else path, json=body)
    assert done.status_code == 422
    assert done.json()["error"] == "ConfigError"


def test_bodies_are_bounded(client):
    assert client().post("/packets", json={"packets": "x" * 2**20}).status_code == 413


def test_errors_of_components_are_errors(client):
    done = client().post("/boards", json={"filename": "pcb-9", "shortname": True})
    assert done.status_code == 503
    assert "no such board" in done.json()["what"]


def test_counting_begins_anew_on_request(client, tally):
    assert tally.n_words > 0
    assert client().post("/clear").status_code == 204
    assert tally.n_words == 0


def test_other_sites_and_hosts_are_kept_out(client):
    web = client()
    assert web.get("/rates", headers={"Origin": "http://evil.example"}).status_code == 403
    assert web.post("/clear", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert web.get("/rates", headers={"Host": "evil.example"}).status_code == 403
    polling = "/socket.io/?EIO=4&transport=polling"
    assert web.get(polling, headers={"Origin": "http://evil.example"}).status_code == 403
    assert web.get(polling).status_code == 200


def test_an_open_address_needs_tokens(client, tmp_path):
    api = ApiConfig(address="0.0.0.0")
    with pytest.raises(ConfigError, match="there is no token"):
        client(api)
    reads = TokenFile(tmp_path).add("eyes", "read")
    acts = TokenFile(tmp_path).add("hands", "operate")
    assert client(api).get("/rates").status_code == 401
    assert client(api).get("/").status_code == 200  # the page, without data
    assert client(api).get("/socket.io/?EIO=4&transport=polling").status_code == 401
    assert client(api, reads).get("/rates").status_code == 200
    for path, body in (("/state", {"new": "RUN", "old": "READY"}), ("/boards", {"filename": "pcb-3"})):
        assert client(api, reads).post(path, json=body).status_code == 403
        assert client(api, acts).post(path, json=body).status_code == 204
    assert client(api, reads).post("/clear").status_code == 403
    assert client(api, reads).post("/pixels?filename=a").status_code == 403


def test_the_page_asks_nobody_else(client):
    web = client()
    page = web.get("/")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for path in ("/", "/dashboard.js", "/dashboard.css"):
        text = web.get(path).text.replace("http://www.w3.org/2000/svg", "")
        assert not {word for word in ("http:", "https:", "//cdn", "innerHTML") if word in text}, path


class Browser:
    """A real client, and what it was told."""

    def __init__(self, url, transports=None, **headers):
        self.told = queue.SimpleQueue()
        self.io = socketio.Client(reconnection=False)
        for event in ("state-update", "client-update", "data-update", "action-update"):
            self.io.on(event, lambda body, event=event: self.told.put((event, body)))
        self.io.connect(url, headers=headers, wait_timeout=WAIT_S, transports=transports)

    def next(self, event):
        while True:
            found, body = self.told.get(timeout=WAIT_S)
            if found == event:
                return body

    def command(self, name, *params, **more):
        self.io.emit(
            f"command/{name}", {"id": 3, "display": "shown", "name": name, "params": [*params], **more}
        )


@pytest.fixture
def running(tally, desk, tmp_path, port):
    url = f"http://127.0.0.1:{port}"
    with served(Shown(tally), tally, ApiConfig(port=port), tmp_path, desk) as tell:
        yield url, tell


def ended(browser):
    """Return the last answer to a command: not a ticket."""
    while (found := browser.next("action-update")).get("header") == "ACTION TICKET":
        assert found["message"]["result"] == "pending"
    return found


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_browsers_are_told_and_command(running, desk, transport):
    url, tell = running
    browser = Browser(url, [transport])
    try:
        assert browser.io.transport() == transport
        tell()
        assert len(browser.next("data-update")["packets"]["packets"]) == 100
        import urllib.request

        body = b'{"new": "RUN", "old": "READY"}'
        request = urllib.request.Request(f"{url}/api/state", body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=WAIT_S).close()
        while browser.next("state-update") != {"message": {"result": "RUN"}}:
            pass
        browser.command("prepare-run")
        tags = {"id": 3, "display": "shown", "name": "prepare-run"}
        assert ended(browser) == {**answer("STATE", "UPDATED"), **tags}
        assert desk.asked == [("anyone by web", "prepare", 60.0)]
        browser.command("prepare-run", timeout=10**99)  # at most a day
        assert ended(browser)["message"]["result"] == "UPDATED"
        assert desk.asked[-1] == ("anyone by web", "prepare", 86_400.0)
        browser.command("run_routine", "hello_world", 1)
        assert ended(browser)["message"]["result"] == ["hello_world", 1]
        assert desk.result(4) == ["hello_world", 1]
        browser.command("run_routine", "slow")
        assert ended(browser) == {
            "message": {"result": "ERROR: timed out"},
            **tags,
            "name": "run_routine",
        }
        assert desk.result(4) == TIMED_OUT
        browser.command("data-rate", 0, 0, 0)
        assert float(ended(browser)["message"]["result"]) > 0
    finally:
        browser.io.disconnect()


@pytest.mark.parametrize("name", [name for name in COMMANDS if "run" not in name])
def test_every_command_answers(running, name):
    given = {"send_config": [{"1-1-3": {"csa_gain": 0}}], "configure_chip": ["1-1-3", "csa_gain", 0]}
    browser = Browser(running[0])
    try:
        browser.command(name, *given.get(name, ["1-1-3"]))
        assert "ERROR" not in str(ended(browser)["message"]["result"])
        if name == "configure_chip":
            assert ended(browser)["message"]["result"] == "1-1-3"
    finally:
        browser.io.disconnect()


@pytest.mark.parametrize(
    "message",
    [None, 3, "x", [], {}, {"params": 3}, {"params": [1]}, {"params": [{}] * 99}, {"params": ["a", "b"]}],
)
def test_wrong_commands_are_answered(running, message):
    browser = Browser(running[0])
    try:
        browser.io.emit("command/read_config", message)
        assert ended(browser)["message"]["result"].startswith("ERROR: Invalid parameters")
        browser.io.emit("command/nothing", message)
        browser.command("messages")
        assert ended(browser)["message"]["result"] == []
    finally:
        browser.io.disconnect()


def test_what_is_no_message_ends_nothing(running, capfd):
    url = running[0]
    rng = np.random.default_rng(4)
    line = f"{url}/socket.io/?EIO=4&transport=polling"
    for n in range(120):
        sid = json.loads(requests.get(line, timeout=WAIT_S).text[1:])["sid"]
        body = rng.integers(0, 256, n, dtype=np.uint8).tobytes()
        for text in (body, b'42["command/run_routine",' + body, b"40" + body, b"4" * 100 + body):
            done = requests.post(f"{line}&sid={sid}", data=text, timeout=WAIT_S)
            assert done.status_code in (200, 400)
    browser = Browser(url)
    try:
        browser.command("data-rate")
        assert ended(browser)["header"] == "ACTION RESULT"
    finally:
        browser.io.disconnect()
    assert "Traceback" not in capfd.readouterr().err


def test_connections_are_bounded(running, monkeypatch):
    monkeypatch.setattr("forebay.front.larpix.web_events.MOST_LINES", 5)
    line = f"{running[0]}/socket.io/?EIO=4&transport=polling"
    assert [requests.get(line, timeout=WAIT_S).status_code for _ in range(7)] == [200] * 5 + [503] * 2


def test_who_may_only_read_does_not_command(tally, desk, tmp_path, port):
    token = TokenFile(tmp_path).add("eyes", "read")
    with served(Shown(tally), tally, ApiConfig(port=port), tmp_path, desk):
        url = f"http://127.0.0.1:{port}"
        with pytest.raises(socketio.exceptions.ConnectionError):
            Browser(url)
        browser = Browser(url, Authorization=f"Bearer {token}")
        try:
            browser.command("prepare-run")
            assert ended(browser)["message"]["result"] == "ERROR: The token allows to read only."
            browser.command("data-rate")
            assert ended(browser)["header"] == "ACTION RESULT"
        finally:
            browser.io.disconnect()
    assert desk.asked == []


WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"


def upgraded(port, **headers):
    """Return the status of the answer to who wants a WebSocket; 101 where there is one."""
    sent = {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "A" * 22 + "==",
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as line:
        line.sendall(f"GET {WEBSOCKET} HTTP/1.1\r\n{head}\r\n".encode())
        return int(line.recv(100).split()[1])


def test_websockets_are_guarded(running, port, monkeypatch, tmp_path):
    assert upgraded(port) == 101
    assert upgraded(port, Origin="http://evil.example") == 403
    assert upgraded(port, Host="evil.example") == 403
    assert upgraded(port, **{"Sec-Fetch-Site": "cross-site"}) == 403
    assert upgraded(port, Origin=f"http://127.0.0.1:{port}", **{"Sec-Fetch-Site": "same-origin"}) == 101
    monkeypatch.setattr("forebay.front.larpix.web_events.MOST_LINES", 0)
    assert upgraded(port) == 403
    monkeypatch.setattr("forebay.front.larpix.web_events.MOST_LINES", 50)
    token = TokenFile(tmp_path).add("eyes", "read")
    assert upgraded(port) == 403
    assert upgraded(port, Authorization=f"Bearer {token}") == 101


@pytest.fixture
def lines(port):
    """Return a function that opens a WebSocket."""
    opened = []

    def connect():
        opened.append(websocket.create_connection(f"ws://127.0.0.1:{port}{WEBSOCKET}", timeout=WAIT_S))
        return opened[-1]

    yield connect
    for one in opened:
        one.shutdown()


def test_what_is_no_message_by_websocket_ends_nothing(running, lines, capfd):
    rng = np.random.default_rng(4)
    for n in range(40):
        body = rng.integers(0, 256, n, dtype=np.uint8).tobytes()
        for text in (
            body.decode("latin-1"),
            '42["command/run_routine",' + body.hex(),
            "40" + body.hex(),
            body,
        ):
            one = lines()
            send = one.send_binary if isinstance(text, bytes) else one.send
            send(text)
            one.shutdown()
    long = lines()
    assert json.loads(long.recv()[1:])["sid"]
    with contextlib.suppress(ConnectionError):  # how it is closed depends on who is first
        long.send("4" + "2" * 2**19)
        assert not long.recv()
    browser = Browser(running[0], ["websocket"])
    try:
        browser.command("data-rate")
        assert ended(browser)["header"] == "ACTION RESULT"
    finally:
        browser.io.disconnect()
    assert "Traceback" not in capfd.readouterr().err


def test_a_monitor_without_a_core_has_no_websockets(tmp_path, port):
    counted = Tally()
    with served(Shown(counted), counted, ApiConfig(port=port), tmp_path):
        assert upgraded(port) == 404


def test_without_its_library_socket_io_says_which_to_install(client, monkeypatch):
    monkeypatch.delitem(sys.modules, "forebay.front.larpix.web_events", raising=False)
    find = builtins.__import__

    def without(name, *more, **how):
        if name == "socketio":
            raise ModuleNotFoundError("No module named 'socketio'", name="socketio")
        return find(name, *more, **how)

    monkeypatch.setattr(builtins, "__import__", without)
    web = client()
    done = web.get("/socket.io/?EIO=4&transport=polling")
    assert (done.status_code, "forebay[larpix-web]" in done.text) == (501, True)
    assert web.post("/packets", json={}).status_code == 204
    assert web.get("/rates").status_code == 200


def test_the_picture_is_of_the_board_that_is_asked_for(client, tally):
    tally.add(blocks(1, n_messages=1, n_words=30, seed=5, io_group=2))
    web = client()
    one, other = (web.get(f"/pixels.png?io_group={group}").content for group in (1, 2))
    assert one[:4] == other[:4] == b"\x89PNG"
    assert np.frombuffer(one, np.uint8).size > 0
    assert one != other
