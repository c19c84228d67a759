"""In which order a file gets its name: what a name stands for is on the disk before the name is there."""

import os
from pathlib import Path

import pytest

from forebay.store.paths import link_in_place

pytestmark = pytest.mark.unit


def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_before_this_returns(tmp_path, monkeypatch):
    done = []
    fsync, link = os.fsync, os.link

    def fsync_and_note(fd):
        done.append(("sync", Path(f"/proc/self/fd/{fd}").readlink().name))
        fsync(fd)

    def link_and_note(source, name):
        done.append(("link", Path(name).name))
        link(source, name)

    monkeypatch.setattr(os, "fsync", fsync_and_note)
    monkeypatch.setattr(os, "link", link_and_note)
    (tmp_path / "a.h5.part").write_bytes(b"all of it")
    link_in_place(tmp_path / "a.h5.part", tmp_path / "a.h5")
    assert done == [("sync", "a.h5.part"), ("link", "a.h5"), ("sync", tmp_path.name)]
