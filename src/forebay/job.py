"""A job: one request with an id, a history and exactly one end."""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec

State = Literal["queued", "running", "cancelling", "finished", "failed", "cancelled"]
"""States of a job, in the order in which it can pass through them."""

STATES: tuple[State, ...] = get_args(State)

ENDS: tuple[State, ...] = ("finished", "failed", "cancelled")
"""States that nothing follows; every job comes to exactly one of them."""

NEXT: dict[State, tuple[State, ...]] = {
    "queued": ("running", "failed", "cancelled"),
    "running": ("queued", "cancelling", "finished", "failed", "cancelled"),
    "cancelling": ("finished", "failed", "cancelled"),
    "finished": (),
    "failed": (),
    "cancelled": (),
}
"""What may follow each state; a running job is queued again when its worker died."""


class Change(msgspec.Struct, frozen=True):
    """One entry of a job's history.

    Attributes
    ----------
    state:
        What the job became.
    time_ns:
        When: ns since 1970, UTC.
    who:
        Who did it: a worker, an operator, a user.
    reason:
        Why, for a person; empty where it goes without saying.
    """

    state: State
    time_ns: int
    who: str = ""
    reason: str = ""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One request, as it stands.

    Attributes
    ----------
    id:
        Names it among all jobs of all time; a uuid4 unless the client gave one.
    kind:
        What is to be done, e.g. ``record``.
    parameters:
        What the kind needs to know; anything that JSON can say.
    proposal, run, acquisition:
        Where its data belong; None for jobs without data of their own.
    state:
        Where it stands; the last entry of `history` says the same.
    history:
        Every state it was in, oldest first.
    n_done, n_asked:
        Progress, mostly in pulses; `n_asked` is None while nobody knows how many there will be.
    result:
        What came of it: files, counts, counters; empty before the end.
    reason:
        Why it ended as it did, one sentence for a person.
    owner:
        Who asked for it.
    created_ns, deadline_ns:
        When it was asked for, and when it has to be over: ns since 1970, UTC; None is no deadline.
    worker:
        Who carries it out; empty while nobody does.
    heartbeat_ns:
        When that worker last said that it lives: ns since 1970, UTC; 0 if it never did.
    """

    id: str
    kind: str
    parameters: dict[str, Any] = {}
    proposal: str | None = None
    run: int | None = None
    acquisition: int | None = None
    state: State = "queued"
    history: tuple[Change, ...] = ()
    n_done: int = 0
    n_asked: int | None = None
    result: dict[str, Any] = {}
    reason: str = ""
    owner: str = ""
    created_ns: int = 0
    deadline_ns: int | None = None
    worker: str = ""
    heartbeat_ns: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether it is finished, failed or cancelled."""
        return self.state in ENDS
