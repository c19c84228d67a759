"""Models of the OpenAPI document, made from the values themselves so that they cannot differ."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import cache, reduce
from operator import or_
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from pydantic import BaseModel, Field, create_model

from forebay.config.base import Model, Name
from forebay.run.intake import DEFAULT_PROPOSAL
from forebay.run.jobs import KINDS, Parameters

Seconds = Annotated[float, Field(gt=0, le=3600)]

_ENTRY = re.compile(r"^(\w+(?:, \w+)*):\n((?:^[ ]{4}.*\n?|^\n)+)", re.MULTILINE)


@cache
def mirror(struct: Any) -> type[BaseModel]:
    """Return the pydantic model with the fields of a struct, described as its docstring describes them."""
    said = dict(_described(inspect.getdoc(struct) or ""))
    fields: dict[str, Any] = {}
    hints = get_type_hints(struct)
    for field in msgspec.structs.fields(struct):
        fields[field.name] = (_mirrored(hints[field.name]), Field(description=said.get(field.name)))
    summary = (inspect.getdoc(struct) or "").partition("\n\n")[0]
    model: type[BaseModel] = create_model(struct.__name__, __doc__=summary, **fields)
    return model


def mirrors(struct: Any) -> Any:
    """Return the type of a list of `mirror` of a struct."""
    return list[mirror(struct)]  # type: ignore[misc] # made while running


def _mirrored(hint: Any) -> Any:
    """Return a type with every struct in it mirrored."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return mirror(hint)
    origin, inner = get_origin(hint), tuple(_mirrored(one) for one in get_args(hint))
    if origin in (Union, UnionType):
        return reduce(or_, inner)
    if origin is None or origin is Literal:
        return hint
    return origin[inner]


def _described(doc: str) -> Iterator[tuple[str, str]]:
    for names, text in _ENTRY.findall(doc.partition("Attributes\n----------\n")[2] + "\n"):
        for name in names.split(", "):
            yield name, " ".join(text.split())


class Refusal(BaseModel):
    """Why a request was not carried out."""

    error: str = Field(description="Class of the error.", examples=["StateError"])
    what: str = Field(description="What was asked and what was found.")
    todo: str = Field(description="What to do about it; may be empty.")


class Health(BaseModel):
    """That the gateway lives, or is ready for requests."""

    state: Literal["alive", "ready"]
    version: str


class _Request(Model):
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] | None = Field(
        None, description="Names the request: one of the same id is not accepted again. Drawn if not given."
    )
    proposal: Name = Field(DEFAULT_PROPOSAL, description="Proposal to which the data belong.")
    run: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = Field(
        None, description="Run to which the acquisition belongs; a new one if not given."
    )
    deadline_s: Annotated[float, Field(gt=0, le=30 * 86_400)] | None = Field(
        None, description="The jobs end within so many seconds, or fail."
    )


EXAMPLES: dict[str, dict[str, Any]] = {
    "record": {"sources": ["jf"], "images": 1000},
    "retrieve": {"sources": ["jf"], "pulses": "17000..17999"},
    "check": {"files": ["run0001/acq0001.jf.h5"]},
    "routine": {"name": "pedestal", "arguments": {}},
}


def _request_model(kind: str) -> Any:
    fields: dict[str, Any] = {
        "kind": (Literal[kind], Field(description="What is to be done.")),
        "parameters": (KINDS[kind].parameters, Field(description="What exactly.")),
    }
    name = f"{kind.capitalize()}Request"
    return create_model(name, __base__=_Request, __doc__=KINDS[kind].parameters.__doc__, **fields)


if TYPE_CHECKING:

    class JobRequest(_Request):
        """One of the requests, whichever kind."""

        kind: str
        parameters: Parameters
else:
    JobRequest = Annotated[reduce(or_, map(_request_model, KINDS)), Field(discriminator="kind")]


class Prepare(Model):
    """Draw a run number and make everything ready."""

    sources: list[Name] = Field(
        min_length=1, max_length=64, description="Detectors or streams.", examples=[["jf"]]
    )
    tag: str = Field("", max_length=200, description="A word to find the run by.")
    comment: str = Field("", max_length=4000, description="Anything worth knowing.")
    timeout: Seconds = Field(10.0, description="How long services may take to confirm, in seconds.")


class Folder(Model):
    """Where the files of a proposal go."""

    directory: str = Field(
        min_length=1,
        max_length=4000,
        description="Full path of a folder that is there.",
        examples=["/data/p12345"],
    )


class Patience(Model):
    """How long services may take to confirm."""

    timeout: Seconds | None = Field(None, description="In seconds; the operator's own choice if not given.")
