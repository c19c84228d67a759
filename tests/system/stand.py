"""A test stand: forebay as its users run it, in processes of its own, with nothing left behind.

```python
with Stand(tmp_path, n_modules=2, build={"patience": 4}) as stand:
    stand.run()                                       # forebay run CONFIG, until all services are ready
    stand.simulate("--rate", 200)                     # forebay sim detector, goes on until stopped
    done = stand.forebay("record", stand.name, "a.h5", "-c", stand.config_path, "--images", 100)
    assert done.code == 0, done
```
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from tests.ports import free_ports as free_ports

from forebay.config import Config, load
from forebay.ring.shared import SharedRing, wait_attach

PATIENCE_S = 60.0
"""Longest wait for anything: generous, because the machine may be loaded."""

_POLL_S = 0.02
_SHARED_MEMORY = Path("/dev/shm")

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str | Callable[[], str], timeout: float = PATIENCE_S) -> T:
    """Return the first value of `condition` that is true; AssertionError saying `what` if none comes."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout:g} s: {what() if callable(what) else what}")
        time.sleep(_POLL_S)
    return value


def without_privileges() -> list[str]:
    """Return what to put before a command so that root has no more rights than anybody; [] for others."""
    return [] if os.getuid() else ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]


def command(*words: object) -> list[str]:
    """Return the command line of ``forebay WORDS``."""
    return [sys.executable, "-m", "forebay", *map(str, words)]


@dataclass(frozen=True)
class Done:
    """How a command ended: exit code, what it printed, what it complained of."""

    code: int
    out: str
    err: str


class Program:
    """One running command; what it says goes to files, so that no full pipe can stop it.

    Parameters
    ----------
    log:
        Files ``LOG.out`` and ``LOG.err`` are made.
    """

    def __init__(self, words: list[str], log: Path, **options: Any) -> None:
        self.words = words
        self._out_path, self._err_path = log.with_name(f"{log.name}.out"), log.with_name(f"{log.name}.err")
        with self._out_path.open("wb") as out, self._err_path.open("wb") as err:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, **options
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def out(self) -> str:
        return self._out_path.read_text(errors="replace")

    @property
    def err(self) -> str:
        return self._err_path.read_text(errors="replace")

    @property
    def lives(self) -> bool:
        return self.process.poll() is None

    def wait(self, timeout: float = PATIENCE_S) -> Done:
        """Return how it ended; AssertionError if it goes on."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"goes on after {timeout:g} s: {self}") from None
        return Done(code, self.out, self.err)

    def stop(self, timeout: float = PATIENCE_S) -> Done:
        """Ask it to end (SIGTERM) and return how it did."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> Done:
        """End it at once (SIGKILL)."""
        self.process.kill()
        return self.wait()

    def waits_to_say(self, text: str, timeout: float = PATIENCE_S) -> None:
        """Return as soon as `text` is among what it said; AssertionError if it ends or takes too long."""
        wait_until(
            lambda: text in self.err + self.out or not self.lives, lambda: f"{text!r} by {self}", timeout
        )
        assert text in self.err + self.out, f"ended without {text!r}: {self}"

    def __str__(self) -> str:
        return f"{' '.join(self.words[2:])}\n--- out\n{self.out}--- err\n{self.err}---"


