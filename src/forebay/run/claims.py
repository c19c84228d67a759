"""Whose a job is: taken by one worker at a time, by compare-and-set; what is left lying is sent again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from forebay.errors import UnknownError
from forebay.job import Job
from forebay.ports import Bus
from forebay.run.ending import GOING_ON, settle_run, tell
from forebay.run.intake import send
from forebay.run.owner import is_gone

if TYPE_CHECKING:
    from forebay.store.catalog import Catalog

HEARTBEAT_S = 1.0
"""How often a worker says in the catalogue that it lives."""

LEASE_S = 30.0
"""A worker that has not said so for so long is taken for dead, wherever it is; clocks may differ by less."""

SEND_AGAIN_S = 5.0
"""A job that waits for longer is sent again, in case its message was lost; then ever more rarely."""

MOST_TRIES = 5
"""A job that had so many workers, and lost them all, is not given to another."""


def is_abandoned(job: Job) -> bool:
    """Whether the worker that had this job is dead."""
    if is_gone(job.worker):
        return True
    return time.time_ns() - job.heartbeat_ns > int(LEASE_S * 1e9)


def claim(bus: Bus, catalog: Catalog, job_id: str, worker: str) -> Job | None:
    """Take a job whose message came; None if it is not to be had: it has ended, or a living worker has it.

    A job of a dead worker is queued again first, so that its history tells. One that was being cancelled
    stays *cancelling*: whoever gets it here cleans up and ends it.
    """
    while True:
        try:
            job = catalog.job(job_id)
        except UnknownError:
            return None
        if job.has_ended:
            settle_run(bus, catalog, job)  # its worker may have died just before it did
            return None
        if fail_if_late(bus, catalog, job, worker):
            return None
        if job.state == "queued":
            if catalog.advance(job_id, "running", from_states=["queued"], who=worker, worker=worker):
                return catalog.job(job_id)
        elif job.worker == worker:
            return job  # it was ours, and bus or catalogue went away before we could say how it ended
        elif not is_abandoned(job):
            return None
        elif job.state == "cancelling":
            return job
        elif sum(change.state == "running" for change in job.history) >= MOST_TRIES:
            reason = f"{MOST_TRIES} workers died of it or with it."
            if catalog.advance(
                job_id, "failed", from_states=["running"], from_worker=job.worker, who=worker, reason=reason
            ):
                _told_and_settled(bus, catalog, job_id)
        else:
            free(catalog, job, worker)


def free(catalog: Catalog, job: Job, who: str) -> bool:
    """Queue the job of a dead worker again; whether it was still that worker's."""
    reason = f"{job.worker} died" if job.worker else "its worker died"
    return catalog.advance(
        job.id, "queued", from_states=["running"], from_worker=job.worker, who=who, reason=reason
    )


def fail_if_late(bus: Bus, catalog: Catalog, job: Job, who: str) -> bool:
    """End a job that waited until its deadline; whether it did."""
    if job.state != "queued" or job.deadline_ns is None or time.time_ns() < job.deadline_ns:
        return False
    reason = "The deadline passed before a worker was free."
    if catalog.advance(job.id, "failed", from_states=["queued"], who=who, reason=reason):
        _told_and_settled(bus, catalog, job.id)
    return True


def _told_and_settled(bus: Bus, catalog: Catalog, job_id: str) -> None:
    ended = catalog.job(job_id)
    tell(bus, ended)
    settle_run(bus, catalog, ended)


class Sweep:
    """Sends again what may have been lost on its way; every worker has one; they disturb nobody.

    Parameters
    ----------
    who:
        Who sweeps, for the histories of jobs.
    """

    def __init__(self, bus: Bus, catalog: Catalog, who: str) -> None:
        self._bus = bus
        self._catalog = catalog
        self._who = who
        self._sent: dict[str, tuple[float, float]] = {}

    def run(self) -> int:
        """Look once at all jobs that go on; return how many were sent again."""
        now = time.monotonic()
        jobs = self._catalog.jobs(states=GOING_ON, limit=10_000)
        waiting: dict[str, tuple[float, float]] = {}
        n_sent = 0
        for job in jobs:
            if fail_if_late(self._bus, self._catalog, job, self._who):
                continue
            if job.state != "queued" and not is_abandoned(job):
                continue
            due, pause = self._sent.get(job.id, (now + SEND_AGAIN_S, SEND_AGAIN_S))
            if now >= due:
                send(self._bus, job)
                n_sent += 1
                due, pause = now + 2 * pause, 2 * pause
            waiting[job.id] = (due, pause)
        self._sent = waiting
        return n_sent
