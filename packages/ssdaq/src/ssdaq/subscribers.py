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
from forebay.service.readout_successor import LogWriter, SSFileWriterB, TimestampWriter, TriggerWriter

SSFileWriter = SSFileWriterB

__all__ = [
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
