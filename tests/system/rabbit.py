"""A private RabbitMQ: free ports, a node name, data, cookie and port mapper of its own; nothing stays behind.

```python
with Rabbit(directory) as rabbit:
    config = Config(bus=rabbit.url)
    rabbit.kill()           # as kill -9
    rabbit.start()          # on the same data and ports
```
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from tests.isolation import MARK
from tests.ports import is_free

from .certificates import Certificate
from .stand import free_ports, wait_until

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Debian's start script below the wrapper that insists on a user ``rabbitmq`` and on ``/var/lib``."""

START_S = 90.0

_ARGUMENTS = (
    "-noinput +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"  # no more of the machine than need be
    " -rabbit channel_tick_interval 1000"  # ms: so often the limit for acknowledgements is looked at
)


def missing() -> str:
    """Return why no RabbitMQ can be started here; empty if one can."""
    if not SERVER.exists():
        return f"RabbitMQ is not installed ({SERVER} is not there): apt-get install rabbitmq-server"
    if not (shutil.which("erl") and shutil.which("epmd")):
        return "Erlang is not installed (no erl or epmd): apt-get install rabbitmq-server"
    return ""


class Rabbit:
    """One broker with user and password ``guest``, that only this machine can reach.

    Parameters
    ----------
    directory:
        Empty; data, logs and configuration go there.
    address:
        Where it listens: loopback, or one of a network of this machine's own.
    certificate:
        With it the broker speaks TLS, and nothing else.
    asks_clients:
        Whether clients must show a certificate of the same authority.
    joins:
        A running broker, of whose cluster this one becomes a node.
    """

    def __init__(
        self,
        directory: Path,
        address: str = "127.0.0.1",
        certificate: Certificate | None = None,
        asks_clients: bool = False,
        joins: Rabbit | None = None,
    ) -> None:
        self.directory = directory
        self.port, self._node_port = (free_ports(1, socket.SOCK_STREAM) for _ in range(2))
        self._epmd_port = joins._epmd_port if joins else free_ports(1, socket.SOCK_STREAM)
        host = address if certificate is None else "localhost"
        self.url = f"amqp{'s' if certificate else ''}://guest:guest@{host}:{self.port}/"
        self.node = f"forebay-{secrets.token_hex(4)}@localhost"
        config = directory / "rabbitmq.conf"
        config.write_text(
            f"{_listeners(f'{address}:{self.port}', certificate, asks_clients)}\nloopback_users = none\n"
            "log.console = true\nlog.file = false\n"
            "collect_statistics_interval = 60000\n"
            "vm_memory_high_watermark.absolute = 512MB\ndisk_free_limit.absolute = 50MB\n"
            + (f"cluster_formation.classic_config.nodes.1 = {joins.node}\n" if joins else "")
        )
        (directory / "enabled_plugins").write_text("[].\n")
        self._cookie: str = joins._cookie if joins else secrets.token_hex(16)
        cookie = directory / ".erlang.cookie"
        cookie.write_text(self._cookie)
        cookie.chmod(0o400)
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            MARK: os.environ.get(MARK, ""),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_ALLOW_INPUT": "1",  # the script becomes the server, so that its pid is the server's
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ARGUMENTS,
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(directory / "generated"),
        }
        self._log = directory / "server.log"
        self._server: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Rabbit:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the broker and wait until it takes connections."""
        if self._epmd is None:
            self._epmd = subprocess.Popen(
                ["epmd", "-address", "127.0.0.1", "-port", str(self._epmd_port)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            # a server that finds none starts one of its own, which would outlive it
            wait_until(lambda: not is_free(self._epmd_port, socket.SOCK_STREAM), lambda: "no epmd", START_S)
        with self._log.open("wb") as log:
            self._server = subprocess.Popen(
                [SERVER],
                env=self._environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(self._is_up, self.said, START_S)
        except AssertionError:
            self.close()
            raise

    def _is_up(self) -> bool:
        assert self._server is not None
        assert self._server.poll() is None, self.said()
        return "Server startup complete" in self.said()

    def said(self) -> str:
        """Return what the server said since it was started."""
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """End the broker as a power cut would."""
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
            self._server = None

    def hold(self) -> None:
        """Stop the broker where it is, until `let_go`: connections stay, and nothing answers."""
        assert self._server is not None
        os.killpg(self._server.pid, signal.SIGSTOP)

    def let_go(self) -> None:
        """Let a broker go on that was held."""
        assert self._server is not None
        os.killpg(self._server.pid, signal.SIGCONT)

    def tell(self, expression: str) -> str:
        """Have the broker evaluate Erlang, and return what it printed."""
        done = subprocess.run(
            [
                SERVER.with_name("rabbitmqctl"),
                "-n",
                self.node,
                "eval",
                expression,
            ],
            env=self._environment,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def close(self) -> None:
        """End everything; may be called twice."""
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None


def _listeners(where: str, certificate: Certificate | None, asks_clients: bool) -> str:
    if certificate is None:
        return f"listeners.tcp.1 = {where}"
    asked = str(asks_clients).lower()
    return (
        f"listeners.tcp = none\nlisteners.ssl.1 = {where}\n"
        f"ssl_options.cacertfile = {certificate.authority}\n"
        f"ssl_options.certfile = {certificate.path}\nssl_options.keyfile = {certificate.key}\n"
        f"ssl_options.verify = verify_{'peer' if asks_clients else 'none'}\n"
        f"ssl_options.fail_if_no_peer_cert = {asked}"
    )
