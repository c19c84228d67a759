"""A Bern data server that is not there, with a board of chips behind it: commands as text, data and times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from forebay.errors import WireError
from forebay.sim.larpix import BoardOptions, SimulatedBoard
from forebay.wire import pacman
from forebay.wire.larpix.dataserver import ServerMessage, encode
from forebay.wire.larpix.word import Words
from forebay.wire.pacman_batch import Batch


class SimulatedServer:
    """Answers commands and makes data messages, as `SimulatedBoard` does for a PACMAN; has no clock either.

    Each second begins with its time and a heartbeat.

    Attributes
    ----------
    clock_khz, test_pulse_divisor:
        As set by ``SETFREQ`` and ``SETFTST``.
    """

    def __init__(self, options: BoardOptions, start_s: float) -> None:
        self.board = SimulatedBoard(options, start_s)
        self.clock_khz, self.test_pulse_divisor = 10_000, 0
        self._second = -1
        self._of_channel: Counter[int] = Counter()
        self._commands: dict[bytes, Callable[[list[int]], None]] = {
            b"SNDWORD": lambda numbers: self._send(*numbers),
            b"SETFREQ": lambda numbers: self._set(*numbers, name="clock_khz"),
            b"SETFTST": lambda numbers: self._set(*numbers, name="test_pulse_divisor"),
        }

    @property
    def words_sent(self) -> int:
        """Words of chips so far."""
        return self._of_channel.total()

    @property
    def data_words_made(self) -> int:
        """Data words of chips that were made."""
        return self.board.data_words_made

    @property
    def is_done(self) -> bool:
        """Whether all words that it was to make are made."""
        return self.board.is_done

    def answer(self, request: bytes, now_s: float) -> bytes:
        """Return the answer to a command: ``OK``, a number, or ``ERR`` and why."""
        self._now_s = now_s
        name, *texts = request.split(b" ")
        try:
            numbers = [int(text, 0) for text in texts]
        except ValueError:
            return b"ERR no number"
        if name == b"PING_HB" and not numbers:
            return b"OK"
        if name == b"SYRESET" and not numbers:
            self.board.reset_chips()
            return b"OK"
        if name == b"GETSTAT" and len(numbers) == 1:
            return b"%d words" % self._of_channel[numbers[0]]
        if name not in self._commands:
            return b"ERR unknown command"
        try:
            self._commands[name](numbers)
        except (TypeError, WireError):
            return b"ERR wrong numbers"
        return b"OK"

    def _send(self, word: int, io_channel: int) -> None:
        command = pacman.Command("D", channel=io_channel, word=word)
        self.board.answer(pacman.encode_commands(pacman.REQUEST, 0, [command]), self._now_s)

    def _set(self, value: int, *, name: str) -> None:
        setattr(self, name, value)

    def messages(self, until_s: float) -> list[bytes]:
        """Return the messages of the time from the last call to `until_s`, unix seconds."""
        made: list[bytes] = []
        for message in self.board.messages(until_s):
            batch = Batch(message, np.array([len(message)]))
            for second in batch.seconds.tolist():
                if second != self._second:
                    self._second = second
                    made += [encode(ServerMessage("T", seconds=second)), encode(ServerMessage("H"))]
            made += self._data(batch)
        return made

    def _data(self, batch: Batch) -> list[bytes]:
        records = batch.words[batch.words["kind"] == ord("D")]
        made = []
        for channel in np.unique(records["channel"]).tolist():
            words: Words = records["word"][records["channel"] == channel].astype(np.uint64)
            self._of_channel[channel] += len(words)
            made.append(encode(ServerMessage("D", channel, words)))
        return made
