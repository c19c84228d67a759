"""What a service says of its state reaches its supervisor, and never holds the service up."""

import logging
import socket

import pytest

from forebay.service import process
from forebay.service.process import notify

pytestmark = pytest.mark.flow


@pytest.fixture
def inbox(tmp_path, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        yield sock


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(process, "say", lambda event, level, **_: said.append((event, level)))
    monkeypatch.setattr(process, "_HEARD", process._HEARD.__class__())
    process._HEARD.set()
    return said


def test_that_nobody_listens_is_said_once_until_somebody_does(inbox, warnings, tmp_path):
    for _ in range(3):
        notify("READY=1")
    assert [level for _, level in warnings] == [logging.WARNING]
    inbox.bind(str(tmp_path / "notify"))
    notify("READY=1")
    assert inbox.recv(100) == b"READY=1"
    (tmp_path / "notify").unlink()
    notify("READY=1")
    assert len(warnings) == 2


def test_a_supervisor_that_does_not_read_is_not_waited_for(inbox, warnings, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "NOTIFY_S", 0.001)
    inbox.bind(str(tmp_path / "notify"))
    while not warnings:  # as many as its socket holds, and one more
        notify("STATUS=busy")
    assert inbox.recv(100) == b"STATUS=busy"
    notify("STATUS=better")
    assert len(warnings) == 1


def test_a_socket_without_a_name_in_the_file_system(monkeypatch, warnings):
    """As systemd may give: it begins with @."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.bind("")  # the kernel draws a name
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + sock.getsockname()[1:].decode())
        notify("READY=1")
        assert sock.recv(100) == b"READY=1"
    assert not warnings
