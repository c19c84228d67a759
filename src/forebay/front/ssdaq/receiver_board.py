"""How the receivers of a camera are, as far as they have told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forebay.front.ssdaq.records import MonitorData

_MOST = 256  # names; nobody asks who tells
OFFLINE_S = 1.5
"""A receiver that is silent for so long is offline, as in the original."""


@dataclass(frozen=True, slots=True)
class ReceiverStatus:
    """One receiver.

    Attributes
    ----------
    rate_hz:
        Packets a second.
    modules:
        That sent something in the last second.
    """

    name: str
    is_online: bool = False
    receives: bool = False
    rate_hz: float = 0.0
    modules: tuple[int, ...] = ()
    pid: int = 0


class ReceiverBoard:
    """Takes what receivers tell and says how each is.

    Parameters
    ----------
    names:
        Receivers that are shown although they never told anything; others are as soon as they do, up to 256
        in all.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._last: dict[str, tuple[float, ReceiverStatus]] = {
            name: (float("-inf"), ReceiverStatus(name)) for name in names
        }

    def take(self, message: bytes, now_s: float) -> None:
        """Take one message of monitoring; `forebay.errors.WireError` if it is none."""
        one = MonitorData.unpack(message).reciver
        if one.name in self._last or (one.name and len(self._last) < _MOST):
            status = ReceiverStatus(one.name, True, one.recv_data, one.data_rate, tuple(one.from_tm), one.pid)
            self._last[one.name] = now_s, status

    def rows(self, now_s: float) -> list[ReceiverStatus]:
        """Return how each receiver is now."""
        return [
            status if now_s - heard_s <= OFFLINE_S else ReceiverStatus(name, pid=status.pid)
            for name, (heard_s, status) in self._last.items()
        ]
