"""Commands to a Bern data server, the read-out of boards with chips of version 1: one text, one answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forebay.errors import StreamError
from forebay.stream.request import RequestLine
from forebay.wire.larpix.dataserver import send_word
from forebay.wire.larpix.word import WordFormat


class ServerCommands:
    """Commands to one data server, each with its own answer: one that comes too late is taken for no other.

    Parameters
    ----------
    channels:
        Io channel of the chips -> that of the server; others are the same.

    Raises
    ------
    StreamError
        From every method, if the server does not answer in time, or answers with an error.
    """

    def __init__(
        self,
        endpoint: str,
        word_format: WordFormat,
        channels: Mapping[int, int] | None = None,
        timeout: float = 2.0,
    ) -> None:
        self.endpoint = endpoint
        self._word_format = word_format
        self._channels = channels or {}
        self._timeout = timeout
        self._line = RequestLine(endpoint)

    def ask(self, command: bytes) -> bytes:
        """Send a command and return the answer."""
        answer = self._line.ask(command, self._timeout)
        if answer is None:
            raise StreamError(
                f"The data server at {self.endpoint} did not answer {command!r} within {self._timeout:g} s.",
                "Check that it runs, its address and the network.",
            )
        if answer.startswith(b"ERR"):
            raise StreamError(f"The data server at {self.endpoint} refuses {command!r}: {answer!r}.")
        return answer

    def ping(self) -> None:
        """Return when the server says that it is well."""
        answer = self.ask(b"PING_HB")
        if not answer.startswith(b"OK"):
            raise StreamError(f"The data server at {self.endpoint} is not well: {answer!r}.")

    def send(self, io_channel: int, words: Any) -> None:
        """Send words to the chips behind one io channel; their answers come with the data."""
        for word in words:
            self.ask(send_word(int(word), self._channels.get(io_channel, io_channel), self._word_format))

    def reset(self) -> None:
        """Reset the chips."""
        self.ask(b"SYRESET")

    def set_clock(self, khz: int) -> None:
        """Set the clock of the chips (CLK2X), in kHz."""
        self.ask(f"SETFREQ {khz:#x}".encode())

    def set_test_pulse(self, divisor: int) -> None:
        """Set the rate of test pulses: that of the clock divided by `divisor`."""
        self.ask(f"SETFTST {divisor:#x}".encode())

    def words_received(self, io_channel: int) -> int:
        """Return how many words the server has had from an io channel."""
        answer = self.ask(f"GETSTAT {self._channels.get(io_channel, io_channel)}".encode())
        number = answer.split(b" ")[0]
        if not number.isdigit():
            raise StreamError(f"The data server at {self.endpoint} does not say a number: {answer!r}.")
        return int(number)

    def close(self) -> None:
        """Disconnect; may be called twice."""
        self._line.close()
