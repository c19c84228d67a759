"""SSDAQ's module name, with forebay behind it."""

import logging

from forebay.front.ssdaq.publisher import ZMQReadoutPublisher
from forebay.front.ssdaq.readout import SSReadout
from forebay.front.ssdaq.subscribers import SSReadoutListener
from forebay.service.readout_classes import SSDataReader, SSDataWriter, SSFileWriter
from forebay.service.readout_server import SSReadoutAssembler

sslogger = logging.getLogger("ssdaq")

__all__ = [
    "SSDataReader",
    "SSDataWriter",
    "SSFileWriter",
    "SSReadout",
    "SSReadoutAssembler",
    "SSReadoutListener",
    "ZMQReadoutPublisher",
    "sslogger",
]
