"""Tokens: who may ask for what, kept as hashes in one private file."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

import msgspec

from forebay.errors import AccessError, ConfigError, TokenError
from forebay.store.paths import sync

Scope = Literal["read", "operate", "admin"]
"""What a token allows; each scope has those before it."""

SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "forebay_"
"""Every token begins with it, so that people and scanners of repositories know what they have found."""

_SECRET_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_DURATION = re.compile(r"(\d{1,4})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Token(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One token, without the secret itself.

    Attributes
    ----------
    name:
        Who or what has it.
    scope:
        What it allows.
    proposals:
        Proposals that it is for; empty for all.
    sha256:
        Of the whole text, in hex. The secret has 256 random bits, so that nobody can find it by trying;
        a slow hash, as passwords of people need it, would only make each request slow.
    created, expires:
        UTC.
    """

    name: str
    scope: Scope
    proposals: tuple[str, ...] = ()
    sha256: str
    created: datetime
    expires: datetime | None = None

    def allows(self, scope: Scope) -> bool:
        """Whether this is enough for what needs `scope`."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)

    def allows_proposal(self, proposal: str | None) -> bool:
        """Whether data of `proposal` may be asked for; None is what belongs to no proposal."""
        return not self.proposals or proposal in self.proposals

    def has_expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.expires is not None and self.expires <= now


ANYONE = Token(name="anyone", scope="operate", sha256="", created=datetime(1970, 1, 1, tzinfo=UTC))
"""Who asks where no token is needed; to administer always needs one: others may work on this host, too."""


class TokenFile:
    """The tokens of one installation; ``tokens.json`` in its state directory, for its user alone.

    Changes of the file count at once: it is looked at again for each request.
    """

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "tokens.json"
        self._seen: tuple[int, ...] = ()
        self._tokens: tuple[Token, ...] = ()

    @property
    def exists(self) -> bool:
        """Whether a token was ever made here."""
        return os.path.lexists(self.path)

    def tokens(self) -> tuple[Token, ...]:
        """Return all tokens, by name.

        Raises
        ------
        ConfigError
            If the file cannot be trusted: others may read or write it, or it is not what it should be.
        """
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return ()
        seen = (found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode, found.st_uid)
        if seen != self._seen:
            self._tokens = self._read(found)
            self._seen = seen
        return self._tokens

    def _read(self, found: os.stat_result) -> tuple[Token, ...]:
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise ConfigError(
                f"The tokens in {self.path} cannot be trusted: it must be a file of user {os.getuid()} "
                f"with mode 600 (found user {found.st_uid}, mode {stat.S_IMODE(found.st_mode):o}).",
                f"Look who changed it, then: chmod 600 {self.path}",
            )
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=tuple[Token, ...])
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError(f"The tokens in {self.path} cannot be read: {error}.") from error

    def holder(self, text: str) -> Token:
        """Return the token whose secret is `text`; takes as long whether there is one or not.

        Raises
        ------
        TokenError
            If there is none, or it has expired.
        """
        asked = _digest(text)
        found = None
        for token in self.tokens():  # all of them: the time says nothing
            if hmac.compare_digest(asked, token.sha256):
                found = token
        if found is None:
            raise TokenError("This token is not known.", "Ask for one: forebay token add NAME")
        if found.has_expired(datetime.now(UTC)):
            raise TokenError(
                f"The token of {found.name} expired at {found.expires:%Y-%m-%d %H:%M} UTC.",
                f"Make a new one: forebay token revoke {found.name}, then forebay token add {found.name}",
            )
        return found

    def add(
        self, name: str, scope: str, proposals: Sequence[str] = (), expires: datetime | None = None
    ) -> str:
        """Make a token and return it; it cannot be had again.

        Raises
        ------
        ConfigError
            If the name is taken or cannot be one, there is no such scope, or `expires` is over.
        """
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} is not the name of a token.", "Use up to 64 letters, digits and . _ @ -"
            )
        if scope not in SCOPES:
            raise ConfigError(f"There is no scope {scope!r}.", f"The scopes are: {', '.join(SCOPES)}.")
        now = datetime.now(UTC).replace(microsecond=0)
        if expires is not None and expires <= now:
            raise ConfigError(f"A token that expires at {expires:%Y-%m-%d %H:%M} UTC would be of no use.")
        secret = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        with self._locked():
            before = self.tokens()
            if name in {token.name for token in before}:
                raise ConfigError(
                    f"There is a token of the name {name}.", f"Remove it first: forebay token revoke {name}"
                )
            new = Token(
                name=name,
                scope=scope,
                proposals=tuple(sorted(set(proposals))),
                sha256=_digest(secret),
                created=now,
                expires=expires,
            )
            self._write([*before, new])
        return secret

    def revoke(self, name: str) -> None:
        """Forget a token; `ConfigError` if there is none of that name."""
        with self._locked():
            before = self.tokens()
            left = [token for token in before if token.name != name]
            if len(left) == len(before):
                known = ", ".join(token.name for token in before) or "none"
                raise ConfigError(f"There is no token of the name {name!r}.", f"There are: {known}.")
            self._write(left)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self.path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise ConfigError(
                f"The tokens in {self.path} cannot be changed: {error.strerror}.",
                "Do it as the user that forebay runs as, or set state_dir.",
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _write(self, tokens: Sequence[Token]) -> None:
        text = msgspec.json.format(msgspec.json.encode(sorted(tokens, key=lambda token: token.name)))
        temporary = self.path.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(text)
            os.fsync(fd)
        temporary.replace(self.path)
        sync(self.path.parent)  # a token that was revoked does not come back with the power


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def moment(text: str) -> datetime:
    """Return when something expires: ``90m``, ``12h``, ``30d`` or ``8w`` from now, or a date, UTC.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    if match := _DURATION.fullmatch(text):
        span = timedelta(**{_UNITS[match[2]]: int(match[1])})
        return datetime.now(UTC).replace(microsecond=0) + span
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is not a time at which a token expires.", "Write 12h, 30d, 8w or 2027-03-31."
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def demand_scope(token: Token, scope: Scope, doing: str) -> None:
    """Refuse what the scope of a token does not allow; `AccessError` says which would."""
    if not token.allows(scope):
        whose = "without a token it is" if token is ANYONE else f"the token of {token.name} has"
        raise AccessError(
            f"{doing} needs the scope {scope}; {whose} {token.scope}.",
            f"Ask for another token: forebay token add NAME --scope {scope}",
        )


def demand_proposal(token: Token, proposal: str | None) -> None:
    """Refuse what belongs to a proposal that a token is not for; `AccessError` says which it is for."""
    if not token.allows_proposal(proposal):
        raise AccessError(
            f"The token of {token.name} is for {', '.join(token.proposals)}, "
            f"not for {proposal or 'what belongs to no proposal'}.",
            "Name one of these proposals, or ask for another token.",
        )
