"""Disk space that is taken ahead of need: HDF5 does not survive a full disk, so it must not meet one."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from functools import cache

_STEP = 64 * 2**20
_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return libc


class Room:
    """Makes sure that a file can grow; ``fallocate`` takes the space, the file's length stays.

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
        for goal in (max(end, self._taken + _STEP), end):
            number = self._allocate(goal)
            if not number:
                self._taken = goal
                return
        raise OSError(number, os.strerror(number))

    def _allocate(self, goal: int) -> int:
        """Return 0, or the errno of what is in the way."""
        if not _libc().fallocate(self._fd, _KEEP_SIZE, self._taken, goal - self._taken):
            return 0
        number = ctypes.get_errno()
        if number not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            return number
        disk = os.fstatvfs(self._fd)
        need = goal - os.fstat(self._fd).st_size
        return errno.ENOSPC if need > disk.f_bavail * disk.f_frsize else 0
