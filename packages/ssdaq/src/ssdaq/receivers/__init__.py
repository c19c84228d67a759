"""Receivers of SSDAQ 0.7 and 0.9."""

from forebay.front.ssdaq.subscribers import SSReadoutListener
from forebay.service.readout_classes import SSFileWriter
from forebay.service.readout_server import SSReadoutAssembler
from forebay.service.receiver_classes import (
    LogReceiver,
    MonitorReceiver,
    TelDataReceiver,
    TimestampReceiver,
    TriggerPacketReceiver,
)

ReadoutAssembler = SSReadoutAssembler

__all__ = [
    "LogReceiver",
    "MonitorReceiver",
    "ReadoutAssembler",
    "SSFileWriter",
    "SSReadoutAssembler",
    "SSReadoutListener",
    "TelDataReceiver",
    "TimestampReceiver",
    "TriggerPacketReceiver",
]
