"""The monitor of PACMAN boards as a service, and the web side of larpix-daq with its own components."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.request

import pytest
from tests.system.larpix_stand import DaqStand
from tests.system.stand import Stand, free_ports, wait_until
from tests.system.test_browser import QUIET

pytestmark = pytest.mark.system

RATE_HZ = 4000
LIMIT_S = 60.0


@pytest.fixture
def browser(tmp_path):
    """Return the page of an address once it shows everything: the browser's own time passes fast."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("chromium is not installed")

    def look(url):
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        words = [found, *QUIET, profile, "--virtual-time-budget=4000", "--dump-dom", url]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def page(url, *patterns):
        html = ""

        def shows():
            nonlocal html
            html = look(url)
            return all(re.search(one, html) for one in patterns)

        wait_until(shows, lambda: html, LIMIT_S)

    return page


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return answer.read()


class BoardsStand(Stand):
    """Four boards, a recorder and a monitor under a supervisor."""

    def __init__(self, directory):
        super().__init__(directory, workers={"record": 1})
        self.board_ports = [1 + free_ports(3, socket.SOCK_STREAM) for _ in range(4)]
        self.page = free_ports(1, socket.SOCK_STREAM)
        members = [{"io_group": i, "port": port} for i, port in enumerate(self.board_ports, 1)]
        settings = {key: value for key, value in self.settings.items() if key != "detectors"}
        boards = {"tpc": {"members": members, "monitor": {"port": self.page}}}
        self.configure({**settings, "boards": boards})

    def send(self):
        words = ("--rate", RATE_HZ, "--triggers", 20, "--hwm", 0, "--patience", 5)
        return [
            self.start("larpix", "simulate", "-p", port, "--io-group", i, *words)
            for i, port in enumerate(self.board_ports, 1)
        ]

    def seen(self):
        return json.loads(get(self.page, "/glance"))


def test_a_recording_of_four_boards_is_watched(tmp_path, browser):
    with BoardsStand(tmp_path) as stand:
        stand.run()
        boards = stand.send()

        def is_steady(least=3.2 * RATE_HZ):
            found = stand.seen()
            return found["rates"]["total"] > least and found

        before = wait_until(is_steady, stand.logs, LIMIT_S)
        assert set(before["boards"]) == {"1", "2", "3", "4"}
        assert (before["run"], before["state"]) == (None, "")
        done = stand.forebay("record", "tpc", "--seconds", 2, "-c", stand.config_path, timeout=LIMIT_S)
        assert done.code == 0, stand.logs()
        seen = wait_until(lambda: (found := stand.seen())["state"] == "finished" and found, stand.logs)
        assert seen["run"] == 1
        assert re.match("recording began", seen["messages"][-1])
        assert seen["words"] < before["words"] + 20 * 4 * RATE_HZ
        kinds = {(one["io_group"], one["kind"], one["type"]) for one in seen["rates"]["triggers"]}
        assert {(group, "sync", "S") for group in (1, 2, 3, 4)} <= kinds
        assert {(group, "trigger", "0x01") for group in (1, 2, 3, 4)} <= kinds
        browser(
            f"http://127.0.0.1:{stand.page}/",
            r'<strong id="rate" class="good">\d',
            r'<canvas id="pixels" width="\d\d+"',
            r'<p id="problem" role="alert" hidden',
            "run 1, finished",
            *[f"board {group}</td><td[^>]*>trigger 0x01" for group in (1, 2, 3, 4)],
        )
        # a monitor that is killed counts again, from nothing
        (pid,) = [pid for pid, words in stand.processes().items() if " serve monitor " in words]
        os.kill(pid, signal.SIGKILL)

        def is_back():
            try:
                return is_steady()
            except OSError:
                return None

        again = wait_until(is_back, stand.logs, LIMIT_S)
        assert (again["run"], again["state"]) == (None, "")
        # and is right when data stop
        for board in boards:
            board.stop()
        wait_until(lambda: stand.seen()["rates"]["total"] == 0, stand.logs, LIMIT_S)
        quiet = stand.seen()
        assert quiet["seconds"][-1][1] == 0
        assert all(one["rate_hz"] == 0 for one in quiet["rates"]["triggers"])
        assert 'board_rate_hz{io_group="4"} 0.0' in get(stand.page, "/metrics").decode()


def test_boards_are_watched_without_a_configuration(tmp_path):
    with Stand(tmp_path) as stand:
        port, page = 1 + free_ports(3, socket.SOCK_STREAM), free_ports(1, socket.SOCK_STREAM)
        stand.start("larpix", "simulate", "-p", port, "--io-group", 9, "--asic", 3)
        program = stand.start("larpix", "monitor", f"9=127.0.0.1:{port}/3", "-p", page)
        program.waits_to_say("serving")
        wait_until(lambda: json.loads(get(page, "/rates"))["groups"].get("9", 0) > 500, stand.logs)
        (open_address,) = [
            stand.forebay("larpix", "monitor", f"9=127.0.0.1:{port}/3", "-p", page, "--address", "0.0.0.0")
        ]
        assert open_address.code == 1
        assert "open to other hosts" in open_address.err
        assert program.stop().code == 0


def test_the_web_side_of_a_system(tmp_path, browser):
    stand = DaqStand(tmp_path)
    try:
        page = free_ports(1, socket.SOCK_STREAM)
        stand.start("core", "--web", f"http://127.0.0.1:{page}")
        for script in ("producer", "aggregator", "offline_storage"):
            stand.start(script)
        stand.start("online_monitor", "--rest-port", page)
        everybody = {"LArPix board", "LArPix aggregator", "Offline storage", "Online monitor"}
        stand.until_clients(everybody)
        import socketio

        told = []
        client = socketio.Client()
        for event in ("state-update", "client-update", "data-update", "action-update"):
            client.on(event, lambda body, event=event: told.append((event, body)))
        client.connect(f"http://127.0.0.1:{page}")

        def answered(name, number):
            return [
                body["message"]["result"]
                for event, body in told
                if event == "action-update" and (body["id"], body["name"]) == (number, name)
            ]

        for number, name in enumerate(("prepare-run", "start-run")):
            client.emit(f"command/{name}", {"id": number, "params": [], "display": "", "name": name})
            stand.until(lambda name=name, number=number: answered(name, number) == ["UPDATED"])
        stand.until(lambda: ("state-update", {"message": {"result": "RUN"}}) in told)  # the core's post
        stand.until(lambda: any(e == "data-update" and b["packets"]["packets"] for e, b in told))
        asked = {"id": 5, "params": ["hello_world", "you"], "display": "", "name": "run_routine"}
        client.emit("command/run_routine", asked)
        stand.until(lambda: answered("run_routine", 5) == ["pending", "Hello, you!"])
        assert json.loads(get(page, "/component"))["message"]["result"] == list(
            json.loads(get(page, "/glance"))["components"]
        )
        browser(f"http://127.0.0.1:{page}/", "state RUN", *everybody)
        stand.kill("aggregator")
        stand.until(lambda: any(e == "client-update" and len(b["message"]["result"]) == 3 for e, b in told))
        stand.until(lambda: ("state-update", {"message": {"result": "STOP"}}) in told)
        assert stand.ended()[0]["reason"].startswith("lost LArPix aggregator")
        assert stand.booked()[0]["who"] == "anyone by web"
        client.disconnect()
    finally:
        stand.close()
