"""What larpix-daq's own core and monitor post is taken by our web side, as they write it."""

import os
import socket
import sys

import pytest
import socketio
from tests.compat.test_larpixdaq_peer import PEER_PYTHON, MixedStand
from tests.system.stand import free_ports

pytestmark = [
    pytest.mark.compat,
    pytest.mark.skipif(
        not PEER_PYTHON.exists() or sys.version_info >= (3, 13),
        reason="larpix-daq is not installed (make test), or not made for this Python",
    ),
]


def test_their_core_and_monitor_reach_our_browsers(tmp_path, monkeypatch):
    page = free_ports(1, socket.SOCK_STREAM)
    monkeypatch.setitem(os.environ, "FOREBAY_WEB_PORT", str(page))
    stand = MixedStand(tmp_path)
    told, client = [], socketio.Client()
    for event in ("state-update", "client-update", "data-update", "action-update"):
        client.on(event, lambda body, event=event: told.append((event, body)))
    try:
        stand.begin("core", of_peer=True)
        stand.start("run_data", "--rest-port", page)
        stand.until_clients({"Run data"})
        client.connect(f"http://127.0.0.1:{page}")
        for script in ("aggregator", "producer", "online_monitor"):
            stand.begin(script, of_peer=True)
        everybody = {"Run data", "LArPix aggregator", "LArPix board", "Online monitor"}

        def posted(event):
            return [body for name, body in told if name == event and "header" not in body]

        stand.until(
            lambda: any(set(one["message"]["result"]) == everybody for one in posted("client-update"))
        )
        stand.until(lambda: {"packets": {"rate": 0, "packets": []}} in posted("data-update"))
        for number, (name, state) in enumerate((("prepare-run", "READY"), ("start-run", "RUN"))):
            client.emit(f"command/{name}", {"id": number, "params": [], "display": "", "name": name})
            stand.until(lambda state=state: {"message": {"result": state}} in posted("state-update"))
        stand.until(lambda: any(one["packets"].get("packets") for one in posted("data-update")))
        asked = {"id": 7, "params": ["1-1-246"], "display": "chip", "name": "retrieve_config"}
        client.emit("command/retrieve_config", asked)
        stand.until(lambda: any(one["id"] == 7 and "global_threshold" in str(one) for one in actions(told)))
        stand.kill("producer")
        stand.until(lambda: everybody - {"LArPix board"} in lists(posted("client-update")))
    finally:
        client.disconnect()
        stand.close()


def actions(told):
    return [body for name, body in told if name == "action-update"]


def lists(news):
    return [set(one["message"]["result"]) for one in news]
