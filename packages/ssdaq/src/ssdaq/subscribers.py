"""Subscribers and writers of SSDAQ 0.9."""

from forebay.front.ssdaq.async_subscribers import (
    AsyncLogProtoSubscriber,
    AsyncLogSubscriber,
    AsyncMonSubscriber,
    AsyncSSReadoutSubscriber,
    AsyncSubscriber,
    AsyncTelDataSubscriber,
    AsyncTimestampSubscriber,
    AsyncTriggerSubscriber,
)
from forebay.front.ssdaq.subscribers import (
    BasicLogSubscriber,
    BasicMonSubscriber,
    BasicSSReadoutSubscriber,
    BasicSubscriber,
    BasicTelDataSubscriber,
    BasicTimestampSubscriber,
    BasicTriggerSubscriber,
    LogProtoSubscriber,
)
from forebay.service.async_writers import ASlowSignalWriter, ATimestampWriter, ATriggerWriter
from forebay.service.readout_successor import SSFileWriterB
from forebay.service.sof_writer import LogWriter, TimestampWriter, TriggerWriter

SSFileWriter = SSFileWriterB
SSReadoutSubscriber = BasicSSReadoutSubscriber

__all__ = [
    "ASlowSignalWriter",
    "ATimestampWriter",
    "ATriggerWriter",
    "AsyncLogProtoSubscriber",
    "AsyncLogSubscriber",
    "AsyncMonSubscriber",
    "AsyncSSReadoutSubscriber",
    "AsyncSubscriber",
    "AsyncTelDataSubscriber",
    "AsyncTimestampSubscriber",
    "AsyncTriggerSubscriber",
    "BasicLogSubscriber",
    "BasicMonSubscriber",
    "BasicSSReadoutSubscriber",
    "BasicSubscriber",
    "BasicTelDataSubscriber",
    "BasicTimestampSubscriber",
    "BasicTriggerSubscriber",
    "LogProtoSubscriber",
    "LogWriter",
    "SSFileWriter",
    "SSReadoutSubscriber",
    "TimestampWriter",
    "TriggerWriter",
]
