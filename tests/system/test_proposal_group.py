"""The folder of a proposal with a group: what a job leaves there is the group's, and others see nothing."""

import os
import stat

import pytest
from tests.system.stand import Stand

pytestmark = pytest.mark.system

GROUP = 54711


@pytest.fixture
def folder(tmp_path):
    """Return the folder of a proposal as a facility makes it: ``chgrp p54711; chmod 2770``."""
    made = tmp_path / "p54711"
    made.mkdir()
    if GROUP not in os.getgroups() and os.getuid():
        pytest.skip("only root may give a folder to any group")
    os.chown(made, -1, GROUP)
    made.chmod(0o2770)
    return made


def test_what_a_job_leaves_belongs_to_the_group(tmp_path, folder):
    """Whatever the umask of worker and of who asks, who both write there."""
    with Stand(tmp_path, workers={"record": 1}) as stand:
        supervisor = stand.run(umask=0o077)
        stand.simulate("--rate", 200)
        asked = ("-c", stand.config_path, "--proposal", "p54711")
        assert stand.forebay("proposal", "add", "p54711", folder, "-c", stand.config_path).code == 0
        done = stand.forebay("record", stand.name, "--images", 20, *asked)
        assert done.code == 0, f"{done}\n{stand.logs()}"
        assert supervisor.stop().code == 0
    found = {path: path.stat() for path in folder.rglob("*")}
    assert {path.suffix for path in found} >= {".h5", ".json"}
    for path, is_ in found.items():
        wanted = 0o2770 if path.is_dir() else 0o660
        assert (oct(stat.S_IMODE(is_.st_mode)), is_.st_gid) == (oct(wanted), GROUP), path
