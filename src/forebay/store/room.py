"""Disk space that is taken ahead of need: HDF5 does not survive a full disk, so it must not meet one."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from functools import cache

_STEP = 64 * 2**20
_PLENTY = 4  # steps that must be free for whole ones: a step that fails may keep what it got
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
