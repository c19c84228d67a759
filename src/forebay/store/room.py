"""What a file that grows wants of the disk: space ahead of need, and data that goes out meanwhile."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from collections import deque
from functools import cache

_STEP = 64 * 2**20
_WINDOW = 8 * 2**20
_BEHIND = 4  # windows on their way: they bridge a slow moment of the disk
_WAIT_BEFORE, _WRITE, _WAIT_AFTER = 1, 2, 4  # SYNC_FILE_RANGE_...
_PLENTY = 4  # steps that must be free for whole ones: a step that fails may keep what it got
_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE
_LOST = (errno.EIO, errno.ENOSPC, errno.EDQUOT)  # other answers: this file system has no such call


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return libc


class Room:
    """Makes sure that a file can grow; ``fallocate`` takes the space, the file's length stays.

    HDF5 does not survive a full disk (it crashes when it closes such a file), so it must not meet one.
    Where the file system cannot do that, the free space is looked at instead.

    Parameters
    ----------
    fd:
        The open file.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._taken = 0

    def take(self, end: int) -> None:
        """Make sure that the file can grow to `end` bytes.

        Raises
        ------
        OSError
            ENOSPC, EDQUOT or EFBIG, if it cannot; what was taken before stays taken.
        """
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if limit != resource.RLIM_INFINITY and end > limit:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        if end <= self._taken:
            return
        disk = os.fstatvfs(self._fd)
        n_free = disk.f_bavail * disk.f_frsize
        goal = max(end, self._taken + _STEP) if n_free > _PLENTY * _STEP else end
        if not _libc().fallocate(self._fd, _KEEP_SIZE, self._taken, goal - self._taken):
            self._taken = goal
            return
        number = ctypes.get_errno()
        if number not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            raise OSError(number, os.strerror(number))
        if end - os.fstat(self._fd).st_size > n_free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class WriteBack:
    """Sends what was written to the disk in windows, waits for the one `_BEHIND` windows ago, and forgets it.

    So the data that wait in memory stay few, the sync at the end is short, and the next window is written
    into the memory of an earlier one: memory that the system has to find first costs more than the copy
    into it (see `bench/retrieve.py`), and it would push what rings keep out of the page cache.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._end = 0
        self._open: deque[tuple[int, int]] = deque()
        self._lost: OSError | None = None

    def advance(self, end: int) -> None:
        """Say that the file was written up to `end` bytes.

        Raises
        ------
        OSError
            If the disk did not take an earlier window, see `check`.
        """
        self.check()
        if end < self._end + _WINDOW:
            return
        self._sync((self._end, end - self._end), _WRITE)
        self._open.append((self._end, end - self._end))
        self._end = end
        if len(self._open) > _BEHIND:
            window = self._open.popleft()
            self._sync(window, _WAIT_BEFORE | _WRITE | _WAIT_AFTER)
            self._forget(window)

    def check(self) -> None:
        """Raise the `OSError` of a disk that did not take an earlier window: the file cannot be trusted.

        The system says so only once; that a later sync succeeds means nothing.
        """
        if self._lost is not None:
            raise self._lost

    def _forget(self, window: tuple[int, int]) -> None:
        os.posix_fadvise(self._fd, *window, os.POSIX_FADV_DONTNEED)

    def _sync(self, window: tuple[int, int], flags: int) -> None:
        if _libc().sync_file_range(self._fd, *window, flags) and ctypes.get_errno() in _LOST:
            self._lost = OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self.check()
