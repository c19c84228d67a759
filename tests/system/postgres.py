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
    """

    def __init__(self, directory: Path, address: str = "127.0.0.1") -> None:
        programs = _programs()
        assert programs is not None, missing()
        self._programs = programs
        self.directory = directory
        self._address = address
        self.port = free_ports(1, socket.SOCK_STREAM)
        self._password = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir()
        self._as: dict[str, Any] = {"cwd": directory, "stdin": subprocess.DEVNULL}
        self._environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "PGPASSWORD": self._password}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(directory, nobody.pw_uid, nobody.pw_gid)
            self._as |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    def __enter__(self) -> Postgres:
        password = self.directory / "password"
        password.write_text(self._password)
        words = ["-D", "data", "-U", "forebay", "--pwfile", password, "--auth", "scram-sha-256", "--no-sync"]
        self._run("initdb", *words)
        with (self.directory / "data" / "pg_hba.conf").open("a") as file:
            file.write(f"host all all {self._address}/24 scram-sha-256\n")
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

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT drops all connections and is orderly, SIGQUIT leaves it as after a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_S)
            self._process = None

    def database(self) -> str:
        """Make an empty database; return its URL."""
        name = f"forebay_{secrets.token_hex(4)}"
        self._run("createdb", "-h", self._address, "-p", self.port, "-U", "forebay", name)
        return f"postgresql://forebay:{self._password}@{self._address}:{self.port}/{name}"

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
