"""The core of larpix-daq: components, actions and the run's state, without sockets and without a clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from forebay.errors import ForebayError, WireError
from forebay.front.larpix.book import Book
from forebay.front.larpix.clients import Client, Clients
from forebay.front.larpix.control import Control
from forebay.front.larpix.returning import RETURN_S, Returning
from forebay.front.larpix.transition import Asker
from forebay.wire import xylem as x

UNKNOWN: Final = "This core does not know the component; it was given up, or the core is new. Register again."

MOST_PENDING: Final = 1000
"""Actions that components may be asked for and have not answered; one beyond them is refused."""

Say = Callable[[str, dict[str, Any]], None]
"""Takes what happened, and its fields: the audit."""


@dataclass(frozen=True)
class _Pending:
    """An action that a component has not answered."""

    operator: bytes
    component: bytes
    metadata: dict[str, Any]
    more: dict[str, Any]


class Conductor:
    """Decides what is said to whom; `outbox` holds it until it is sent.

    Parameters
    ----------
    book:
        Where runs are booked.
    say:
        Told of everything that somebody did.
    confirm_s, drain_s:
        Seconds within which all components must confirm READY and RUN, and STOP.
    remember:
        Told which components of the original there are whenever that changes, for the core after this one.

    Attributes
    ----------
    outbox:
        (identity, frames) in the order in which they are to be sent.
    n_malformed, n_late:
        Messages that were none, and answers and confirmations that nobody awaits.
    """

    def __init__(
        self,
        book: Book,
        say: Say,
        *,
        confirm_s: float = 10.0,
        drain_s: float = 60.0,
        remember: Callable[[list[x.Register]], None] = lambda _known: None,
    ) -> None:
        self.outbox: list[tuple[bytes, list[bytes]]] = []
        self.clients = Clients()
        self.control = Control(book, self.clients, self._send, self._probe, say, confirm_s, drain_s)
        self.n_malformed = self.n_late = 0
        self._say = say
        self._n_actions = 0
        self._pending: dict[int, _Pending] = {}
        self._originals: dict[str, x.Register] = {}
        self._remember = remember
        self._returning = Returning((), self._question, 0.0)

    def resume(self, known: Iterable[x.Register], now: float) -> None:
        """Go on where the core before this one was killed, with these components of the original."""
        self._returning = Returning(known, self._question, now + RETURN_S)
        self.control.resume(now)

    def _question(self, identity: bytes, name: str) -> int:
        number = self._next_id()
        self._send(identity, x.Action(number, name, []))
        return number

    @property
    def state(self) -> str:
        """``STOP``, ``READY`` or ``RUN``, as all components have confirmed it."""
        return self.control.state

    def _send(self, identity: bytes, message: x.Message) -> None:
        self.outbox.append((identity, x.encode(message)))

    def _answer(self, identity: bytes, header: str, message: dict[str, Any], more: dict[str, Any]) -> None:
        self._send(identity, x.Control(header, message, {k: v for k, v in more.items() if k == "request"}))

    def take(self, identity: bytes, frames: Sequence[x.Frame], now: float) -> None:
        """Take one message of a component or an operator; what is none is counted."""
        try:
            message = x.decode(frames)
        except WireError as error:
            self.n_malformed += 1
            self._say("malformed message", {"reason": str(error)})
            return
        try:
            self._dispatch(identity, message, now)
        except WireError as error:  # an answer nested too deep to be passed on
            self.n_malformed += 1
            self._say("message not passed on", {"reason": str(error)})

    def _dispatch(self, identity: bytes, message: x.Message, now: float) -> None:
        client = self.clients.get(identity)
        match message:
            case x.Register():
                self._register(identity, message, now)
            case x.Control():
                try:
                    self._control(identity, message, now)
                except ForebayError as error:  # the book; whoever asked is told
                    self._answer(identity, message.header, {"result": f"ERROR: {error}"}, message.more)
            case x.Ping() | x.StateRequest() | x.StateReport() | x.ActionResult():
                if client is None:
                    self._stranger(identity, message, now)
                else:
                    client.heard(now)
                    self._component(client, message, now)
            case _:
                self.n_malformed += 1
                self._say("message not for a core", {"frame": type(message).__name__})

    def _register(self, identity: bytes, new: x.Register, now: float) -> None:
        before = self.clients.instance(new)
        if before is not None:
            self.clients.remove(before)
            self._give_up(before, "ERROR: component registered again")
        if refusal := self.clients.add(identity, new, now):
            self._send(identity, x.Refused(refusal))
            self._say("component refused", {"name": new.name, "reason": refusal})
            return
        for client in self.clients:
            if client.identity == identity or set(client.connections) & set(new.addresses):
                self._send(client.identity, x.Registered(self.clients.wanted(client)))
        self._say("component registered", {"name": new.name, "all": self.clients.names})
        client = self.clients.by_identity[identity]
        if before is not None:
            self.control.forget(before)
        if new.instance:
            self._originals.pop(new.name, None)
        else:
            self._originals[new.name] = new
        self._returning.forget(new.name)
        self._keep_in_mind()
        self.control.joined(client, now)

    def _stranger(self, identity: bytes, message: x.Message, now: float) -> None:
        match message:
            case x.ActionResult():
                found = self._returning.answered(identity, message)
                if found is not None:
                    self._take_over(identity, *found, now)
            case x.Ping("") if self._returning.alive(identity, now):
                self._send(identity, x.Pong())
            case _:
                self._send(identity, x.Refused(UNKNOWN))

    def _take_over(self, identity: bytes, register: x.Register, perhaps: list[str], now: float) -> None:
        if refusal := self.clients.add(identity, register, now):
            self._send(identity, x.Refused(refusal))
            return
        client = self.clients.by_identity[identity]
        client.perhaps = tuple(perhaps)
        self._originals[client.name] = register
        self._say("component taken over", {"name": client.name, "all": self.clients.names})
        self.control.tell_state(client)
        self.control.joined(client, now, is_same=True)

    def _keep_in_mind(self) -> None:
        self._remember([*self._originals.values(), *self._returning.awaited])

    def _component(self, client: Client, message: x.Message, now: float) -> None:
        match message:
            case x.Ping():
                self._send(client.identity, x.Pong())
            case x.StateRequest():
                self.control.tell_state(client)
            case x.StateReport():
                if not self.control.reported(client, message, now):
                    self.n_late += 1
            case x.ActionResult():
                self._result(client, message, now)

    def _result(self, client: Client, done: x.ActionResult, now: float) -> None:
        if self.control.probed(client, done.id, now):
            return
        pending = self._pending.get(done.id)
        if pending is None or pending.component != client.identity:
            self.n_late += 1
            self._say("answer that nobody awaits", {"name": client.name, "id": done.id})
            return
        del self._pending[done.id]
        answer = {"result": done.result, "metadata": pending.metadata}
        self._answer(pending.operator, "ACTION RESULT", answer, pending.more)

    def _next_id(self) -> int:
        self._n_actions += 1
        return self._n_actions

    def _probe(self, client: Client) -> int:
        # A component of the original answers actions in the order in which it takes states: that it answers
        # one which it does not have says that it acted on the state before. Heartbeats say nothing of that.
        number = self._next_id()
        self._send(client.identity, x.Action(number, "confirm", []))
        return number

    def _control(self, identity: bytes, asked: x.Control, now: float) -> None:
        who = str(asked.more.get("who") or identity.hex())
        match asked.header:
            case "CLIENTS":
                self._answer(identity, "CLIENTS", {"result": self.clients.names}, asked.more)
            case "STATE REQUEST":
                said = {"result": self.control.state, "metadata": self.control.where()}
                self._answer(identity, "STATE REQUEST", said, asked.more)
            case "ACTIONS":
                actions = {client.name: client.actions for client in self.clients}
                self._answer(identity, "ACTIONS", {"result": actions}, asked.more)
            case "STATE":
                self._say("state asked for", {"who": who, "state": asked.message})
                self.control.ask(Asker(identity, who, asked.more), asked.message, now)
            case "ACTION":
                self._action(identity, who, asked)
            case _:
                self._say("text of an operator", {"who": who, "header": asked.header, "text": asked.message})

    def _action(self, identity: bytes, who: str, asked: x.Control) -> None:
        payload = asked.message if isinstance(asked.message, dict) else {}
        metadata = {name: payload.get(name) for name in ("client_name", "action_name", "params")}
        self._say("action asked for", {"who": who, **metadata})
        client = self.clients.named(str(metadata["client_name"]))
        name = metadata["action_name"]
        params = [] if metadata["params"] is None else metadata["params"]
        if client is None or not isinstance(name, str) or not isinstance(params, list):
            self._refuse_action(identity, asked, metadata, "Unable to send action")
            return
        if len(self._pending) >= MOST_PENDING:
            why = f"{MOST_PENDING} actions are not answered yet; start the component again"
            self._refuse_action(identity, asked, metadata, why)
            return
        number = self._next_id()
        metadata["id"] = number
        self._pending[number] = _Pending(identity, client.identity, metadata, asked.more)
        self._send(client.identity, x.Action(number, name, params))
        self._answer(identity, "ACTION TICKET", {"result": "pending", "metadata": metadata}, asked.more)

    def _refuse_action(self, identity: bytes, asked: x.Control, metadata: dict[str, Any], why: str) -> None:
        said = {"result": f"ERROR: {why}", "metadata": {**metadata, "id": None}}
        self._answer(identity, "ACTION RESULT", said, asked.more)

    def tick(self, now: float) -> None:
        """Give up components that are silent, and transitions that take too long."""
        for client in self.clients.expired(now):
            self._say("component lost", {"name": client.name, "all": self.clients.names})
            if self._originals.pop(client.name, None) is not None:
                self._keep_in_mind()
            self._give_up(client, "ERROR: component died")
            self.control.lost(client, now)
            self._tell_addresses(self.clients.forget_addresses(client))
        self.control.tick(now)

    def _tell_addresses(self, groups: set[str]) -> None:
        for client in self.clients:
            if groups & set(client.connections):
                self._send(client.identity, x.Registered(self.clients.wanted(client)))

    def _give_up(self, client: Client, result: str) -> None:
        for number in [n for n, one in self._pending.items() if one.component == client.identity]:
            pending = self._pending.pop(number)
            said = {"id": number, "result": result, "metadata": pending.metadata}
            self._answer(pending.operator, "ACTION RESULT", said, pending.more)
