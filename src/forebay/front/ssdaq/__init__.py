"""What SSDAQ's users type and import: commands, configuration, Python library."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forebay.front.ssdaq.async_subscribers import AsyncSubscriber as AsyncSubscriber
    from forebay.front.ssdaq.frame import Frame as Frame
    from forebay.front.ssdaq.publisher import ZMQReadoutPublisher as ZMQReadoutPublisher
    from forebay.front.ssdaq.publisher import ZMQTCPPublisher as ZMQTCPPublisher
    from forebay.front.ssdaq.readout import SSReadout as SSReadout
    from forebay.front.ssdaq.subscribers import BasicSubscriber as BasicSubscriber
    from forebay.front.ssdaq.subscribers import SSReadoutListener as SSReadoutListener
    from forebay.front.ssdaq.triggers import TriggerPacket as TriggerPacket

_FRONT = "forebay.front.ssdaq"
_FILES = "forebay.service.readout_classes"
"""Needs files, which a front does not see; what assembles and receives needs processes."""

_STREAMS = ("SSReadout", "Trigger", "Log", "Timestamp", "Mon", "TelData")
_NAMES = {
    f"{_FRONT}.readout": "SSReadout",
    f"{_FRONT}.publisher": "ZMQReadoutPublisher ZMQTCPPublisher",
    f"{_FRONT}.frame": "Frame",
    f"{_FRONT}.records": "LogData MonitorData TelData TriggerMessage",
    f"{_FRONT}.triggers": "TriggerPacket",
    f"{_FRONT}.subscribers": "SSReadoutListener BasicSubscriber LogProtoSubscriber "
    + " ".join(f"Basic{stream}Subscriber" for stream in _STREAMS),
    f"{_FRONT}.async_subscribers": "AsyncSubscriber AsyncLogProtoSubscriber "
    + " ".join(f"Async{stream}Subscriber" for stream in _STREAMS),
    _FILES: "SSDataReader SSDataWriter SSFileWriter",
    "forebay.service.readout_server": "SSReadoutAssembler",
    "forebay.service.readout_successor": "DataReader SSDataReaderB SSDataWriterB SSFileWriterB",
    "forebay.service.sof_writer": "LogWriter TimestampWriter TriggerWriter",
    "forebay.service.async_writers": "ASlowSignalWriter ATimestampWriter ATriggerWriter",
    "forebay.service.receiver_server": "ReceiverMonSender ReceiverServer",
    "forebay.service.receiver_classes": (
        "LogReceiver MonitorReceiver TelDataReceiver TimestampReceiver TriggerPacketReceiver"
    ),
}
_WHERE = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    """Load a class when it is asked for: commands must not wait for what they do not need."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
