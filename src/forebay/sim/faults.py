"""Faults on demand: a plan for each frame that follows from (seed, pulse id, module) alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from forebay.errors import ConfigError
from forebay.sim.beats import Beat, Leap


class Fate(IntEnum):
    """What becomes of one packet of a frame; the receiver misses all but the sent ones."""

    SENT = 0
    LOST = 1
    SHORT = 2  # cut
    LONG = 3  # bytes too many
    EMPTY = 4  # a datagram without bytes
    WRONG_NUMBER = 5  # packet number outside the frame
    WRONG_PULSE = 6  # pulse id that is no number, no integer or out of bounds
    LATE = 7  # held back `late_pulses` pulses
    DEAD = 8  # the module does not send


_LEAP = re.compile(r"^(\d+):(\d+)(?::(\d+(?:\.\d+)?))?$", re.ASCII)
_DRAWN = (Fate.LOST, Fate.SHORT, Fate.LONG, Fate.EMPTY, Fate.WRONG_NUMBER, Fate.WRONG_PULSE, Fate.LATE)
_CHANCES = {"loss": Fate.LOST} | {fate.name.lower(): fate for fate in _DRAWN[1:]}


@dataclass(frozen=True, slots=True)
class Dead:
    """A module that sends nothing for pulse ids `first` to `last`, both included."""

    module: int
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Which faults a simulated detector has; probabilities are for each packet unless said otherwise.

    ``short``, ``long``, ``empty``, ``wrong_number`` and ``wrong_pulse`` damage the packet itself, so
    that it is missing at the receiver. ``duplicate``, ``foreign`` and ``garbage`` come on top of what is
    sent.

    Attributes
    ----------
    seed:
        Other seeds, other victims.
    loss, short, long, empty, wrong_number, wrong_pulse:
        See `Fate`.
    lost_frame:
        Probability that no packet of a module's frame is sent, for each frame.
    late, late_pulses:
        Probability that a packet is held back, and for how many pulses.
    duplicate:
        Probability that a packet comes again, up to `window` packets later.
    reorder, window:
        Probability that a packet is overtaken by up to `window` others, also by those of the next frame.
    foreign:
        Probability that beside a packet another comes from `foreign_address`: right in form, pixels all
        ones.
    garbage:
        Probability that beside a packet random bytes come, every other time of the right length.
    dead:
        Modules that do not send for a while.
    leaps:
        Restarts and jumps of the pulse id, in order.
    foreign_address:
        Local address that foreign packets are sent from.

    Raises
    ------
    ConfigError
        If a value is outside its bounds or the fates of a packet add up to more than 1.
    """

    seed: int = 0
    loss: float = 0.0
    lost_frame: float = 0.0
    short: float = 0.0
    long: float = 0.0
    empty: float = 0.0
    wrong_number: float = 0.0
    wrong_pulse: float = 0.0
    late: float = 0.0
    late_pulses: int = 50
    duplicate: float = 0.0
    reorder: float = 0.0
    window: int = 16
    foreign: float = 0.0
    garbage: float = 0.0
    dead: tuple[Dead, ...] = ()
    leaps: tuple[Leap, ...] = ()
    foreign_address: str = "127.0.0.2"

    def __post_init__(self) -> None:
        for key in PROBABILITIES:
            if not 0 <= getattr(self, key) <= 1:
                raise ConfigError(f"Fault {key}={getattr(self, key)}: a probability lies between 0 and 1.")
        for key, least in (("seed", 0), ("late_pulses", 1), ("window", 1)):
            if getattr(self, key) < least:
                raise ConfigError(f"Fault {key}={getattr(self, key)}: it must be at least {least}.")
        total = sum(getattr(self, key) for key in _CHANCES)
        if total > 1:
            raise ConfigError(
                f"The probabilities of {', '.join(_CHANCES)} add up to {total:g}.",
                "A packet has one fate: let them add up to 1 at most.",
            )

    def __bool__(self) -> bool:
        """Whether anything but leaps is asked for."""
        return bool(self.dead) or any(getattr(self, key) for key in PROBABILITIES)

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Faults:
        """Read ``key=value`` words, as many to a text as you like, split by commas or blanks.

        Beside the attributes: ``dead=MODULE:FIRST..LAST``, ``restart=AT:TO`` (back to the same or a smaller
        pulse id) and ``jump=AT:TO`` (forward), each as often as you like; ``restart=AT:TO:SECONDS`` is
        silent for so long before it goes on.

        Raises
        ------
        ConfigError
            If a key is not known or a value is not allowed; says which and what is.
        """
        values: dict[str, object] = {}
        dead: list[Dead] = []
        leaps: list[Leap] = []
        for word in " ".join(texts).replace(",", " ").split():
            key, _, value = word.partition("=")
            if key == "dead":
                dead.append(_parse_dead(value))
            elif key in ("restart", "jump"):
                leaps.append(_parse_leap(key, value))
            elif key in values:
                raise ConfigError(f"Fault {key} is given twice.")
            else:
                values[key] = _parse_value(key, value)
        return cls(**values, dead=tuple(dead), leaps=tuple(leaps))  # type: ignore[arg-type]


