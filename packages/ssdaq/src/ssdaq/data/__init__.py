"""Data of SSDAQ 0.9."""

from forebay.front.ssdaq.frame import Frame
from forebay.front.ssdaq.readout import SSReadoutB as SSReadout
from forebay.front.ssdaq.records import LogData, MonitorData, TelData, TriggerMessage
from forebay.front.ssdaq.triggers import TriggerPacket

__all__ = ["Frame", "LogData", "MonitorData", "SSReadout", "TelData", "TriggerMessage", "TriggerPacket"]
