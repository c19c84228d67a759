"""Accepting requests: checked to the end, then a number, then a row in the catalogue, then a message."""

from __future__ import annotations

import logging
import re
import threading
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from forebay.config import Config
from forebay.errors import (
    BusError,
    ConfigError,
    NoAnswerError,
    NoWorkerError,
    StateError,
    UnknownError,
)
from forebay.job import Job
from forebay.ports import Bus, Message
from forebay.run.answers import raise_error
from forebay.run.jobs import (
    KINDS,
    Parameters,
    RecordParameters,
    RetrieveParameters,
    check_quota,
    for_each_job,
    parse_parameters,
    routing_key,
)
from forebay.run.values import Plan

if TYPE_CHECKING:
    from forebay.store.catalog import Catalog, Proposal

LOG = logging.getLogger("forebay")

DEFAULT_PROPOSAL = "default"
"""Proposal of requests that name none; its folder is ``record.directory``."""

PLAN_TIMEOUT_S = 10.0
"""How long a worker may take to say what a request would write."""

EXPECTED_S, UNEXPECTED_S = 5.0, 1.0
"""How long a worker is looked for: of a source in this host's configuration, and of any other."""

_AGAIN_S = 0.1

_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")


class Intake:
    """Turns requests into jobs, so that none is lost and none is done twice.

    A job's row is there before its message is sent; a message that got lost is sent again by the sweep.
    """

    def __init__(
        self, config: Config, bus: Bus, catalog: Catalog, who: str, lock: threading.Lock | None = None
    ) -> None:
        self._config = config
        self._bus = bus
        self._catalog = catalog
        self._who = who
        self._lock = lock or threading.Lock()

    def named(self, who: str) -> Intake:
        """Return this intake for what `who` asks."""
        return Intake(self._config, self._bus, self._catalog, who, self._lock)

    def proposal(self, name: str) -> Proposal:
        """Return a proposal that takes data; the default one is made when it is first asked for.

        Raises
        ------
        UnknownError
            If there is none of that name.
        StateError
            If it is closed.
        """
        try:
            found = self._catalog.proposal(name)
        except UnknownError:
            if name != DEFAULT_PROPOSAL:
                raise
            found = self._catalog.put_proposal(name, self._config.record.directory)
        if found.closed:
            raise StateError(
                f"Proposal {name} is closed.", "Its data can be read, but nothing is added to them."
            )
        return found

    def plan(self, kind: str, value: Mapping[str, Any], proposal: str, run: int | None) -> list[Plan]:
        """Check a request and say what it would write; see `forebay.run.operator.Operator.plan`."""
        parameters = parse_parameters(kind, value)
        check_quota(parameters, self._config.quotas)
        folder = self.proposal(proposal)
        if run is not None:
            self._catalog.run(proposal, run)
        return [self._ask(kind, one, folder, run) for one in for_each_job(parameters)]

    def _ask(self, kind: str, parameters: Parameters, folder: Proposal, run: int | None) -> Plan:
        """Let a worker say what a job would write."""
        key = routing_key(kind, parameters)
        about = key.partition(".")[2]
        body = {"parameters": parameters.model_dump(mode="json"), "directory": folder.directory, "run": run}
        answer = self._call(f"plan.{about}", body)
        raise_error(answer.body)
        return msgspec.convert(dict(answer.body), Plan)

    def _call(self, key: str, body: Mapping[str, Any]) -> Message:
        """Call a worker, and another one if it dies meanwhile: one that takes its place is soon there."""
        about = key.partition(".")[2]
        now = time.monotonic()
        end = now + PLAN_TIMEOUT_S
        here = self._config
        names = {
            *here.detectors,
            *here.epics,
            *here.bsread,
            *here.cameras,
            *here.boards,
            *here.routines,
        }
        is_expected = about.partition(".")[2] in names
        nobody = now + (EXPECTED_S if is_expected else UNEXPECTED_S)
        while True:
            asked = Message(key, uuid.uuid4().hex, body, time_ns=time.time_ns())
            try:
                return self._bus.call(asked, PLAN_TIMEOUT_S / 3)
            except NoWorkerError as error:
                if time.monotonic() > nobody:
                    known = ", ".join(sorted(names)) or "nothing"
                    raise NoWorkerError(
                        f"No worker takes jobs {about}.",
                        "See forebay status. Workers start with forebay run, and take what the configuration "
                        f"of their host names; that of this host names {known}.",
                    ) from error
                time.sleep(_AGAIN_S)
            except NoAnswerError as error:
                if time.monotonic() > end:
                    raise NoAnswerError(
                        f"The worker for jobs {about} did not answer within {PLAN_TIMEOUT_S:g} s.",
                        "See forebay status, or ask again.",
                    ) from error

    def accept(
        self,
        kind: str,
        value: Mapping[str, Any],
        request_id: str | None,
        proposal: str,
        run: int | None,
        deadline_s: float | None,
    ) -> list[Job]:
        """Accept a request; see `forebay.run.operator.Operator.request`."""
        parameters = parse_parameters(kind, value)
        parts = for_each_job(parameters)
        request_id = _checked_id(request_id) if request_id else str(uuid.uuid4())
        ids = _ids(request_id, parts)
        if deadline_s is not None and not 0 < deadline_s < 1e9:
            raise ConfigError(f"deadline_s is {deadline_s:g}.", "Give the seconds from now, more than 0.")
        with self._lock:
            known = self._known(kind, parts, ids)
            if len(known) < len(parts):
                self._check_queue(len(parts) - len(known))
                self.plan(kind, value, proposal, run)
                self._book(kind, parts, ids, proposal, run, deadline_s)
            return [self._catalog.job(id_) for id_ in ids]

    def _known(self, kind: str, parts: list[Parameters], ids: list[str]) -> list[Job]:
        """Return the jobs of a request that was accepted before; some, if it was cut short meanwhile."""
        known = []
        for id_, parameters in zip(ids, parts, strict=True):
            try:
                job = self._catalog.job(id_)
            except UnknownError:
                continue
            if job.kind != kind or parse_parameters(kind, job.parameters) != parameters:
                raise StateError(
                    f"The id {id_} belongs to another request: {job.kind} of "
                    f"{datetime.fromtimestamp(job.created_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S} UTC.",
                    "Draw a new id for each request; give the old one only to ask for the same again.",
                )
            known.append(job)
        return known

    def _check_queue(self, n_more: int) -> None:
        most = self._config.quotas.queued_jobs
        n_waiting = self._catalog.n_jobs().get("queued", 0)
        if n_waiting + n_more > most:
            raise StateError(
                f"{n_waiting} jobs wait already; {most} may.",
                "Ask again when some are done, cancel some, or raise quotas.queued_jobs.",
            )

    def _book(
        self,
        kind: str,
        parts: list[Parameters],
        ids: list[str],
        proposal: str,
        run: int | None,
        deadline_s: float | None,
    ) -> None:
        """Draw the numbers and write the rows, all or nothing; then send the messages."""
        now = time.time_ns()
        jobs = [
            Job(
                id=id_,
                kind=kind,
                parameters=parameters.model_dump(mode="json"),
                proposal=proposal,
                run=run,
                n_asked=parameters.n_asked,
                owner=self._who,
                created_ns=now,
                deadline_ns=None if deadline_s is None else now + int(deadline_s * 1e9),
            )
            for id_, parameters in zip(ids, parts, strict=True)
        ]
        for job in self._catalog.add_request(jobs, draws=KINDS[kind].writes):
            send(self._bus, job)


def send(bus: Bus, job: Job) -> None:
    """Send the message of a job that waits; one that cannot be sent now is sent again by the sweep."""
    parameters = parse_parameters(job.kind, job.parameters)
    message = Message(
        routing_key(job.kind, parameters),
        job.id,
        {"kind": job.kind, "parameters": job.parameters, "proposal": job.proposal, "run": job.run},
        {"action": "write_request", "source": job.owner},
        time_ns=time.time_ns(),
    )
    try:
        bus.request(message)
    except BusError as error:
        LOG.warning("a job waits to be sent", extra={"fields": {"job": job.id, "reason": error}})


def _ids(request_id: str, parts: list[Parameters]) -> list[str]:
    if len(parts) == 1:
        return [request_id]
    sources = [p.sources[0] for p in parts if isinstance(p, RecordParameters | RetrieveParameters)]
    return [f"{request_id}.{source}" for source in sources]


def _checked_id(text: str) -> str:
    if not _ID.match(text):
        raise ConfigError(
            f"{text!r} cannot be the id of a request.",
            "Use 1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit.",
        )
    return text
