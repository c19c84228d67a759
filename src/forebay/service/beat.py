"""The pulse of a worker: it says that it lives, how far its job is, and hears when the job is to end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from forebay.errors import BusError, ForebayError
from forebay.ports import Bus, Message
from forebay.run.claims import HEARTBEAT_S, SEND_AGAIN_S, Sweep
from forebay.run.ending import key_of, publish
from forebay.service.process import LOG, say
from forebay.service.task import Standing, Task
from forebay.store.catalog import Catalog

PROGRESS_S = 0.3
"""How often at most progress is told."""

_READ_S = 0.5


class Beat:
    """Two threads beside the job in hand: one says, one hears.

    Parameters
    ----------
    me:
        Name of the worker in the catalogue.
    key:
        Under which it says that it lives.
    about:
        What it takes, for those who look.
    """

    def __init__(self, bus: Bus, catalog: Catalog, me: str, key: str, about: Sequence[str]) -> None:
        self._bus = bus
        self._catalog = catalog
        self._me = me
        self._key = key
        self._about = about
        self._sweep = Sweep(bus, catalog, me)
        self._task: Task | None = None
        self._over = threading.Event()

    @contextmanager
    def beating(self, stop: threading.Event) -> Iterator[None]:
        """Say and hear while the body runs; when `stop` is set, the job in hand is asked to end."""
        threads = [
            threading.Thread(target=self._say, args=(stop,), name="beat"),
            threading.Thread(target=self._hear, name="kills"),
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    @contextmanager
    def in_hand(self, task: Task) -> Iterator[None]:
        """Speak of this task, and ask it to end when it is to end, while the body runs."""
        self._task = task
        try:
            yield
        finally:
            self._task = None

    def _say(self, stop: threading.Event) -> None:
        beat = sweep = 0.0
        told = Standing(-1)
        while not self._over.wait(PROGRESS_S):
            task = self._task
            now = time.monotonic()
            try:
                if task is not None:
                    if stop.is_set():
                        task.end("shutdown")
                    if (deadline := task.job.deadline_ns) is not None and time.time_ns() > deadline:
                        task.end("deadline")
                    told = self._tell(task, told)
                if now >= beat + HEARTBEAT_S:
                    beat = now
                    self._live(task)
                if now >= sweep + SEND_AGAIN_S:
                    sweep = now
                    self._sweep.run()
            except ForebayError as error:
                say("cannot say how it stands", logging.WARNING, reason=error)
            except Exception:  # noqa: BLE001 - a worker that is silent is taken for dead, and its job given to another
                LOG.exception("cannot say how it stands, by a fault of ours")

    def _tell(self, task: Task, told: Standing) -> Standing:
        """Publish progress, if there is any."""
        standing = task.standing
        if (standing.n_done, standing.n_asked) != (told.n_done, told.n_asked):
            body = {
                "kind": task.job.kind,
                "state": "cancelling" if task.why == "cancel" else "running",
                "n_done": standing.n_done,
                "n_asked": standing.n_asked,
                "facts": standing.facts,
                "proposal": task.job.proposal,
                "run": task.job.run,
                "acquisition": task.job.acquisition,
                "worker": self._me,
            }
            publish(self._bus, Message(key_of(task.job), task.job.id, body, time_ns=time.time_ns()))
        return standing

    def _live(self, task: Task | None) -> None:
        """Say that we live: to everybody, and in the catalogue for the job in hand."""
        body = {"state": "idle" if task is None else "busy", "worker": self._me, "about": list(self._about)}
        if task is not None:
            body["job"] = task.job.id
            standing = task.standing
            state = self._catalog.heartbeat(task.job.id, task.job.worker, standing.n_done, standing.n_asked)
            if state is None:
                task.end("lost")
            elif state == "cancelling":
                task.end("cancel")
        publish(self._bus, Message(self._key, self._me, body, time_ns=time.time_ns()))

    def _hear(self) -> None:
        """Hear who wants jobs to end; one that is missed is found in the catalogue at the next beat."""
        while not self._over.is_set():
            try:
                kills = self._bus.kills("job.#")
            except BusError as error:
                say("kills cannot be heard", logging.WARNING, reason=error)
                self._over.wait(_READ_S)
                continue
            try:
                while not self._over.is_set():
                    message = kills.read(_READ_S)
                    task = self._task
                    if message is not None and task is not None and message.id == task.job.id:
                        task.end("finish" if message.body.get("how") == "finish" else "cancel")
            except BusError as error:
                say("kills cannot be heard", logging.WARNING, reason=error)
            finally:
                kills.close()
