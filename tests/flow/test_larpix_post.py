"""Posts to a web server that is there, away, slow, or none at all: nobody waits for it."""

import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from forebay.service.larpix_post import Web

pytestmark = pytest.mark.flow

WAIT_S = 20.0


@pytest.fixture
def server():
    """Serve on a free port; `came` has what came, `answers` what is answered instead of 204."""

    class Server(BaseHTTPRequestHandler):
        def take(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.came.put((self.command, self.path, json.loads(body)))
            if made.answers:
                self.wfile.write(made.answers.pop())
            else:
                self.send_response(204)
                self.end_headers()

        do_POST = do_DELETE = take  # noqa: N815 - names of http.server

        def log_message(self, *_words):
            pass

    made = HTTPServer(("127.0.0.1", 0), Server)
    made.came, made.answers = queue.SimpleQueue(), []
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def test_posts_arrive_in_their_order_and_take_no_proxy(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    web = Web(f"http://127.0.0.1:{server.server_port}/api/")
    web.tell("POST", "/state", {"new": "RUN", "old": "READY"})
    web.tell("DELETE", "/component", {"lost": "a", "all": []})
    assert server.came.get(timeout=WAIT_S) == ("POST", "/api/state", {"new": "RUN", "old": "READY"})
    assert server.came.get(timeout=WAIT_S) == ("DELETE", "/api/component", {"lost": "a", "all": []})


@pytest.mark.parametrize(
    "answer", [b"nonsense\r\n\r\n", b"", b"HTTP/1.1 500 Oh\r\n\r\n", b"HTTP/1.1 999999999\r\n\r\n"]
)
def test_an_answer_of_any_kind_ends_nothing(server, answer):
    server.answers.append(answer)
    web = Web(f"http://127.0.0.1:{server.server_port}")
    for n in range(2):
        web.tell("POST", "/packets", {"n": n})
    assert [server.came.get(timeout=WAIT_S)[2] for _ in range(2)] == [{"n": 0}, {"n": 1}]
    assert web.n_lost == 1


def test_a_server_that_is_away_or_hangs_holds_nobody_up():
    web = Web("http://127.0.0.1:9")
    for _ in range(10_000):
        web.tell("POST", "/packets", {})
    assert 0 < web.n_lost <= 10_000
    Web("").tell("POST", "/packets", {})
