"""The server behind every REST interface: who dawdles is let go, everybody else is answered."""

import asyncio
import socket
import threading
from contextlib import ExitStack
from http.client import HTTPResponse

import pytest

from forebay.stream import http
from forebay.stream.http import HttpServer
from forebay.stream.listen import listen

pytestmark = pytest.mark.flow

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"


class Application:
    """Answers with the body that it got, once it may."""

    def __init__(self):
        self.may_answer = asyncio.Event()
        self.waits = threading.Event()
        self.asked = 0

    async def __call__(self, scope, receive, send):
        self.loop = asyncio.get_running_loop()
        self.asked += 1
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if body == b"wait":
            self.waits.set()
            await self.may_answer.wait()
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", b"%d" % len(body))],
            }
        )
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def app():
    return Application()


@pytest.fixture
def server(app):
    server = HttpServer(app, listen("127.0.0.1", 0, ""), most_connections=10)
    server.start()
    yield server
    server.close()
    assert not server.is_alive


@pytest.fixture
def connect(server):
    with ExitStack() as opened:
        yield lambda: opened.enter_context(socket.create_connection(server._port.getsockname(), timeout=20))


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_head_that_does_not_come(app, connect, monkeypatch, begun):
    monkeypatch.setattr(http, "HEAD_S", 0.01)
    slow = connect()
    slow.sendall(begun)
    assert slow.recv(100) == b""
    assert app.asked == 0


def test_a_body_that_does_not_come(app, connect, monkeypatch):
    monkeypatch.setattr(http, "BODY_S", 0.01)
    slow = connect()
    slow.sendall(HEAD % 10 + b"12345")
    assert slow.recv(100) == b""
    assert app.asked == 1


def test_the_second_request_of_a_connection_has_to_come_too(connect, monkeypatch):
    kept = connect()
    kept.sendall(HEAD % 2 + b"hi")
    assert body(kept) == b"hi"
    monkeypatch.setattr(http, "HEAD_S", 0.01)
    kept.sendall(b"POST /")
    assert kept.recv(100) == b""


def test_an_answer_may_take_its_time(app, server, connect):
    patient = connect()
    patient.sendall(HEAD % 4 + b"wait")
    app.waits.wait(20)
    (connection,) = server._server.server_state.connections
    assert connection._late is None
    app.loop.call_soon_threadsafe(app.may_answer.set)
    assert body(patient) == b"wait"


def body(connection):
    answer = HTTPResponse(connection)
    answer.begin()
    return answer.read()
