"""What a file of LArPix packets or messages was asked to hold, and what it holds, board by board."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from forebay.errors import ConfigError
from forebay.store import manifest as m
from forebay.wire.larpix.row import check_version

FORMAT = "forebay-larpix"
VERSION = 1
CHUNK_ROWS = 16384
"""Rows of a packet file in one chunk, which has a checksum of its own."""

CHUNK_MESSAGES = 1024
"""Messages of a raw file in one chunk, likewise."""

Form = Literal["packets", "raw"]


class Board(msgspec.Struct, frozen=True):
    """A PACMAN board: its io group, and the version of the chips behind it."""

    io_group: int
    asic_version: str = "2"


class ChipRegisters(msgspec.Struct, frozen=True):
    """The configuration of one chip, register by register."""

    io_group: int
    io_channel: int
    chip_id: int
    asic_version: str
    registers: bytes


class LarpixRecording(msgspec.Struct, frozen=True):
    """What is known of a file before the first message comes.

    Attributes
    ----------
    form:
        ``packets`` (LArPix+HDF5) or ``raw`` (messages as they came).
    format_version:
        Of LArPix+HDF5: 2.0 to 2.4, or 1.0 where all chips are of version 1.
    boards:
        Name of the board, as events have it -> board.
    asic_versions:
        Of the chips of boards that nobody knows yet.
    run, subrun, data_stream:
        As the catalogue names them; None where there is no run control.
    chips:
        Configurations to write beside the packets.
    daq_configs:
        A folder of configurations as it is, packed by `forebay.store.larpix_chips.packed`; nothing if empty.
    """

    form: Form = "packets"
    format_version: str = "2.4"
    boards: dict[str, Board] = {}
    asic_versions: tuple[str, ...] = ()
    run: int | None = None
    subrun: int | None = None
    data_stream: str = ""
    chips: tuple[ChipRegisters, ...] = ()
    daq_configs: bytes = b""
    requested: m.Request = m.Request()
    configuration: dict[str, Any] = {}
    counters: m.Counters = m.Counters()
    start_time: str = ""

    @property
    def all_asic_versions(self) -> tuple[str, ...]:
        """Versions of all chips, known boards first."""
        known = [board.asic_version for board in self.boards.values()]
        return tuple(dict.fromkeys([*known, *self.asic_versions]))


class BoardContent(msgspec.Struct, frozen=True):
    """What of one board is in a file.

    Attributes
    ----------
    counters:
        Names as in `forebay.wire.pacman_account.COUNTERS`.
    """

    io_group: int
    asic_version: str
    counters: dict[str, int]


class LarpixManifest(m.Manifest, frozen=True, kw_only=True):
    """What a file says of itself.

    ``sources`` accounts for the blocks of messages of each board, which are numbered in the order of their
    arrival. Of the recorder's counters ``received`` = ``written`` + ``not_written`` count blocks, and
    ``words_received`` = ``words_written`` + ``words_not_written``.

    Attributes
    ----------
    boards:
        Name of the board -> what of it is in the file.
    rows:
        Rows of packets, or messages of a raw file.
    notes:
        Texts in the file (message packets).
    words_without_row:
        Words of kinds that packet files do not have; they count as written.
    """

    form: Form
    format_version: str
    run: int | None
    subrun: int | None
    data_stream: str
    boards: dict[str, BoardContent]
    rows: int
    notes: int
    words_without_row: int = 0


def subrun_number(run: int | None, subrun: int) -> int:
    """Return the number of a subrun that no other run has, as catalogues have it; subruns count from 1."""
    return subrun if run is None else 10_000 * run + subrun


def check_recording(recording: LarpixRecording) -> None:
    """Refuse what cannot be written; `ConfigError` says what can be."""
    if recording.form == "packets":
        check_version(recording.format_version)
        others = [version for version in recording.all_asic_versions if version != "1"]
        if recording.format_version == "1.0" and others:
            raise ConfigError(
                f"LArPix+HDF5 1.0 cannot hold what chips of version {others[0]} send, only version 1.",
                "Write packets of format version 2.4.",
            )
    if recording.chips and (recording.form == "raw" or recording.format_version != "2.4"):
        raise ConfigError(
            "Configurations of chips cannot be written to this kind of file.",
            "Write packets of format version 2.4, or embed the folder as it is (daq_configs).",
        )


def from_json(text: bytes | str) -> LarpixManifest:
    """Read a manifest; `forebay.errors.StoreError` if it is not one that this version knows."""
    return m.read_manifest(text, LarpixManifest, FORMAT, VERSION)
