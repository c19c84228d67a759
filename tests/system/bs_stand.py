"""The buffer, the writer and ``forebay bs`` as processes, with free ports and values that are known."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import numpy as np
from tests.system.stand import Done, Program, command, free_ports, wait_until

from forebay.sim.bsread import BsreadOptions, BsreadSimulator

SCALARS, CAMERA = 20, (96, 80)
SIMULATOR = BsreadSimulator(BsreadOptions(scalars=SCALARS, strings=1, camera=CAMERA))


class BsStand:
    """Processes that end with the ``with`` block, and what they leave behind."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.source_port = free_ports(1, socket.SOCK_STREAM)
        self.output_port = free_ports(1, socket.SOCK_STREAM)
        self.programs: list[Program] = []

    def __enter__(self) -> BsStand:
        return self

    def __exit__(self, *_: object) -> None:
        for program in reversed(self.programs):
            if program.lives:
                program.kill()

    @property
    def stream(self) -> str:
        return f"tcp://127.0.0.1:{self.output_port}"

    def start(self, words: list[str], name: str) -> Program:
        program = Program(words, self.directory / f"{len(self.programs):03}-{name}")
        self.programs.append(program)
        return program

    def simulate(self, *words: object) -> Program:
        mine = (
            "-p",
            self.source_port,
            "--scalars",
            SCALARS,
            "--strings",
            1,
            "--camera",
            f"{CAMERA[0]}x{CAMERA[1]}",
        )
        return self.start(command("bs", "simulate", *mine, *words), "simulate")

    def buffer(self, *words: object) -> Program:
        asked = (f"tcp://127.0.0.1:{self.source_port}", "-o", self.output_port, *words)
        program = self.start(script("bsread_buffer", *asked), "buffer")
        program.waits_to_say("listening")
        return program

    def writer(self, file: Path | str, *words: object, user_id: int = -1) -> Writer:
        port = free_ports(1, socket.SOCK_STREAM)
        program = self.start(script("bsread_writer", self.stream, file, user_id, port, *words), "writer")
        program.waits_to_say("waiting for requests")
        return Writer(program, port)

    def logs(self) -> str:
        return "\n".join(map(str, self.programs))


class Writer:
    """A writer's process and its interface."""

    def __init__(self, program: Program, port: int) -> None:
        self.program = program
        self.port = port

    def ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        """Return the JSON of an answer, None for an empty one."""
        request = Request(f"http://localhost:{self.port}{path}", body, method=method)
        try:
            with urlopen(request, timeout=60) as answer:
                text = answer.read()
        except HTTPError as error:
            text = error.read()
        return json.loads(text) if text else None

    def statistics(self) -> dict[str, Any]:
        return self.ask("GET", "/statistics")["statistics"]

    def waits_for(self, pulse_id: int) -> None:
        """Return once messages from `pulse_id` on have come."""
        wait_until(
            lambda: self.statistics()["last_pulse_id"] >= pulse_id, f"pulse {pulse_id} by {self.program}"
        )

    def curl(self, *words: str) -> str:
        """Run curl exactly as people do and return what it prints."""
        done = subprocess.run(["curl", "-s", *words], capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    def wait(self) -> Done:
        return self.program.wait()

    def is_gone(self) -> bool:
        try:
            self.ask("GET", "/status")
        except (URLError, ConnectionError):
            return True
        return False


def script(module: str, *words: object) -> list[str]:
    """Return the command line of a console script that need not be installed."""
    code = f"from forebay.service.{module} import main; main()"
    return [sys.executable, "-c", code, *map(str, words)]


def check_file(path: Path, first: int | None = None, last: int | None = None) -> list[int]:
    """Return the pulse ids of a file after a look at every value; all channels must have the same."""
    with h5py.File(path) as file:
        data = file["data"]
        channels = {name for name, group in data.items() if {"data", "pulse_id"} <= group.keys()}
        if not channels:
            return []
        wanted = SIMULATOR.values(0)
        assert channels == set(wanted)
        ids = data["ABCD/pulse_id"][:].tolist()
        made = [SIMULATOR.values(p) for p in ids]
        for name in channels:
            group = data[name]
            assert group["pulse_id"][:].tolist() == ids, name
            values = group["data"]
            if isinstance(wanted[name], str):
                assert values.asstr()[:].ravel().tolist() == [one[name] for one in made]
            else:
                stacked = np.array([one[name] for one in made]).reshape(values.shape)
                np.testing.assert_array_equal(values[:], stacked, name)
    if first is not None:
        assert ids, f"there is nothing in {path}"
        wanted_ids = list(range(first, (ids[-1] if last is None else last) + 1))
        assert ids == wanted_ids, (
            f"{first}..{last} was asked for, {ids[0]}..{ids[-1]} came, {len(ids)} of them"
        )
    return ids