class Stand:
    """A configuration with free ports, a directory for files, and every process that was started with it.

    Leaving the ``with`` block ends what still runs and removes the sockets.

    Parameters
    ----------
    directory:
        For configuration, logs and, in ``data/``, files.
    name:
        Name of the detector; by default one that nobody else on this machine has.
    slots, build:
        Of the ring and the builder. So many slots as by default hold what a simulator sends while a busy
        machine holds up a reader.
    record:
        Settings of ``record`` other than the directory.
    detector:
        Further settings of the detector, e.g. ``bit_depth`` or ``live``.
    workers:
        Settings of ``workers``; by default there are none, and so no hub.
    """

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "",
        type: str = "eiger",  # noqa: A002 - the word of the configuration
        n_modules: int = 1,
        slots: int = 512,
        build: Mapping[str, Any] | None = None,
        record: Mapping[str, Any] | None = None,
        detector: Mapping[str, Any] | None = None,
        workers: Mapping[str, int] | None = None,
    ) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.runtime_dir = Path(tempfile.mkdtemp(prefix="fb-"))  # a socket's path must be short
        self.name = name or f"DET-{secrets.token_hex(4)}"
        self.port = free_ports(n_modules)
        self.n_modules = n_modules
        self.type = type
        self.programs: list[Program] = []
        self.config_path = directory / "forebay.yaml"
        self.configure(
            {
                "detectors": {
                    self.name: {
                        "type": type,
                        "n_modules": n_modules,
                        "start_udp_port": self.port,
                        "ring": {"slots": slots},
                        "build": dict(build or {}),
                        **(detector or {}),
                    }
                },
                "record": {"directory": str(self.data), "min_free_bytes": 0, **(record or {})},
                "workers": {"record": 0, "retrieve": 0, **(workers or {})},
                "runtime_dir": str(self.runtime_dir),
                "state_dir": str(directory / "state"),
            }
        )

    def configure(self, value: Mapping[str, Any]) -> None:
        """Write another configuration; it may be wrong."""
        self.settings = dict(value)
        self.config_path.write_text(yaml.safe_dump(self.settings, sort_keys=False), encoding="utf-8")

    @property
    def config(self) -> Config:
        return load(self.config_path)

    def __enter__(self) -> Stand:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything and remove the runtime directory; may be called twice."""
        for program in reversed(self.programs):
            if program.lives:
                program.kill()
        for pid in self.processes():
            with suppress(ProcessLookupError):  # it ended by itself meanwhile
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.processes(), lambda: f"the end of {self.processes()}")
        shutil.rmtree(self.runtime_dir, ignore_errors=True)

    # --- programs

    def start(self, *words: object, before: list[str] | None = None, **options: Any) -> Program:
        """Start ``forebay WORDS``; `before` is put in front of the command."""
        log = self.directory / f"{len(self.programs):02}-{words[0]}"
        program = Program([*(before or []), *command(*words)], log, **options)
        self.programs.append(program)
        return program

    def forebay(self, *words: object, timeout: float = PATIENCE_S, **options: Any) -> Done:
        """Run ``forebay WORDS`` to its end."""
        return self.start(*words, **options).wait(timeout)

    def run(self, **options: Any) -> Program:
        """Start ``forebay run CONFIG`` and return once all services are ready."""
        program = self.start("run", self.config_path, **options)
        program.waits_to_say("all services are ready")
        return program

    def serve(self, role: str) -> Program:
        """Start one service without a supervisor."""
        return self.start("serve", role, self.name, "--config", self.config_path)

    def simulate(self, *words: object) -> Program:
        """Start ``forebay sim detector`` for this detector, with pattern ``ramp`` unless told otherwise."""
        mine = ("--type", self.type, "--modules", self.n_modules, "--port", self.port)
        pattern = () if "--pattern" in words else ("--pattern", "ramp")
        return self.start("sim", "detector", *mine, *pattern, *words)

    def record(self, file: str, *words: object, **options: Any) -> Program:
        """Start ``forebay record --direct`` of this detector into ``data/FILE``: no worker, no catalogue."""
        return self.start(
            "record", self.name, file, "--direct", "--config", self.config_path, *words, **options
        )

    # --- what is there

    def ring(self, timeout: float = PATIENCE_S) -> SharedRing:
        """Attach to the detector's ring; the caller closes it."""
        return wait_attach(self.name, self.runtime_dir, timeout)

    def processes(self) -> dict[int, str]:
        """Return pid and command line of every living process that was given our configuration."""
        mine = f" {self.config_path} "
        return {pid: words for pid, words in command_lines().items() if mine in f"{words} "}

    def service(self, role: str) -> int | None:
        """Return the pid of a service, None while it does not live."""
        asked = f" serve {role} {self.name} "
        return next((pid for pid, words in self.processes().items() if asked in words), None)

    def memory(self) -> list[str]:
        """Return where shared memory of this detector is still mapped, open or named."""
        mark = f"forebay {self.name}"
        left = [str(path) for path in _SHARED_MEMORY.iterdir() if self.name in path.name]
        for process in Path("/proc").iterdir():
            if process.name.isdecimal():
                left += [f"{process}: {line}" for line in _open_files(process) if mark in line]
        return left

    def logs(self) -> str:
        """Return what every program said, for the message of a failure."""
        return "\n".join(map(str, self.programs))


def command_lines() -> dict[int, str]:
    """Return pid and command line of every living process of this machine."""
    found = {}
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with suppress(FileNotFoundError, ProcessLookupError, PermissionError):  # it ended, or is not ours
                words = (process / "cmdline").read_bytes()
                found[int(process.name)] = os.fsdecode(words.replace(b"\0", b" ")).strip()
    return found


def _open_files(process: Path) -> Iterator[str]:
    """Yield what a process has mapped and open; nothing of one that ended or is not ours."""
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        yield from (process / "maps").read_text().splitlines()
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        for fd in (process / "fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                yield str(fd.readlink())
