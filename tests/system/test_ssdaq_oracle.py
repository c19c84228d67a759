"""Camera, assembler and writer in processes of their own: every block is where the pattern says."""

import os
import re
import subprocess
from contextlib import closing

import numpy as np
import pytest
from tests.system.ssdaq_stand import FOREBAY, PATIENCE_S, Ssdaq, until

from forebay.store.check import check_file
from forebay.store.readout_reader import ReadoutReader
from forebay.wire import target

pytestmark = [pytest.mark.system, pytest.mark.calm]

SECONDS = float(os.environ.get("FOREBAY_CAMERA_SECONDS", "2"))
WINDOW_NS = 10_000_000
RATES = (10, 101, 144, 1000)


@pytest.fixture
def ssdaq(tmp_path, tmp_path_factory):
    with closing(Ssdaq(tmp_path, tmp_path_factory.mktemp("r", numbered=True))) as stand:
        assembly = stand.config["ReadoutAssembler"]
        assembly["ReadoutPublishers"] = dict(list(assembly["ReadoutPublishers"].items())[:1])
        stand.config["ReadoutAssemblerDaemon"]["set_taskset"] = False
        assert assembly["SSReadoutAssembler"]["readout_tw"] == WINDOW_NS
        stand.save()
        yield stand


def readouts_in(path):
    with closing(ReadoutReader(path)) as reader:
        return reader.read()


def wrong_blocks(readouts):
    """Count blocks whose amplitudes are not those of the readout that they lie in, the first being 0."""
    counts = target.counts_of(readouts["data"]).astype(int)
    expected = 64 * np.arange(32)[:, None] + np.arange(64) + 3 * np.arange(len(readouts))[:, None, None]
    return int(((counts - expected) % 2**16 != 0).any(axis=2).sum())


def test_no_block_is_misattributed_at_any_rate_with_the_window_of_the_readme(ssdaq, tmp_path):
    """Jitter of a third of the window, or of half the distance of readouts, where that is less."""
    ssdaq.good("start", "roa", "-d", ssdaq.path)
    ssdaq.good("start", "dw", "-d", ssdaq.path)
    ssdaq.wait_subscribers(1)
    n_of_rate = {rate: max(20, int(SECONDS * rate) // 10 * 10) for rate in RATES}
    n_sent = 0
    for rate, n in n_of_rate.items():
        jitter_us = min(WINDOW_NS, 10**9 // rate // 2) / 3000
        ssdaq.simulate(n, "--rate", rate, "--jitter-us", jitter_us)
        n_sent += n
        ssdaq.wait_readouts(n_sent)
        ssdaq.good("roa-ctrl", "reset-count")
    status = ssdaq.status()
    ssdaq.good("stop", "dw")
    ssdaq.good("stop", "roa")
    used = {name: n for name, n in status["builder"].items() if n}
    assert used.pop("followed", 0) <= len(RATES)
    assert used == {"blocks": 32 * n_sent, "used": 32 * n_sent, "readouts": n_sent}
    assert status["receiver"]["kernel_drop"] == 0
    for i, n in enumerate(n_of_rate.values(), 1):
        path = tmp_path / f"SlowSignalData{i:03}.hdf5"
        readouts = readouts_in(path)
        assert readouts["number"].tolist() == list(range(1, n + 1))
        assert wrong_blocks(readouts) == 0
        assert [one for one in check_file(path).problems if one.severity != "note"] == []


def test_a_writer_and_an_assembler_end_while_the_camera_goes_on(ssdaq, tmp_path):
    ssdaq.good("start", "roa", "-d", ssdaq.path)
    ssdaq.good("start", "dw", "-d", ssdaq.path)
    ssdaq.wait_subscribers(1)
    camera = subprocess.Popen(
        [*FOREBAY, "camera", "simulate", "--port", str(ssdaq.udp), "--pattern", "--rate", "500"],
        stdout=subprocess.DEVNULL,
    )
    try:
        until(lambda: ssdaq.status()["builder"]["readouts"] > 100, "readouts")
        ssdaq.good("stop", "dw")
        ssdaq.good("stop", "roa")
    finally:
        camera.terminate()
        camera.wait(PATIENCE_S)
    readouts = readouts_in(tmp_path / "SlowSignalData001.hdf5")
    assert len(readouts) > 100
    assert readouts["number"].tolist() == list(range(1, len(readouts) + 1))
    assert wrong_blocks(readouts) == 0
    written = re.search(r"received=(\d+) written=(\d+) not_written=0 lost=0", ssdaq.logs())
    assert written
    assert written[1] == written[2] == str(len(readouts))
