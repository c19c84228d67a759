"""What a file that grows wants of the disk: space ahead of need, and data that goes out meanwhile."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from collections import deque
from functools import cache

_STEP = 64 * 2**20
_WINDOW = 16 * 2**20
_BEHIND = 8  # windows on their way: they bridge a slow moment of the disk
_WAIT_BEFORE, _WRITE, _WAIT_AFTER = 1, 2, 4  # SYNC_FILE_RANGE_...
_PLENTY = 4  # steps that must be free for whole ones: a step that fails may keep what it got
_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE


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
    """Sends what was written to the disk in windows, and waits for the one `_BEHIND` windows ago.

    So the data that wait in memory stay few, and the sync at the end is short. An error of the disk is
    told by that sync, not here.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._end = 0
        self._open: deque[tuple[int, int]] = deque()

    def advance(self, end: int) -> None:
        """Say that the file was written up to `end` bytes."""
        if end < self._end + _WINDOW:
            return
        window = self._end, end - self._end
        _libc().sync_file_range(self._fd, *window, _WRITE)
        self._open.append(window)
        self._end = end
        if len(self._open) > _BEHIND:
            _libc().sync_file_range(self._fd, *self._open.popleft(), _WAIT_BEFORE | _WRITE | _WAIT_AFTER)
