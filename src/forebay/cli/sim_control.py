"""``forebay camera control``, SSDAQ's ``sim_control.py``: ask simulated modules, and tell them what to do."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Literal

import typer

from forebay.errors import ConfigError, ForebayError, NoAnswerError

control_app = typer.Typer(
    help="Control simulated modules of a camera.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

STARTED = Path(".started_tms.txt")
"""A line ``TMi ADDRESS:PORT`` for each module that docker-command.py started, beside that script."""

_PORT = 30001
_WAIT_S = 2.0
_WIDTH = 9
_QUERIES = {"npackets": "get_npackets_sent", "ss-rate": "get_rate", "sending": "is_sending_ss_data"}

ListOption = Annotated[Path, typer.Option("--list", help="Which modules were started, as TMi ADDRESS:PORT.")]
PortOption = Annotated[int, typer.Option("--port", "-p", min=1, max=65535, help="Control port.")]
NetworkOption = Annotated[
    str, typer.Option(help="Where there is no list: first three bytes of the addresses.")
]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-V", help="Print every reply.")]


@control_app.command("status")
def status(
    query: Annotated[
        Literal["npackets", "ss-rate", "sending"] | None,
        typer.Argument(help="What to ask; nothing: which modules run.", show_default=False),
    ] = None,
    n_updates: Annotated[int, typer.Option("--n-updates", "-n", min=1, help="How often.")] = 1,
    update_s: Annotated[float, typer.Option("--update-freq", "-u", min=0, help="Seconds between.")] = 1.0,
    numbers: Annotated[bool, typer.Option("--tm-numbering", "-t", help="Say the modules' numbers.")] = False,
    started: ListOption = STARTED,
    network: NetworkOption = "127.0.0",
    port: PortOption = _PORT,
    verbose: VerboseOption = False,
) -> None:
    """Show the state of all modules on the camera's face."""
    addresses = _addresses(started, network, port)
    for i in range(n_updates):
        if i:
            time.sleep(update_s)
        texts = _asked(addresses, query, verbose)
        picture = face_of(texts, numbers)
        if i and sys.stdout.isatty():
            print(f"\x1b[{len(picture) + 1}A")
        print("\n".join(picture), flush=True)


@control_app.command("cmd")
def command(
    words: Annotated[list[str], typer.Argument(metavar="COMMAND [ARG ...]", help="What to do.")],
    is_local: Annotated[bool, typer.Option("--local", "-l", help="The simulation is at 127.0.0.1.")] = False,
    port: PortOption = _PORT,
    ip: Annotated[str, typer.Option("--ip", "-i", help="Address of the module, or TMi of the list.")] = (
        "172.18.0.102"
    ),
    started: ListOption = STARTED,
    network: NetworkOption = "127.0.0",
) -> None:
    """Send a command to one module: ping, available_cmds, send_ss_data true, change_rate HZ, ..."""
    address = f"127.0.0.1:{port}" if is_local else f"{ip}:{port}"
    if not is_local and ip.startswith("TM"):
        addresses = _addresses(started, network, port)
        if ip not in addresses:
            raise ConfigError(f"There is no module {ip}.", f"There are {', '.join(addresses)}.")
        address = addresses[ip]
    reply = _ask(address, " ".join(words))
    print(f"Received reply from: {reply['name']}@{reply['ip']}")
    print(f"Status: {reply['status']}")
    print(reply["msg"])
    if reply["status"] != "OK":
        raise typer.Exit(1)


def run_sim_control() -> None:
    """Run ``sim_control.py``."""
    try:
        control_app(prog_name="sim_control.py")
    except ForebayError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None


def _addresses(started: Path, network: str, port: int) -> dict[str, str]:
    """Return ADDRESS:PORT of each module by its name TMi."""
    beside = Path(sys.argv[0]).absolute().parent / STARTED
    if started == STARTED and not started.exists() and beside.exists():
        started = beside
    if not started.exists():
        if started != STARTED:
            raise ConfigError(f"There is no list {started}.", "docker-command.py -r writes one.")
        return {f"TM{i}": f"{network}.{100 + i}:{port}" for i in range(32)}
    rows = [line.split() for line in started.read_text(encoding="utf-8").splitlines()]
    if bad := [row for row in rows if len(row) != 2 or not row[0][2:].isdecimal() or int(row[0][2:]) > 31]:
        raise ConfigError(f"{started}: {' '.join(bad[0])!r} is not TMi ADDRESS:PORT.", "Mend the list.")
    return dict(rows)


def _ask(address: str, words: str) -> dict[str, object]:
    from forebay.stream.endpoint import endpoint_of
    from forebay.stream.request import ask
    from forebay.wire.plain_pickle import decode

    host, _, port = address.rpartition(":")
    reply = decode(ask(endpoint_of(host, port), words.encode(), _WAIT_S))
    return {key: reply.get(key, "") for key in ("name", "ip", "status", "msg")}


def _asked(addresses: Mapping[str, str], query: str | None, verbose: bool) -> list[str]:
    """Return what each module of the camera says, (module,)."""
    question = _QUERIES[query] if query else "ping"

    def one(address: str) -> dict[str, object] | None:
        try:
            return _ask(address, question)
        except NoAnswerError:
            return None

    with ThreadPoolExecutor(max_workers=32) as pool:
        replies = dict(zip(addresses, pool.map(one, addresses.values()), strict=True))
    texts = []
    for i in range(32):
        reply = replies.get(f"TM{i}")
        if reply is not None and verbose:
            print(f"{reply['name']}@{reply['ip']} {reply['status']}: {reply['msg']}")
        is_ok = reply is not None and reply["status"] == "OK"
        texts.append(
            (str(reply["msg"]) if query else "ON") if is_ok and reply else ("--" if query else "OFF")
        )
    return texts


def face_of(texts: Sequence[str], numbers: bool) -> list[str]:
    """Return the lines of the camera's face with a text for each module, (module,)."""
    from forebay.wire.camera_map import MODULES_OF_ROW, FaceLayout

    lines = []
    for modules in FaceLayout().rows:
        edge = " " * ((max(MODULES_OF_ROW) - len(modules)) // 2 * (_WIDTH + 2))
        if numbers:
            lines.append(edge + "".join(f"|{f'TM-{i:02}':^{_WIDTH}}|" for i in modules))
        lines.append(edge + "".join(f"|{texts[i][:_WIDTH]:^{_WIDTH}}|" for i in modules))
    return lines
