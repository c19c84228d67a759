"""Data acquisition for detectors and beam-synchronous streams."""

from importlib.metadata import version

__version__ = version("forebay")
