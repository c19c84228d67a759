"""``forebay larpix``: simulate PACMAN boards, record from boards, convert raw files to packets."""

from __future__ import annotations

import json as json_text
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

larpix_app = typer.Typer(help="LArPix: PACMAN boards and their files.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ChipsOption = Annotated[
    list[Path] | None,
    typer.Option(metavar="PATH", help="Configurations of chips, files or folders of *.json, for `configs`."),
]
AsicOption = Annotated[str, typer.Option("--asic", help="Version of the chips: 1, 2, 2b, lightpix-1 or 3.")]


@larpix_app.command("simulate")
def simulate(
    bind: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", "-p", help="Command port; data one above, echo one below.")
    ] = 5555,
    io_group: Annotated[int, typer.Option(min=1, max=254, help="Io group of the board.")] = 1,
    asic: AsicOption = "2",
    chips: Annotated[int, typer.Option(min=1, max=200, help="Chips, ids from 11, four io channels.")] = 4,
    rate: Annotated[float, typer.Option(min=0, help="Data words a second.")] = 1000.0,
    words: Annotated[int, typer.Option(min=1, max=65535, help="Data words a message.")] = 10,
    triggers: Annotated[float, typer.Option(min=0, help="Trigger words a second.")] = 0.0,
    count: Annotated[int | None, typer.Option("--count", "-n", help="End after so many data words.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Switch it on when somebody listens.")] = False,
    hwm: Annotated[
        int, typer.Option(min=0, help="Messages that wait for a listener; 0 is no limit. Real boards: 100.")
    ] = 1000,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for a slow listener; real boards: 0.")
    ] = 1.0,
    fault: Annotated[
        list[str] | None, typer.Option(help="What goes wrong, e.g. parity=0.01 drop=0.001 no-sync=5.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Other data.")] = 1,
    server: Annotated[
        bool, typer.Option("--server", help="Be a Bern data server, which has no echo, triggers and syncs.")
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="Allow an address open to other hosts.")] = False,
    json: JsonOption = False,
) -> None:
    """Be a PACMAN board until the count is reached or Ctrl-C: data, registers, configurations of chips."""
    from forebay.service.larpix_board import serve_board
    from forebay.service.process import stop_on_signal
    from forebay.sim.larpix import BoardOptions, SimulatedBoard
    from forebay.sim.larpix_faults import parse_faults
    from forebay.sim.larpix_server import SimulatedServer
    from forebay.stream.pacman_board import BoardSockets

    options = BoardOptions(
        io_group=io_group,
        asic_version=asic,
        chips=tuple((1 + i % 4, 11 + i) for i in range(chips)),
        rate_hz=rate,
        words_per_message=words,
        trigger_hz=triggers,
        count=count,
        seed=seed,
        faults=parse_faults(fault or []),
    )
    kind = SimulatedServer if server else SimulatedBoard
    board = kind(options, time.time())  # options that cannot be are refused before anything is bound
    ends = [f"tcp://{bind}:{port + offset}" for offset in (0, 1, -1)]
    sockets = BoardSockets(ends[0], ends[1], None if server else ends[2], hwm=hwm, public=public)

    def make(now_s: float) -> SimulatedBoard | SimulatedServer:
        nonlocal board
        board = kind(options, now_s)
        return board

    with stop_on_signal() as stop:
        try:
            serve_board(make, sockets, lambda: stop.is_set() or board.is_done, waits=wait, patience=patience)
        finally:
            sockets.close(linger=5.0)
    counts = {
        "words_sent": board.words_sent,
        "data_words": board.data_words_made,
        "messages_sent": sockets.sent,
        "messages_dropped": sockets.dropped,
        "messages_unheard": sockets.unheard,
    }
    _print(f"sent from {sockets.data}", counts, json)


