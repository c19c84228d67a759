"""The state of the system: changed when all components have confirmed, or an operator is told who has not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from forebay.errors import ForebayError
from forebay.front.larpix.book import CUT_OFF, Book
from forebay.front.larpix.clients import STORAGE, Client, Clients
from forebay.front.larpix.transition import NEXT, Asker, Transition
from forebay.wire import xylem as x

Send = Callable[[bytes, x.Message], None]


def differences(accounts: dict[str, dict[str, Any]]) -> list[str]:
    """Return a remark for each storage that has another number of packets of a producer than this one sent.

    Producers of the original do not count.
    """
    sent = {name: one["packets_sent"] for name, one in accounts.items() if "packets_sent" in one}
    remarks = []
    for storage, account in accounts.items():
        packets_of = account.get("packets_of")
        if not isinstance(packets_of, dict):
            continue
        for name, n in sent.items():
            if (stored := packets_of.get(name, 0)) != n:
                remarks.append(f"{storage} stored {stored} of {n} packets of {name}")
    return remarks


def warnings(accounts: dict[str, dict[str, Any]]) -> list[str]:
    """Return what components did as asked, and warn of."""
    return [
        f"{name}: {text}"
        for name, account in accounts.items()
        if isinstance(texts := account.get("warnings"), list)
        for text in texts
    ]


class Control:
    """State, transition under way, and the run; see `forebay.front.larpix.conductor.Conductor`."""

    def __init__(
        self,
        book: Book,
        clients: Clients,
        send: Send,
        probe: Callable[[Client], int],
        say: Callable[[str, dict[str, Any]], None],
        confirm_s: float,
        drain_s: float,
    ) -> None:
        self.state = "STOP"
        self.run: int | None = None
        self.owner = ""
        self.last_end = ""
        self._absent: dict[str, str] = {}
        self._absent_until = 0.0
        self._asked: tuple[Asker, str] | None = None
        self._files: dict[str, str] = {}
        self._book = book
        self._clients = clients
        self._send = send
        self._probe = probe
        self._say = say
        self._within = {"READY": confirm_s, "RUN": confirm_s, "STOP": drain_s}
        self._n = 0
        self._now: Transition | None = None

    # After the core was started again

    def resume(self, now: float) -> None:
        """Go on with the run that the core before this one left, or end it if it took no data any more.

        Those who took part have the time of a transition to come back, else the run ends. A process that was
        started again is another one: it has nothing of the run.
        """
        left = self._book.open_run()
        if left is None:
            return
        self.run, self.owner, self.state = left.number, left.who, "RUN" if left.is_running else "STOP"
        self._absent = dict(left.components)
        self._absent_until = now + self._within["RUN"]
        self._say("run taken over", {"run": self.run, "waiting": sorted(self._absent)})
        if not self._absent:
            self._settle("", now)

    def _settle(self, missing: str, now: float) -> None:
        """Do what waited for the components of the run that was taken over; `missing` is who did not come."""
        asked, self._asked = self._asked, None
        if missing or self.state == "STOP":
            asker = asked[0] if asked is not None and asked[1] == "STOP" else None
            reason = CUT_OFF if asker is None else f"ended by {asker.who}"
            self._begin("STOP", reason, asker, now, [missing] if missing else [])
            if asker is not None:
                return
        else:
            self._say("run goes on", {"run": self.run})
        if asked is not None:
            self.ask(*asked, now)

    def _give_up_absent(self, now: float) -> None:
        names, self._absent = ", ".join(sorted(self._absent)), {}
        self._say("component lost", {"name": names, "all": self._clients.names})
        self._settle(f"{names} did not come back when the core was started again", now)

    # What anybody may know

    def where(self) -> dict[str, Any]:
        """Return the run, its owner, and how the last one ended."""
        under_way = None if self._now is None else {"to": self._now.target, "waiting": self._waiting()}
        return {"run": self.run, "owner": self.owner, "transition": under_way, "last_end": self.last_end}

    def _waiting(self) -> list[str]:
        waiting = set[bytes]() if self._now is None else self._now.waiting
        return [client.name for client in self._clients if client.identity in waiting] + sorted(self._absent)

    # What operators ask

    def ask(self, asker: Asker, target: Any, now: float) -> None:
        """Change the state if that is allowed; the answer comes when it is done."""
        if not isinstance(target, str) or target not in NEXT:
            self._answer(asker, "NOT UPDATED", "STATE NOT ALLOWED")
            return
        if self._absent:
            if self._asked is not None:
                names = ", ".join(sorted(self._absent))
                self._answer(asker, "NOT UPDATED", f"The core was started again and waits for {names}.")
                return
            self._asked = asker, target
            return
        if self._now is not None and (target != "STOP" or self._now.target == "STOP"):
            what = f"The change to {self._now.target} is under way, and waits for {self._waiting()}."
            self._answer(asker, "NOT UPDATED", what)
            return
        if self._now is None and target == self.state:
            ended = f"The run before ended: {self.last_end}." if target == "STOP" and self.last_end else ""
            self._answer(asker, "UPDATED", ended)
            return
        if self._now is None and target not in NEXT[self.state]:
            allowed = " or ".join(NEXT[self.state])
            self._answer(
                asker,
                "NOT UPDATED",
                f"From {self.state} one goes to {allowed}, not to {target}: nothing is done.",
            )
            return
        named = str(asker.more.get("who") or "")
        if target == "RUN" and named and self.owner and named != self.owner:
            self._answer(asker, "NOT UPDATED", f"The run was prepared by {self.owner}, who alone begins it.")
            return
        if target == "READY":
            comment = str(asker.more.get("comment") or "")
            configuration = asker.more.get("configuration")
            self.run = self._book.prepare(
                asker.who,
                comment,
                configuration if isinstance(configuration, dict) else {},
                {client.name: client.instance for client in self._clients if client.is_essential},
            )
            self.owner, self._files = named, {}
        if self._now is not None:
            self._answer(self._now.asker, "NOT UPDATED", f"{asker.who} ended the run meanwhile.")
        self._begin(target, f"ended by {asker.who}" if target == "STOP" else "", asker, now)

    def _answer(self, asker: Asker | None, result: str, reason: str = "") -> None:
        if asker is None:
            return
        said: dict[str, Any] = {"result": result}
        metadata: dict[str, Any] = {} if self.run is None else {"run": self.run}
        if reason:
            metadata["reason"] = reason
        if metadata:
            said["metadata"] = metadata
        more = {name: one for name, one in asker.more.items() if name == "request"}
        self._send(asker.identity, x.Control("STATE", said, more))
        self._say("state answered", {"who": asker.who, "result": result, **metadata})

    # Transitions

    def _begin(
        self, target: str, reason: str, asker: Asker | None, now: float, remarks: Sequence[str] = ()
    ) -> None:
        self._n += 1
        self._now = Transition(self._n, target, now + self._within[target], reason, asker)
        self._now.remarks += remarks
        self._now.plan(self._clients)
        if target == "STOP":
            self._booked(self._book.ending)
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        under_way = self._now
        if under_way is None or under_way.waiting:
            return
        stage = under_way.next_stage()
        if stage is None:
            self._finish()
            return
        under_way.deadline = now + self._within[under_way.target]
        for client in self._clients:
            if client.identity in stage:
                self._tell(client, under_way)

    def _tell(self, client: Client, under_way: Transition) -> None:
        self._send(client.identity, x.StateUpdate(under_way.target, under_way.id, self.run))
        if not client.confirms:
            under_way.probes[self._probe(client)] = client.identity

    def tell_state(self, client: Client) -> None:
        """Answer a component that asks for the state: the one it is in, or goes to if it was told already."""
        is_told = self._now is not None and client.identity in self._now.waiting
        if self._now is not None and is_told:
            self._send(client.identity, x.StateUpdate(self._now.target, self._now.id, self.run))
        else:
            self._send(client.identity, x.StateUpdate(self.state, None, self.run))

    def joined(self, client: Client, now: float, *, is_same: bool = False) -> None:
        """Let a component that comes during a transition take part in it.

        `is_same` says that it is the process that the core before knew, where it has no instance to show it.
        """
        if client.name in self._absent:
            instance = self._absent.pop(client.name)
            is_new = not is_same and (instance != client.instance or not instance)
            if is_new:
                self._absent = {}
            if not self._absent:
                self._settle(f"{client.name} was started again too" if is_new else "", now)
        elif self._now is not None:
            self._now.waiting.add(client.identity)
            self._tell(client, self._now)

    def forget(self, client: Client) -> None:
        """Await a connection no more whose component has another one now."""
        if self._now is not None:
            self._now.leave(client.identity)

    def reported(self, client: Client, report: x.StateReport, now: float) -> bool:
        """Take what a component says of a state; False if nobody awaits it."""
        under_way = self._now
        if report.failed:
            self._say("component failed", {"name": client.name, "reason": report.failed})
            self._trouble(f"{client.name}: {report.failed}", now, client, report.account)
            return True
        if under_way is None or report.transition != under_way.id or client.identity not in under_way.waiting:
            return False
        under_way.accounts[client.name] = report.account
        if "file" in report.account:
            self._files[client.name] = str(report.account["file"])
        under_way.waiting.discard(client.identity)
        self._go_on(now)
        return True

    def probed(self, client: Client, number: int, now: float) -> bool:
        """Take the answer to a probe; False if the action was none of ours."""
        under_way = self._now
        if under_way is None or under_way.probes.get(number) != client.identity:
            return False
        del under_way.probes[number]
        under_way.waiting.discard(client.identity)
        self._go_on(now)
        return True

    def lost(self, client: Client, now: float) -> None:
        """Take it that a component is gone."""
        under_way = self._now
        if under_way is not None and under_way.target == "STOP":
            if under_way.leave(client.identity):
                under_way.remarks.append(self._lost(client))
            self._go_on(now)
        elif client.is_essential and (self.state != "STOP" or under_way is not None):
            self._trouble(self._lost(client), now, client, {})
        elif under_way is not None:
            under_way.leave(client.identity)
            self._go_on(now)

    def _lost(self, client: Client) -> str:
        file = self._files.get(client.name)
        todo = f", whose file is {file}: forebay recover closes it if there is only a .part of it"
        names = " or ".join([client.name, *client.perhaps])
        return f"lost {names}" + (todo if file else "")

    def _trouble(self, what: str, now: float, client: Client, account: dict[str, Any]) -> None:
        under_way = self._now
        if under_way is not None and under_way.target == "STOP":
            under_way.remarks.append(what)
            under_way.accounts[client.name] = account
            under_way.leave(client.identity)
            self._go_on(now)
        elif under_way is not None:
            self._now = None
            self._answer(under_way.asker, "NOT UPDATED", f"{what}. The system goes back to STOP.")
            self._begin("STOP", what, None, now)
        elif self.state != "STOP":
            self._begin("STOP", what, None, now)

    def tick(self, now: float) -> None:
        """Give up a transition that takes too long."""
        if self._absent and now >= self._absent_until:
            self._give_up_absent(now)
        under_way = self._now
        if under_way is None or now < under_way.deadline:
            return
        missing = ", ".join(self._waiting())
        what = f"{missing} did not confirm {under_way.target} within {self._within[under_way.target]:g} s"
        if under_way.target != "STOP":
            self._now = None
            self._answer(under_way.asker, "NOT UPDATED", f"{what}. The system goes back to STOP.")
            self._begin("STOP", what, None, now)
            return
        under_way.remarks.append(what)
        under_way.waiting.clear()
        self._go_on(now)

    def _finish(self) -> None:
        done = self._now
        if done is None:
            return
        self._now = None
        self.state = done.target
        if done.target != "STOP":
            remark = ""
            if done.target == "RUN" and self.run is not None:
                remark = self._booked(self._book.begin)
            self._say("state", {"state": self.state, "run": self.run, "remark": remark})
            self._answer(done.asker, "UPDATED", "; ".join(self._warnings(done)))
            return
        done.remarks += differences(done.accounts)
        warned = warnings(done.accounts)
        self.last_end = "; ".join([done.reason, *done.remarks, *warned])
        remark = self._booked(lambda run: self._book.end(run, self.last_end, done.accounts))
        if remark:
            done.remarks.append(remark)
        self._say("state", {"state": "STOP", "run": self.run, "reason": self.last_end, **done.accounts})
        if done.remarks or done.asker is None:
            self._say("run did not end as asked", {"run": self.run, "reason": self.last_end})
        if done.remarks:
            why = f"STOP is in force, but: {'; '.join([*done.remarks, *warned])}."
            self._answer(done.asker, "NOT UPDATED", why)
        else:
            self._answer(done.asker, "UPDATED", "; ".join(warned))
        self.run, self.owner = None, ""

    def _warnings(self, done: Transition) -> list[str]:
        is_stored = done.target != "READY" or self._clients.named(STORAGE) is not None
        unstored = f"No {STORAGE} has registered: packets of this run are not stored."
        return ([] if is_stored else [unstored]) + warnings(done.accounts)

    def _booked(self, book: Callable[[int], None]) -> str:
        """Book something of the run; return what went wrong, which must not hold up a run."""
        if self.run is None:
            return ""
        try:
            book(self.run)
        except ForebayError as error:
            self._say("not booked", {"run": self.run, "reason": str(error)})
            return f"not booked: {error}"
        return ""
