"""larpix-control in an environment of its own, or in ours; tests that need it are left out without it."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "larpix_peer.py"
PYTHON = os.environ.get("FOREBAY_LARPIX_PYTHON", sys.executable)

needs_larpix_control = pytest.mark.skipif(
    sys.executable == PYTHON and importlib.util.find_spec("larpix") is None,
    reason="larpix-control is not installed: dependency group 'larpix', or FOREBAY_LARPIX_PYTHON",
)


def peer(*arguments):
    done = subprocess.run(
        [PYTHON, SCRIPT, *map(str, arguments)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout else None
