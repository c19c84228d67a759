"""kill -9 of a process that writes channels: every message that it had written is in the recovered file."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from tests.channel_events import channels_of, image

from forebay.errors import StoreError
from forebay.store.channel_layout import LAYOUTS
from forebay.store.check import check_file
from forebay.store.recover import recover

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
N_KILLS = int(os.environ.get("FOREBAY_KILLS", "20"))
N_MESSAGES = 400
WRITER = f"""
import os, sys
from pathlib import Path
from forebay.store import channel_tree
from forebay.store.channel_file import ChannelFile
from forebay.store.channel_manifest import ChannelRecording
from tests.channel_events import event, image
channel_tree._BLOCK_MESSAGES = 37
file = ChannelFile(Path(sys.argv[1]), ChannelRecording("stream", sys.argv[2]))
for p in range({N_MESSAGES}):
    values = {{"A": float(p), "T": f"text {{p}}", "CAM:FPICTURE": image(p) if p % 3 == 0 else None}}
    if p > 100:
        values["LATE"] = p
    file.write([event(p, values)])
    os.write(1, b"%d\\n" % file.counters["written"])
file.close()
os.write(1, b"closed\\n")
"""


@pytest.mark.parametrize("i_kill", range(N_KILLS))
def test_killed_at_random(tmp_path, i_kill):
    chance = random.Random(i_kill)
    layout = list(LAYOUTS)[i_kill % len(LAYOUTS)]
    target = chance.choice([0, chance.randrange(1, N_MESSAGES), N_MESSAGES - 3, N_MESSAGES])
    final = tmp_path / "a.h5"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(final), layout], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        n_said = wait_for(process, tmp_path, target)
        until = time.monotonic() + chance.uniform(0, 0.03)
        while time.monotonic() < until:
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        rest = process.communicate(timeout=60)[0]
    n_said = max([n_said, *(int(word) for word in rest.split("\n")[:-1] if word.isdigit())])
    if not final.exists() and not (tmp_path / "a.h5.part").exists():
        assert n_said == 0
        with suppress(StoreError):  # a journal without a whole head is removed, another makes an empty file
            recover(tmp_path / "a.h5.part")
        assert [path.name for path in tmp_path.iterdir()] in ([], ["a.h5"])
        return
    recover(tmp_path / "a.h5.part")
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
    report = check_file(final)
    assert report.is_good, report.problems
    judge(channels_of(final), n_said)


def wait_for(process, folder, n):
    """Return when the writer says that it has written `n` messages, or for 0 when it has made a file."""
    end = time.monotonic() + 60
    while n == 0 and not any(folder.iterdir()):
        assert time.monotonic() < end, "the writer did not start"
    said = 0
    while said < n:
        line = process.stdout.readline().strip()
        assert line, "the writer ended by itself"
        said = int(line)
    return said


def judge(found, n_said):
    if not found:
        assert n_said == 0
        return
    ids = found["A"]["pulse_id"].reshape(-1).tolist()
    assert ids == list(range(len(ids)))
    assert len(ids) >= n_said
    np.testing.assert_array_equal(found["A"]["data"].reshape(-1), ids)
    assert [text.decode() for text in found["T"]["data"].reshape(-1)] == [f"text {p}" for p in ids]
    images = found["CAM:FPICTURE"]
    assert images["pulse_id"].reshape(-1).tolist() == ids[::3]
    for row, p in enumerate(ids[::3]):
        np.testing.assert_array_equal(images["data"][row], image(p))
    if len(ids) > 101:
        np.testing.assert_array_equal(found["LATE"]["data"].reshape(-1), ids[101:])
