"""``forebay larpix ask``: the operator of larpix-daq's components, in a terminal and in scripts."""

from __future__ import annotations

import json as json_text
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forebay.front.larpix.operator import Operator


def ask(
    method: Annotated[
        str, typer.Argument(help="Of the Operator: prepare_run, begin_run, end_run, get_state, ...")
    ],
    arguments: Annotated[list[str] | None, typer.Argument(help="JSON, or text that is none.")] = None,
    address: Annotated[
        str, typer.Option("--core", help="Address of the core, without port.")
    ] = "tcp://127.0.0.1",
    port: Annotated[int, typer.Option("--core-port", help="Port of the core.")] = 50000,
    who: Annotated[str | None, typer.Option(help="Who asks; user and host if not given.")] = None,
    comment: Annotated[str, typer.Option(help="To be booked with the run: for prepare_run.")] = "",
    configuration: Annotated[str, typer.Option(help="JSON, as the comment.")] = "{}",
    timeout: Annotated[float, typer.Option(min=0, help="Seconds for all answers.")] = 120.0,
    json: Annotated[bool, typer.Option("--json", help="Print each answer whole, one a line.")] = False,
) -> None:
    """Ask the core of larpix-daq's components; exit code 1 if that is refused, fails or is not answered."""
    from forebay.errors import StreamError
    from forebay.front.larpix.operator import Operator, user_and_host

    operator = Operator(address, who=who or user_and_host(), port=port)
    options: dict[str, Any] = {"timeout": timeout}
    if method in ("prepare_run", "prepare_physics_run"):
        options |= {"comment": comment, "configuration": _value(configuration)}
    answer = None
    try:
        for answer in _answers(operator, method, [_value(text) for text in arguments or ()], options):
            if json:
                print(json_text.dumps(answer), flush=True)
    finally:
        operator.cleanup()
    if answer is None:
        raise StreamError(
            f"{address}:{port} did not answer {method} within {timeout:g} s.",
            "Start the core, or name it: --core, --core-port.",
        )
    said = answer["message"] if isinstance(answer["message"], dict) else {"result": answer["message"]}
    result = said.get("result")
    if not json:
        print(result if isinstance(result, str) else json_text.dumps(result, indent=1))
        for name, value in (said.get("metadata") or {}).items():
            if name in ("run", "owner", "reason", "transition", "last_end") and value:
                print(f"{name}: {value if isinstance(value, str) else json_text.dumps(value)}")
    raise SystemExit(result == "NOT UPDATED" or (isinstance(result, str) and result.startswith("ERROR")))


def _value(text: str) -> Any:
    try:
        return json_text.loads(text)
    except ValueError:
        return text


def _answers(
    operator: Operator, method: str, arguments: list[Any], options: dict[str, Any]
) -> Iterator[dict[str, Any] | None]:
    import inspect

    from forebay.errors import ConfigError

    known = [name for name in dir(operator) if not name.startswith("_") and name != "cleanup"]
    if method not in known:
        raise ConfigError(f"The operator has no method {method!r}.", f"It has {', '.join(known)}.")
    function = getattr(operator, method)
    try:
        inspect.signature(function).bind(*arguments, **options)
    except TypeError as error:
        raise ConfigError(f"{method}: {error}.", f"It takes {inspect.signature(function)}.") from error
    answers: Iterator[dict[str, Any] | None] = function(*arguments, **options)
    return answers
