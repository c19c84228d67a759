"""The job *routine*: a function that the configuration registers, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

from forebay.errors import ConfigError, ServiceError
from forebay.run.jobs import RoutineParameters
from forebay.service.task import Outcome, Task

MAX_RESULT_BYTES = 2**20

_POLL_S = 0.1
_KILL_S = 5.0


def routine(task: Task) -> Outcome:
    """Run a routine to its end; what it returns is the result.

    It is asked to end (SIGTERM), and then ended (SIGKILL), when its time is over or the job is cancelled.

    Raises
    ------
    ConfigError
        If it is not registered.
    ServiceError
        If it fails, dies or takes too long.
    """
    asked = RoutineParameters.model_validate(task.job.parameters)
    if asked.name not in task.config.routines:
        known = ", ".join(task.config.routines) or "none"
        raise ConfigError(f"Routine {asked.name!r} is not registered.", f"Registered are: {known}.")
    registered = task.config.routines[asked.name]
    inlet, outlet = os.pipe()
    with open(inlet, "rb") as answer:  # noqa: PTH123 - a pipe has no path
        process = _start(registered.function, asked.arguments, outlet)
        os.set_blocking(inlet, False)
        said = bytearray()
        end = time.monotonic() + registered.timeout_s
        while process.poll() is None and not task.stop.wait(_POLL_S) and time.monotonic() < end:
            said += answer.read(MAX_RESULT_BYTES) or b""
            if len(said) > MAX_RESULT_BYTES:
                break
        code = _end(process)
        said += answer.read(MAX_RESULT_BYTES) or b""
    if task.why:
        return Outcome({}, f"Routine {asked.name} was ended: {task.why}.", failed=task.why != "cancel")
    if code is None and len(said) <= MAX_RESULT_BYTES:
        raise ServiceError(
            f"Routine {asked.name} took longer than {registered.timeout_s:g} s and was ended.",
            f"Give it more time: routines.{asked.name}.timeout_s.",
        )
    return _outcome(asked.name, code, bytes(said))


def _start(function: str, arguments: dict[str, Any], outlet: int) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-P",
        "-m",
        "forebay.service.routine_process",
        function,
        str(outlet),
        str(os.getpid()),
    ]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=sys.stderr, pass_fds=[outlet], start_new_session=True
        )
    finally:
        os.close(outlet)
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(arguments).encode())
        process.stdin.close()
    except BrokenPipeError:
        process.wait()  # it died at once: its exit code says so
    return process


def _end(process: subprocess.Popen[bytes]) -> int | None:
    """Return the exit code of a process and leave nothing of it; None if it had to be ended."""
    code = process.poll()
    for number, patience in ((signal.SIGTERM, _KILL_S), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, number)  # also what it started
        except ProcessLookupError:
            break
        if process.poll() is None:
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
    process.wait()
    return code


def _outcome(name: str, code: int | None, said: bytes) -> Outcome:
    try:
        answer = json.loads(said) if said else {"error": f"it ended with exit code {code} and said nothing"}
    except ValueError:
        answer = {"error": f"its result is longer than {MAX_RESULT_BYTES} bytes, or was cut short"}
    if "error" in answer:
        raise ServiceError(f"Routine {name} failed: {answer['error']}.", "The log of its worker says more.")
    return Outcome({"returned": answer["returned"]}, "done")
