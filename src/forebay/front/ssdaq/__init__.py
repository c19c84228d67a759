"""What SSDAQ's users type and import: commands, configuration, Python library."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from forebay.front.ssdaq.publisher import ZMQReadoutPublisher
from forebay.front.ssdaq.readout import SSReadout
from forebay.front.ssdaq.subscribers import SSReadoutListener

_SERVED = "forebay.service.readout_classes"
"""Where those live that need files and processes, which a front does not see: loaded when asked for."""

_FROM_THERE = ("SSDataReader", "SSDataWriter", "SSFileWriter", "SSReadoutAssembler")

__all__ = [
    "SSDataReader",
    "SSDataWriter",
    "SSFileWriter",
    "SSReadout",
    "SSReadoutAssembler",
    "SSReadoutListener",
    "ZMQReadoutPublisher",
]


def __getattr__(name: str) -> Any:
    if name not in _FROM_THERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_SERVED), name)
