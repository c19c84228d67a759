"""Boards and recorder as processes: stopped at once, killed, reconnected, without room on the disk."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from tests.system.stand import free_ports

from forebay.store import larpix_manifest as lm
from forebay.store.check import check_file
from forebay.store.larpix_read import PacketFile
from forebay.store.recover import recover

pytestmark = pytest.mark.system

COMMAND = [sys.executable, "-m", "forebay", "larpix"]
RATE = int(os.environ.get("FOREBAY_TEST_LARPIX_RATE", "20000"))
BOUND_S = 60


class Stand:
    """Processes that end with the test, whatever happens."""

    def __init__(self, directory):
        self.directory = directory
        self.ports = {}
        self._processes = []

    def start(self, *arguments, **more):
        process = subprocess.Popen(
            [*COMMAND, *map(str, arguments), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )
        self._processes.append(process)
        return process

    def board(self, group, *options):
        if group not in self.ports:
            self.ports[group] = 1 + free_ports(3, socket.SOCK_STREAM)  # of commands, between echo and data
        options = options or ("--rate", RATE, "--hwm", 0, "--patience", 5)
        return self.start("simulate", "-p", self.ports[group], "--io-group", group, *options)

    def record(self, *options, **more):
        addresses = [f"{group}=127.0.0.1:{port}" for group, port in self.ports.items()]
        return self.start("record", *addresses, "-o", self.directory, *options, **more)

    def close(self):
        for process in self._processes:
            process.kill()
            process.communicate()


@pytest.fixture
def stand(tmp_path):
    stand = Stand(tmp_path)
    yield stand
    stand.close()


def finish(process, code=0):
    out, err = process.communicate(timeout=BOUND_S)
    assert process.returncode == code, err
    return json.loads(out) if out else err


def until(condition):
    end = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def size_of(path):
    return path.stat().st_size if path.exists() else 0


def journal(directory):
    return next(iter(directory.glob("*.part.journal")), Path("/nowhere"))


def has_bytes(directory, n):
    return lambda: size_of(journal(directory)) > n


def losses(path):
    return {one.check for one in check_file(path).problems if one.severity != "note"}


@pytest.mark.parametrize("form", ["packets", "raw"])
def test_a_stop_at_once_loses_nothing(stand, tmp_path, form):
    for group in (1, 2, 3, 4):
        stand.board(group)
    recorder = stand.record("--form", form)
    until(has_bytes(tmp_path, 60 * RATE * 2))
    recorder.send_signal(signal.SIGINT)
    counts = finish(recorder)
    assert counts["words_received"] == counts["words_written"] > 3 * RATE
    assert counts["words_not_written"] == counts["late_boards"] == 0
    came = sum(counts[f"io_group_{group}.words"] for group in (1, 2, 3, 4))
    assert came == counts["words_written"] + counts["words_behind"]
    (path,) = map(Path, counts["files"])
    assert not losses(path)
    if form == "packets":
        with PacketFile(path) as file:
            rows = file.rows()
        for group in (1, 2, 3, 4):
            own = rows[rows["io_group"] == group]
            at = own["packet_type"] == 4
            seconds = np.repeat(own["timestamp"][at], np.diff(np.append(np.flatnonzero(at), len(own))))
            found = np.bincount((seconds - seconds.min())[own["packet_type"] == 0].astype(np.int64))
            assert np.abs(found[1:] - RATE).max() <= 20, found  # also of the second of the stop


def test_kill_of_the_recorder(stand, tmp_path):
    for group in (1, 2):
        stand.board(group)
    recorder = stand.record("--form", "packets")
    until(has_bytes(tmp_path, 20 * RATE))
    recorder.kill()
    recorder.communicate()
    (part,) = tmp_path.glob("*.part")
    done = recover(part)
    report = check_file(done)
    assert report.is_good, report.problems
    with h5py.File(done) as file:
        manifest = lm.from_json(file["forebay/manifest"][()])
    assert manifest.closed_by == "recover"
    assert all(board.counters["words"] > 100 for board in manifest.boards.values())
    again = stand.record("--form", "packets", "--words", RATE)
    assert finish(again)["words_not_written"] == 0


def test_a_board_that_dies_and_comes_back(stand, tmp_path):
    stand.board(1)
    other = stand.board(2)
    recorder = stand.record("--form", "raw")
    until(has_bytes(tmp_path, 20 * RATE))
    other.kill()
    other.communicate()
    until(has_bytes(tmp_path, size_of(journal(tmp_path)) + 20 * RATE))
    stand.board(2)
    until(has_bytes(tmp_path, size_of(journal(tmp_path)) + 100 * RATE))
    recorder.send_signal(signal.SIGTERM)
    counts = finish(recorder)
    assert counts["io_group_2.disconnections"] == 1
    assert counts["io_group_2.connections"] == 2
    assert "io_group_1.disconnections" not in counts
    assert losses(Path(counts["files"][0])) <= {"boards"}  # seconds without a sync, if it was long enough


def test_no_room_ends_the_run_with_its_reason(stand, tmp_path):
    stand.board(1, "--rate", 5 * RATE, "--hwm", 0, "--patience", 5)  # full sooner

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (12 * 2**20, 12 * 2**20))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    recorder = stand.record("--form", "packets", preexec_fn=limit)
    said = finish(recorder, code=1)
    assert "The largest file size allowed here is reached" in said
    (path,) = tmp_path.glob("*.h5")
    with h5py.File(path) as file:
        manifest = lm.from_json(file["forebay/manifest"][()])
    assert manifest.reason == "disk full"
    assert manifest.boards["io_group_1"].counters["words"] > RATE
    assert "counters" in losses(path)


def test_conversion_and_errors_by_command(stand, tmp_path):
    stand.board(1, "--rate", 20000, "--count", 3000, "--wait", "--asic", "3", "--fault", "parity=0.1")
    (port,) = stand.ports.values()
    recorded = finish(stand.start("record", f"1=127.0.0.1:{port}/3", "-o", tmp_path, "--words", 3000))
    (raw,) = recorded["files"]
    found = finish(stand.start("convert", raw, tmp_path / "packets.h5", "--asic", "3"))
    assert found["words"] == recorded["words_written"] >= 3000
    assert not losses(tmp_path / "packets.h5")
    wrong = {
        "never overwritten": ("convert", raw, tmp_path / "packets.h5"),
        "no fault": ("simulate", "--fault", "fire"),
        "io group": ("record", "here"),
        "address of a board": ("record", "1=here:x"),
    }
    started = {said: stand.start(*words) for said, words in wrong.items()}
    silent = stand.start("record", "1=127.0.0.1:9", "-o", tmp_path, "--seconds", 0.1)
    for said, process in started.items():
        assert said in finish(process, code=1)
    assert "which was never reached" in silent.communicate(timeout=BOUND_S)[1]
    assert silent.returncode == 1
