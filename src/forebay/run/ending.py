"""Ending jobs before their end: the catalogue decides who was first, the bus only makes it quick."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from forebay.errors import BusError, StateError
from forebay.job import Job, State
from forebay.ports import Bus, Message
from forebay.run import states
from forebay.run.jobs import parse_parameters, routing_key

if TYPE_CHECKING:
    from forebay.store.catalog import Catalog

LOG = logging.getLogger("forebay")

GOING_ON: tuple[State, ...] = ("queued", "running", "cancelling")
"""States of jobs that have not ended."""

OPEN, DONE = "open", "done"
"""States of a run that was numbered for one request; those of a run that was prepared are in `states`."""


def cancel(bus: Bus, catalog: Catalog, job_id: str, who: str) -> Job:
    """Cancel a job; see `forebay.run.operator.Operator.cancel`.

    One that waits is cancelled here and now: a worker that gets its message finds that it has ended. One
    that runs is marked, and its worker is told; a worker that misses that looks at the mark every second.
    """
    while True:
        job = catalog.job(job_id)
        if job.has_ended:
            raise _too_late(job, "cancelled")
        if job.state == "cancelling":
            return job
        if job.state == "queued":
            reason = f"cancelled by {who} before it began"
            if catalog.advance(job_id, "cancelled", from_states=["queued"], who=who, reason=reason):
                ended = catalog.job(job_id)
                tell(bus, ended)
                settle_run(bus, catalog, ended)
                return ended
        elif catalog.advance(job_id, "cancelling", from_states=["running"], who=who):
            _kill(bus, job, "cancel")
            return catalog.job(job_id)


def finish(bus: Bus, catalog: Catalog, job_id: str, who: str) -> Job:
    """End a recording as finished; see `forebay.run.operator.Operator.finish`.

    Only the bus carries this: whoever needs certainty looks whether the job has ended, and asks again.
    """
    job = catalog.job(job_id)
    if job.kind != "record":
        raise StateError(f"Job {job_id} is of kind {job.kind}; only a recording can be enough.", "Cancel it.")
    if job.has_ended:
        raise _too_late(job, "finished")
    if job.state == "queued":
        raise StateError(f"Job {job_id} waits for a worker; nothing was recorded yet.", "Cancel it.")
    _kill(bus, job, "finish", who)
    return catalog.job(job_id)


def tell(bus: Bus, job: Job) -> None:
    """Publish how a job stands; the catalogue has it in any case."""
    body = {
        "kind": job.kind,
        "state": job.state,
        "n_done": job.n_done,
        "n_asked": job.n_asked,
        "reason": job.reason,
        "result": job.result,
        "proposal": job.proposal,
        "run": job.run,
        "acquisition": job.acquisition,
        "worker": job.worker,
    }
    publish(bus, Message(key_of(job), job.id, body, time_ns=time.time_ns()))


def publish(bus: Bus, message: Message) -> None:
    """Publish a status; while the bus cannot be reached, it is lost, and said so."""
    try:
        bus.publish(message)
    except BusError as error:
        LOG.warning("a status was lost", extra={"fields": {"key": message.key, "reason": error}})


def key_of(job: Job) -> str:
    """Return the key under which a job and its statuses travel."""
    return routing_key(job.kind, parse_parameters(job.kind, job.parameters))


def settle_run(bus: Bus, catalog: Catalog, job: Job) -> None:
    """Draw the consequence of a job's end for its run.

    A run that was numbered for one request alone is *done* when no job of it goes on. One that is *running*
    has *failed* when one of its recordings fails by itself.
    """
    if job.proposal is None or job.run is None:
        return
    run = catalog.run(job.proposal, job.run)
    if run.state == OPEN:
        if not catalog.jobs(states=GOING_ON, proposal=job.proposal, run=job.run, limit=1):
            catalog.advance_run(job.proposal, job.run, DONE, from_states=[OPEN], ends=True)
    elif run.state == "running" and job.kind == "record" and job.state == "failed":
        state = states.next("running", "refused")
        if catalog.advance_run(job.proposal, job.run, state, from_states=["running"]):
            body = {"proposal": job.proposal, "run": job.run, "state": state, "reason": job.reason}
            publish(bus, Message(f"run.{job.proposal}", job.id, body, time_ns=time.time_ns()))


def _kill(bus: Bus, job: Job, how: str, who: str = "") -> None:
    try:
        bus.kill(Message(key_of(job), job.id, {"how": how, "who": who}, time_ns=time.time_ns()))
    except BusError as error:
        LOG.warning("a worker could not be told to end", extra={"fields": {"job": job.id, "reason": error}})


def _too_late(job: Job, word: str) -> StateError:
    return StateError(f"Job {job.id} cannot be {word}: it is {job.state} already.", f"Reason: {job.reason}")
