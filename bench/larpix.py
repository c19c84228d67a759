"""LArPix words, messages and files against larpix-control, and a run of four boards at 1 M packets/s.

Each measurement is a process of its own; the two implementations take turns. larpix-control is looked for in
the interpreter that FOREBAY_LARPIX_PYTHON names, else in .venv/peers-larpix, else in this one; without it
only forebay is measured. The fast side does more packets, so that its time is more than the clock's noise;
rates are packets a second of wall time. Each side does the case once before, unmeasured: a read-out runs for
days, and the first use of memory costs more than what is to be measured.
Writing ends with a file that is closed (ours also synced, with its journal and its manifest). A ratio is that
of the medians; behind it are the least and the greatest ratio of a round.

The run: four simulated boards, processes of their own, 10 words a message, over TCP into one file. It is
right when every word that was sent is stored and the file passes its check.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

OWN_PEER = Path(__file__).parent.parent / ".venv/peers-larpix/bin/python"
PEER = os.environ.get("FOREBAY_LARPIX_PYTHON", str(OWN_PEER) if OWN_PEER.exists() else sys.executable)
CASES = {
    "decode words": 50,
    "decode messages": 50,
    "write packets": 50,
    "read packets": 500,
    "write raw": 2,
    "read raw": 5,
    "raw to packets": None,
}
"""Case -> how many times larpix-control's rate it should be."""
WORDS = 10  # a message
PORT_STEP = 10


def words(n):
    """Return data words with the right parity, made without either implementation."""
    made = np.random.default_rng(1).integers(0, 2**62, n, dtype=np.uint64) << np.uint64(2) & ~(
        np.uint64(1) << np.uint64(63)
    )
    ones = np.unpackbits(made.view(np.uint8).reshape(-1, 8), axis=1).sum(1) & 1
    return made | (np.uint64(1) - ones.astype(np.uint64)) << np.uint64(63)


def messages(n):
    records = np.zeros(n, [("k", "u1"), ("channel", "u1"), ("t", "<u4"), ("pad", "<u2"), ("word", "<u8")])
    records["k"], records["word"] = ord("D"), words(n)
    records["channel"] = 1 + np.arange(n) % 32
    header = b"D" + (1_700_000_000).to_bytes(4, "little") + b"\0" + WORDS.to_bytes(2, "little")
    return [header + records[i : i + WORDS].tobytes() for i in range(0, n, WORDS)]


def timed(action):
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def theirs(case, n, directory):
    """Return the seconds that larpix-control takes for n packets."""
    from larpix.format import hdf5format, rawhdf5format
    from larpix.format.pacman_msg_format import parse

    from larpix import Packet_v2

    raw, packets = str(directory / "raw.h5"), str(directory / "packets.h5")
    if case == "decode words":
        data = [word.tobytes() for word in words(n)]
        fields = [
            "chip_id",
            "channel_id",
            "timestamp",
            "first_packet",
            "dataword",
            "trigger_type",
            "local_fifo",
            "shared_fifo",
        ]
        fields += ["packet_type", "downstream_marker", "parity"]

        def decode():
            for one in data:
                packet = Packet_v2(one)
                for name in fields:
                    getattr(packet, name)
                packet.has_valid_parity()

        return timed(decode)
    came = messages(n)
    groups = {"io_groups": [1] * len(came)}

    def parsed(some):
        return [packet for one in some for packet in parse(bytes(one), io_group=1)]

    if case == "decode messages":
        return timed(lambda: parsed(came))
    if case == "write raw":
        return timed(lambda: rawhdf5format.to_rawfile(raw, came, msg_headers=groups))
    if case in ("read raw", "raw to packets"):
        rawhdf5format.to_rawfile(raw, came, msg_headers=groups)
        if case == "read raw":
            return timed(lambda: rawhdf5format.from_rawfile(raw))
        return timed(
            lambda: hdf5format.to_file(packets, parsed(rawhdf5format.from_rawfile(raw)["msgs"]), workers=1)
        )
    made = parsed(came)
    write = timed(lambda: hdf5format.to_file(packets, made, workers=1))
    return write if case == "write packets" else timed(lambda: hdf5format.from_file(packets))


def ours(case, n, directory):
    """Return the seconds that forebay takes for n packets."""
    from forebay.event import Event
    from forebay.store.larpix_convert import convert
    from forebay.store.larpix_file import LarpixFile
    from forebay.store.larpix_manifest import Board, LarpixRecording
    from forebay.store.larpix_read import PacketFile, RawFile
    from forebay.wire.larpix import word
    from forebay.wire.pacman_batch import Batch, PacmanArrays

    if case == "decode words":
        made = words(n)
        return timed(lambda: word.decode(made))
    came = messages(n)
    blocks = [came[i : i + 5000] for i in range(0, len(came), 5000)]
    if case == "decode messages":

        def decode():
            for block in blocks:
                lengths = np.fromiter(map(len, block), np.uint32, len(block))
                Batch(b"".join(block), lengths).rows(1, word.V2)

        return timed(decode)

    def write(form):
        path = directory / f"{form}.h5"
        events = []
        for i, block in enumerate(blocks):
            lengths = np.fromiter(map(len, block), np.uint32, len(block))
            arrays = PacmanArrays(b"".join(block), lengths, 1, "2")
            events.append(Event("board", i, 0, arrays, np.zeros(0, np.uint32)))

        def record():
            file = LarpixFile(path, LarpixRecording(form=form, boards={"board": Board(1)}))
            for event in events:
                file.write([event])
            file.close()

        return path, timed(record)

    path, seconds = write("packets" if "packets" in case and case != "raw to packets" else "raw")
    if case == "read packets":
        with PacketFile(path) as file:
            return timed(file.rows)
    if case == "read raw":
        with RawFile(path) as file:
            return timed(file.read)
    if case == "raw to packets":
        return timed(lambda: convert(path, directory / "converted.h5"))
    return seconds


