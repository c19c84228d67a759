"""Counters reach the supervisor, and only numbers do."""

import json
import socket

import pytest

from forebay.service.child import Child
from forebay.service.counted import counted

pytestmark = pytest.mark.unit


def test_what_is_told_at_the_end(tmp_path, monkeypatch):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(path)
        inbox.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        with counted(lambda: {"a": 1, "rate": 0.5, "error": "disk", "on": True, "none": None}):
            pass
        name, _, text = inbox.recv(4096).decode().partition("=")
    assert (name, json.loads(text)) == ("COUNTERS", {"a": 1, "rate": 0.5})


def test_without_a_supervisor_nothing_is_asked(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    with counted(lambda: pytest.fail("asked")):
        pass


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": "x"}', '{"a": null}'])
def test_a_child_that_says_nonsense(text):
    child = Child("live", "jf", [], {})
    child._process = type("Process", (), {"pid": 7})()
    child.hear(7, {"COUNTERS": '{"a": 1}'})
    child.hear(7, {"COUNTERS": text})
    assert child.report.counters == {"a": 1}
