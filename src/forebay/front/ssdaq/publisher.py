"""Publishers by the names that SSDAQ's Python library gives them: of 0.7, and of 0.9."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forebay.front.ssdaq.configuration import Publisher
from forebay.front.ssdaq.readout import record_of
from forebay.stream.message_publisher import MessagePublisher, Mode
from forebay.stream.readouts import ReadoutPublisher
from forebay.wire import ssreadout
from forebay.wire.ssreadout import Generation


class ZMQReadoutPublisher(ReadoutPublisher):
    """Publishes readouts; see `forebay.stream.readouts.ReadoutPublisher` for its modes and counters.

    Parameters
    ----------
    logger:
        Taken and not used: what is wrong is counted.
    """

    def __init__(
        self,
        ip: str,
        port: int,
        name: str = "ZMQReadoutPublisher",
        logger: object = None,
        mode: Mode = "local",
        *,
        generation: Generation = "A",
        topic: bytes = b"",
    ) -> None:
        del logger
        super().__init__(ip, port, mode, name=name, generation=generation, topic=topic)

    def publish(self, readout: Any) -> None:
        """Send one `SSReadout`."""
        self.append(record_of(readout))

    def give_loop(self, loop: object) -> None:
        """Do nothing: no event loop is needed."""


class ZMQTCPPublisher(MessagePublisher):
    """Publishes messages of any kind, and readouts as messages of 0.9; see `MessagePublisher`.

    Parameters
    ----------
    logger:
        Taken and not used: what is wrong is counted.
    """

    def __init__(
        self,
        ip: str,
        port: int | str,
        name: str = "ZMQTCPPublisher",
        logger: object = None,
        mode: Mode = "local",
        *,
        topic: bytes = b"",
    ) -> None:
        del logger
        super().__init__(ip, port, mode, name=name, topic=topic)

    def publish(self, message: bytes) -> None:
        """Send one message."""
        self.send([message])

    async def apublish(self, message: bytes) -> None:
        """Send one message; it never waits."""
        self.send([message])

    def append(self, readouts: NDArray[np.void]) -> None:
        """Send readouts, (readout,) of `forebay.wire.ssreadout.READOUT`."""
        self.send(ssreadout.encode(readouts, "B"))

    def set_loop(self, loop: object) -> None:
        """Do nothing: no event loop is needed."""


def configured(name: str, settings: Publisher) -> ZMQReadoutPublisher:
    """Return the publisher that a configuration asks for; raises as `ReadoutPublisher`."""
    return ZMQReadoutPublisher(
        settings.ip,
        settings.port,
        settings.name or name,
        mode=settings.mode,
        generation=settings.generation,
        topic=settings.topic.encode(),
    )
