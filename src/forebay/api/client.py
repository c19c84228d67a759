"""A client in Python with the methods of the operator; it needs nothing but the plain installation.

``http.client`` of the standard library does all that is needed here (one connection a thread, kept open, TLS,
lines of an endless answer), and imports in a tenth of the time of the larger libraries.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from forebay.api.server_sent import server_sent
from forebay.errors import ConfigError, ServiceError
from forebay.job import ENDS, Job
from forebay.run.answers import raise_error
from forebay.run.values import Plan, RunStatus, Status, Update

if TYPE_CHECKING:
    from forebay.store.catalog import File, Proposal, Run

URL = "http://127.0.0.1:8700"
"""Where a gateway listens if nothing else is configured."""

_T = TypeVar("_T")
_WAIT_S = 25.0
_SILENCE_S = 30.0
_RETRY_S = 1.0
_FRESH_S = 5.0
_GONE = (http.client.HTTPException, OSError)


class Client:
    """What the operator can do, over REST; the same errors are raised as by the operator itself.

    May be used from several threads. A request that breaks off is sent once more where that changes nothing
    (jobs have an id of ours, so that they are not doubled).

    Parameters
    ----------
    url:
        Of the gateway; ``FOREBAY_URL`` of the environment, else `URL`, if not given.
    token:
        ``FOREBAY_TOKEN`` of the environment if not given; none is needed where the gateway asks for none.
    timeout:
        Longest wait for an answer, in seconds; commands that wait themselves add their own.
    context:
        TLS as it is to be; that of the system if not given.

    Raises
    ------
    ConfigError
        If `url` is none.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        timeout: float = 30.0,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.url = (url or os.environ.get("FOREBAY_URL") or URL).rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{self.url!r} is not the URL of a gateway.", f"Write it like {URL}.")
        self._parts = parts
        self._token = os.environ.get("FOREBAY_TOKEN", "") if token is None else token
        self._timeout = timeout
        self._context = context
        self._kept = threading.local()

    # --- requests

    def request(
        self,
        kind: str,
        parameters: Mapping[str, Any],
        *,
        id: str | None = None,  # noqa: A002 - the field of `Job`
        proposal: str | None = None,
        run: int | None = None,
        deadline_s: float | None = None,
    ) -> list[Job]:
        """Accept a request and return its jobs; see `forebay.run.operator.Operator.request`."""
        wanted = {"kind": kind, "parameters": dict(parameters), "id": id or str(uuid.uuid4())}
        wanted |= _given(proposal=proposal, run=run, deadline_s=deadline_s)
        return self._ask("POST", "/jobs", list[Job], wanted, again=True)

    def record(self, sources: Sequence[str], **options: Any) -> list[Job]:
        """Record `sources`: `options` are pulses, images, seconds, file, and those of `request`."""
        return self._short("record", {"sources": list(sources)}, options)

    def retrieve(self, sources: Sequence[str], pulses: str, **options: Any) -> list[Job]:
        """Retrieve pulses ``A..B`` of `sources`: `options` are file, and those of `request`."""
        return self._short("retrieve", {"sources": list(sources), "pulses": pulses}, options)

    def _short(self, kind: str, parameters: dict[str, Any], options: dict[str, Any]) -> list[Job]:
        about = {
            name: options.pop(name) for name in ("id", "proposal", "run", "deadline_s") if name in options
        }
        return self.request(kind, parameters | options, **about)

    def plan(
        self,
        kind: str,
        parameters: Mapping[str, Any],
        *,
        proposal: str | None = None,
        run: int | None = None,
    ) -> list[Plan]:
        """Check a request and say what it would write; nothing is done."""
        wanted = {"kind": kind, "parameters": dict(parameters), **_given(proposal=proposal, run=run)}
        return self._ask("POST", "/plan", list[Plan], wanted, again=True)

    def cancel(self, job_id: str) -> Job:
        """End a job as *cancelled*."""
        return self._ask("POST", f"/jobs/{quote(job_id, '')}/cancel", Job)

    def finish(self, job_id: str) -> Job:
        """End a recording now as *finished*."""
        return self._ask("POST", f"/jobs/{quote(job_id, '')}/finish", Job)

    def job(self, job_id: str) -> Job:
        """Return a job as it stands."""
        return self._ask("GET", f"/jobs/{quote(job_id, '')}", Job)

    def jobs(self, *, states: Sequence[str] = (), proposal: str | None = None, limit: int = 100) -> list[Job]:
        """Return jobs, newest first."""
        return self._ask(
            "GET", "/jobs", list[Job], query=_given(state=list(states), proposal=proposal, limit=limit)
        )

    def wait(self, job_id: str, timeout: float) -> Job:
        """Return the job as soon as it has ended, or as it stands after `timeout` seconds."""
        end = time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            if left <= 0:
                return self.job(job_id)
            wait = min(left, _WAIT_S)
            job = self._ask("GET", f"/jobs/{quote(job_id, '')}/wait", Job, query={"timeout": wait}, wait=wait)
            if job.has_ended:
                return job

    # --- runs

    def prepare(
        self,
        sources: Sequence[str],
        *,
        proposal: str = "default",
        tag: str = "",
        comment: str = "",
        timeout: float = 10.0,
    ) -> RunStatus:
        """Draw a run number and make everything ready."""
        wanted = {"sources": list(sources), "tag": tag, "comment": comment, "timeout": timeout}
        return self._run(proposal, "prepare", wanted, timeout)

    def start(self, *, proposal: str = "default", timeout: float = 10.0) -> RunStatus:
        """Record the sources of the prepared run until `stop`."""
        return self._run(proposal, "start", {"timeout": timeout}, timeout)

    def stop(self, *, proposal: str = "default", timeout: float = 60.0) -> RunStatus:
        """End the run; returns when every file is whole."""
        return self._run(proposal, "stop", {"timeout": timeout}, timeout)

    def abort(self, *, proposal: str = "default", timeout: float = 60.0) -> RunStatus:
        """End now whatever goes on; what is whole is kept."""
        return self._run(proposal, "abort", {"timeout": timeout}, timeout)

    def _run(self, proposal: str, command: str, wanted: dict[str, Any], wait: float) -> RunStatus:
        return self._ask(
            "POST", f"/proposals/{quote(proposal, '')}/run/{command}", RunStatus, wanted, wait=wait
        )

    def run_status(self, proposal: str = "default") -> RunStatus:
        """Return where the newest run stands."""
        return self._ask("GET", f"/proposals/{quote(proposal, '')}/run", RunStatus)

    def runs(self, proposal: str = "default", *, limit: int = 100, before: int | None = None) -> list[Run]:
        """Return runs, newest first."""
        from forebay.store.catalog.values import Run

        path = f"/proposals/{quote(proposal, '')}/runs"
        return self._ask("GET", path, list[Run], query=_given(limit=limit, before=before))

    # --- what there is

    def files(
        self,
        proposal: str | None = None,
        *,
        run: int | None = None,
        job_id: str | None = None,
        limit: int = 100,
    ) -> list[File]:
        """Return the files that are booked, newest first."""
        from forebay.store.catalog.values import File

        query = _given(proposal=proposal, run=run, job=job_id, limit=limit)
        return self._ask("GET", "/files", list[File], query=query)

    def proposals(self) -> list[Proposal]:
        """Return every proposal that the token is for."""
        from forebay.store.catalog.values import Proposal

        return self._ask("GET", "/proposals", list[Proposal])

    def put_proposal(self, name: str, directory: str | Path) -> Proposal:
        """Book a proposal, or give one that is known another folder, a full path on the gateway's host."""
        from forebay.store.catalog.values import Proposal

        wanted = {"directory": str(directory)}
        return self._ask("PUT", f"/proposals/{quote(name, '')}", Proposal, wanted, again=True)

    def close_proposal(self, name: str) -> Proposal:
        """Let nothing be added to a proposal any more; `StateError` if it is closed already."""
        from forebay.store.catalog.values import Proposal

        return self._ask("POST", f"/proposals/{quote(name, '')}/close", Proposal)

    def routines(self) -> dict[str, str]:
        """Return the routines that can be run, and what each does."""
        return self._ask("GET", "/routines", dict[str, str])

    def status(self, proposal: str | None = None) -> Status:
        """Return services, the run of a proposal, and the jobs that wait or run."""
        found = self._ask("GET", "/status", Status, query=_given(proposal=proposal))
        return msgspec.structs.replace(found, jobs=msgspec.convert(found.jobs, list[Job]))

    def watch(self, job_id: str | None = None) -> Iterator[Update]:
        """Yield news as they come: of one job, until its end, or of everything.

        The first about a job says how it stands. A connection that breaks is made again and goes on where it
        was, as long as the gateway remembers.

        Raises
        ------
        ServiceError
            If news of everything were missed, because the connection was away for too long.
        """
        last, has_begun = "", False
        while True:
            connection = self._connection(_SILENCE_S)
            try:
                headers = self._headers() | ({"Last-Event-ID": last} if last else {})
                path = "/watch" + (f"?{urlencode({'job': job_id})}" if job_id else "")
                response = self._send(connection, "GET", path, None, headers)
                has_begun = True
                for event, number, data in server_sent(response):
                    if event == "gap" and job_id:
                        continue  # how the job stands comes next, or with the next news of it
                    if event == "gap":
                        raise ServiceError(
                            "Some news were missed.", "Look at the jobs again, then watch again."
                        )
                    last = number
                    update = msgspec.json.decode(data, type=Update)
                    yield update
                    if job_id and update.topic == "job" and update.body.get("state") in ENDS:
                        return
            except _GONE as error:
                if not has_begun:
                    raise self._away(error) from error
                time.sleep(_RETRY_S)
            finally:
                connection.close()

    # --- HTTP

    def _ask(
        self,
        method: str,
        path: str,
        answer: type[_T],
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        wait: float = 0.0,
        again: bool = False,
    ) -> _T:
        if query:
            path = f"{path}?{urlencode(query, doseq=True)}"
        for is_last in (False, True):
            connection = self._kept_connection()
            if connection.sock is not None:
                connection.sock.settimeout(self._timeout + wait)
            connection.timeout = self._timeout + wait
            was_open = connection.sock is not None
            try:
                response = self._send(connection, method, path, body, self._headers())
                return msgspec.json.decode(response.read(), type=answer)
            except msgspec.DecodeError as error:
                connection.close()
                raise ServiceError(f"{self.url} answered something else than expected: {error}.") from error
            except _GONE as error:
                connection.close()
                may_repeat = was_open and (method == "GET" or again) and not isinstance(error, TimeoutError)
                if is_last or not may_repeat:
                    raise self._away(error) from error
        raise AssertionError("unreachable")

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        headers: dict[str, str],
    ) -> http.client.HTTPResponse:
        """Send a request and return the answer; raise the error that it is, if it is one."""
        text = None if body is None else json.dumps(body).encode()
        if text is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, self._parts.path + path, text, headers)
        response = connection.getresponse()
        if response.status >= 400:
            raw = response.read()
            try:
                said = msgspec.json.decode(raw, type=dict[str, Any])
            except msgspec.DecodeError:
                said = {}
            if "error" not in said:
                raise ServiceError(
                    f"{self.url} answered {response.status} {response.reason}.", "Is it a forebay gateway?"
                )
            raise_error(said)
        return response

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def _kept_connection(self) -> http.client.HTTPConnection:
        kept: http.client.HTTPConnection | None = getattr(self._kept, "connection", None)
        if kept is None:
            kept = self._kept.connection = self._connection(self._timeout)
        now = time.monotonic()
        if now > getattr(self._kept, "used", now) + _FRESH_S:
            kept.close()  # the gateway may be closing it just now; the next request opens it again
        self._kept.used = now
        return kept

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=timeout, context=self._context)
        return http.client.HTTPConnection(host, port, timeout=timeout)

    def _away(self, error: Exception) -> ServiceError:
        if isinstance(error, TimeoutError):
            return ServiceError(f"{self.url} did not answer in time.", "See forebay status there.")
        return ServiceError(
            f"The gateway {self.url} cannot be reached: {error}.",
            "Is it running (forebay status), and is this its address?",
        )

    def close(self) -> None:
        """Close this thread's connection. May be called twice."""
        kept = getattr(self._kept, "connection", None)
        if kept is not None:
            kept.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
