"""The workers: take jobs from the queue of their host, carry them out, and account for each exactly once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from forebay.config import Config
from forebay.errors import ForebayError
from forebay.job import Job, State
from forebay.ports import Bus, Delivery
from forebay.run.bus import connect
from forebay.run.claims import claim
from forebay.run.ending import settle_run, tell
from forebay.run.jobs import KINDS
from forebay.run.owner import host_name, owner
from forebay.run.proposals import follow_configuration
from forebay.service.beat import Beat
from forebay.service.planner import Planner
from forebay.service.process import LOG, notify, say
from forebay.service.task import Outcome, Task, Work
from forebay.service.work_check import check
from forebay.service.work_record import record as record_source
from forebay.service.work_routine import routine
from forebay.store.catalog import Catalog, open_catalog

WORK: dict[str, Work] = {
    "record": record_source,
    "retrieve": record_source,
    "check": check,
    "routine": routine,
}
"""What carries out each kind of job of `forebay.run.jobs.KINDS`."""

_TAKE_S = 0.5
_PAUSE_S = 1.0


def record(config: Config, name: str, stop: threading.Event) -> None:
    """Record what sources of this host are asked for, until `stop`; `name` is one of several such workers."""
    work(config, "record", name, stop)


def retrieve(config: Config, name: str, stop: threading.Event) -> None:
    """Retrieve, check and run routines until `stop`; `name` is one of several such workers."""
    work(config, "retrieve", name, stop)


def work(config: Config, role: str, name: str, stop: threading.Event) -> None:
    """Carry out the jobs of a role, one at a time, until `stop`.

    Raises
    ------
    BusError, CatalogError
        If bus or catalogue cannot be reached at the start; later that is logged, and tried again.
    """
    bus = connect(config, name=f"{role}.{name}")
    catalog = open_catalog(config)
    try:
        if abouts(config, "record"):
            follow_configuration(catalog, config.record.directory)
        Worker(config, role, name, bus, catalog).run(stop)
    finally:
        bus.close()
        catalog.close()


class Worker:
    """One worker process.

    Attributes
    ----------
    me:
        What it is called in the catalogue: nobody else ever was or will be.
    """

    def __init__(self, config: Config, role: str, name: str, bus: Bus, catalog: Catalog) -> None:
        self._config = config
        self._bus = bus
        self._catalog = catalog
        self._queue = f"{role}.{host_name()}"
        self._about = abouts(config, role)
        self.me = owner(f"{role}.{name}")
        self._beat = Beat(bus, catalog, self.me, f"worker.{host_name()}.{role}.{name}", self._about)
        self._planner = Planner(config, bus, self._about)

    def run(self, stop: threading.Event) -> None:
        """Take jobs until `stop`; a job in hand is ended then, with what is whole."""
        self._bus.declare(self._queue, [f"job.{about}" for about in self._about])
        queue = self._bus.work(self._queue)
        try:
            with self._beat.beating(stop), self._planner.answering():
                notify("READY=1")
                say("takes jobs", queue=self._queue, about=" ".join(self._about) or "nothing")
                while not stop.is_set():
                    with _patient(stop):
                        if (delivery := queue.take(_TAKE_S)) is not None:
                            self._take(delivery)
        finally:
            queue.close()

    def _take(self, delivery: Delivery) -> None:
        """Carry out the job of a message, if it is still to be had."""
        try:
            job = claim(self._bus, self._catalog, delivery.message.id, self.me)
            if job is not None:
                self._carry_out(job)
        except ForebayError:
            delivery.reject(requeue=True)
            raise
        delivery.ack()

    def _carry_out(self, job: Job) -> None:
        say("begins", job=job.id, kind=job.kind, run=job.run, acquisition=job.acquisition)
        began = time.monotonic()
        tell(self._bus, job)
        task = Task(self._config, job, self._folder(job))
        if job.state == "cancelling":
            task.end("cancel")
        with self._beat.in_hand(task):
            outcome = self._work(task)
        state: State = "cancelled" if task.why == "cancel" else "failed" if outcome.failed else "finished"
        for file in outcome.files:
            self._catalog.add_file(file)
        for path, found in outcome.checked.items():
            self._catalog.file_checked(path, found)
        standing = task.standing
        is_ours = self._catalog.advance(
            job.id,
            state,
            from_states=["running", "cancelling"],
            from_worker=job.worker,
            who=self.me,
            reason=outcome.reason,
            result=outcome.result,
            progress=(standing.n_done, standing.n_asked),
        )
        if is_ours:
            ended = self._catalog.job(job.id)
            settle_run(self._bus, self._catalog, ended)
            tell(self._bus, ended)
        seconds = time.monotonic() - began
        say("ended", job=job.id, state=state, reason=outcome.reason, seconds=seconds, counted=is_ours)

    def _folder(self, job: Job) -> Path:
        if job.proposal is None:
            return self._config.record.directory
        return Path(self._catalog.proposal(job.proposal).directory)

    def _work(self, task: Task) -> Outcome:
        """Do what was asked for; whatever goes wrong ends this job, not this worker."""
        try:
            return WORK[task.job.kind](task)
        except ForebayError as error:
            return Outcome({}, str(error), failed=True)
        except Exception as error:  # noqa: BLE001 - a job must end, and with its reason
            LOG.exception("a job failed in a way that nobody foresaw", extra={"fields": {"job": task.job.id}})
            return Outcome({}, f"Unforeseen: {type(error).__name__}: {error}", failed=True)


def abouts(config: Config, role: str) -> Sequence[str]:
    """Return what the workers of a role take on this host: ``record.SOURCE``, ``routine.NAME``, ``check``."""
    sources = [*config.detectors, *config.epics, *config.bsread, *config.cameras, *config.boards]
    names: dict[str, Iterable[str]] = {
        "record": sources,
        "retrieve": sources,
        "routine": config.routines,
    }
    kinds = [kind for kind, one in KINDS.items() if one.role == role]
    return [
        about
        for kind in kinds
        for about in ([f"{kind}.{n}" for n in names[kind]] if kind in names else [kind])
    ]


@contextmanager
def _patient(stop: threading.Event) -> Iterator[None]:
    """Log that bus or catalogue are away, and wait a little; the job in hand comes again."""
    try:
        yield
    except ForebayError as error:
        say("cannot go on for the moment", logging.WARNING, reason=error)
        stop.wait(_PAUSE_S)
