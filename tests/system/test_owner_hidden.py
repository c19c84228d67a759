"""Whether a process of somebody else lives is known also where /proc does not show it."""

import os
import subprocess
import sys

import pytest
from tests.system.stand import without_privileges

from forebay.run.owner import host_name, is_gone, owner

pytestmark = pytest.mark.system

NOBODY = 65534
HIDE = 'mount -t proc -o {option} proc /proc && exec "$@"'
ASK = "import sys; from forebay.run.owner import is_gone; print(is_gone(sys.argv[1]))"


@pytest.fixture
def foreign():
    """Yield a living process of another user."""
    if os.getuid():
        pytest.skip("only root may start processes of others")
    with subprocess.Popen(["sleep", "1000"], user=NOBODY, group=NOBODY, extra_groups=[]) as process:
        yield process
        process.kill()


def ask(option, text):
    """Return what somebody without rights finds where others are hidden."""
    hidden = ["unshare", "--mount", "sh", "-c", HIDE.format(option=option), "sh"]
    done = subprocess.run(
        [*hidden, *without_privileges(), sys.executable, "-c", ASK, text],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if "mount" in done.stderr and "denied" in done.stderr:
        pytest.skip(f"no right to mount /proc: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("option", ["hidepid=0", "hidepid=1,gid=1", "hidepid=2,gid=1"])
def test_a_process_of_another_user(foreign, option):
    mine = owner("record.1", foreign.pid)
    assert not is_gone(mine)
    assert ask(option, mine) == "False"
    foreign.kill()
    foreign.wait()
    assert is_gone(mine)
    assert ask(option, mine) == "True"


def test_a_number_that_no_process_can_have():
    mine = owner("record.1")
    assert is_gone(mine.replace(f"(pid {os.getpid()},", f"(pid {10**30},"))
    assert f" on {host_name()} " in mine
