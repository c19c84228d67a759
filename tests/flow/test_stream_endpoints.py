"""Endpoints: ours, free, and not open to the world by accident."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from forebay.errors import ConfigError, StreamError
from forebay.runtime import private_directory
from forebay.stream.endpoint import ipc
from forebay.stream.zmq import Publisher, Puller, Pusher, Subscriber

pytestmark = pytest.mark.flow


def test_runtime_directory_is_made_for_us_alone(tmp_path: Path) -> None:
    made = private_directory(tmp_path / "a" / "b")
    assert made.stat().st_mode & 0o777 == 0o700
    assert private_directory(made) == made


def test_runtime_directory_open_to_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o755)
    with pytest.raises(ConfigError, match="chmod 700"):
        private_directory(tmp_path / "a")


def test_runtime_directory_that_is_a_link_or_a_file_is_refused(tmp_path: Path) -> None:
    private_directory(tmp_path / "a")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(ConfigError, match="not a directory of user"):
        private_directory(tmp_path / "link")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be made"):
        private_directory(tmp_path / "file")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_runtime_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(private_directory(tmp_path / "a"), 12345, 12345)
    with pytest.raises(ConfigError, match="owner uid 12345"):
        private_directory(tmp_path / "a")


@pytest.mark.parametrize("name", ["", "..", "a/b", "x" * 108])
def test_names_that_are_no_socket_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        ipc(tmp_path, name)


@pytest.mark.parametrize(
    "endpoint",
    ["", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:x", "tcp://127.0.0.1:70000", "ipc://@abstract",
     "ipc://relative", "inproc://a", "udp://127.0.0.1:5"],
)  # fmt: skip
def test_what_is_no_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(StreamError, match="is not an endpoint"):
        Publisher(endpoint)
    with pytest.raises(StreamError, match="is not an endpoint"):
        Subscriber(endpoint)


@pytest.mark.parametrize("host", ["*", "0.0.0.0", "[::]", "eth0"])
def test_other_hosts_are_kept_out(host: str) -> None:
    with pytest.raises(StreamError, match="open to other hosts"):
        Publisher(f"tcp://{host}:*")


def test_other_hosts_are_let_in_when_told_so() -> None:
    publisher = Publisher("tcp://0.0.0.0:*", public=True)
    assert publisher.endpoint.startswith("tcp://0.0.0.0:")
    publisher.close()


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
@pytest.mark.parametrize("kind", [Publisher, Puller])
def test_an_endpoint_in_use_is_an_error_and_free_again_after_close(
    kind: type, transport: str, tmp_path: Path
) -> None:
    first = kind("tcp://127.0.0.1:*" if transport == "tcp" else ipc(tmp_path / "run", "a"))
    with pytest.raises(StreamError, match="in use by another process") as caught:
        kind(first.endpoint)
    assert first.endpoint in str(caught.value)
    first.close()
    for _ in range(20):
        kind(first.endpoint).close()
    assert not list(tmp_path.glob("run/a"))


def test_the_socket_file_of_a_dead_process_does_not_hinder(tmp_path: Path) -> None:
    endpoint = ipc(private_directory(tmp_path / "run"), "a")
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(endpoint.removeprefix("ipc://"))
    dead.close()
    assert (tmp_path / "run" / "a").is_socket()
    puller = Puller(endpoint)
    Pusher(endpoint).close()
    puller.close()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    endpoint = ipc(private_directory(tmp_path / "run"), "a")
    (tmp_path / "run" / "a").write_text("precious")
    with pytest.raises(StreamError, match="not a socket"):
        Publisher(endpoint)
    assert (tmp_path / "run" / "a").read_text() == "precious"


def test_sockets_in_directories_of_others_are_refused() -> None:
    for kind in (Publisher, Subscriber, Pusher, Puller):
        with pytest.raises(ConfigError, match="runtime directory /tmp"):
            kind("ipc:///tmp/forebay-test")


def test_an_address_that_is_not_here_is_an_error() -> None:
    with pytest.raises(StreamError, match="cannot be bound"):
        Publisher("tcp://192.0.2.1:9400", public=True)
