"""Receivers of SSDAQ 0.7."""

from forebay.front.ssdaq.subscribers import SSReadoutListener
from forebay.service.readout_classes import SSFileWriter

__all__ = ["SSFileWriter", "SSReadoutListener"]
