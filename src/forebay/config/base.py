"""What all parts of the configuration share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer

NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
Name = Annotated[str, Field(pattern=NAME)]
"""Names of detectors and streams: they become file names, dataset names and socket names."""

Port = Annotated[int, Field(ge=1, le=65535)]

_USER_INFO = re.compile(r":(?!//)\S*@")
_FILES = ("cafile", "capath", "certfile", "keyfile", "sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile")
_PARAMETER = re.compile(r"(password=)[^&\s]*", re.IGNORECASE)


def masked(text: str) -> str:
    """Return a text with every password of a URL in it replaced by ``***``.

    Also where the URL is not a right one: whatever stands between a colon and an ``@`` is taken for one.
    """
    return _PARAMETER.sub(r"\1***", _USER_INFO.sub(":***@", text))


def checked_files(url: str) -> str:
    """Return a URL whose parameters name files of TLS as everybody would find them.

    Raises
    ------
    ValueError
        If such a path is not whole (the URL goes from process to process), or the connection would not be
        encrypted after all.
    """
    parts = urlsplit(url)
    for name, path in parse_qsl(parts.query):
        if name not in _FILES or (name, path) == ("sslrootcert", "system"):
            continue
        if not Path(path).is_absolute():
            raise ValueError(f"{name} must be a whole path, such as /etc/forebay/ca.pem, not {path}")
        if parts.scheme == "amqp":
            raise ValueError(f"{name} is given, but amqp:// is not encrypted: write amqps://")
    return url


SecretUrl = Annotated[str, AfterValidator(checked_files), PlainSerializer(masked, when_used="json")]
"""A URL that may hold a password: whoever uses it has it whole, but JSON and ``repr`` are masked."""


class Model(BaseModel):
    """Base of every configuration value: unknown keys are errors, values never change.

    ``repr`` and ``model_dump(mode="json")`` never show a password.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, masked(value) if isinstance(value, str) else value
