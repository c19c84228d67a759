"""The states of a run and the only ways between them: one table; the diagram in the docs is drawn from it."""

from __future__ import annotations

from typing import Literal, get_args

from forebay.errors import StateError

State = Literal["idle", "preparing", "ready", "starting", "running", "ending", "failed"]
"""Where a run stands; those that end in -ing, but for running, last until every service has confirmed."""

Command = Literal["prepare", "start", "stop", "abort"]
"""What the operator is asked to do."""

Outcome = Literal["confirmed", "refused"]
"""What became of a transition: every service confirmed in time, or one did not."""

STATES: tuple[State, ...] = get_args(State)
COMMANDS: tuple[Command, ...] = get_args(Command)
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

WAYS: dict[State, dict[Command | Outcome, State]] = {
    "idle": {"prepare": "preparing"},
    "preparing": {"confirmed": "ready", "refused": "failed", "abort": "ending"},
    "ready": {"start": "starting", "stop": "ending", "abort": "ending"},
    "starting": {"confirmed": "running", "refused": "failed", "abort": "ending"},
    "running": {"stop": "ending", "abort": "ending", "refused": "failed"},
    "ending": {"confirmed": "idle", "refused": "failed"},
    "failed": {"abort": "ending"},
}
"""State -> command or outcome -> next state.

*abort* means: end now what still goes on, in whatever state; what is whole in the files stays. It is the
only way out of *failed*, so that nobody starts on top of something that did not end. A run in *running* is
*refused* when a service that it needs fails by itself.
"""


def next(state: State, command: Command | Outcome) -> State:  # noqa: A001 - the word of every state machine
    """Return the state to which `command` leads.

    Raises
    ------
    StateError
        If there is no such way; the message names the commands that are allowed.
    """
    ways = WAYS[state]
    if command in ways:
        return ways[command]
    commands = allowed(state)
    if not commands:
        todo = "Wait until every service has confirmed."
    elif len(commands) == 1:
        todo = f"Allowed is only: {commands[0]}."
    else:
        todo = f"Allowed are: {', '.join(commands)}."
    raise StateError(f"{command!r} is not possible while the run is {state}.", todo)


def allowed(state: State) -> tuple[Command, ...]:
    """Return the commands that are allowed in a state, in their usual order."""
    return tuple(command for command in COMMANDS if command in WAYS[state])


def is_transient(state: State) -> bool:
    """Whether the run waits there for services to confirm."""
    return "confirmed" in WAYS[state]
