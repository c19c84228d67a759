"""The bsread service: one configured stream into its buffer, for consumers and for jobs."""

from __future__ import annotations

import threading
from dataclasses import replace

from forebay.config import BsreadConfig, Config
from forebay.errors import ConfigError
from forebay.front.bsread.arguments import BufferArguments
from forebay.service.bsread_buffer import buffer


def bsread_config(config: Config, name: str) -> BsreadConfig:
    """Return the configuration of one stream; `ConfigError` if there is none of that name."""
    if name not in config.bsread:
        known = ", ".join(config.bsread) or "none"
        raise ConfigError(f"The bsread stream {name!r} is not configured.", f"Configured are: {known}.")
    return config.bsread[name]


def bsread(config: Config, name: str, stop: threading.Event) -> None:
    """Keep and hand on the stream `name` until `stop`; raises as `forebay.service.bsread_buffer.buffer`."""
    asked = bsread_config(config, name)
    disk = asked.disk
    arguments = BufferArguments(
        asked.source,
        asked.output_port,
        asked.max_messages,
        analyzer=asked.analyzer,
        mode=asked.mode,
        bind=str(asked.output_address),
        public=asked.public,
        buffer_bytes=asked.max_bytes,
    )
    if disk is not None:
        arguments = replace(
            arguments, ring=disk.directory, ring_bytes=disk.max_bytes, ring_age_s=disk.max_age_s
        )
    buffer(arguments, stop)
