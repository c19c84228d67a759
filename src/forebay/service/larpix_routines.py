"""Routines of a LArPix board: registered functions, each run in a process of its own that can be ended.

A routine is ``function(board, *params)`` and returns what JSON can say. ``board`` is a `RoutineBoard`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import msgspec

from forebay.errors import ConfigError, ServiceError
from forebay.service.process import die_with_parent


class Routine(msgspec.Struct, frozen=True):
    """Where a routine is, ``package.module:function``, and the names of its parameters."""

    function: str
    params: list[str] = []
    description: str = ""


BUILT_IN = {
    "hello_world": Routine("forebay.service.larpix_routines:hello_world", ["name"], "Says hello."),
    "quickstart": Routine(
        "forebay.service.larpix_routines:quickstart", ["board"], "Loads a board, writes its chips."
    ),
}


class RoutineBoard(Protocol):
    """What a routine has of the board."""

    def act(self, action: str, *params: Any) -> Any:
        """Carry out an action of the board, e.g. ``write_config``; `ServiceError` if it fails."""
        ...

    def send_info(self, text: str) -> None:
        """Publish an INFO."""
        ...

    def progress(self, done: float) -> None:
        """Say which part is done, 0 to 1."""
        ...


def hello_world(board: RoutineBoard, name: str) -> str:
    """Say hello, as result and as INFO."""
    text = f"Hello, {name}!"
    board.send_info(text)
    return text


def quickstart(board: RoutineBoard, name: str) -> str:
    """Load a board, and write the configuration of each of its chips."""
    board.act("load_board", name)
    boards = board.act("get_boards")
    chips = next(one["chips"] for one in boards["data"] if one["name"] == boards["current"])
    for i, chip in enumerate(chips):
        board.act("write_config", chip)
        board.progress((i + 1) / len(chips))
    return "success"


def load(path: Path | None) -> dict[str, Routine]:
    """Return the routines that there are: the built-in ones, and those that a file registers.

    Raises
    ------
    ConfigError
        If the file cannot be read, or is none of routines.
    """
    if path is None:
        return dict(BUILT_IN)
    try:
        return BUILT_IN | msgspec.json.decode(path.read_bytes(), type=dict[str, Routine])
    except (OSError, msgspec.MsgspecError) as error:
        todo = 'Write {"NAME": {"function": "package.module:function", "params": ["..."]}}.'
        raise ConfigError(f"The routines of {path} cannot be read: {error}.", todo) from error


class RunningRoutine:
    """One routine at work; `poll` until it has ended. Whatever it started ends with it.

    Parameters
    ----------
    act:
        Carries out actions that the routine asks for; name and parameters.
    send_info:
        Publishes what it says.
    """

    def __init__(
        self,
        name: str,
        routine: Routine,
        params: list[Any],
        act: Callable[[str, list[Any]], Any],
        send_info: Callable[[str], None],
    ) -> None:
        self.name = name
        self.progress = 0.0
        self._act, self._send_info = act, send_info
        self._process = subprocess.Popen(
            [sys.executable, "-m", "forebay.service.larpix_routines", routine.function, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self._buffer = b""
        if self._process.stdout is not None:
            os.set_blocking(self._process.stdout.fileno(), False)
        self._tell({"params": params})

    def _tell(self, line: Mapping[str, Any]) -> None:
        rest = memoryview(json.dumps(line).encode() + b"\n")
        try:
            while rest and self._process.stdin is not None:
                rest = rest[self._process.stdin.write(rest) or 0 :]
        except BrokenPipeError:
            return  # it has ended, or does not listen; `poll` says what becomes of it

    def poll(self) -> tuple[Any] | None:
        """Return the result when there is one (an ``ERROR: ...`` too), else None."""
        code = self._code()
        out = self._process.stdout
        self._buffer += (out.read() if out is not None else b"") or b""
        *lines, self._buffer = self._buffer.split(b"\n")
        result = None
        for line in lines:
            try:
                result = self._take(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                result = (f"ERROR: routine {self.name} said what it cannot say: {error!r}",)
            if result is not None:
                break
        if result is None and code is not None:
            result = (f"ERROR: routine {self.name} ended with code {code} and no result",)
        if result is not None:
            self.abort()
        return result

    def _code(self) -> int | None:
        """Return the exit code; the process stays, so that its group is not another's."""
        ended = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def _take(self, said: dict[str, Any]) -> tuple[Any] | None:
        if "info" in said:
            self._send_info(said["info"])
        elif "progress" in said:
            self.progress = said["progress"]
            self._send_info(f"{self.name}: {100 * self.progress:.0f} %")
        elif "act" in said:
            self._tell({"answer": self._act(said["act"], said["params"])})
        elif "error" in said:
            return (f"ERROR: {said['error']}",)
        else:
            return (said["result"],)
        return None

    def abort(self) -> None:
        """End it; `poll` is not to be called any more."""
        os.killpg(self._process.pid, signal.SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()


class _Board:
    """The board as the routine's process sees it: lines out, lines in."""

    def __init__(self, out: int) -> None:
        self._out = os.fdopen(out, "w", encoding="utf-8")

    def say(self, **line: Any) -> None:
        self._out.write(json.dumps(line) + "\n")
        self._out.flush()

    def act(self, action: str, *params: Any) -> Any:
        self.say(act=action, params=params)
        answer = json.loads(sys.stdin.readline())["answer"]
        if isinstance(answer, str) and answer.startswith("ERROR"):
            raise ServiceError(f"{action} failed: {answer}")
        return answer

    def send_info(self, text: str) -> None:
        self.say(info=str(text))

    def progress(self, done: float) -> None:
        self.say(progress=float(done))


def main() -> None:
    """Run the function named by the first argument; the second is the process that asks for it."""
    function, parent = sys.argv[1:]
    die_with_parent(int(parent))
    out = os.dup(1)
    os.dup2(2, 1)  # what a routine prints is not what it says
    board = _Board(out)
    params = json.loads(sys.stdin.readline())["params"]
    module, _, name = function.partition(":")
    try:
        board.say(result=getattr(import_module(module), name)(board, *params))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        traceback.print_exc()
        board.say(error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
