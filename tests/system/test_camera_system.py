"""The camera in real time and in processes of their own: every rate, and a writer that is killed."""

import os
import subprocess
import sys
import threading
from contextlib import closing
from ipaddress import ip_address

import numpy as np
import pytest

from forebay.assemble.timed import TimedRules
from forebay.service.readout import CameraInput, ReadoutAssembler
from forebay.sim.camera import Camera, CameraOptions
from forebay.store.check import check_file
from forebay.store.readout_file import ReadoutFile
from forebay.store.readout_layout import ReadoutRecording
from forebay.store.readout_reader import ReadoutReader
from forebay.store.recover import recover
from forebay.wire import target

pytestmark = [pytest.mark.system, pytest.mark.calm]

SECONDS = float(os.environ.get("FOREBAY_CAMERA_SECONDS", "2"))
LIMIT_S = 30.0

WRITER = """
import sys
from pathlib import Path
import numpy as np
from forebay.store.readout_file import ReadoutFile
from forebay.store.readout_layout import ReadoutRecording
from forebay.wire import ssreadout

file = ReadoutFile(Path(sys.argv[1]), ReadoutRecording(generation=sys.argv[2]))
readouts = ssreadout.new(7)
n = 0
while True:
    readouts["number"] = n + 1 + np.arange(7)
    readouts["time_ns"] = readouts["number"] * 1000
    readouts["data"] = readouts["number"][:, None, None]
    readouts["timestamps"] = 5
    file.append(readouts)
    n += 7
    print(n, flush=True)
"""


@pytest.mark.parametrize("rate_hz", [10, 144, 1000])
def test_every_rate_is_received_whole_with_the_windows_of_the_original(tmp_path, rate_hz):
    """Window 10 ms as in the original's configuration, which was wrong from 100 Hz on."""
    rules = TimedRules(window_ns=10_000_000, buffer_ns=4 * 10**9)
    file = ReadoutFile(tmp_path / "a.h5", ReadoutRecording())
    assembler = ReadoutAssembler(CameraInput(ip_address("127.0.0.1"), 0, rules=rules), [file])
    stop = threading.Event()
    running = threading.Thread(target=assembler.run, args=(stop,))
    running.start()
    count = max(30, int(SECONDS * rate_hz) // 10 * 10)
    jitter_ns = min(10_000_000, 10**9 // rate_hz // 2) // 3
    options = CameraOptions(
        port=assembler.port, rate_hz=rate_hz, count=count, signal="pattern", jitter_ns=jitter_ns
    )
    with closing(Camera(options)) as camera:
        sent = camera.run()
    for _ in range(int(LIMIT_S / 0.01)):
        if assembler.status()["receiver"]["datagrams"] == sent["datagrams"]:
            break
        stop.wait(0.01)
    stop.set()
    running.join(LIMIT_S)
    status = assembler.status()
    assert status["receiver"]["kernel_drop"] == 0
    assert status["builder"]["used"] == count * 32
    with closing(ReadoutReader(tmp_path / "a.h5")) as reader:
        readouts = reader.read()
    counts = target.counts_of(readouts["data"]).astype(int)
    expected = 64 * np.arange(32)[:, None] + np.arange(64) + 3 * np.arange(count)[:, None, None]
    np.testing.assert_array_equal(counts, expected)
    assert check_file(tmp_path / "a.h5").problems == []


@pytest.mark.parametrize("generation", ["A", "B"])
def test_a_killed_writer_loses_nothing_that_it_had_taken(tmp_path, generation):
    path = tmp_path / "a.h5"
    command = [sys.executable, "-c", WRITER, str(path), generation]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        for line in writer.stdout:
            n = int(line)
            if n > 1000:
                writer.kill()
                break
        rest = writer.stdout.read().split()
    n = int(rest[-1]) if rest else n
    assert not path.exists()
    recovered = recover(path.with_name("a.h5.part"))
    with closing(ReadoutReader(recovered)) as reader:
        readouts = reader.read()
    assert len(readouts) >= n
    assert readouts["number"].tolist() == list(range(1, len(readouts) + 1))
    assert (readouts["data"] == readouts["number"][:, None, None]).all()
    assert [one.severity for one in check_file(path).problems] == []
