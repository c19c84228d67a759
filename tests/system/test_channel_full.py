"""A disk that is full ends a file of channels: it is whole with what went before, and says why it ended."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from tests.channel_events import channels_of, image

from forebay.store.channel_layout import LAYOUTS
from forebay.store.channel_manifest import from_json
from forebay.store.check import check_file

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
WRITER = """
import resource, sys
from pathlib import Path
from forebay.errors import StoreError
from forebay.store.channel_file import ChannelFile
from forebay.store.channel_manifest import ChannelRecording
from tests.channel_events import event, image
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
file = ChannelFile(Path(sys.argv[1]), ChannelRecording("stream", sys.argv[2]))
try:
    for p in range(100_000):
        values = {f"A{i}": float(p) for i in range(20)} | {"T": f"text {p}"}
        if p % 5 == 0:
            values["CAM:FPICTURE"] = image(p)
        file.write([event(p, values)])
except StoreError as error:
    print(error)
file.close()
print(file.counters["written"])
"""


@pytest.mark.parametrize("limit", [13_000_000, 18_765_432])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_largest_file_size(tmp_path, layout, limit):
    final = tmp_path / "a.h5"
    process = subprocess.run(
        [sys.executable, "-c", WRITER, str(final), layout, str(limit)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    said, written = process.stdout.splitlines()
    assert "File too large" in said
    assert int(written) > 10
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
    assert final.stat().st_size <= limit
    problems = check_file(final).problems
    assert {problem.check for problem in problems} <= {"missing-pulses", "not-written", "channels"}
    with h5py.File(final) as file:
        assert from_json(file["general/manifest"][()]).reason == "disk full"
    found = channels_of(final)
    np.testing.assert_array_equal(found["A7"]["data"].reshape(-1), range(int(written)))
    np.testing.assert_array_equal(found["CAM:FPICTURE"]["data"][-1], image((int(written) - 1) // 5 * 5))
