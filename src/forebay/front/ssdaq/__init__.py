"""What SSDAQ's users type and import: commands, configuration, Python library."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forebay.front.ssdaq.publisher import ZMQReadoutPublisher
    from forebay.front.ssdaq.readout import SSReadout
    from forebay.front.ssdaq.subscribers import SSReadoutListener

_FILES = "forebay.service.readout_classes"
"""Needs files, which a front does not see; `SSReadoutAssembler` needs processes."""

_WHERE = {
    "SSDataReader": _FILES,
    "SSDataWriter": _FILES,
    "SSFileWriter": _FILES,
    "SSReadoutAssembler": "forebay.service.readout_server",
    "SSReadout": "forebay.front.ssdaq.readout",
    "SSReadoutListener": "forebay.front.ssdaq.subscribers",
    "ZMQReadoutPublisher": "forebay.front.ssdaq.publisher",
}

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
    """Load a class when it is asked for: commands must not wait for what they do not need."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
