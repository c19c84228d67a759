"""The Operator of larpix-daq, method by method; answers of a time-out are never taken for others."""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Iterator
from typing import Any, Final

from forebay.errors import StreamError
from forebay.front.larpix.arguments import BASE, PORTS
from forebay.stream.xylem import OneAnswer
from forebay.wire.xylem import Control

BOARD: Final = "LArPix board"
MONITOR: Final = "Online monitor"

_LAST = ("ACTIONS", "ACTION RESULT", "STATE", "STATE REQUEST", "CLIENTS")
_MOST = 10

Answer = dict[str, Any]
Answers = Iterator[Answer | None]


def user_and_host() -> str:
    """Return ``USER@HOST`` of this process."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


class Answered:
    """Answers that have come: to be iterated over, or the last one as a dictionary.

    Raises
    ------
    StreamError
        By ``[...]``, if the last answer did not come in time.
    """

    def __init__(self, answers: Answers) -> None:
        self._all = list(answers)
        self._left = iter(self._all)

    def __iter__(self) -> Answers:
        return self

    def __next__(self) -> Answer | None:
        return next(self._left)

    def __getitem__(self, name: str) -> Any:
        last = self._all[-1]
        if last is None:
            raise StreamError("The core did not answer in time.", "Ask for the state, and see its log.")
        return last[name]

    def __repr__(self) -> str:
        return repr(self._all[-1])


class Operator:
    """Controls a DAQ system, of ours or of the original.

    Every method returns answers ``{"header", "message"}`` one by one; the last one has the result, at
    ``["message"]["result"]``. If the last answer does not come, the last item is None. Nothing is sent before
    the first is asked for, but by `prepare_run`, `begin_run` and `end_run`, which do what they say when they
    are called, and whose last answer may be had without a loop.

    ``timeout`` is in seconds, a fraction too, for all answers together; None waits for ever.

    Parameters
    ----------
    address:
        Of the core, without port.
    who:
        For the audit, and as the owner of runs; user, host and process if not given.
    port:
        Of the core; 5551 for a core of the README's generation.
    """

    def __init__(self, address: str | None = None, *, who: str | None = None, port: int = PORTS[0]) -> None:
        self._address = f"{address or BASE}:{port}"
        self._who = who or f"{user_and_host()}:{os.getpid()}"
        self._open: set[OneAnswer] = set()

    def cleanup(self) -> None:
        """Close what is open; generators that were not finished end."""
        for one in list(self._open):
            one.close()
        self._open.clear()

    def _ask(self, header: str, message: Any, timeout: float | None, **more: Any) -> Answers:
        end = None if timeout is None else time.monotonic() + timeout
        line = OneAnswer(self._address, Control(header, message, {"who": self._who, **more}))
        self._open.add(line)
        try:
            for _ in range(_MOST):
                left = None if end is None else max(end - time.monotonic(), 0.0)
                answer = line.receive(left)
                if answer is None:
                    yield None
                    return
                yield {"header": answer.header, "message": answer.message}
                if answer.header in _LAST:
                    return
        finally:
            self._open.discard(line)
            line.close()

    def _act(self, client: str, action: str, params: list[Any], timeout: float | None) -> Answers:
        asked = {"client_name": client, "action_name": action, "params": params}
        return self._ask("ACTION", asked, timeout)

    # Runs

    def prepare_physics_run(
        self,
        timeout: float | None = None,
        *,
        comment: str = "",
        configuration: dict[str, Any] | None = None,
    ) -> Answers:
        """Go to READY; answered when all components have confirmed."""
        return self._ask("STATE", "READY", timeout, comment=comment, configuration=configuration or {})

    def begin_physics_run(self, timeout: float | None = None) -> Answers:
        """Go to RUN."""
        return self._ask("STATE", "RUN", timeout)

    def end_physics_run(self, timeout: float | None = None) -> Answers:
        """Go to STOP; answered when all that was sent is stored."""
        return self._ask("STATE", "STOP", timeout)

    # As the README has them: asked for when called, and back when answered

    def prepare_run(
        self,
        timeout: float | None = None,
        *,
        comment: str = "",
        configuration: dict[str, Any] | None = None,
    ) -> Answered:
        """Go to READY, and return when all components have confirmed, or one cannot."""
        return Answered(self.prepare_physics_run(timeout, comment=comment, configuration=configuration))

    def begin_run(self, timeout: float | None = None) -> Answered:
        """Go to RUN, and return when all components have confirmed, or one cannot."""
        return Answered(self.begin_physics_run(timeout))

    def end_run(self, timeout: float | None = None) -> Answered:
        """Go to STOP, and return when all that was sent is stored."""
        return Answered(self.end_physics_run(timeout))

    # Questions to the core

    def get_clients(self, timeout: float | None = None) -> Answers:
        """Ask for the names of the components."""
        return self._ask("CLIENTS", "", timeout)

    def get_state(self, timeout: float | None = None) -> Answers:
        """Ask for the state; ``metadata`` says run, owner, and how the last run ended."""
        return self._ask("STATE REQUEST", "", timeout)

    def get_actions(self, timeout: float | None = None) -> Answers:
        """Ask which actions components have."""
        return self._ask("ACTIONS", "", timeout)

    # The board

    def get_boards(self, timeout: float | None = None) -> Answers:
        """Ask which boards can be loaded."""
        return self._act(BOARD, "get_boards", [], timeout)

    def load_board(self, filename: str, timeout: float | None = None) -> Answers:
        """Load a board, e.g. ``controller/pcb-1_chip_info.json``."""
        return self._act(BOARD, "load_board", [filename], timeout)

    def write_configuration(self, chip: str, timeout: float | None = None) -> Answers:
        """Send the configuration of a chip to it."""
        return self._act(BOARD, "write_config", [chip], timeout)

    def read_configuration(self, chip: str, timeout: float | None = None) -> Answers:
        """Read the registers of a chip."""
        return self._act(BOARD, "read_config", [chip], timeout)

    def validate_configuration(self, chip: str, timeout: float | None = None) -> Answers:
        """Compare a chip with its configuration."""
        return self._act(BOARD, "validate_config", [chip], timeout)

    def retrieve_configuration(self, chip: str, timeout: float | None = None) -> Answers:
        """Ask for the configuration of a chip, as it is in software."""
        return self._act(BOARD, "retrieve_config", [chip], timeout)

    def send_configuration(self, updates: dict[str, Any], timeout: float | None = None) -> Answers:
        """Change configurations in software: chip key -> name -> value."""
        return self._act(BOARD, "send_config", [updates], timeout)

    # Routines

    def list_routines(self, timeout: float | None = None) -> Answers:
        """Ask which routines there are."""
        return self._act(BOARD, "list_routines", [], timeout)

    def load_routines(self, location: str, timeout: float | None = None) -> Answers:
        """Ask the board to load routines of another place; they are registered in its configuration."""
        return self._act(BOARD, "load_routines", [location], timeout)

    def run_routine(self, name: str, *args: Any, timeout: float | None = None) -> Answers:
        """Run a routine; the last answer has its result."""
        return self._act(BOARD, "run_routine", [name, *args], timeout)

    def routine_progress(self, timeout: float | None = None) -> Answers:
        """Ask which routine runs, and which part of it is done."""
        return self._act(BOARD, "routine_progress", [], timeout)

    def abort_routine(self, timeout: float | None = None) -> Answers:
        """End the routine that runs."""
        return self._act(BOARD, "abort_routine", [], timeout)

    # The monitor

    def retrieve_pixel_layout(self, timeout: float | None = None) -> Answers:
        """Ask for the pixel layout that is loaded."""
        return self._act(MONITOR, "retrieve_pixel_layout", [], timeout)

    def load_pixel_layout(self, pcb_id: str, timeout: float | None = None) -> Answers:
        """Load a pixel layout."""
        return self._act(MONITOR, "load_pixel_layout", [pcb_id], timeout)
