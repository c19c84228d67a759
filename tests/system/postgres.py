"""A private PostgreSQL: a free port, data of its own, a password; nothing stays behind.

```python
with Postgres(directory) as server:
    config = Config(catalog=server.database())      # a new, empty one
```
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

from tests.isolation import MARK

from .certificates import Certificate
from .stand import free_ports, wait_until

START_S = 60.0


def _programs() -> Path | None:
    """Return where the newest server's programs lie: Debian keeps them off the search path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if found:
        return found[-1]
    program = shutil.which("initdb")
    return Path(program).parent if program else None


def missing() -> str:
    """Return why no PostgreSQL can be started here; empty if one can."""
    if _programs() is None:
        return "PostgreSQL is not installed (there is no initdb): apt-get install postgresql"
    return ""


class Postgres:
    """One server that only this machine can reach; started by root it runs as ``nobody``, as it has to.

    Parameters
    ----------
    directory:
        Is made; data and log go there. Others must be able to reach it.
    address:
        Where it listens: loopback, or one of a network of this machine's own.
    certificate:
        With it the server speaks TLS with those who come over the network, and nothing else.
    asks_clients:
        Whether clients must show a certificate of the same authority for the user ``forebay``.
    """

    def __init__(
        self,
        directory: Path,
        address: str = "127.0.0.1",
        certificate: Certificate | None = None,
        asks_clients: bool = False,
    ) -> None:
        programs = _programs()
        assert programs is not None, missing()
        self._programs = programs
        self.directory = directory
        self._address = address
        self._certificate, self._asks_clients = certificate, asks_clients
        self.port = free_ports(1, socket.SOCK_STREAM)
        self._password = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir()
        self._as: dict[str, Any] = {"cwd": directory, "stdin": subprocess.DEVNULL}
        self._environment = {
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "PGPASSWORD": self._password,
            MARK: os.environ.get(MARK, ""),
        }
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(directory, nobody.pw_uid, nobody.pw_gid)
            self._as |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    def __enter__(self) -> Postgres:
        password = self.directory / "password"
        password.write_text(self._password)
        words = ["-D", "data", "-U", "forebay", "--pwfile", password, "--auth", "scram-sha-256", "--no-sync"]
        self._run("initdb", *words)
        access = self.directory / "data" / "pg_hba.conf"
        if self._certificate is None:
            with access.open("a") as file:
                file.write(f"host all all {self._address}/24 scram-sha-256\n")
        else:
            asked = " clientcert=verify-full" if self._asks_clients else ""
            lines = (
                "local all all scram-sha-256",
                f"hostssl all all {self._address}/24 scram-sha-256{asked}",
            )
            access.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGINT)

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        settings = {
            "listen_addresses": self._address,
            "port": self.port,
            "unix_socket_directories": self.directory,
            "max_connections": 200,
            "shared_buffers": "16MB",
            "fsync": "off",  # the machine does not crash in a test, only processes do
            **self._encryption(),
        }
        words = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", "data", *words],
                stdout=log,
                stderr=log,
                env=self._environment,
                **self._as,
            )
        try:
            wait_until(self._is_up, self.said, START_S)
        except AssertionError:
            self.stop(signal.SIGKILL)
            raise

    def _encryption(self) -> dict[str, object]:
        """Return the settings of TLS; the server wants a key that is its own."""
        if self._certificate is None:
            return {}
        settings: dict[str, object] = {"ssl": "on"}
        files = {
            "cert": self._certificate.path,
            "key": self._certificate.key,
            "ca": self._certificate.authority,
        }
        for what, path in files.items():
            mine = self.directory / path.name
            mine.write_bytes(path.read_bytes())
            mine.chmod(0o600)
            if "user" in self._as:
                os.chown(mine, self._as["user"], self._as["group"])
            settings[f"ssl_{what}_file"] = mine
        return settings

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT drops all connections and is orderly, SIGQUIT leaves it as after a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_S)
            self._process = None

    def database(self) -> str:
        """Make an empty database; return its URL."""
        name = f"forebay_{secrets.token_hex(4)}"
        self._run("createdb", "-h", self.directory, "-p", self.port, "-U", "forebay", name)
        host = self._address if self._certificate is None else "localhost"
        return f"postgresql://forebay:{self._password}@{host}:{self.port}/{name}"

    def said(self) -> str:
        """Return the server's log."""
        return (self.directory / "log").read_text(errors="replace")

    def _is_up(self) -> bool:
        words = ["-q", "-h", self._address, "-p", str(self.port)]
        return subprocess.run([self._programs / "pg_isready", *words], check=False).returncode == 0

    def _run(self, program: str, *words: object) -> None:
        command = [str(self._programs / program), *map(str, words)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=self._environment, check=False, **self._as
        )
        assert done.returncode == 0, done.stderr
