"""In which order a file gets its name: what a name stands for is on the disk before the name is there."""

import os
from pathlib import Path

import pytest

from forebay.store.paths import link_in_place, replace_in_place

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("give", "call"), [(link_in_place, "link"), (replace_in_place, "replace")])
def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_before_this_returns(
    tmp_path, monkeypatch, give, call
):
    done = []
    fsync, named = os.fsync, getattr(os, call)

    def fsync_and_note(fd):
        done.append(("sync", Path(f"/proc/self/fd/{fd}").readlink().name))
        fsync(fd)

    def name_and_note(source, name):
        done.append((call, Path(name).name))
        named(source, name)

    monkeypatch.setattr(os, "fsync", fsync_and_note)
    monkeypatch.setattr(os, call, name_and_note)
    (tmp_path / "a.h5.part").write_bytes(b"all of it")
    give(tmp_path / "a.h5.part", tmp_path / "a.h5")
    assert done == [("sync", "a.h5.part"), (call, "a.h5"), ("sync", tmp_path.name)]


def test_what_may_be_replaced_is(tmp_path):
    (tmp_path / "a.json").write_bytes(b"old")
    (tmp_path / "a.json.part").write_bytes(b"new")
    replace_in_place(tmp_path / "a.json.part", tmp_path / "a.json")
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("a.json", b"new")]
