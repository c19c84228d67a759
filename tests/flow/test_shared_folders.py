"""In a set-group-id folder, what is made has the rights of the folder; elsewhere the umask decides."""

import os
import stat

import pytest

from forebay.store.group import make_shared, share
from forebay.store.paths import link_in_place

pytestmark = pytest.mark.flow


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture
def folder(tmp_path):
    os.chown(tmp_path, -1, os.getegid())
    return tmp_path


@pytest.mark.parametrize(
    ("rights", "folders", "files"),
    [(0o2770, 0o2770, 0o660), (0o2750, 0o2750, 0o640), (0o2775, 0o2775, 0o664), (0o2777, 0o2775, 0o664)],
)
def test_the_folder_decides(folder, umask, rights, folders, files):
    folder.chmod(rights)
    deep = folder / "raw" / "run0001"
    make_shared(deep)
    assert [mode(one) for one in (deep.parent, deep)] == [folders, folders]
    part = deep / "a.h5.part"
    part.write_bytes(b"data")
    link_in_place(part, deep / "a.h5")
    assert mode(deep / "a.h5") == files


def test_elsewhere_the_umask_decides(folder, umask):
    folder.chmod(0o777)
    make_shared(folder / "raw")
    (folder / "raw" / "file").write_bytes(b"")
    share(folder / "raw" / "file")
    assert mode(folder / "raw") == 0o777 & ~umask
    assert mode(folder / "raw" / "file") == 0o666 & ~umask


def test_what_is_there_already_is_left_alone(folder):
    (folder / "old").mkdir()
    (folder / "old").chmod(0o700)
    folder.chmod(0o2775)
    make_shared(folder / "old" / "new")
    assert mode(folder / "old") == 0o700


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a folder to any group")
def test_the_file_of_another_group_is_left_alone(folder):
    folder.chmod(0o2770)
    (folder / "file").write_bytes(b"")
    (folder / "file").chmod(0o600)
    os.chown(folder / "file", -1, 54711)
    share(folder / "file")
    assert mode(folder / "file") == 0o600
