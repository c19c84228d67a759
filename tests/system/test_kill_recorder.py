"""kill -9 of a process that writes: every image that it had written is in the recovered file."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import numpy as np
import pytest

from forebay.errors import StoreError
from forebay.store.check import check_file
from forebay.store.recover import recover

pytestmark = [pytest.mark.system, pytest.mark.calm]

N_KILLS = int(os.environ.get("FOREBAY_KILLS", "20"))
N_IMAGES = 300
PIXELS = """
import numpy as np
def pixels(pulse_id):
    return np.random.default_rng(pulse_id).integers(0, 500, (96, 64)).astype("u2")
"""
WRITER = (
    PIXELS
    + f"""
import os, sys
from pathlib import Path
from forebay.event import Event
from forebay.store import room
from forebay.store.hdf5 import ImageFile
from forebay.store.manifest import Recording, Request
room._WINDOW, room._BEHIND = 2**17, 1  # so that most of the file has left the page cache
recording = Recording("det", (96, 64), "uint16", requested=Request(images={N_IMAGES}))
file = ImageFile(Path(sys.argv[1]), recording)
for p in range({N_IMAGES}):
    file.write([Event("det", p, 10**18 + p, {{"data": pixels(p)}}, np.zeros(1, np.uint32))])
    os.write(1, b"%d\\n" % file.counters["written"])
file.close()
os.write(1, b"closed\\n")
"""
)
space: dict = {}
exec(PIXELS, space)


def report_of(process, target):
    """Read what the writer says until it says `target`; return its last word."""
    last = ""
    assert process.stdout is not None
    while last != target:
        line = process.stdout.readline()
        if not line:
            break
        last = line.strip()
        if last.isdigit() and target.isdigit() and int(last) >= int(target):
            break
    return last


@pytest.mark.parametrize("i_kill", range(N_KILLS))
def test_killed_at_random(tmp_path, i_kill):
    chance = random.Random(i_kill)
    target = chance.choice(["start", str(chance.randrange(1, N_IMAGES)), str(N_IMAGES - 8), "closed"])
    final = tmp_path / "a.h5"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(final)], stdout=subprocess.PIPE, text=True)
    try:
        if target == "start":
            wait_for_a_name(tmp_path)
            until = time.monotonic() + chance.uniform(0, 0.02)
        else:
            report_of(process, target)
            until = time.monotonic() + chance.uniform(0, 0.03)
        while time.monotonic() < until:
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        rest = process.communicate(timeout=60)[0]
    said = [int(word) for word in rest.split("\n")[:-1] if word.isdigit()]
    said += [int(target)] if target.isdigit() else []
    n_said = N_IMAGES if target == "closed" or "closed" in rest else max(said, default=0)
    if not final.exists() and not (tmp_path / "a.h5.part").exists():
        assert n_said == 0
        with suppress(StoreError):  # a journal without a whole head is removed, another makes an empty file
            recover(tmp_path / "a.h5.part")
        assert [path.name for path in tmp_path.iterdir()] in ([], ["a.h5"])
        return
    recover(tmp_path / "a.h5.part")
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
    with h5py.File(final) as f:
        ids = f["entry/data/pulse_id"][:]
        images = f["entry/data/data"]
        assert ids.tolist() == list(range(len(ids)))
        assert len(ids) >= n_said
        for p in ids:
            np.testing.assert_array_equal(images[p], space["pixels"](p))
    report = check_file(final, skip=["missing-pulses"])
    assert report.is_good, report.problems


def wait_for_a_name(folder):
    """Return when the writer has made its first file."""
    end = time.monotonic() + 60
    while not any(folder.iterdir()):
        assert time.monotonic() < end, "the writer did not start"
