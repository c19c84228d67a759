"""The command line: words in, one call of a room, a table or JSON out."""

from forebay.cli.app import main

__all__ = ["main"]
