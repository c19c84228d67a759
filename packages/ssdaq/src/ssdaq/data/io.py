"""Files of SSDAQ 0.9."""

from forebay.service.readout_successor import DataReader
from forebay.service.readout_successor import SSDataReaderB as SSDataReader
from forebay.service.readout_successor import SSDataWriterB as SSDataWriter
from forebay.service.sof_objects import FrameWriter, LogWriter, TimestampWriter, TriggerWriter

LogReader = TimestampReader = TriggerReader = DataReader
RawTriggerWriter = TriggerWriter

__all__ = [
    "DataReader",
    "FrameWriter",
    "LogReader",
    "LogWriter",
    "RawTriggerWriter",
    "SSDataReader",
    "SSDataWriter",
    "TimestampReader",
    "TimestampWriter",
    "TriggerReader",
    "TriggerWriter",
]