@larpix_app.command("record")
def record(
    boards: Annotated[
        list[str],
        typer.Argument(metavar="GROUP=HOST[:PORT][/ASIC]...", help="Boards; PORT is that of commands."),
    ],
    directory: Annotated[Path, typer.Option("--directory", "-o", help="Where the files go.")] = Path(),
    form: Annotated[
        Literal["packets", "raw"], typer.Option(help="Packets, or messages as they come.")
    ] = "raw",
    format_version: Annotated[str, typer.Option("--format", help="Of packets: 2.0 to 2.4, or 1.0.")] = "2.4",
    run: Annotated[int | None, typer.Option(min=0, help="Run number.")] = None,
    stream: Annotated[str, typer.Option(help="Data stream, for the catalogue.")] = "",
    seconds: Annotated[float | None, typer.Option(min=0, help="End after so long; else by Ctrl-C.")] = None,
    words: Annotated[int | None, typer.Option(min=1, help="End when so many data words have come.")] = None,
    file_seconds: Annotated[float, typer.Option(min=0, help="Next file after so long; 0 never.")] = 0.0,
    file_bytes: Annotated[int, typer.Option(min=0, help="Next file after so many bytes; 0 never.")] = 0,
    namespace: Annotated[str | None, typer.Option(help="Of the catalogue entry beside each file.")] = None,
    server: Annotated[
        bool, typer.Option("--server", help="Bern data servers are there, no PACMAN boards.")
    ] = False,
    chip_configs: ChipsOption = None,
    embed: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder that goes into every file as it is (daq_configs)."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Record from boards; what they sent before the stop is written, and every word accounted for."""
    from forebay.service.larpix_lines import parse_board
    from forebay.service.larpix_record import counters_of
    from forebay.service.larpix_record import record as record_boards
    from forebay.service.process import stop_on_signal
    from forebay.store.larpix_chips import packed, read_chips
    from forebay.store.larpix_manifest import Board, LarpixRecording
    from forebay.store.larpix_series import LarpixSeries, SeriesOptions
    from forebay.stream.pacman import PacmanInlet

    addresses = [parse_board(text, "1" if server else "2", is_server=server) for text in boards]
    recording = LarpixRecording(
        form=form,
        format_version=format_version,
        boards={one.name: Board(one.io_group, one.asic_version) for one in addresses},
        run=run,
        data_stream=stream,
        chips=read_chips(chip_configs) if chip_configs else (),
        daq_configs=packed(embed) if embed else b"",
    )
    options = SeriesOptions(file_seconds, file_bytes, namespace)
    inlet = PacmanInlet(addresses)
    try:
        series = LarpixSeries(directory, recording, options, counters=lambda: counters_of(inlet))
        end = None if seconds is None else time.monotonic() + seconds

        with stop_on_signal() as stop:

            def is_over() -> bool:
                if stop.is_set() or (end is not None and time.monotonic() >= end):
                    return True
                came = sum(one["data_words"] for one in inlet.counters.values()) if words is not None else 0
                return words is not None and came >= words

            try:
                drained = record_boards(inlet, [series], is_over)
                series.conclude("stopped")
            finally:
                series.close()
        counts: dict[str, object] = dict(series.counters)
        counts |= {"words_behind": drained.n_behind, "late_boards": len(drained.late)}
        counts |= {f"{name}.{key}": n for name, own in inlet.counters.items() for key, n in own.items() if n}
    finally:
        inlet.close()
    counts["files"] = [str(path) for path in series.paths] if json else len(series.paths)
    _print(f"recorded to {directory}", counts, json)
    _complain_of_silence({f"{one.name} at {one.data}": inlet.counters[one.name] for one in addresses})


@larpix_app.command("convert")
def convert(
    raw: Annotated[Path, typer.Argument(help="Raw file.")],
    packets: Annotated[Path, typer.Argument(help="Packet file to write; never overwritten.")],
    format_version: Annotated[str, typer.Option("--format", help="2.0 to 2.4, or 1.0.")] = "2.4",
    asic: AsicOption = "2",
    asic_of: Annotated[
        list[str] | None, typer.Option(metavar="GROUP=ASIC", help="Of one io group, where they differ.")
    ] = None,
    chip_configs: ChipsOption = None,
    json: JsonOption = False,
) -> None:
    """Write the packets of a raw file, ours or larpix-control's, to a packet file."""
    from forebay.store.larpix_chips import read_chips
    from forebay.store.larpix_convert import convert as convert_file

    versions = dict(_group_and_rest(text) for text in asic_of or [])
    manifest = convert_file(
        raw,
        packets,
        format_version=format_version,
        asic_versions=versions,
        asic_version=asic,
        chips=read_chips(chip_configs) if chip_configs else (),
    )
    words = sum(board.counters["words"] for board in manifest.boards.values())
    _print(
        f"converted to {packets}",
        {"rows": manifest.rows, "words": words, "words_without_row": manifest.words_without_row},
        json,
    )


def _complain_of_silence(counters: Mapping[str, Mapping[str, int]]) -> None:
    """Name the boards that sent nothing: a file in which a board is missing is not what was asked for."""
    from forebay.errors import StreamError

    silent = [
        f"{name}, which {'sent nothing' if own['connections'] else 'was never reached'}"
        for name, own in counters.items()
        if not own["messages"]
    ]
    if silent:
        raise StreamError(f"Nothing came from {'; '.join(silent)}.", "See that the boards are on.")


def _print(title: str, counts: Mapping[str, object], json: bool) -> None:
    from rich.console import Console

    from forebay.cli.show import facts

    if json:
        print(json_text.dumps(counts))
    else:
        Console().print(facts(title, [(name, str(value)) for name, value in counts.items()]), soft_wrap=True)


def _group_and_rest(text: str) -> tuple[int, str]:
    from forebay.errors import ConfigError

    group, equals, rest = text.partition("=")
    if not equals or not rest or not group.isdecimal() or not 0 < int(group) < 255:
        raise ConfigError(f"{text!r} does not begin with an io group.", "Write 1=..., io groups 1 to 254.")
    return int(group), rest
