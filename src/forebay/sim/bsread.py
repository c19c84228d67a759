"""A beam-synchronous source that is not there: scalars, waveforms, strings, a camera, and what goes wrong."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forebay.errors import ConfigError
from forebay.pulse import MAX_PULSE_ID
from forebay.wire.bsread import Frame, Header, announce, describe, message

FAULTS: Final = {
    "drop": "the message of a pulse is not sent",
    "duplicate": "it is sent twice",
    "reverse": "it changes places with the next one",
    "missing": "a channel has no value, each by itself",
    "malformed": "the data header is cut",
}
"""Faults by probability: of each message, or of each value (missing)."""

EVENTS: Final = {
    "stall": "PULSE:SECONDS, nothing comes for a time",
    "jump": "PULSE:SECONDS, the clock jumps",
    "reshape": "PULSE, every waveform has one element more and the camera one row more from here on",
    "restart": "PULSE:FIRST, the counter goes on from FIRST",
}
"""Faults at a pulse id."""

_SPOT = 64
_N_BACKGROUNDS = 8


@dataclass(frozen=True, slots=True)
class BsreadOptions:
    """What is sent.

    Attributes
    ----------
    scalars, waveforms, strings:
        How many channels beside the eight of ``bs simulate``.
    camera:
        (column, row) of an image uint16; None for no camera.
    drift:
        By how much each scalar grows from one pulse to the next.
    chances:
        Fault of `FAULTS` -> probability.
    at:
        Event of `EVENTS` -> pulse id and its number.
    """

    scalars: int = 0
    waveforms: int = 0
    strings: int = 0
    camera: tuple[int, int] | None = None
    compression: str | None = None
    first_pulse: int = 1
    pulse_step: int = 1
    count: int | None = None
    interval_s: float = 0.01
    drift: float = 0.001
    seed: int = 1
    chances: Mapping[str, float] = field(default_factory=dict)
    at: Mapping[str, tuple[int, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sending:
    """One message, and how long to wait before it beyond the usual."""

    pulse_id: int
    parts: list[Frame]
    pause_s: float = 0.0


def parse_faults(words: list[str]) -> tuple[dict[str, float], dict[str, tuple[int, float]]]:
    """Return chances and events of words such as ``drop=0.01`` and ``stall=500:2``.

    Raises
    ------
    ConfigError
        If a word is none of them.
    """
    chances: dict[str, float] = {}
    at: dict[str, tuple[int, float]] = {}
    for word in " ".join(words).split():
        name, _, text = word.partition("=")
        try:
            if name in FAULTS:
                chances[name] = float(text)
                if not 0 <= chances[name] <= 1:
                    raise ValueError
            elif name in EVENTS:
                pulse, _, number = text.partition(":")
                at[name] = (int(pulse), float(number or 0))
            else:
                raise ConfigError(
                    f"There is no fault {name!r}.", f"The faults are: {', '.join([*FAULTS, *EVENTS])}."
                )
        except ValueError as error:
            meaning = "a probability, 0 to 1" if name in FAULTS else EVENTS[name]
            raise ConfigError(f"Fault {word!r}: {text!r} is not {meaning}.") from error
    return chances, at


class BsreadSimulator:
    """Makes messages; values follow from pulse id, channel and seed alone."""

    def __init__(self, options: BsreadOptions) -> None:
        self.options = options
        self._headers: dict[bool, Header] = {}
        random_ = np.random.default_rng(options.seed)
        self._backgrounds: list[NDArray[np.uint16]] = []
        if options.camera is not None:
            columns, rows = options.camera
            if columns < _SPOT or rows < _SPOT:
                raise ConfigError(f"A camera of {columns} x {rows} is too small; {_SPOT} x {_SPOT} at least.")
            self._backgrounds = [
                random_.poisson(20, (rows, columns)).astype(np.uint16) for _ in range(_N_BACKGROUNDS)
            ]
        x = np.arange(_SPOT) - _SPOT / 2
        self._spot = (2000 * np.exp(-np.add.outer(x**2, x**2) / 200)).astype(np.uint16)

    def values(self, pulse_id: int) -> dict[str, Any]:
        """Return what the channels have at a pulse."""
        options = self.options
        p = float(pulse_id)
        more = int(self._is_reshaped(pulse_id))
        values: dict[str, Any] = {
            "ABC": np.int32(pulse_id % 2**31),
            "ABCD": p * 10,
            "ABCDF": p * 100,
            "XYZ": p * 200,
            "XYZW": f"hello {pulse_id}",
            "WWW": np.full(4, p),
            "WAVE": np.sin(np.arange(30 + more) / 5 + p / 10),
            "IMAGE": np.arange(8, dtype="f8").reshape(2, 4) + p,
        }
        values |= {f"SIM:S{i:04}": i + p * options.drift for i in range(options.scalars)}
        values |= {
            f"SIM:W{i:04}": np.arange(1000 + more) + p * options.drift for i in range(options.waveforms)
        }
        values |= {f"SIM:T{i:04}": f"pulse {pulse_id} π" for i in range(options.strings)}
        if self._backgrounds:
            image = self.image(pulse_id)
            values["SIM:CAM:FPICTURE"] = np.vstack([image, image[-1:]]) if more else image
        return values

    def image(self, pulse_id: int) -> NDArray[np.uint16]:
        """Return the camera's image, (row, column): noise, a spot that wanders, the pulse id in 4 pixels."""
        image = self._backgrounds[pulse_id % _N_BACKGROUNDS].copy()
        rows, columns = image.shape
        y, x = pulse_id % (rows - _SPOT + 1), 3 * pulse_id % (columns - _SPOT + 1)
        image[y : y + _SPOT, x : x + _SPOT] += self._spot
        image[0, :4] = [pulse_id >> shift & 0xFFFF for shift in (48, 32, 16, 0)]
        return image

    def parts(self, pulse_id: int, time_ns: int) -> list[Frame]:
        """Return the message of a pulse, with the values that are missing left out."""
        values = self.values(pulse_id)
        shape = self._is_reshaped(pulse_id)
        header = self._headers.get(shape)
        if header is None:
            compression = self.options.compression
            header = announce([describe(name, value, compression) for name, value in values.items()])
            self._headers[shape] = header
        chance = self.options.chances.get("missing", 0.0)
        if chance:
            draw = random.Random(f"{self.options.seed} missing {pulse_id}")  # noqa: S311 - not for secrets
            values = {name: value for name, value in values.items() if draw.random() >= chance}
        return message(header, pulse_id, time_ns, values)

    def sendings(self, start_ns: int) -> Iterator[Sending]:
        """Yield what is to be sent, pulse after pulse; the time of a pulse follows from its place."""
        options = self.options
        pulse_id, n, jump_s = options.first_pulse, 0, 0.0
        swapped: Sending | None = None
        while (options.count is None or n < options.count) and pulse_id <= MAX_PULSE_ID:
            pause_s = 0.0
            if self._is_at("stall", pulse_id):
                pause_s = options.at["stall"][1]
            if self._is_at("jump", pulse_id):
                jump_s = options.at["jump"][1]
            time_ns = start_ns + int((n * options.interval_s + jump_s) * 1e9)
            sending = Sending(pulse_id, self.parts(pulse_id, time_ns), pause_s)
            fate = self._fate(pulse_id)
            if fate == "malformed":
                sending.parts[1] = bytes(sending.parts[1])[:-2]
            if fate == "reverse" and swapped is None:
                swapped = sending
            elif fate != "drop":
                yield sending
                if fate == "duplicate":
                    yield Sending(pulse_id, sending.parts)
            if swapped is not None and sending is not swapped:
                yield swapped
                swapped = None
            n += 1
            pulse_id += options.pulse_step
            if self._is_at("restart", pulse_id) and options.at["restart"][1] < pulse_id:
                pulse_id = int(options.at["restart"][1])
        if swapped is not None:
            yield swapped

    def _fate(self, pulse_id: int) -> str:
        draw = random.Random(f"{self.options.seed} fate {pulse_id}").random()  # noqa: S311 - not for secrets
        for name, chance in self.options.chances.items():
            if name != "missing":
                if draw < chance:
                    return name
                draw -= chance
        return ""

    def _is_at(self, name: str, pulse_id: int) -> bool:
        return name in self.options.at and self.options.at[name][0] == pulse_id

    def _is_reshaped(self, pulse_id: int) -> bool:
        return "reshape" in self.options.at and pulse_id >= self.options.at["reshape"][0]
