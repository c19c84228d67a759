"""Commands that make and revoke tokens of the REST interface."""

from __future__ import annotations

import json as json_text
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from forebay.api.tokens import TokenFile

token_app = typer.Typer(help="Who may use the REST interface.", no_args_is_help=True)

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="Configuration file (YAML).", envvar="FOREBAY_CONFIG")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
NameArgument = Annotated[str, typer.Argument(help="Who or what has the token.")]
DEFAULT = Path("forebay.yaml")


@token_app.command("add")
def add(
    name: NameArgument,
    scope: Annotated[str, typer.Option(help="read, operate or admin.")] = "read",
    proposal: Annotated[
        list[str] | None, typer.Option(help="Only for this proposal; may be given several times.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="12h, 30d, 8w or a date; never if not given.")] = None,
    config: ConfigOption = DEFAULT,
    json: JsonOption = False,
) -> None:
    """Make a token and print it. It is printed once: only its hash is kept."""
    from forebay.api.tokens import moment

    ends = None if expires is None else moment(expires)
    secret = _file(config).add(name, scope, proposal or (), ends)
    if json:
        print(json_text.dumps({"name": name, "token": secret}))
    else:
        print(secret)
        print(f"This is the token of {name}. Keep it: it cannot be shown again.", file=sys.stderr)


@token_app.command("list")
def list_tokens(config: ConfigOption = DEFAULT, json: JsonOption = False) -> None:
    """List the tokens: whose, what for, until when."""
    from datetime import UTC, datetime

    tokens = _file(config).tokens()
    rows = [
        {
            "name": token.name,
            "scope": token.scope,
            "proposals": list(token.proposals),
            "created": token.created.isoformat(),
            "expires": token.expires and token.expires.isoformat(),
            "expired": token.has_expired(datetime.now(UTC)),
        }
        for token in tokens
    ]
    if json:
        print(json_text.dumps(rows))
        return
    if not rows:
        print("There is no token: only this host may ask.", file=sys.stderr)
    for token in tokens:
        proposals = ", ".join(token.proposals) or "every proposal"
        until = f"until {token.expires:%Y-%m-%d %H:%M} UTC" if token.expires else "no end"
        over = " (over)" if token.has_expired(datetime.now(UTC)) else ""
        print(f"{token.name:20}  {token.scope:8}  {proposals:20}  {until}{over}")


@token_app.command("revoke")
def revoke(name: NameArgument, config: ConfigOption = DEFAULT, json: JsonOption = False) -> None:
    """Forget a token: from now on it opens nothing."""
    _file(config).revoke(name)
    if json:
        print(json_text.dumps({"revoked": name}))


def _file(config: Path) -> TokenFile:
    from forebay.api.tokens import TokenFile
    from forebay.config import load

    return TokenFile(load(config).state_dir)
