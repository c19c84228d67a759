"""psi-bsread sends into our buffer and receives from it; the file behind it has every value."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import numpy as np
import pytest
from tests.system.bs_stand import BsStand
from tests.system.stand import free_ports, wait_until

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]

PATIENCE_S = 120
SCRIPT = Path(__file__).parent / "bs_peer.py"
PYTHON = os.environ.get("FOREBAY_PSI_BSREAD_PYTHON", sys.executable)

if sys.executable == PYTHON and importlib.util.find_spec("bsread") is None:
    pytest.skip(
        "psi-bsread is not installed: dependency group 'compat', or FOREBAY_PSI_BSREAD_PYTHON",
        allow_module_level=True,
    )

spec = importlib.util.spec_from_file_location("bs_peer", SCRIPT)
bs_peer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bs_peer)
peer = bs_peer.peer


@pytest.fixture
def stand(tmp_path):
    with BsStand(tmp_path) as stand:
        yield stand


def start(*arguments):
    return subprocess.Popen(
        [PYTHON, SCRIPT, *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # its bitshuffle spins for minutes on a busy machine else
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return out.splitlines()


@pytest.mark.parametrize("compression", peer.COMPRESSIONS)
def test_psi_bsread_before_and_behind_the_buffer(stand, compression):
    sent = peer.messages(compression)
    source = start("send", stand.source_port, compression)
    stand.buffer("-b", 1000)
    receivers = [start("receive", stand.output_port, len(sent), "pull") for _ in range(2)]
    n_values = [compare(finish(receiver), sent, compression) for receiver in receivers]
    finish(source)
    assert n_values[0] == n_values[1] > 100


def compare(lines, sent, compression):
    assert len(lines) == len(sent)
    n_values = 0
    for pulse_id, (line, values) in enumerate(zip(lines, sent, strict=True)):
        received = json.loads(line)
        assert received[:3] == [pulse_id, *peer.TIME]
        assert list(received[3]) == list(values)
        for name, (value, *_) in received[3].items():
            if compression == "lz4" and name.startswith(">"):
                continue  # it cannot read its own
            assert value == as_it_decodes(values[name]), name
            n_values += 1
    return n_values


def as_it_decodes(value):
    """It drops leading axes of length 1, makes scalars of single elements, and has no empty values."""
    if value is None or np.size(value) == 0 or (isinstance(value, str) and not value):
        return None
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    shape = list(array.shape)
    while shape and (shape[0] == 1 or array.size == 1):
        shape.pop(0)
    return [array.dtype.newbyteorder("=").name, shape, array.reshape(shape).tolist()]


def test_psi_bsread_as_a_subscriber(stand):
    stand.simulate("-i", "0.01")
    stand.buffer("-b", 5000)
    lines = finish(start("receive", stand.output_port, 20, "sub"))
    ids = [json.loads(line)[0] for line in lines]
    assert ids == list(range(ids[0], ids[0] + 20))


def test_psi_bsread_behind_our_sender(tmp_path):
    port = free_ports(1, socket.SOCK_STREAM)
    with BsStand(tmp_path) as stand:
        stand.source_port = port
        stand.simulate("-n", "20")
        lines = finish(start("receive", port, 20, "pull"))
    assert [json.loads(line)[3]["ABCD"][0][2] for line in lines] == [10.0 * p for p in range(1, 21)]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_whole_run_at_100_hz(stand, tmp_path):
    """100 scalars, 5 waveforms, 2 strings, a camera of 1280 x 1024; by pulse ids, and by times."""
    shown = free_ports(1, socket.SOCK_STREAM)
    buffer = stand.buffer("-b", 300, "--analyzer", "--rest_port", shown)
    past = stand.writer(tmp_path / "past.h5")
    with start("run", stand.source_port, 5000, 100) as source:
        try:
            wait_until(lambda: last_pulse(shown) >= 100, "a second of the past")
            write_past(past)
            write_what_comes(stand, tmp_path)
        finally:
            source.kill()
    assert "consumers_lost=0" in buffer.stop().err
    assert check_run(tmp_path / "past.h5") == list(range(60, 300))
    ids = check_run(tmp_path / "works.h5")
    assert ids == list(range(ids[0], ids[-1] + 1))
    assert len(ids) >= 50


def last_pulse(port):
    with urlopen(f"http://localhost:{port}/statistics", timeout=60) as answer:
        return json.load(answer)["statistics"]["last_pulse_id"] or 0


def write_past(past):
    past.curl("-X", "PUT", f"localhost:{past.port}/start_pulse_id/60")
    past.waits_for(150)
    past.curl("-X", "PUT", f"localhost:{past.port}/stop_pulse_id/299")
    assert past.wait().code == 0


def write_what_comes(stand, tmp_path):
    now = stand.writer(tmp_path / "works.h5", "--log_level=DEBUG")
    assert now.curl("-X", "PUT", f"localhost:{now.port}/start_now") == ""
    wait_until(lambda: now.statistics()["counters"]["received"] >= 50, "half a second")
    assert now.curl("-X", "PUT", f"localhost:{now.port}/stop_now") == ""
    assert now.wait().code == 0


def check_run(path):
    """Return the pulse ids of a file of the long run after a look at every value."""
    with h5py.File(path) as file:
        data = file["data"]
        # SwissFEL's rule of what is a channel
        channels = {name for name, group in data.items() if {"data", "pulse_id"} <= group.keys()}
        assert channels == set(bs_peer.run_values(0))
        ids = data["TEXT"]["pulse_id"][:].tolist()
        for name in channels:
            assert data[name]["pulse_id"][:].tolist() == ids, name
        for i, pulse_id in enumerate(ids):
            for name, value in bs_peer.run_values(pulse_id).items():
                found = data[name]["data"][i]
                if isinstance(value, str):
                    assert np.ravel(found)[0].decode() == value
                else:
                    assert np.array_equal(np.reshape(found, np.shape(value)), value), (name, pulse_id)
    return ids
