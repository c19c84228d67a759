"""Ports for REST: their connections do not wait for small pieces to be gathered."""

import socket
from contextlib import closing

import pytest

from forebay.api.server import open_port
from forebay.errors import ServiceError
from forebay.front.bsread.server import open_rest_port

pytestmark = pytest.mark.flow


@pytest.mark.parametrize("opened", [open_rest_port, lambda port: open_port("127.0.0.1", port)])
def test_accepted_connections_send_at_once_and_do_not_hang(opened):
    with closing(opened(0)) as port, closing(socket.create_connection(port.getsockname())):
        accepted, _ = port.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        with pytest.raises(
            ServiceError, match=f"Port {port.getsockname()[1]} of 127.0.0.1 .* another|api.port"
        ):
            opened(port.getsockname()[1])
