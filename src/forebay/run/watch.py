"""News for people and programs: what jobs, runs, services and workers say, as it comes."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Self, get_args

from forebay.errors import BusError, CatalogError
from forebay.job import ENDS, Job
from forebay.ports import Bus, Message, Subscription
from forebay.run.values import ServiceStatus, Topic, Update

LOG = logging.getLogger("forebay")

FORGET_S = 600.0
"""A service that has said nothing for so long is no longer listed."""

GAP: Final = "gap"
"""Topic of the update that says that others may be missing."""

_READ_S = 0.5


def update_of(message: Message) -> Update | None:
    """Return the news in a status; None if it is about something else."""
    topic = message.key.partition(".")[0]
    if topic not in get_args(Topic) or topic == GAP:
        return None
    return Update(
        topic=topic,  # type: ignore[arg-type] # it is one of them
        key=message.key,
        id=message.id,
        body=dict(message.body),
        time_ns=message.time_ns,
    )


def update_about(job: Job) -> Update:
    """Return how a job stands as a piece of news about it."""
    body = {name: getattr(job, name) for name in ("kind", "state", "n_done", "n_asked", "reason", "result")}
    return Update(
        topic="job",
        key=f"job.{job.kind}",
        id=job.id,
        body=body,
        time_ns=job.history[-1].time_ns if job.history else 0,
    )


class Watch:
    """News from the moment it was made on, oldest first; also an iterator that ends with `close`.

    When the bus was away, such as a hub that was started anew, or news came faster than they were read, an
    update of topic `GAP` says so to those who watch everything, and then one about each job that was said to
    go on tells how it stands now: none is left running that has ended, if the catalogue answers then. Those
    who watch one job look at it anyway.

    Parameters
    ----------
    job_id:
        Only news of this job.
    job:
        Looks a job up.
    """

    def __init__(self, bus: Bus, job_id: str | None = None, job: Callable[[str], Job] | None = None) -> None:
        self._job_id = job_id
        self._job = job
        self._going_on: set[str] = set()
        self._due: deque[str] = deque()
        self._over: set[str] = set()
        self._statuses = bus.statuses("#" if job_id is None else "job.#")
        self._n_gaps = self._statuses.n_gaps
        self._is_closed = False

    def read(self, timeout: float) -> Update | None:
        """Return the next piece of news; None if there was none within `timeout` seconds."""
        end = time.monotonic() + timeout
        while not self._is_closed:
            if self._job_id is None and (n_gaps := self._statuses.n_gaps) != self._n_gaps:
                self._n_gaps = n_gaps
                self._due.extend(sorted(self._going_on.difference(self._due)))
                said = {"reason": "The bus was away; some news may be missing."}
                return Update(topic=GAP, key=GAP, id="", body=said, time_ns=time.time_ns())
            if self._due and self._job is not None:
                update = self._look_up(self._due.popleft(), self._job)
            else:
                message = self._statuses.read(max(0.0, end - time.monotonic()))
                if message is None:
                    return None
                update = update_of(message)
            if update is not None and self._job_id in (None, update.id) and self._is_news(update):
                return update
        return None

    def _is_news(self, update: Update) -> bool:
        """Note what a job does; False if it had been looked up as ended before this came."""
        if update.topic != "job":
            return True
        if update.body.get("state") in ENDS:
            self._going_on.discard(update.id)
        elif update.id in self._over:
            return False
        else:
            self._going_on.add(update.id)
        return True

    def _look_up(self, job_id: str, job: Callable[[str], Job]) -> Update | None:
        try:
            found = job(job_id)
        except CatalogError as error:
            LOG.warning("a job cannot be looked up", extra={"fields": {"job": job_id, "reason": error}})
            return None
        if found.has_ended:
            self._over.add(job_id)
        return update_about(found)

    def __iter__(self) -> Iterator[Update]:
        while not self._is_closed:
            if (update := self.read(_READ_S)) is not None:
                yield update

    def close(self) -> None:
        """Listen no longer; may be called twice, and from another thread."""
        if not self._is_closed:
            self._is_closed = True
            self._statuses.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Roll:
    """Which services and workers there are, by what they say of themselves; a thread listens.

    Without a bus there are none.
    """

    def __init__(self, bus: Bus | None) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, ServiceStatus] = {}
        self._stop = threading.Event()
        self._statuses = [bus.statuses(key) for key in ("service.#", "worker.#")] if bus else []
        self._threads = [
            threading.Thread(target=self._listen, args=(one,), name="roll", daemon=True)
            for one in self._statuses
        ]
        for thread in self._threads:
            thread.start()

    def services(self) -> list[ServiceStatus]:
        """Return what was heard lately, by key."""
        oldest = time.time_ns() - int(FORGET_S * 1e9)
        with self._lock:
            return [known for _, known in sorted(self._known.items()) if known.heard_ns > oldest]

    def _listen(self, statuses: Subscription) -> None:
        while not self._stop.is_set():
            try:
                message = statuses.read(_READ_S)
            except BusError as error:
                LOG.warning("services cannot be heard", extra={"fields": {"reason": error}})
                self._stop.wait(_READ_S)
                continue
            if message is not None:
                said = ServiceStatus(
                    key=message.key,
                    state=str(message.body.get("state", "")),
                    detail=dict(message.body),
                    heard_ns=time.time_ns(),
                )
                with self._lock:
                    self._known[message.key] = said

    def close(self) -> None:
        """Stop listening; may be called twice."""
        self._stop.set()
        for statuses in self._statuses:
            statuses.close()
        for thread in self._threads:
            thread.join()
