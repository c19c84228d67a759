"""A camera of 32 TARGET modules in one process, each with an address of its own, and its faults."""

from __future__ import annotations

import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from forebay import _native
from forebay.errors import ConfigError
from forebay.wire import target

_FIRST_ADDRESS = 100
_MOST_RATE_HZ = 10_000
_MOST_PACKED = 65507 // target.BLOCK.itemsize
_STEP_MV = 4.0
_START_MV = 400.0
_NAP_S = 0.1

Signal = Literal["drift", "pattern"]


@dataclass(frozen=True, kw_only=True)
class CameraFaults:
    """What goes wrong; probabilities are for each datagram.

    Attributes
    ----------
    loss, duplicate, late, short, empty:
        Not sent; sent twice; sent `late_cycles` datagrams later; cut; without bytes, beside the right one.
    dead:
        Modules that send nothing.
    leap:
        Cycle -> seconds by which the clock of all modules jumps before it.
    seed:
        Other seeds, other victims.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    late: float = 0.0
    late_cycles: int = 2
    short: float = 0.0
    empty: float = 0.0
    dead: frozenset[int] = frozenset()
    leap: dict[int, float] = field(default_factory=dict)
    seed: int = 0

    @classmethod
    def parse(cls, texts: Iterable[str]) -> CameraFaults:
        """Read ``key=value`` words: probabilities, ``dead=MODULE`` and ``leap=CYCLE:SECONDS``.

        Raises
        ------
        ConfigError
            If a key is not known or a value is not allowed.
        """
        known = {one.name for one in fields(cls)}
        numbers: dict[str, Any] = {}
        dead: set[int] = set()
        leap: dict[int, float] = {}
        for word in " ".join(texts).replace(",", " ").split():
            key, _, value = word.partition("=")
            if key not in known:
                raise ConfigError(f"There is no fault {key!r}.", f"Faults are {', '.join(sorted(known))}.")
            try:
                if key == "dead":
                    dead.add(int(value))
                elif key == "leap":
                    cycle, _, seconds = value.partition(":")
                    leap[int(cycle)] = float(seconds)
                else:
                    numbers[key] = int(value) if key in ("late_cycles", "seed") else float(value)
            except ValueError as error:
                raise ConfigError(f"Fault {word!r}: {value!r} is not a value of {key}.") from error
        return cls(**numbers, dead=frozenset(dead), leap=leap)

    def __post_init__(self) -> None:
        for key in ("loss", "duplicate", "late", "short", "empty"):
            if not 0 <= getattr(self, key) <= 1:
                raise ConfigError(f"Fault {key}={getattr(self, key)}: a probability lies between 0 and 1.")
        if bad := [module for module in self.dead if not 0 <= module < target.N_MODULES]:
            raise ConfigError(f"Fault dead={bad[0]}: modules are 0 to {target.N_MODULES - 1}.")
        if self.late_cycles < 1:
            raise ConfigError(f"Fault late_cycles={self.late_cycles}: it must be at least 1.")


@dataclass(frozen=True, kw_only=True)
class CameraOptions:
    """What is sent, where to and how fast.

    Attributes
    ----------
    host, port:
        Of the receiver.
    rate_hz:
        Readouts a second; 0 sends as fast as it goes, with time tags as at 1 kHz.
    packed:
        Readouts of one datagram.
    count:
        Readouts to send, in whole datagrams; None for no end.
    modules:
        Which modules there are.
    network:
        First three bytes of the modules' addresses, which end in 100 + module; "" sends everything from
        any address, which makes one module of all.
    source:
        One address from which everything is sent, instead.
    jitter_ns:
        Time tags of the modules differ by up to so much to either side.
    spread:
        Modules send one after the other, evenly over the time of a datagram, not all at once.
    signal:
        ``drift``: a random walk of each pixel. ``pattern``: 64 * module + pixel + 3 * readout counts.
    start_ns:
        First time tag; None for the time of day.
    """

    host: str = "127.0.0.1"
    port: int = 2009
    rate_hz: float = 33.0
    packed: int = 10
    count: int | None = None
    modules: Sequence[int] = tuple(range(target.N_MODULES))
    network: str = "127.0.0"
    source: str = ""
    jitter_ns: int = 0
    spread: bool = False
    signal: Signal = "drift"
    start_ns: int | None = None
    faults: CameraFaults = CameraFaults()

    def __post_init__(self) -> None:
        if not 0 <= self.rate_hz <= _MOST_RATE_HZ:
            raise ConfigError(f"A rate of {self.rate_hz} Hz cannot be sent.", f"Give 0 to {_MOST_RATE_HZ}.")
        if not 1 <= self.packed <= _MOST_PACKED:
            raise ConfigError(f"{self.packed} readouts are not a datagram.", f"Give 1 to {_MOST_PACKED}.")
        if bad := [module for module in self.modules if not 0 <= module < target.N_MODULES]:
            raise ConfigError(f"There is no module {bad[0]}.", f"Modules are 0 to {target.N_MODULES - 1}.")

    def address_of(self, module: int) -> str:
        """Return from which address a module sends; empty for any."""
        return self.source or (f"{self.network}.{_FIRST_ADDRESS + module}" if self.network else "")


def _period_ns(rate_hz: float) -> int:
    """Return the distance of neighbouring readouts."""
    return round(1e9 / (rate_hz or 1000.0))


class Signals:
    """The blocks of all modules, one cycle (a datagram of each) after the other.

    Attributes
    ----------
    period_ns:
        Distance of neighbouring readouts; may be changed between cycles.
    """

    def __init__(self, options: CameraOptions, start_ns: int) -> None:
        self._options = options
        self.period_ns = _period_ns(options.rate_hz)
        self._time_ns = start_ns
        self._modules = np.array(options.modules, np.int64)
        self._random = np.random.default_rng(options.faults.seed)
        self._level = self._random.uniform(0, _START_MV, (len(self._modules), 1, target.N_PIXELS))
        self._readout = 0

    def cycle(self, leap_s: float = 0.0) -> NDArray[np.uint8]:
        """Return the next datagram of each module, (module, byte)."""
        options, n = self._options, self._options.packed
        self._time_ns += round(leap_s * 1e9)
        times = np.tile(self._time_ns + np.arange(n) * self.period_ns, (len(self._modules), 1))
        if options.jitter_ns:
            times += self._random.integers(-options.jitter_ns, options.jitter_ns + 1, times.shape)
        blocks = target.encode(
            times.astype(np.uint64),
            (times + 1000 * (self._modules[:, None] + 1)).astype(np.uint64),
            self._amplitudes(n),
        )
        self._time_ns += n * self.period_ns
        self._readout += n
        return blocks.view(np.uint8).reshape(len(self._modules), n * target.BLOCK.itemsize)

    def _amplitudes(self, n: int) -> NDArray[np.uint16]:
        if self._options.signal == "pattern":
            readout = self._readout + np.arange(n)[:, None]
            module = self._modules[:, None, None]
            counts = 64 * module + np.arange(target.N_PIXELS) + 3 * readout
            return (counts & 0xFFFF).astype(np.uint16)
        shape = (len(self._modules), n, target.N_PIXELS)
        walk = self._level + np.cumsum(self._random.uniform(-_STEP_MV, _STEP_MV, shape), axis=1)
        np.abs(walk, out=walk)  # a signal does not go below zero
        self._level = walk[:, -1:]
        return target.counts_of(walk)


class Camera:
    """Sends the datagrams of all modules.

    `silent` and `change_rate` are for any thread, also while `run` goes on.

    Raises
    ------
    ConfigError
        If the host is not known, or an address of a module is not of this computer.

    Attributes
    ----------
    silent:
        Modules that send nothing now; their readouts go by.
    rate_hz:
        Readouts a second; 0 as fast as it goes.
    datagrams_of_module:
        (module,) datagrams sent.
    """

    def __init__(self, options: CameraOptions) -> None:
        self.options = options
        self.counts: Counter[str] = Counter()
        start_ns = time.time_ns() if options.start_ns is None else options.start_ns
        self._signals = Signals(options, start_ns)
        self._random = np.random.default_rng(options.faults.seed + 1)
        self._late: deque[list[tuple[int, NDArray[np.uint8]]]] = deque(
            [] for _ in range(options.faults.late_cycles)
        )
        self._cycle = 0
        self.silent: set[int] = set()
        self.rate_hz = self._paced_hz = options.rate_hz
        self.datagrams_of_module = [0] * target.N_MODULES
        with ExitStack() as stack:
            self._sockets = [stack.enter_context(_connected(options, module)) for module in options.modules]
            self._stack = stack.pop_all()

    @property
    def _cycle_s(self) -> float:
        return self.options.packed / self._paced_hz if self._paced_hz else 0.0

    def change_rate(self, rate_hz: float) -> None:
        """Send so many readouts a second from the next cycle on, and stamp them so.

        Raises
        ------
        ConfigError
            If it is not above 0, or too high.
        """
        if not 0 < rate_hz <= _MOST_RATE_HZ:
            raise ConfigError(f"A rate of {rate_hz:g} Hz cannot be sent.", f"Give up to {_MOST_RATE_HZ}.")
        self.rate_hz = rate_hz

    def send(self, due: float | None = None) -> None:
        """Send one datagram of each module, or what the faults make of it.

        Parameters
        ----------
        due:
            When this cycle begins, on the monotonic clock; needed where modules are spread.
        """
        faults = self.options.faults
        rows = self._signals.cycle(faults.leap.get(self._cycle, 0.0))
        self._cycle += 1
        chances = self._random.random((5, len(rows)))
        overdue = self._late.popleft()
        self._late.append([])
        for i, module in enumerate(self.options.modules):
            if self.options.spread and due is not None:
                time.sleep(max(0.0, due + i * self._cycle_s / len(rows) - time.monotonic()))
            row = rows[i : i + 1]
            if module in faults.dead or module in self.silent:
                self.counts["dead" if module in faults.dead else "silent"] += 1
            elif chances[0, i] < faults.loss:
                self.counts["lost"] += 1
            elif chances[1, i] < faults.late:
                self._late[-1].append((i, row.copy()))
                self.counts["late"] += 1
            elif chances[2, i] < faults.short:
                self._send(i, row[:, : int(self._random.integers(1, target.BLOCK.itemsize))], "short")
            else:
                self._send(i, row, "datagrams")
                if chances[3, i] < faults.duplicate:
                    self._send(i, row, "duplicate")
            if chances[4, i] < faults.empty:
                with suppress(ConnectionRefusedError):  # nobody listened to an earlier one
                    self._sockets[i].send(b"")
                self.counts["empty"] += 1
        for i, row in overdue:
            self._send(i, row, "datagrams")

    def _send(self, i: int, row: NDArray[np.uint8], kind: str) -> None:
        _native.send_datagrams(self._sockets[i].fileno(), np.ascontiguousarray(row), segment=False)
        self.counts[kind] += 1
        self.datagrams_of_module[self.options.modules[i]] += 1

    def run(self, stop: Callable[[], bool] = lambda: False) -> Counter[str]:
        """Send until the count is reached or `stop()` is true; return what was sent, by kind."""
        options = self.options
        due = time.monotonic()
        while options.count is None or self._cycle * options.packed < options.count:
            while (left := due - time.monotonic()) > 0 and not stop() and self.rate_hz == self._paced_hz:
                time.sleep(min(left, _NAP_S))
            if stop():
                break
            if self.rate_hz != self._paced_hz:
                self._paced_hz = self.rate_hz
                self._signals.period_ns = _period_ns(self._paced_hz)
                due = time.monotonic()
            self.send(due)
            due += self._cycle_s
        return self.counts

    def close(self) -> None:
        """Close the sockets; may be called twice."""
        self._stack.close()


def _connected(options: CameraOptions, module: int) -> socket.socket:
    source = options.address_of(module)
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        if source:
            out.bind((source, 0))
        out.connect((options.host, options.port))
    except OSError as error:
        out.close()
        raise ConfigError(
            f"Module {module} cannot send to {options.host}:{options.port} from {source or 'here'}: {error}.",
            "Give a host that can be reached and a network of this computer.",
        ) from error
    return out
