"""Files of SSDAQ 0.9."""

from forebay.service.readout_successor import DataReader
from forebay.service.readout_successor import SSDataReaderB as SSDataReader
from forebay.service.readout_successor import SSDataWriterB as SSDataWriter

__all__ = ["DataReader", "SSDataReader", "SSDataWriter"]
