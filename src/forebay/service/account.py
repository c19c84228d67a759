"""What a service has counted, told to who asks on this host: recordings keep it in their manifests."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import msgspec

from forebay.errors import NoAnswerError, StreamError
from forebay.service.process import say
from forebay.store.manifest import Counters, Counts
from forebay.stream.request import Replier, ask

_POLL_S = 0.1
_TIMEOUT_S = 1.0
_QUESTION = b"account"


class _Told(msgspec.Struct, frozen=True):
    """Counters, and which life of the service they are of: each begins at 0."""

    life: str
    counters: Counters


@contextmanager
def telling(endpoint: str, counters: Callable[[], Counters]) -> Iterator[None]:
    """Answer at an endpoint while the body runs.

    Parameters
    ----------
    counters:
        Asked in a thread of its own.

    Raises
    ------
    StreamError
        If the endpoint is taken.
    """
    life, over = secrets.token_hex(8), threading.Event()
    replier = Replier(endpoint)

    def serve() -> None:
        try:
            while not over.is_set():
                replier.serve(lambda _question: msgspec.json.encode(_Told(life, counters())), _POLL_S)
        except StreamError as error:
            say("nobody can ask for counters any more", logging.ERROR, reason=error)

    thread = threading.Thread(target=serve, name="account", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        replier.close()


class Account:
    """The counters of a service from now on.

    Attributes
    ----------
    start:
        What it had counted; nothing where it was not there yet.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        told = self._ask()
        self._life = told.life if told else ""
        self.start = told.counters if told else Counters()

    def end(self) -> Counters:
        """Return what it has counted now; no names where it does not answer, because nobody knows.

        Where it was started again meanwhile, its new life comes on top.
        """
        told = self._ask()
        if told is None:
            return Counters()
        return told.counters if told.life == self._life else _added(self.start, told.counters)

    def _ask(self) -> _Told | None:
        with suppress(NoAnswerError, msgspec.DecodeError):
            return msgspec.json.decode(ask(self._endpoint, _QUESTION, _TIMEOUT_S), type=_Told)
        return None


def _added(one: Counters, other: Counters) -> Counters:
    names = [*one.receiver, *(name for name in other.receiver if name not in one.receiver)]
    receiver = {name: _sum(one.receiver.get(name, {}), other.receiver.get(name, {})) for name in names}
    return Counters(receiver, _sum(one.builder, other.builder), _sum(one.recorder, other.recorder))


def _sum(one: Counts, other: Counts) -> Counts:
    return {name: one.get(name, 0) + other.get(name, 0) for name in one | other}
