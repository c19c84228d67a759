"""What the hub must not forget: queues, requests and who has them in hand, in one SQLite file."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from forebay.errors import BusError
from forebay.run.bus.pattern import matches

VERSION = 1
KEEP_TOKENS_S = 3600.0
"""Calls that were carried out are known again for so long: a client never repeats one later."""

_TABLES = f"""
CREATE TABLE queue (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE pattern (queue TEXT, pattern TEXT, PRIMARY KEY (queue, pattern)) WITHOUT ROWID;
CREATE TABLE request (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, id TEXT NOT NULL, token TEXT NOT NULL,
    message BLOB NOT NULL, n_handed INTEGER NOT NULL DEFAULT 0, client TEXT, worker INTEGER,
    UNIQUE (queue, id)
);
CREATE INDEX ready ON request (queue, seq) WHERE client IS NULL;
CREATE INDEX in_hand ON request (client, worker) WHERE client IS NOT NULL;
CREATE TABLE finished (token TEXT PRIMARY KEY, time REAL NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""


@dataclass(frozen=True, slots=True)
class Held:
    """A request in the hands of one worker."""

    seq: int
    redelivered: bool
    message: bytes


class Journal:
    """Queues and requests on disk; one thread at a time.

    Parameters
    ----------
    directory:
        Made if need be, for this user only; the journal is ``bus.sqlite`` in it.

    Raises
    ------
    BusError
        If it is another hub's, damaged, of another version, or cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "bus.sqlite"
        self._lock = _lock(directory)
        try:
            self._base = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            os.close(self._lock)
            raise self._cannot(error) from error
        try:
            self._base.execute("PRAGMA journal_mode = WAL")
            (version,) = self._base.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._base.executescript(f"BEGIN; {_TABLES} COMMIT;")
            elif version != VERSION:
                raise BusError(
                    f"The bus journal {self.path} has version {version}; this forebay writes {VERSION}.",
                    "Use the forebay that wrote it, or move it away: the requests in it are then lost.",
                )
            self._patterns = self._read_patterns()
        except (sqlite3.Error, BusError) as error:
            self.close()
            if isinstance(error, BusError):
                raise
            raise self._cannot(error) from error

    def close(self) -> None:
        """Let go; may be called twice."""
        if self._lock >= 0:
            self._base.close()
            os.close(self._lock)
            self._lock = -1

    def _cannot(self, error: sqlite3.Error) -> BusError:
        return BusError(
            f"The bus journal {self.path} cannot be used: {error}.",
            "See that the disk has room; if the file is damaged, move it away: its requests are then lost.",
        )

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[None]:
        """Make what happens inside all or nothing; when `durable`, on disk when the block ends.

        Raises
        ------
        BusError
            If it cannot be written; nothing has happened then.
        """
        try:
            self._base.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._base.execute("COMMIT")
            except BaseException:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                self._patterns = self._read_patterns()
                raise
        except sqlite3.Error as error:
            raise self._cannot(error) from error

    # --- queues

    def _read_patterns(self) -> dict[str, list[str]]:
        known: dict[str, list[str]] = {}
        for (queue,) in self._base.execute("SELECT name FROM queue"):
            known[queue] = []
        for queue, pattern in self._base.execute("SELECT queue, pattern FROM pattern"):
            known[queue].append(pattern)
        return known

    def has(self, queue: str) -> bool:
        """Return whether the queue was declared."""
        return queue in self._patterns

    def declare(self, queue: str, patterns: Iterable[str]) -> None:
        """Make a queue if need be, and add patterns."""
        self._base.execute("INSERT OR IGNORE INTO queue VALUES (?)", (queue,))
        known = self._patterns.setdefault(queue, [])
        for pattern in patterns:
            self._base.execute("INSERT OR IGNORE INTO pattern VALUES (?, ?)", (queue, pattern))
            if pattern not in known:
                known.append(pattern)

    # --- requests

    def add(self, token: str, key: str, id: str, message: bytes) -> list[str]:  # noqa: A002
        """Queue a request wherever its key leads; return these queues.

        An id that a queue still has, and a token that was finished already, is not queued again.
        """
        queues = [name for name, known in self._patterns.items() if any(matches(p, key) for p in known)]
        if queues and not self._is_finished(token):
            self._base.executemany(
                "INSERT OR IGNORE INTO request (queue, id, token, message) VALUES (?, ?, ?, ?)",
                [(queue, id, token, message) for queue in queues],
            )
        return queues

    def hand(self, queue: str, client: str, worker: int) -> Held | None:
        """Put the oldest request that nobody has into this hand; None if there is none."""
        row = self._base.execute(
            "SELECT seq, n_handed, message FROM request WHERE queue = ? AND client IS NULL "
            "ORDER BY seq LIMIT 1",
            (queue,),
        ).fetchone()
        if row is None:
            return None
        self._base.execute(
            "UPDATE request SET client = ?, worker = ?, n_handed = n_handed + 1 WHERE seq = ?",
            (client, worker, row[0]),
        )
        return Held(row[0], row[1] > 0, row[2])

    def held(self, client: str, worker: int) -> Held | None:
        """Return what this hand holds."""
        row = self._base.execute(
            "SELECT seq, n_handed, message FROM request WHERE client = ? AND worker = ?", (client, worker)
        ).fetchone()
        return None if row is None else Held(row[0], row[1] > 1, row[2])

    def finish(self, client: str, worker: int, seq: int) -> bool:
        """Forget a request that this hand holds; False if another one holds it or it waits again.

        True also if it is no longer there: it was finished before.
        """
        row = self._base.execute("SELECT token, client, worker FROM request WHERE seq = ?", (seq,)).fetchone()
        if row is None:
            return True
        if row[1:] != (client, worker):
            return False
        self._remove(seq, row[0])
        return True

    def give_back(self, client: str, worker: int | None = None) -> list[str]:
        """Let others have what this hand, or every hand of this client, holds; return the queues."""
        rows = self._base.execute(
            "UPDATE request SET client = NULL, worker = NULL WHERE client = ? AND worker = ifnull(?, worker) "
            "RETURNING queue",
            (client, worker),
        ).fetchall()
        return [queue for (queue,) in rows]

    def hand_missed(self, seq: int) -> None:
        """Take a request back that never reached its worker."""
        self._base.execute(
            "UPDATE request SET client = NULL, worker = NULL, n_handed = n_handed - 1 WHERE seq = ?", (seq,)
        )

    def withdraw(self, token: str, queue: str, id: str) -> bool:  # noqa: A002
        """Forget a request that nobody has in hand; whether it was there."""
        if self._is_finished(token):
            return True
        row = self._base.execute(
            "SELECT seq FROM request WHERE queue = ? AND id = ? AND client IS NULL", (queue, id)
        ).fetchone()
        if row is None:
            return False
        self._remove(row[0], token)
        return True

    def clients(self) -> list[str]:
        """Return who has something in hand."""
        rows = self._base.execute("SELECT DISTINCT client FROM request WHERE client IS NOT NULL")
        return [client for (client,) in rows]

    def queues(self) -> dict[str, tuple[int, int]]:
        """Return each queue with how many requests wait in it and how many are in hand."""
        counts = dict.fromkeys(self._patterns, (0, 0))
        for queue, n_all, n_in_hand in self._base.execute(
            "SELECT queue, COUNT(*), COUNT(client) FROM request GROUP BY queue"
        ):
            counts[queue] = (n_all - n_in_hand, n_in_hand)
        return counts

    def forget_tokens(self) -> None:
        """Forget calls that no client repeats any more."""
        self._base.execute("DELETE FROM finished WHERE time < ?", (time.time() - KEEP_TOKENS_S,))

    def _is_finished(self, token: str) -> bool:
        return self._base.execute("SELECT 1 FROM finished WHERE token = ?", (token,)).fetchone() is not None

    def _remove(self, seq: int, token: str) -> None:
        self._base.execute("DELETE FROM request WHERE seq = ?", (seq,))
        self._base.execute("INSERT OR REPLACE INTO finished VALUES (?, ?)", (token, time.time()))


def _lock(directory: Path) -> int:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(directory / "bus.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise BusError(
            f"The bus cannot keep its journal in {directory}: {error.strerror}.",
            "Set state_dir in the configuration, or FOREBAY_STATE_DIR, to a directory that you may write.",
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(file)
        raise BusError(
            f"Another hub keeps its journal in {directory}.",
            "One hub serves a host: use that one, or give this one another state_dir and runtime_dir.",
        ) from error
    return file
