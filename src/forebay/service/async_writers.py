"""Writers of SSDAQ 0.9 for coroutines; each works in a thread of its own from the beginning."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from forebay.service.readout_successor import SSFileWriterB
from forebay.service.sof_writer import SofWriter, TimestampWriter, TriggerWriter

_TELESCOPE = ("127.0.0.101", 9006)


class _MakesWriter(Protocol):
    def __call__(
        self,
        file_prefix: str,
        ip: str,
        port: int,
        folder: str | Path,
        file_enumerator: str | None,
        filesize_lim: float | None,
        /,
    ) -> SSFileWriterB | SofWriter: ...


class AsyncWriter:
    """A writer that coroutines close; parameters as of `SSFileWriterB`.

    Attributes
    ----------
    loop, name:
        As they were given; `name` without is that of the class.
    """

    _write: _MakesWriter

    def __init__(
        self,
        file_prefix: str,
        ip: str,
        port: int,
        folder: str | Path = "",
        file_enumerator: str | None = None,
        filesize_lim: float | None = None,
        loop: Any = None,
        name: str = "",
    ) -> None:
        self.loop, self.name = loop, name or type(self).__name__
        self._writer = self._write(file_prefix, ip, port, folder, file_enumerator, filesize_lim)
        self._writer.start()

    @property
    def counters(self) -> dict[str, int]:
        """What was written, and what was lost on the way."""
        return self._writer.counters

    @property
    def data_counter(self) -> int:
        """Messages written."""
        return self._writer.counters["written"]

    @property
    def paths(self) -> list[Path]:
        """Files begun, in order."""
        return list(self._writer.paths)

    @property
    def running(self) -> bool:
        """Whether it writes."""
        return self._writer.is_alive()

    async def close(self, hard: bool = False) -> None:
        """Write what is in flight and close the file; may be called twice.

        Parameters
        ----------
        hard:
            Taken and not used: nothing that came is thrown away.

        Raises
        ------
        forebay.errors.ForebayError
            If something could not be written.
        """
        del hard
        await asyncio.to_thread(self._writer.close)


class ASlowSignalWriter(AsyncWriter):
    """Writes readouts, and where the telescope pointed.

    Parameters
    ----------
    telescope:
        IP and port at which directions are published; None for none of them.
    """

    def __init__(
        self,
        file_prefix: str,
        ip: str,
        port: int,
        *rest: Any,
        telescope: tuple[str, int] | None = _TELESCOPE,
        **more: Any,
    ) -> None:
        self._write = partial(SSFileWriterB, telescope=telescope)
        super().__init__(file_prefix, ip, port, *rest, **more)


class ATimestampWriter(AsyncWriter):
    """Writes time stamps of triggers."""

    _write = TimestampWriter


class ATriggerWriter(AsyncWriter):
    """Writes trigger patterns."""

    _write = TriggerWriter
