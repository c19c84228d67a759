"""Subscribers and writers of SSDAQ 0.9."""

from forebay.front.ssdaq.subscribers import (
    AsyncLogSubscriber,
    AsyncMonSubscriber,
    AsyncSSReadoutSubscriber,
    AsyncSubscriber,
    AsyncTimestampSubscriber,
    AsyncTriggerSubscriber,
    BasicLogSubscriber,
    BasicMonSubscriber,
    BasicSSReadoutSubscriber,
    BasicSubscriber,
    BasicTimestampSubscriber,
    BasicTriggerSubscriber,
)
from forebay.service.async_writers import ASlowSignalWriter, ATimestampWriter, ATriggerWriter
from forebay.service.readout_successor import SSFileWriterB
from forebay.service.sof_writer import LogWriter, TimestampWriter, TriggerWriter

SSFileWriter = SSFileWriterB

__all__ = [
    "ASlowSignalWriter",
    "ATimestampWriter",
    "ATriggerWriter",
    "AsyncLogSubscriber",
    "AsyncMonSubscriber",
    "AsyncSSReadoutSubscriber",
    "AsyncSubscriber",
    "AsyncTimestampSubscriber",
    "AsyncTriggerSubscriber",
    "BasicLogSubscriber",
    "BasicMonSubscriber",
    "BasicSSReadoutSubscriber",
    "BasicSubscriber",
    "BasicTimestampSubscriber",
    "BasicTriggerSubscriber",
    "LogWriter",
    "SSFileWriter",
    "TimestampWriter",
    "TriggerWriter",
]
