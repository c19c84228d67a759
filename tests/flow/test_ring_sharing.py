"""A disk ring that a group may read: old files and new ones, and who is told what is wrong."""

import grp
import os

import pytest

from forebay.errors import RingError
from forebay.ring import sharing
from forebay.ring.disk_limits import DiskLimits
from forebay.ring.disk_reader import RecordReader
from forebay.ring.disk_writer import RecordWriter

pytestmark = pytest.mark.flow

LIMITS = DiskLimits(10**6, segment_bytes=1000)


def modes(ring):
    return {path.stat().st_mode & 0o777 for path in ring.iterdir()}


def fill(ring, pulses, group=None):
    writer = RecordWriter(ring, LIMITS, group)
    for p in pulses:
        writer.write([(p, p, (b"x" * 100,))])
    writer.close()


@pytest.mark.parametrize("group", [str(os.getgid()), grp.getgrgid(os.getgid()).gr_name])
def test_a_group_may_read_what_is_there_and_what_comes(tmp_path, group):
    ring = tmp_path / "ring"
    before = os.umask(0o077)
    try:
        fill(ring, range(20))
        assert modes(ring) == {0o600}
        fill(ring, range(20, 40), group)
        assert modes(ring) == {0o640}
        assert ring.stat().st_mode & 0o7777 == 0o2750
        fill(ring, range(40, 60))
        assert modes(ring) == {0o640}
        assert {path.stat().st_gid for path in ring.iterdir()} == {os.getgid()}
    finally:
        os.umask(before)
    assert len(list(RecordReader(ring).read(RecordReader(ring).span))) == 60


def test_a_group_that_is_not_there(tmp_path):
    with pytest.raises(RingError, match="no group 'no-such-group'"):
        fill(tmp_path / "ring", (), "no-such-group")
    fill(tmp_path / "ring", range(3))  # the lock is free again


def test_a_group_that_one_does_not_belong_to(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(sharing.os, "chown", refuse)
    with pytest.raises(RingError, match=r"not permitted.*member of the group"):
        fill(tmp_path / "ring", (), "12345")
