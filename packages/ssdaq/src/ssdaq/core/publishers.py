"""Publishers of SSDAQ 0.9."""

from forebay.front.ssdaq.publisher import ZMQTCPPublisher
from forebay.service.raw_file import RawWriter

__all__ = ["RawWriter", "ZMQTCPPublisher"]
