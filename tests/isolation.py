"""A folder and an environment of its own for a session of tests: nothing of the user's, or of other runs."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

MARK = "FOREBAY_TEST_SESSION"
"""The session's folder, in the environment of every process that a test starts."""

_LONGEST = 40
"""Characters of the folder above: names of sockets end after 107, and ours come below."""

_HOMES = {
    "HOME": "home",
    "XDG_CACHE_HOME": "cache",
    "XDG_CONFIG_HOME": "config",
    "XDG_DATA_HOME": "share",
    "XDG_RUNTIME_DIR": "run",
    "XDG_STATE_HOME": "state",
}
_OF_THE_USER = (
    "FOREBAY_CONFIG",
    "FOREBAY_LOG_FORMAT",
    "FOREBAY_PROPOSAL",
    "FOREBAY_RUNTIME_DIR",
    "FOREBAY_STATE_DIR",
    "FOREBAY_TOKEN",
    "FOREBAY_URL",
    "COM_PORT",
    "MY_IP",
    "NOTIFY_SOCKET",
    "SSDAQ_INSTANCE",
    "TM_ID",
)
"""What forebay reads in the environment."""


def enter() -> Path:
    """Return the session's folder; the first process of a session makes it, the others inherit it."""
    if inherited := os.environ.get(MARK):
        return Path(inherited)
    above = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="t-", dir=above if len(above) <= _LONGEST else "/tmp"))
    folder.chmod(0o711)  # servers that root may not run go through it
    for name, below in _HOMES.items():
        (folder / below).mkdir(mode=0o700)
        os.environ[name] = str(folder / below)
    for name in [name for name in os.environ if name in _OF_THE_USER or name.startswith("FOREBAY__")]:
        del os.environ[name]
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", above)  # where tmp_path is kept after a failure
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    os.environ[MARK] = str(folder)
    atexit.register(_leave, folder, os.getpid())
    return folder


def _leave(folder: Path, maker: int) -> None:
    """Remove the session's folder; what cannot be removed harms nobody: no other session uses it."""
    if os.getpid() == maker:  # not a child that was forked by a test
        shutil.rmtree(folder, ignore_errors=True)
