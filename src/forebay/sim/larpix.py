"""A PACMAN board that is not there, with its chips: data, registers, configurations, thresholds, faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forebay.errors import ConfigError, WireError
from forebay.sim.larpix_faults import Faults
from forebay.wire import pacman
from forebay.wire.larpix.configure import BROADCAST, MAGIC
from forebay.wire.larpix.registers import default_registers, settings_of, with_settings
from forebay.wire.larpix.word import CONFIG_READ, CONFIG_WRITE, Words, decode, encode, format_of
from forebay.wire.pacman_account import CLOCK_HZ

WORDS_SENT: Final = 0xF0000000
"""Registers that only simulated boards have: words sent so far, low and high half (+4)."""

REGISTERS: Final = {0x10: 0, 0x1010: 0, 0x1014: 0x1000, 0x24001: 0, 0x24011: 0}
"""Registers of the board and their values at first: tile enable, clock and reset, reset cycles, supplies."""

_TRIM_STEPS: Final = 8  # steps of threshold for a factor of 2 in rate
_BLOCK = 0.02  # seconds of data that are made together, at most
ChipKey = tuple[int, int]


@dataclass(frozen=True)
class BoardOptions:
    """What a simulated board is.

    Attributes
    ----------
    chips:
        (io channel, chip id) of each.
    rate_hz:
        Data words a second at the configuration that the chips start with; halved for every 8 steps by which
        thresholds rise. Masked channels and those whose amplifier is off send nothing.
    words_per_message:
        Data words in one message.
    trigger_hz:
        Trigger words a second.
    count:
        Data words after which the board sends nothing more; None for ever.
    """

    io_group: int = 1
    asic_version: str = "2"
    chips: tuple[ChipKey, ...] = ((1, 11), (1, 12), (2, 13), (2, 14))
    rate_hz: float = 1000.0
    words_per_message: int = 10
    trigger_hz: float = 0.0
    count: int | None = None
    seed: int = 1
    faults: Faults = field(default_factory=Faults)


class SimulatedBoard:
    """Answers requests and makes data messages; has no clock and no sockets of its own.

    Parameters
    ----------
    start_s:
        Unix seconds at which it was switched on.

    Attributes
    ----------
    words_sent:
        Words in the messages made so far, also in those that a fault lost.

    Raises
    ------
    ConfigError
        If there are no chips of such a version, or the options are out of range.
    """

    def __init__(self, options: BoardOptions, start_s: float) -> None:
        if not 1 <= options.words_per_message <= pacman.MAX_WORDS or options.rate_hz < 0 or not options.chips:
            raise ConfigError(
                f"A board of {len(options.chips)} chips cannot send {options.words_per_message} words a "
                f"message at {options.rate_hz} Hz.",
                "Give chips, 1 to 65535 words a message, and a rate of 0 or more.",
            )
        self.options = options
        self.registers = dict(REGISTERS)
        self.word_format = format_of(options.asic_version)
        self.chips = {key: self._first_configuration(key[1]) for key in options.chips}
        self.words_sent = 0
        self.data_words_made = 0
        self._start_s = self._made_until = start_s
        self._second = -1
        self._random = np.random.default_rng(options.seed)
        self._answers: list[NDArray[np.void]] = []
        self._held: list[bytes] = []
        self._reset_at = 0.0
        self._owed = self._owed_triggers = 0.0
        self._reference = self._weights().sum()
        self._chances = self._weights() / max(self._reference, 1)
        self._is_clock_external = False

    def reset_chips(self) -> None:
        """Give all chips the configuration that they start with."""
        self.chips = {key: self._first_configuration(key[1]) for key in self.options.chips}
        self._chances = self._weights() / max(self._reference, 1)

    def _first_configuration(self, chip_id: int) -> NDArray[np.uint8]:
        version = self.options.asic_version
        registers = default_registers(version)
        if version == "1":
            return registers
        settings = {
            "chip_id": chip_id,
            "threshold_global": 40,
            "csa_enable": [1] * 64,
            "channel_mask": [0] * 64,
        }
        return with_settings(registers, settings, version)

    def _weights(self) -> NDArray[np.float64]:
        """Return the rate of each channel of each chip, in units of its rate at the start."""
        rates = []
        for registers in self.chips.values():
            settings = settings_of(registers, self.options.asic_version)
            is_on = 1 - np.array(settings["channel_mask"])
            if self.options.asic_version == "1":
                steps = np.array(settings["pixel_trim_thresholds"]) + settings["global_threshold"] - 32
            else:
                steps = np.array(settings["pixel_trim_dac"]) + settings["threshold_global"] - 56
                is_on *= np.array(settings["csa_enable"])
            rates.append(is_on * 2.0 ** -(steps / _TRIM_STEPS))
        return np.concatenate(rates)

    # Requests

    def answer(self, request: bytes, now_s: float) -> bytes:
        """Return the reply to a request; what no board would take is answered by errors."""
        try:
            commands = pacman.decode_commands(pacman.decode(request))
        except WireError:
            error = pacman.Command("E", code=1, text=b"bad request")
            return pacman.encode_commands(pacman.REPLY, int(now_s), [error])
        replies = [self._execute(command, now_s) for command in commands]
        return pacman.encode_commands(pacman.REPLY, int(now_s), replies)

    def _execute(self, command: pacman.Command, now_s: float) -> pacman.Command:
        if command.kind == "P":
            return command
        if command.kind == "D":
            self._to_chips(command.channel, np.array([command.word], np.uint64), now_s)
            return command
        if command.kind == "W" and command.register in self.registers:
            self.registers[command.register] = command.value
            return command
        sent = {WORDS_SENT: self.words_sent & 0xFFFFFFFF, WORDS_SENT + 4: self.words_sent >> 32}
        known = {**self.registers, **sent}
        if command.kind == "R" and command.register in known:
            return pacman.Command("R", register=command.register, value=known[command.register])
        return pacman.Command("E", code=2, text=b"bad register")

    def _to_chips(self, io_channel: int, words: Words, now_s: float) -> None:
        columns = {name: int(column[0]) for name, column in decode(words, self.word_format).items()}
        if not columns["valid_parity"] or columns["packet_type"] not in (CONFIG_WRITE, CONFIG_READ):
            return
        if columns.get("magic", MAGIC) != MAGIC:
            return
        for (channel, chip_id), registers in self.chips.items():
            address = columns["register_address"]
            is_mine = channel == io_channel and columns["chip_id"] in (chip_id, BROADCAST)
            if not is_mine or address >= len(registers):
                continue
            if columns["packet_type"] == CONFIG_WRITE:
                registers[address] = columns["register_data"]
                self._chances = self._weights() / max(self._reference, 1)
                continue
            fields = {
                "packet_type": CONFIG_READ,
                "chip_id": chip_id,
                "register_address": address,
                "register_data": registers[address],
                **({"magic": MAGIC} if "magic" in columns else {}),
            }
            word = encode(fields, self.word_format)
            self._answers.append(pacman.data_words(channel, self._clock(now_s), word.reshape(1)))

    # Data

    def _clock(self, now_s: float) -> int:
        return int((now_s - max(np.floor(now_s), self._reset_at)) * CLOCK_HZ) & 0x7FFFFFFF

    def messages(self, until_s: float) -> list[bytes]:
        """Return the data messages of the time from the last call to `until_s`, unix seconds."""
        made: list[bytes] = []
        while self._made_until < until_s:
            end = min(until_s, np.floor(self._made_until) + 1, self._made_until + _BLOCK)
            made += self._stretch(self._made_until, end)
            self._made_until = end
        return made

    def _stretch(self, start_s: float, end_s: float) -> list[bytes]:
        second = int(start_s)
        in_run = second - int(self._start_s)
        faults = self.options.faults
        if in_run >= faults.moments.get("silent", 2**31):
            return []
        specials = self._specials(second, in_run) if second != self._second else []
        self._second = second
        if self._answers:
            specials += self._answers
            self._answers = []
        self._owed_triggers += (end_s - start_s) * self.options.trigger_hz
        n_triggers = int(self._owed_triggers)
        self._owed_triggers -= n_triggers
        specials += [pacman.trigger_word(1, self._clock(start_s))] * n_triggers
        messages = [pacman.encode(pacman.DATA_MESSAGE, second, np.concatenate(specials))] if specials else []
        self.words_sent += sum(map(len, specials))
        messages += self._data(second, start_s, end_s)
        if faults.is_in("stall", in_run):
            self._held += messages
            return []
        messages, self._held = self._held + messages, []
        return self._spoiled(messages)

    def _specials(self, second: int, in_run: int) -> list[NDArray[np.void]]:
        faults = self.options.faults
        made = []
        if not faults.is_in("no-sync", in_run):
            counted = CLOCK_HZ if not self._reset_at else int((second - self._reset_at) * CLOCK_HZ)
            made.append(pacman.sync_word(b"S", counted, self._is_clock_external))
        self._reset_at = second + 0.5 if faults.is_in("reset", in_run) else 0.0
        made.append(pacman.sync_word(b"H", 0, self._is_clock_external))
        if faults.is_in("switch", in_run):
            self._is_clock_external = not self._is_clock_external
            made.append(pacman.sync_word(b"C", 0, self._is_clock_external))
        return made

    def _data(self, second: int, start_s: float, end_s: float) -> list[bytes]:
        options = self.options
        share = self._chances.sum()
        self._owed += (end_s - start_s) * options.rate_hz * share
        n = int(self._owed)
        if options.count is not None:
            n = min(n, options.count - self.data_words_made)
        if n < options.words_per_message and (
            options.count is None or n < options.count - self.data_words_made
        ):
            return []
        if options.count is None or n + self.data_words_made < options.count:
            n -= n % options.words_per_message
        self._owed -= n
        self.data_words_made += n
        self.words_sent += n
        return self._packed(second, self._words(n, start_s, end_s))

    def _words(self, n: int, start_s: float, end_s: float) -> NDArray[np.void]:
        random = self._random
        n_channels = len(self._chances) // len(self.chips)
        if np.ptp(self._chances):
            of_all = random.choice(len(self._chances), n, p=self._chances / self._chances.sum())
        else:
            of_all = random.integers(0, len(self._chances), n)
        keys = np.array(list(self.chips))
        first, last = self._clock(start_s), self._clock(start_s) + int((end_s - start_s) * CLOCK_HZ)
        timestamps = np.linspace(first, last, n, endpoint=False).astype(np.int64)
        bits = self.word_format.fields["timestamp"][1]
        chip_index = of_all // n_channels
        fields = {
            "packet_type": self.word_format.data_type,
            "chip_id": keys[chip_index, 1],
            "channel_id": of_all % n_channels,
            "timestamp": timestamps & (2**bits - 1),
            "dataword": random.integers(20, 150, n),
            **self._fifos(n),
        }
        words = encode(fields, self.word_format)
        if chance := self.options.faults.chance("parity"):
            words ^= (random.random(n) < chance).astype(np.uint64) << np.uint64(20)
        return pacman.data_words(keys[chip_index, 0], timestamps, words)

    def _fifos(self, n: int) -> dict[str, NDArray[Any]]:
        """Return the flags of FIFOs of `n` words, as faults have them: half is bit 0, full is bit 1."""
        flags: dict[str, NDArray[Any]] = {}
        for fifo in ("local", "shared"):
            chances = [self.options.faults.chance(f"{fifo}-{level}") for level in ("half", "full")]
            if any(chances):
                is_half, is_full = (self._random.random(n) < chance for chance in chances)
                flags[f"{fifo}_fifo"] = (is_half | is_full) | is_full.astype(np.uint8) << 1
        if self.options.asic_version != "1":
            return flags
        local = flags.get("local_fifo", np.zeros(n, np.uint8))
        return {"fifo_half": local & 1, "fifo_full": local >> 1}

    def _packed(self, second: int, records: NDArray[np.void]) -> list[bytes]:
        size = self.options.words_per_message
        n_whole = len(records) // size
        whole = np.zeros((n_whole, 8 + 16 * size), np.uint8)
        whole[:, :8] = (
            np.array((pacman.DATA_MESSAGE, second, 0, size), pacman.HEADER).reshape(1).view(np.uint8)
        )
        whole[:, 8:] = records[: n_whole * size].view(np.uint8).reshape(n_whole, 16 * size)
        data, step = whole.tobytes(), whole.shape[1]
        messages = [data[i : i + step] for i in range(0, len(data), step)]
        if len(records) > n_whole * size:
            messages.append(pacman.encode(pacman.DATA_MESSAGE, second, records[n_whole * size :]))
        return messages

    def _spoiled(self, messages: list[bytes]) -> list[bytes]:
        faults = self.options.faults
        spoil: dict[str, Callable[[bytes], bytes]] = {
            "cut": lambda one: one[:-3],
            "miscount": lambda one: one[:6] + b"\xff\x00" + one[8:],
        }
        if chance := faults.chance("drop"):
            keep = self._random.random(len(messages)) >= chance
            messages = [one for one, is_kept in zip(messages, keep, strict=True) if is_kept]
        for name, change in spoil.items():
            if chance := faults.chance(name):
                drawn = self._random.random(len(messages)) < chance
                messages = [change(one) if hit else one for one, hit in zip(messages, drawn, strict=True)]
        return messages

    @property
    def is_done(self) -> bool:
        """Whether all words that it was to make are made."""
        return self.options.count is not None and self.data_words_made >= self.options.count
