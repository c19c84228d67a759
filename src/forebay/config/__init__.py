"""Configuration: one typed value, read once, checked once."""

from forebay.config.base import masked
from forebay.config.bsread import BsreadConfig, BsreadDiskConfig
from forebay.config.camera import CameraConfig, ReadoutPublisherConfig
from forebay.config.control import ApiConfig, QuotaConfig, WorkersConfig, default_state_dir
from forebay.config.detector import (
    BufferConfig,
    BuildConfig,
    DetectorConfig,
    LiveConfig,
    RingConfig,
    StreamConfig,
)
from forebay.config.epics import EpicsConfig
from forebay.config.host import Config, default_runtime_dir
from forebay.config.inlet import InletConfig, MessagePublisherConfig
from forebay.config.larpix import BoardConfig, BoardsConfig
from forebay.config.load import Reading, load, parse, read
from forebay.config.record import RecordConfig
from forebay.config.routine import RoutineConfig

__all__ = [
    "ApiConfig",
    "BoardConfig",
    "BoardsConfig",
    "BsreadConfig",
    "BsreadDiskConfig",
    "BufferConfig",
    "BuildConfig",
    "CameraConfig",
    "Config",
    "DetectorConfig",
    "EpicsConfig",
    "InletConfig",
    "LiveConfig",
    "MessagePublisherConfig",
    "QuotaConfig",
    "Reading",
    "ReadoutPublisherConfig",
    "RecordConfig",
    "RingConfig",
    "RoutineConfig",
    "StreamConfig",
    "WorkersConfig",
    "default_runtime_dir",
    "default_state_dir",
    "load",
    "masked",
    "parse",
    "read",
]
