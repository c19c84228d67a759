"""Answers of a worker to those who want to know what a job would write."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from forebay.config import Config
from forebay.errors import BusError, ForebayError
from forebay.ports import Bus, Message
from forebay.run.answers import error_body
from forebay.service.process import say
from forebay.service.work_plan import plan

_READ_S = 0.5
_AGAIN_S = 0.5


class Planner:
    """Answers calls ``plan.ABOUT``, as long as no other worker of this host does; a thread for each.

    Parameters
    ----------
    about:
        E.g. ``record.camera``.
    """

    def __init__(self, config: Config, bus: Bus, about: Sequence[str]) -> None:
        self._config = config
        self._bus = bus
        self._about = about
        self._stop = threading.Event()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Answer while the body runs."""
        threads = [
            threading.Thread(target=self._serve, args=(one,), name=f"plan {one}") for one in self._about
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _serve(self, about: str) -> None:
        while not self._stop.is_set():
            try:
                answers = self._bus.answer(f"plan.{about}")
            except BusError:  # another worker answers; if it dies, it is our turn
                self._stop.wait(_AGAIN_S)
                continue
            try:
                while not self._stop.is_set():
                    if (call := answers.read(_READ_S)) is not None:
                        message, reply = call
                        reply(self._answer(about, message))
            except BusError as error:
                say("calls cannot be answered", logging.WARNING, about=about, reason=error)
            finally:
                answers.close()

    def _answer(self, about: str, message: Message) -> dict[str, object]:
        kind = about.partition(".")[0]
        try:
            planned = plan(
                self._config, kind, message.body["parameters"], Path(str(message.body["directory"]))
            )
        except ForebayError as error:
            return error_body(error)
        except (KeyError, TypeError, ValueError, OSError) as error:
            return error_body(ForebayError(f"What {kind} would write cannot be said: {error}."))
        answer: dict[str, object] = msgspec.to_builtins(planned)
        return answer
