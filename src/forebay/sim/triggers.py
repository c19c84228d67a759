"""The trigger board of a camera: patterns of superpixels that fired, by UDP."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from forebay.errors import ConfigError
from forebay.wire.trigger import N_SUPERPIXELS, TriggerPattern, encode

_MOST_RATE_HZ = 100_000
_MOST_FIRED = 20
_CLOCK_HZ = 10**9
_NAP_S = 0.1


@dataclass(frozen=True, kw_only=True)
class TriggerOptions:
    """What is sent, where to and how fast.

    Attributes
    ----------
    rate_hz:
        Triggers a second; 0 as fast as it goes.
    count:
        End after so many; None for no end.
    types:
        Types of the datagrams, in turn: 0 nominal, 1 busy, 2 any number of samples, 3 the same without
        superpixels that did not fire.
    n_samples:
        Of types 2 and 3; the others have 16.
    """

    host: str = "127.0.0.1"
    port: int = 8307
    rate_hz: float = 100.0
    count: int | None = None
    types: tuple[int, ...] = (0,)
    n_samples: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rate_hz <= _MOST_RATE_HZ:
            raise ConfigError(f"A rate of {self.rate_hz} Hz cannot be sent.", f"Give 0 to {_MOST_RATE_HZ}.")
        if not self.types or any(one not in (0, 1, 2, 3) for one in self.types):
            raise ConfigError(f"Trigger patterns have no types {self.types}.", "The types are 0 to 3.")
        if self.n_samples % 8 or not 0 < self.n_samples < 2048:
            raise ConfigError(f"{self.n_samples} samples are no pattern.", "Give 8, 16, ... 2040.")


def pattern(options: TriggerOptions, number: int, time_ns: int) -> TriggerPattern:
    """Return trigger `number`, from 0, with some superpixels that fired for some samples."""
    random = np.random.default_rng((options.seed, number))
    kind = options.types[number % len(options.types)]
    n_samples = 16 if kind < 2 else options.n_samples
    fired = random.choice(N_SUPERPIXELS, random.integers(1, _MOST_FIRED + 1), replace=False)
    samples = np.zeros((n_samples, N_SUPERPIXELS), bool)
    samples[n_samples // 4 : n_samples // 2, fired] = True
    seconds, rest_ns = divmod(time_ns, 10**9)
    return TriggerPattern(
        type=kind,
        time_ns=time_ns,
        phase=1 << int(random.integers(8)),
        union=np.isin(np.arange(N_SUPERPIXELS), fired),
        pattern=samples,
        count=(number + 1) % 2**32,
        pps=seconds % 2**32,
        clock=rest_ns * _CLOCK_HZ // 10**9,
        trigger_type=1 if kind < 2 else 0,
    )


def send_triggers(options: TriggerOptions, is_over: Callable[[], bool] = lambda: False) -> dict[str, int]:
    """Send triggers until the count is reached or `is_over`; return how many datagrams and bytes.

    Raises
    ------
    ConfigError
        If the host cannot be resolved.
    """
    sent = {"triggers": 0, "bytes": 0}
    try:
        found = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise ConfigError(f"There is no host {options.host!r}: {error.strerror}.") from error
    family, kind, _, _, address = found[0]
    with socket.socket(family, kind) as board:
        began_s = time.monotonic()
        while not is_over() and sent["triggers"] != options.count:
            number = sent["triggers"]
            if options.rate_hz:
                wait_s = began_s + number / options.rate_hz - time.monotonic()
                if wait_s > _NAP_S:
                    time.sleep(_NAP_S)
                    continue
                if wait_s > 0:
                    time.sleep(wait_s)
            datagram = encode(pattern(options, number, time.time_ns()))
            board.sendto(datagram, address)
            sent["triggers"] += 1
            sent["bytes"] += len(datagram)
    return sent
