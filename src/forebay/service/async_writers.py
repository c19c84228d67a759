"""Writers of SSDAQ 0.9 for coroutines; each works in a thread of its own from the beginning."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from forebay.service.readout_successor import SSFileWriterB
from forebay.service.sof_writer import SofWriter, TimestampWriter, TriggerWriter

_TELESCOPE = ("127.0.0.101", 9006)


class AsyncWriter:
    """A writer that was started, and that coroutines close.

    Attributes
    ----------
    loop, name:
        As they were given.
    """

    def __init__(self, writer: SSFileWriterB | SofWriter, loop: Any, name: str) -> None:
        self.loop, self.name = loop, name
        self._writer = writer
        writer.start()

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
    loop:
        Taken and not used.
    telescope:
        IP and port at which directions are published; None for none of them.
    """

    def __init__(
        self,
        file_prefix: str,
        ip: str,
        port: int,
        folder: str | Path = "",
        file_enumerator: str | None = None,
        filesize_lim: float | None = None,
        loop: Any = None,
        name: str = "ASlowSignalWriter",
        *,
        telescope: tuple[str, int] | None = _TELESCOPE,
    ) -> None:
        where = (file_prefix, ip, port, folder, file_enumerator, filesize_lim)
        super().__init__(SSFileWriterB(*where, telescope=telescope), loop, name)


class ATimestampWriter(AsyncWriter):
    """Writes time stamps of triggers; parameters as of `ASlowSignalWriter`."""

    def __init__(
        self,
        file_prefix: str,
        ip: str,
        port: int,
        folder: str | Path = "",
        file_enumerator: str | None = None,
        filesize_lim: float | None = None,
        loop: Any = None,
        name: str = "ATimestampWriter",
    ) -> None:
        where = (file_prefix, ip, port, folder, file_enumerator, filesize_lim)
        super().__init__(TimestampWriter(*where), loop, name)


class ATriggerWriter(AsyncWriter):
    """Writes trigger patterns; parameters as of `ASlowSignalWriter`."""

    def __init__(
        self,
        file_prefix: str,
        ip: str,
        port: int,
        folder: str | Path = "",
        file_enumerator: str | None = None,
        filesize_lim: float | None = None,
        loop: Any = None,
        name: str = "ATriggerWriter",
    ) -> None:
        where = (file_prefix, ip, port, folder, file_enumerator, filesize_lim)
        super().__init__(TriggerWriter(*where), loop, name)
