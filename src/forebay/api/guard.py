"""What every request must pass before it is looked at: host, origin, token, size."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forebay.api.answers import refusal
from forebay.api.tokens import ANYONE, Token, TokenFile
from forebay.config import ApiConfig
from forebay.errors import AccessError, ConfigError, ForebayError, TokenError

FREE = frozenset({"/", "/health", "/ready", "/openapi.json", "/dashboard.js", "/dashboard.css"})
"""What can be had without a token: whether we live, the document, and a page without data."""

BODY_TIMEOUT_S = 20.0
"""How long a body may take to come."""


def is_loopback(address: str) -> bool:
    """Whether only this host can reach an address."""
    return address == "localhost" or ip_address(address).is_loopback


def check_bind(api: ApiConfig, tokens: TokenFile) -> None:
    """Refuse an address that is open to other hosts while nobody checks who comes.

    Raises
    ------
    ConfigError
        If it is no address, or there is neither a token nor a reverse proxy.
    """
    try:
        loopback = is_loopback(api.address)
    except ValueError as error:
        raise ConfigError(
            f"api.address {api.address!r} is no IP address.", "Give one of this host, e.g. 127.0.0.1."
        ) from error
    if not loopback and not api.behind_proxy and not tokens.tokens():
        raise ConfigError(
            f"api.address {api.address} is open to other hosts, and there is no token.",
            "Make one: forebay token add NAME --scope operate; or bind 127.0.0.1; or set api.behind_proxy "
            "where a reverse proxy checks who comes.",
        )


class Guard:
    """An application behind checks; who asks is ``scope["state"]["token"]`` afterwards.

    * The name in ``Host`` must be one of ours, so that no web page reaches us by a name of its own that leads
      here (DNS rebinding). Addresses are always right: a rebound page has a name.
    * A browser may ask for pages of ours only (no cross-origin requests).
    * A token is needed once there is a token file, and on every address that is open to others, unless a
      proxy checks.
    * Bodies are small and come in time. Messages of a WebSocket are bounded by who serves it.

    Parameters
    ----------
    clock:
        Seconds; for tests.
    """

    def __init__(
        self,
        app: ASGIApp,
        api: ApiConfig,
        tokens: TokenFile,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._is_open = is_loopback(api.address) or api.behind_proxy
        self._names = {"localhost", socket.gethostname().lower(), *(name.lower() for name in api.host_names)}
        self._max_body_bytes = api.max_body_bytes
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may pass; answer the rest."""
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        try:
            self._check_host(headers)
            _check_origin(scope, headers)
            token = self._holder(scope["path"], headers)
            length = headers.get("content-length", "0")
            if not length.isdecimal() or int(length) > self._max_body_bytes:
                raise _TooLargeError(f"The body has {length[:20]} bytes; {self._max_body_bytes} are allowed.")
        except ForebayError as error:
            await refusal(error, 413 if isinstance(error, _TooLargeError) else None)(scope, receive, send)
            return
        scope.setdefault("state", {})["token"] = token
        await self._app(scope, self._limited(receive), send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        try:
            self._check_host(headers)
            _check_origin(scope, headers)
            token = self._holder(scope["path"], headers)
        except ForebayError as error:
            await receive()  # that somebody would connect
            await send(
                {"type": "websocket.close", "code": 1008, "reason": str(error)[:100]}
            )  # answered by 403
            return
        scope.setdefault("state", {})["token"] = token
        await self._app(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        host = headers.get("host", "").lower()
        name = host.partition("]")[0][1:] if host.startswith("[") else host.partition(":")[0]
        if name in self._names:
            return
        try:
            ip_address(name)
        except ValueError:
            raise AccessError(
                f"This is not the host {name[:80]!r}.",
                "Use its address or host name, or name it in api.host_names.",
            ) from None

    def _holder(self, path: str, headers: Headers) -> Token:
        if path in FREE or (self._is_open and not self._tokens.exists):
            return ANYONE
        kind, _, secret = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not secret.strip():
            raise TokenError(
                "A token is needed here.", "Send it as: Authorization: Bearer TOKEN (see forebay token add)."
            )
        return self._tokens.holder(secret.strip())

    def _limited(self, receive: Receive) -> Receive:
        n_bytes, end, is_whole = 0, self._clock() + BODY_TIMEOUT_S, False

        async def limited() -> Message:
            nonlocal n_bytes, is_whole
            if is_whole:  # now it waits for the end of the connection
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, end - self._clock()))
            except TimeoutError as error:
                raise HTTPException(408, f"the body did not come within {BODY_TIMEOUT_S:g} s") from error
            n_bytes += len(message.get("body", b""))
            if n_bytes > self._max_body_bytes:
                raise HTTPException(413, f"the body has more than {self._max_body_bytes} bytes")
            is_whole = not message.get("more_body", False)
            return message

        return limited


class _TooLargeError(AccessError):
    pass


def _check_origin(scope: dict[str, Any] | Scope, headers: Headers) -> None:
    origin = headers.get("origin")
    site = headers.get("sec-fetch-site", "none")
    is_visit = scope.get("method") == "GET" and headers.get("sec-fetch-mode") == "navigate"
    if origin is not None and origin.partition("://")[2] != headers.get("host", ""):
        raise AccessError(
            f"Pages of {origin[:80]} may not ask here.", "Ask from a program, or from the dashboard."
        )
    if site not in ("none", "same-origin") and not is_visit:
        raise AccessError("Pages of other sites may not ask here.", "Ask from a program or the dashboard.")
