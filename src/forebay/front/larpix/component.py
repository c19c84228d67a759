"""What every component does with what its core says: enters and confirms states, carries out actions."""

from __future__ import annotations

import inspect
import queue
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from forebay.errors import ForebayError
from forebay.wire import xylem as x


class Line(Protocol):
    """The line to the core; `forebay.stream.xylem.ComponentLink` is one."""

    inbox: queue.SimpleQueue[tuple[int, x.Message]]

    def send(self, message: x.Message, registration: int) -> None:
        """Send a message to the core of this registration."""
        ...


class DieError(ForebayError):
    """The core asked the component to end."""


LATER = object()
"""What an action returns that answers later, by the `reply` that it took."""


class Component:
    """A component without its data.

    Parameters
    ----------
    enter:
        Called with a state and the run's number when the state changes. Returns an account, which confirms
        the state, or None: `confirm` then follows. What it raises of `ForebayError` is told to the core.
    actions:
        Name -> function; what it returns is the result.

    Attributes
    ----------
    addresses:
        Group -> addresses of the wanted connections that are known.
    registration:
        Counts the registrations; 0 before the first.
    """

    def __init__(
        self,
        line: Line,
        enter: Callable[[str, int | None], dict[str, Any] | None],
        actions: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        self.state = "STOP"
        self._addresses: dict[str, dict[str, str]] = {}
        self._line = line
        self._enter = enter
        self._actions = {"die": _die, "print": _print, **(actions or {})}
        self.registration = 0
        self._transition: int | None = None
        self._run: int | None = None
        self._account: dict[str, Any] | None = {}  # of the present state; None before it was entered
        self._failure: tuple[str, dict[str, Any]] | None = None
        self.reply: Callable[[Any], None] = lambda _result: None

    def poll(self) -> None:
        """Take everything that the core has said; `DieError` if it is to end."""
        while True:
            try:
                registration, message = self._line.inbox.get_nowait()
            except queue.Empty:
                return
            match message:
                case x.Registered(addresses):
                    for group, told in addresses.items():
                        self._take_addresses(group, told)
                    if registration != self.registration:
                        self.registration = registration
                        self._transition = None
                        self._line.send(x.StateRequest(), registration)
                case x.StateUpdate():
                    self._update(registration, message)
                case x.Action():
                    self._act(registration, message)

    @property
    def addresses(self) -> dict[str, tuple[str, ...]]:
        """See the class."""
        return {group: tuple(filter(None, known.values())) for group, known in self._addresses.items()}

    def _take_addresses(self, group: str, told: Any) -> None:
        # A core of the original tells one address, ours name -> address, and none for who is gone. Whom a
        # core does not name it may not know yet: it may be new.
        if isinstance(told, str) and told:
            self._addresses[group] = {"": told}
        elif isinstance(told, dict) and told:
            known = self._addresses.setdefault(group, {})
            known.pop("", None)
            known.update({str(name): one for name, one in told.items() if isinstance(one, str)})

    def _update(self, registration: int, update: x.StateUpdate) -> None:
        self._transition = update.transition
        if self.state == update.UPDATE:
            self._report_again(update.run)
            return
        self.state, self._run = update.UPDATE, update.run
        self._account, self._failure = None, None
        try:
            account = self._enter(update.UPDATE, update.run)
        except ForebayError as error:
            self.fail(str(error))
            return
        if account is not None:
            self._account = account
            if registration == self.registration:
                self.confirm(account)

    def _report_again(self, run: int | None) -> None:
        # The core asks twice where a component registered again meanwhile.
        if self._failure is not None:
            self.fail(*self._failure)
        elif run != self._run:
            self.confirm({})
        elif self._account is not None:
            self.confirm(self._account)

    def confirm(self, account: dict[str, Any]) -> None:
        """Say that the state was entered; a core of the original does not ask and is not told."""
        self._account = account
        if self._transition is not None:
            report = x.StateReport(self.state, self._transition, "", account)
            self._line.send(report, self.registration)
            self._transition = None

    def fail(self, reason: str, account: dict[str, Any] | None = None) -> None:
        """Say that the run cannot go on, whenever that is found."""
        self._failure = reason, account or {}
        report = x.StateReport(self.state, self._transition, reason, account or {})
        self._line.send(report, self.registration)

    def _act(self, registration: int, action: x.Action) -> None:
        def reply(result: Any) -> None:
            try:
                self._line.send(x.ActionResult(action.id, action.name, action.params, result), registration)
            except ForebayError as error:
                text = f"ERROR: {error}"
                self._line.send(x.ActionResult(action.id, action.name, action.params, text), registration)

        self.reply = reply
        result = self._result(action)
        if result is not LATER:
            reply(result)

    def _result(self, action: x.Action) -> Any:
        function = self._actions.get(action.name)
        if function is None:
            return f"ERROR: Could not execute action {action.name}"
        try:
            inspect.signature(function).bind(*action.params)
        except TypeError as error:
            return f"ERROR: Invalid parameters {error}"
        try:
            return function(*action.params)
        except DieError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            return f"ERROR: {error}"


def _die() -> None:
    raise DieError("The core asked the component to end.")


def _print(*words: Any) -> None:
    print(*words)