PROBABILITIES = tuple(f.name for f in fields(Faults) if f.type == "float")
"""Attributes of `Faults` that are probabilities."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What happens to one frame of one module.

    Attributes
    ----------
    fate:
        uint8 (packet,): a `Fate` each.
    place:
        float64 (packet,): where in the module's stream a sent packet leaves, in packets from the start
        of the frame; 5.5 is right after packet 5, and ``packets_per_frame`` and above is with the next
        frame.
    again:
        float64 (packet,): where it leaves a second time; -1 is never.
    n_foreign, n_garbage:
        Datagrams on top.
    salt:
        Seed of what is random inside the datagrams on top.
    """

    fate: NDArray[np.uint8]
    place: NDArray[np.float64]
    again: NDArray[np.float64]
    n_foreign: int
    n_garbage: int
    salt: int

    @property
    def n_missing(self) -> int:
        """Packets of this frame that a receiver will not have in time."""
        return int(np.count_nonzero(self.fate))

    @property
    def n_reordered(self) -> int:
        """Packets that do not leave where they should."""
        return int(np.count_nonzero((self.place != np.arange(self.place.size)) & (self.fate == Fate.SENT)))

    def counts(self) -> dict[str, int]:
        """Count by kind: the fates, then ``duplicate``, ``reordered``, ``foreign`` and ``garbage``."""
        by_fate = np.bincount(self.fate, minlength=len(Fate))
        return {fate.name.lower(): int(by_fate[fate]) for fate in Fate} | {
            "duplicate": int(np.count_nonzero(self.again >= 0)),
            "reordered": self.n_reordered,
            "foreign": self.n_foreign,
            "garbage": self.n_garbage,
        }


def plan(faults: Faults, beat: Beat, module: int, n_packets: int) -> Plan:
    """Return what happens to the frame of `n_packets` packets that `module` makes at `beat`.

    Depends on seed, pulse id, epoch and module only, not on what happened before.
    """
    place = np.arange(n_packets, dtype=np.float64)
    again = np.full(n_packets, -1.0)
    if any(d.module == module and d.first <= beat.pulse_id <= d.last for d in faults.dead):
        return Plan(np.full(n_packets, Fate.DEAD, np.uint8), place, again, 0, 0, 0)
    random = np.random.default_rng([faults.seed, beat.pulse_id, beat.epoch, module])
    chance = random.random((4, n_packets))
    shift = random.integers(1, faults.window, (2, n_packets), endpoint=True) + 0.5
    steps = np.cumsum([getattr(faults, key) for key in _CHANCES])
    drawn = np.append(np.array(_DRAWN, np.uint8), np.uint8(Fate.SENT))
    fate = drawn[np.searchsorted(steps, chance[0], side="right")]
    n_foreign, n_garbage = (int(n) for n in random.binomial(n_packets, [faults.foreign, faults.garbage]))
    if random.random() < faults.lost_frame:
        fate[:] = Fate.LOST
    sent = fate == Fate.SENT
    place += np.where(sent & (chance[1] < faults.reorder), shift[0], 0)
    again = np.where(sent & (chance[2] < faults.duplicate), place + shift[1], again)
    return Plan(fate, place, again, n_foreign, n_garbage, int(random.integers(2**32)))


def _parse_value(key: str, value: str) -> object:
    kinds = {f.name: f.type for f in fields(Faults) if f.name not in ("dead", "leaps")}
    if key not in kinds:
        allowed = ", ".join([*kinds, "dead", "restart", "jump"])
        raise ConfigError(f"There is no fault {key!r}.", f"Write key=value; the keys are {allowed}.")
    try:
        return {"int": int, "float": float, "str": str}[str(kinds[key])](value)
    except ValueError as error:
        raise ConfigError(f"Fault {key}={value!r} is not a number.") from error


def _parse_dead(value: str) -> Dead:
    module, _, pulses = value.partition(":")
    first, _, last = pulses.partition("..")
    if not (module.isdecimal() and first.isdecimal() and last.isdecimal()) or int(last) < int(first):
        raise ConfigError(
            f"Fault dead={value!r} is not a module and its dead pulses.", "Write dead=MODULE:FIRST..LAST."
        )
    return Dead(int(module), int(first), int(last))


def _parse_leap(key: str, value: str) -> Leap:
    match = _LEAP.match(value)
    if match is None:
        raise ConfigError(
            f"Fault {key}={value!r} is not a pair of pulse ids.", f"Write {key}=AT:TO or {key}=AT:TO:SECONDS."
        )
    at, to, seconds = match.groups()
    if (int(to) > int(at)) != (key == "jump"):
        way = "back, or stands" if key == "restart" else "forward"
        raise ConfigError(
            f"Fault {key}={value!r}: a {key} goes {way}.", "Take restart= or jump= accordingly."
        )
    return Leap(int(at), int(to), float(seconds or 0))