def measure(side, case, n):
    """Return packets a second, measured in a process of its own."""
    python = PEER if side == "theirs" else sys.executable
    done = subprocess.run(
        [python, "-P", __file__, "--one", side, case, str(n)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return n / float(done.stdout)


def compare(rounds, n_theirs, n_ours):
    has_peer = not subprocess.run(
        [PEER, "-P", "-c", "import larpix"], capture_output=True, check=False
    ).returncode
    print(f"packets/s, median of {rounds} (spread), {WORDS} words a message")
    for case, goal in CASES.items():
        rates = {"theirs": [], "ours": []}
        for _ in range(rounds):
            rates["ours"].append(measure("ours", case, n_ours))
            if has_peer:
                rates["theirs"].append(measure("theirs", case, n_theirs))
        line = f"{case:16} forebay {text(rates['ours'])}"
        if has_peer:
            ratio = statistics.median(rates["ours"]) / statistics.median(rates["theirs"])
            each = [ours / theirs for ours, theirs in zip(rates["ours"], rates["theirs"], strict=True)]
            line += f"  larpix-control {text(rates['theirs'])}"
            line += f"  ratio {ratio:.1f} ({min(each):.1f} .. {max(each):.1f})"
            line += f" (goal {goal})" if goal else ""
        print(line, flush=True)


def text(rates):
    return f"{statistics.median(rates):12,.0f} ({min(rates):,.0f} .. {max(rates):,.0f})"


def run(seconds, rate, form):
    """Record four boards that send `rate` packets a second together; whether nothing is lost."""
    command = [sys.executable, "-m", "forebay", "larpix"]
    count = int(rate / 4 * seconds)
    with TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        ports = free_ports(4)
        boards = []
        for group, port in enumerate(ports, 1):
            options = f"-p {port} --io-group {group} --rate {rate / 4} --count {count} --words {WORDS}"
            options += " --wait --hwm 0 --patience 5 --triggers 10 --json"
            board = subprocess.Popen(
                [*command, "simulate", *options.split()], stdout=subprocess.PIPE, text=True
            )
            stack.callback(board.kill)
            boards.append(board)
        addresses = [f"{group}=127.0.0.1:{port}" for group, port in enumerate(ports, 1)]
        options = f"-o {directory} --form {form} --words {4 * count} --seconds {3 * seconds + 30} --json"
        before = os.times()
        start = time.perf_counter()
        recorder = subprocess.run(
            [*command, "record", *addresses, *options.split()], capture_output=True, text=True, check=False
        )
        if recorder.returncode:
            raise SystemExit(recorder.stderr)
        elapsed = time.perf_counter() - start
        after = os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        sent = sum(json.loads(board.communicate(timeout=60)[0])["words_sent"] for board in boards)
        counts = json.loads(recorder.stdout)
        (path,) = counts["files"]
        report = subprocess.run([*command[:-1], "check", path], capture_output=True, text=True, check=False)
        stored = counts["words_written"]
        size = Path(path).stat().st_size
        is_right = sent == stored and not report.returncode and not counts["words_not_written"]
        print(
            f"run, {form}: {sent} words sent, {stored} stored, {sent - stored} lost, "
            f"{stored / seconds:,.0f}/s for {seconds} s ({elapsed:.1f} s with start and close, "
            f"{cpu:.1f} s CPU of the recorder), {size / stored:.1f} bytes a word, "
            f"check: {'good' if not report.returncode else report.stdout}"
        )
        return is_right


def free_ports(n):
    """Return ports that are free together with both of their neighbours."""
    with ExitStack() as stack:
        found = []
        for port in range(22000, 32000, PORT_STEP):
            try:
                for one in (port - 1, port, port + 1):
                    probe = stack.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", one))
            except OSError:
                continue
            found.append(port)
            if len(found) == n:
                return found
    raise SystemExit("There are no free ports.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=int, default=0, help="of the run; 60, or 5 with --quick")
    parser.add_argument("--rate", type=float, default=1e6, help="packets a second of the run")
    parser.add_argument("--only", choices=["compare", "run"])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        side, case, n = options.one
        measured = theirs if side == "theirs" else ours
        for _ in range(2):
            with TemporaryDirectory() as directory:
                seconds = measured(case, int(n), Path(directory))
        print(seconds)
        return
    if options.only != "run":
        compare(*((3, 5_000, 500_000) if options.quick else (5, 20_000, 2_000_000)))
    if options.only != "compare":
        seconds = options.seconds or (5 if options.quick else 60)
        good = [run(seconds, options.rate, form) for form in ("packets", "raw")]
        raise SystemExit(not all(good))


if __name__ == "__main__":
    main()
