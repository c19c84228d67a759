"""What may go wrong with a simulated PACMAN board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from forebay.errors import ConfigError

CHANCES = {
    "drop": "a message that counts as sent is lost",
    "parity": "a word has one bit wrong",
    "cut": "a message is cut short",
    "miscount": "a message says another number of words than it has",
    "local-half": "a word says that the FIFO of its channel is half full",
    "local-full": "a word says that it is full, and thus half full",
    "shared-half": "a word says that the FIFO of its chip is half full",
    "shared-full": "a word says that it is full, and thus half full",
}
"""NAME=P: with probability P for each word or message. Chips of version 1 have one FIFO, the local one."""

MOMENTS = {
    "no-sync": "in this second no sync comes",
    "reset": "the clock of the board is reset in the middle of this second",
    "switch": "the clock's source changes in this second",
    "stall": "nothing comes for a second, then all of it at once",
    "silent": "from this second on the board sends nothing more",
}
"""NAME=SECOND: once, in this second of the run."""


@dataclass(frozen=True)
class Faults:
    """Chances by name, 0 to 1, and the second of the run by name."""

    chances: dict[str, float] = field(default_factory=dict)
    moments: dict[str, int] = field(default_factory=dict)

    def chance(self, name: str) -> float:
        """Return how probable a fault is."""
        return self.chances.get(name, 0.0)

    def is_in(self, name: str, second: int) -> bool:
        """Whether a fault is due in this second."""
        return self.moments.get(name, -1) == second


def parse_faults(texts: Sequence[str]) -> Faults:
    """Read ``NAME=VALUE`` of each fault.

    Raises
    ------
    ConfigError
        If there is no such fault, or its value is none.
    """
    faults = Faults()
    for text in texts:
        name, _, value = text.partition("=")
        number = _number(value)
        if name in CHANCES and 0 <= number <= 1:
            faults.chances[name] = number
            continue
        if name in MOMENTS and number >= 0 and number == int(number):
            faults.moments[name] = int(number)
            continue
        known = ", ".join([f"{one}=PROBABILITY" for one in CHANCES] + [f"{one}=SECOND" for one in MOMENTS])
        raise ConfigError(f"{text!r} is no fault of a board.", f"The faults are: {known}.")
    return faults


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return -1.0
    return number if number < 2**31 else -1.0
