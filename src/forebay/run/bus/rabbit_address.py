"""Where brokers are: one URL that may name several hosts, and what to do when none of them can be used."""

from __future__ import annotations

import re
from pathlib import Path

from aiormq.exceptions import AuthenticationError, InvalidFrameError
from yarl import URL

from forebay.errors import BusError

_REMEDIES = {
    "CERTIFICATE_REQUIRED": "The broker asks for a certificate of yours: add certfile and keyfile to `bus`.",
    "ALERT_UNKNOWN_CA": "The broker does not know who signed certfile in `bus`.",
    "ALERT_CERTIFICATE_EXPIRED": "The certificate in certfile is too old; have a new one signed.",
    "certificate is not valid for": "Write the host in `bus` as the broker's certificate has it.",
    "certificate has expired": "The broker's certificate is too old, or the clock of this host is wrong.",
    "CERTIFICATE_VERIFY_FAILED": "Name the certificate of the authority that signed the broker's: "
    "amqps://...?cafile=/etc/forebay/ca.pem",
    "WRONG_VERSION_NUMBER": "That port does not speak TLS: write amqp://, or its port for TLS (often 5671).",
    "reset by peer": "Does that port speak TLS? Then write amqps://; else look into the broker's log.",
    "KEY_VALUES_MISMATCH": "keyfile in `bus` is not the private key of certfile.",
    "PEM lib": "certfile in `bus` has no private key with it: name its file as keyfile.",
    "cannot be read": "Put it there, readable for the user that forebay runs as.",
    "is no certificate": "Files of TLS are in the form PEM: they begin with -----BEGIN.",
}
_REMEDY = "See that RabbitMQ runs there, and that user, password and vhost in `bus` are right."
_FINAL = (
    "ALERT_UNKNOWN_CA",
    "ACCESS_REFUSED",
    "NOT_ALLOWED",
    "CERTIFICATE_",
    "_MISMATCH",
    "PEM lib",
    "cannot be read",
    "is no certif",
)
_IN_C = re.compile(r"\.? ?\(_ssl\.c:\d+\)")


def addresses(url: str) -> list[URL]:
    """Return one URL for each host of ``amqp://user:password@host:port,host:port/vhost``.

    Raises
    ------
    ValueError
        If one of them is no URL.
    """
    scheme, mark, rest = url.partition("://")
    cut = next((i for i, letter in enumerate(rest) if letter in "/?#"), len(rest))
    user, at, hosts = rest[:cut].rpartition("@")
    found = [URL(f"{scheme}{mark}{user}{at}{host.strip()}{rest[cut:]}") for host in hosts.split(",")]
    if not all(one.host for one in found):
        raise ValueError("a host is missing")
    return found


def check_files(url: URL) -> None:
    """Raise `BusError` for a file of TLS that is none: the library does not say which."""
    for name in ("cafile", "certfile", "keyfile"):
        if (path := url.query.get(name)) is None:
            continue
        try:
            text = Path(path).read_bytes()
        except OSError as error:
            raise BusError(f"{name} {path} cannot be read ({error.strerror})") from error
        if b"-----BEGIN" not in text or (name != "keyfile" and b"-----BEGIN CERTIFICATE" not in text):
            raise BusError(f"{name} {path} is no certificate or key")


def reason(error: BaseException) -> str:
    """Return what a failure to connect means, without a full stop."""
    if isinstance(error, TimeoutError):
        return "it does not answer"
    text = str(error)
    if isinstance(error, InvalidFrameError) and "Connection.Close" in text:
        return "it refused, which means most often that there is no such vhost, or that it is not this user's"
    return _IN_C.sub("", text).rstrip(".") or type(error).__name__


def is_final(error: BaseException) -> bool:
    """Whether it is of no use to try again before somebody has changed something."""
    return isinstance(error, AuthenticationError) or any(word in str(error) for word in _FINAL)


def unreachable(shown: str, why: str) -> BusError:
    """Return the error that says why a broker cannot be used, and what to do."""
    remedy = next((remedy for word, remedy in _REMEDIES.items() if word in why), _REMEDY)
    return BusError(f"The message broker {shown} cannot be used: {why}.", remedy)
