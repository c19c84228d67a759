"""Data of SSDAQ 0.9."""

from forebay.front.ssdaq.readout import SSReadoutB as SSReadout

__all__ = ["SSReadout"]
