"""The assembler's control channel, served beside it in a thread."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from forebay.config import default_runtime_dir
from forebay.errors import ConfigError, StreamError
from forebay.front.ssdaq.arguments import INSTANCE
from forebay.front.ssdaq.words import answer as answer_of_assembler
from forebay.runtime import private_directory
from forebay.service.process import say
from forebay.stream.endpoint import ipc
from forebay.stream.request import Replier

_POLL_S = 0.05


def instance_name(kind: str, instance: str = "") -> str:
    """Return the name of a daemon; the instance is that of the environment if none is given.

    Raises
    ------
    ConfigError
        If the environment's is no name.
    """
    instance = instance or os.environ.get("SSDAQ_INSTANCE", "")
    if instance and not INSTANCE.fullmatch(instance):
        raise ConfigError(
            f"SSDAQ_INSTANCE is {instance!r}, and no name.", "Take at most 32 letters, digits, '.', '_', '-'."
        )
    return f"ssdaq-{kind}" + (f"-{instance}" if instance else "")


def default_control(instance: str = "") -> str:
    """Return where the assembler of this user listens for commands."""
    return ipc(private_directory(default_runtime_dir()), instance_name("control", instance))


class ControlThread:
    """Answers commands while its ``with`` block runs; without an endpoint it does nothing.

    Parameters
    ----------
    answer:
        Carries out a command of what is commanded and returns the reply; must not raise.
    """

    def __init__(
        self, commanded: Any, endpoint: str, answer: Callable[[Any, bytes], bytes] = answer_of_assembler
    ) -> None:
        self._commanded = commanded
        self._answer = answer
        self._endpoint = endpoint
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)

    def __enter__(self) -> Self:
        if self._endpoint:
            is_ours = self._endpoint.startswith(f"ipc://{default_runtime_dir().absolute()}/")
            self._replier = Replier(self._endpoint, public=not is_ours)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        if self._endpoint:
            self._thread.join()
            self._replier.close()

    def _serve(self) -> None:
        while not self._is_over.is_set():
            try:
                self._replier.serve(lambda message: self._answer(self._commanded, message), _POLL_S)
            except StreamError as error:
                say("the control channel failed", logging.ERROR, reason=error)
                return
