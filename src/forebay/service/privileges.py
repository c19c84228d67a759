"""Becoming another user for good: all groups, all three ids, no way back."""

from __future__ import annotations

import ctypes
import os
import pwd

from forebay.errors import ServiceError

UMASK = 0o027
_PR_SET_NO_NEW_PRIVS = 38


def become(user_id: int) -> None:
    """Go on as user `user_id` with the groups of that user and no others, and make files with `UMASK`.

    A number without an account has itself as its only group, as sf_bsread_writer had it. Nothing that this
    process starts can gain rights again. Import what is needed before: the user may not be able to read it.

    Raises
    ------
    ServiceError
        If the system refuses; nothing may go on then, because part of it may be done.
    """
    os.umask(UMASK)
    _no_new_privileges()
    try:
        account = pwd.getpwuid(user_id)
        name, group_id = account.pw_name, account.pw_gid
    except KeyError:
        name, group_id = "", user_id
    if (user_id,) * 3 == os.getresuid():
        return  # and the groups are those that this user's session has
    try:
        if name:
            os.initgroups(name, group_id)
        else:
            os.setgroups([group_id])
        os.setresgid(group_id, group_id, group_id)
        os.setresuid(user_id, user_id, user_id)
    except OSError as error:
        raise ServiceError(
            f"User {os.geteuid()} may not become user {user_id}: {error.strerror}.",
            "Start as root (or with CAP_SETUID and CAP_SETGID), or give -1 to stay who you are.",
        ) from error
    if os.getresuid() != (user_id,) * 3 or os.getresgid() != (group_id,) * 3:
        raise ServiceError(f"The system did not make this process user {user_id}, group {group_id}.")


def _no_new_privileges() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise ServiceError(f"The system does not let us give up privileges: {os.strerror(number)}.")
