"""Space is taken before it is needed, or it is said that there is none."""

import ctypes
import errno
import os
import resource
from itertools import pairwise
from types import SimpleNamespace

import pytest

from forebay.store import room as r

pytestmark = pytest.mark.unit


@pytest.fixture
def fd(tmp_path):
    fd = os.open(tmp_path / "a", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


class Libc:
    """Stands for the C library: notes calls, fails with `number`."""

    def __init__(self, number=0):
        self.number = number
        self.allocated = []
        self.synced = []

    def fallocate(self, _fd, mode, start, n):
        assert mode == 1
        if self.number:
            ctypes.set_errno(self.number)
            return -1
        self.allocated.append((start, start + n))
        return 0

    def sync_file_range(self, _fd, start, n, flags):
        self.synced.append((start, start + n, flags))
        ctypes.set_errno(self.number)
        return -1 if self.number else 0


def disk(free):
    return lambda _fd: SimpleNamespace(f_bavail=free // 4096, f_frsize=4096)


@pytest.fixture
def libc(monkeypatch):
    libc = Libc()
    monkeypatch.setattr(r, "_libc", lambda: libc)
    monkeypatch.setattr(r.os, "fstatvfs", disk(10**12))
    return libc


def test_space_is_really_taken_and_the_length_stays(fd):
    r.Room(fd).take(100_000)
    found = os.fstat(fd)
    assert found.st_size == 0
    assert found.st_blocks * 512 >= 100_000


def test_large_steps_while_there_is_plenty(fd, libc):
    room = r.Room(fd)
    for end in (10, 1000, 2**26, 2**26 + 1, 2**28):
        room.take(end)
    assert libc.allocated == [(0, 2**26), (2**26, 2**27), (2**27, 2**28)]


def test_small_steps_where_space_is_short(fd, libc, monkeypatch):
    monkeypatch.setattr(r.os, "fstatvfs", disk(2**26))
    room = r.Room(fd)
    for end in (10, 1000, 500):
        room.take(end)
    assert libc.allocated == [(0, 10), (10, 1000)]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_no_space(fd, libc, number):
    libc.number = number
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        r.Room(fd).take(10)
    assert caught.value.errno == number


def test_a_file_system_that_cannot_allocate(fd, libc, monkeypatch):
    libc.number = errno.EOPNOTSUPP
    monkeypatch.setattr(r.os, "fstatvfs", disk(2**20))
    room = r.Room(fd)
    room.take(2**20)
    with pytest.raises(OSError, match="No space left"):
        room.take(2**20 + 4096)


def test_the_largest_size_allowed(fd, libc):
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, old[1]))
        r.Room(fd).take(1000)
        with pytest.raises(OSError, match="File too large"):
            r.Room(fd).take(1001)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_written_data_go_out_in_windows_and_are_forgotten(fd, libc, monkeypatch):
    forgotten = []
    monkeypatch.setattr(r, "_BEHIND", 2)
    monkeypatch.setattr(r.os, "posix_fadvise", lambda _fd, *window: forgotten.append(window))
    back = r.WriteBack(fd)
    size = r._WINDOW
    for end in (10, size - 1, size, size + 5, 2 * size + 7, 3 * size + 8, 4 * size + 8):
        back.advance(end)
    ends = [0, size, 2 * size + 7, 3 * size + 8, 4 * size + 8]
    started = [call[:2] for call in libc.synced if call[2] == r._WRITE]
    waited = [call[:2] for call in libc.synced if call[2] != r._WRITE]
    assert started == list(pairwise(ends))
    assert waited == started[:2]
    assert forgotten == [(first, end - first, os.POSIX_FADV_DONTNEED) for first, end in waited]


def test_what_the_disk_did_not_take_is_said_ever_after(fd, libc):
    back = r.WriteBack(fd)
    back.advance(r._WINDOW)
    libc.number = errno.EIO
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        back.advance(2 * r._WINDOW)
    libc.number = 0
    for again in (back.check, lambda: back.advance(2 * r._WINDOW + 1)):
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            again()


def test_a_file_system_without_the_call_is_left_alone(fd, libc):
    back = r.WriteBack(fd)
    libc.number = errno.ENOSYS
    for i in range(r._BEHIND + 3):
        back.advance(i * r._WINDOW)
    back.check()
