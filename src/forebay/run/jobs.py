"""The kinds of jobs and what each may ask for; checks all that can be known without asking anybody."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from forebay.config import QuotaConfig
from forebay.config.base import Model, Name
from forebay.errors import ConfigError, RangeError
from forebay.pulse import PulseRange

MAX_SOURCES = 64


def _pulses(text: object) -> object:
    """Return a pulse range as it is written, its ends moved inwards to multiples of its step."""
    if not isinstance(text, str):
        return text
    try:
        return str(PulseRange.parse(text))
    except RangeError as error:
        raise ValueError(str(error)) from error


def _file(name: object) -> object:
    """Refuse what cannot be a path below a folder; symbolic links are looked at where the file will lie."""
    if not isinstance(name, str):
        return name
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError("a file is a relative path without '..', below the proposal's folder")
    return str(path)


Pulses = Annotated[str, BeforeValidator(_pulses)]
File = Annotated[str, BeforeValidator(_file)]
Channel = Annotated[str, Field(min_length=1, max_length=1024)]

_FILE_HELP = (
    "File below the proposal's folder; may have {run}, {acquisition} and {source}. Chosen if not given."
)


_CHANNELS_HELP = "Of bsread streams: these channels only; all if none is named."


class RecordParameters(Model):
    """Record sources: pulses (past, future or both), a number of images, a time, or until told."""

    sources: list[Name] = Field(
        min_length=1, max_length=MAX_SOURCES, description="Detectors or streams; a job and a file for each."
    )
    file: File | None = Field(None, description=_FILE_HELP)
    pulses: Pulses | None = Field(None, description="A..B or A..B/STEP, both ends included.")
    images: int | None = Field(None, ge=1, description="Number of images from now on.")
    seconds: float | None = Field(None, gt=0, le=30 * 86_400, description="Duration from now on, in seconds.")
    channels: list[Channel] = Field(default_factory=list, max_length=100_000, description=_CHANNELS_HELP)
    idle_s: float = Field(10.0, gt=0, description="End when nothing has come for so many seconds.")

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        given = [name for name in ("pulses", "images", "seconds") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{', '.join(given)} were given together; give one of them")
        _check_files(self.sources, self.file)
        return self

    @property
    def n_asked(self) -> int | None:
        """Pulses or images asked for of each source; None where time or somebody ends it."""
        return self.images if self.pulses is None else len(PulseRange.parse(self.pulses))


class RetrieveParameters(Model):
    """Retrieve pulses that went by (or are about to) from the buffers of sources."""

    sources: list[Name] = Field(
        min_length=1, max_length=MAX_SOURCES, description="Detectors or streams; a job and a file for each."
    )
    file: File | None = Field(None, description=_FILE_HELP)
    pulses: Pulses = Field(description="A..B or A..B/STEP, both ends included.")
    channels: list[Channel] = Field(default_factory=list, max_length=100_000, description=_CHANNELS_HELP)
    idle_s: float = Field(10.0, gt=0, description="End when nothing has come for so many seconds.")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        _check_files(self.sources, self.file)
        return self

    @property
    def n_asked(self) -> int:
        """Pulses asked for of each source."""
        return len(PulseRange.parse(self.pulses))


class CheckParameters(Model):
    """Prove that files are what they say."""

    files: list[File] = Field(min_length=1, max_length=1000, description="Files below the proposal's folder.")
    skip: list[str] = Field(default_factory=list, description="Checks that are left out, by name.")
    every: int = Field(1, ge=1, description="Look at the pixels of every n-th image only.")

    @property
    def n_asked(self) -> int:
        """Files to check."""
        return len(self.files)


class RoutineParameters(Model):
    """Run a function that the configuration registers, in a process of its own."""

    name: Name = Field(description="Name under which the configuration registers it.")
    arguments: dict[str, Any] = Field(
        default_factory=dict, max_length=100, description="Keyword arguments: anything that JSON can say."
    )

    @property
    def n_asked(self) -> None:
        """Nothing that could be counted."""
        return


Parameters = RecordParameters | RetrieveParameters | CheckParameters | RoutineParameters


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job.

    Attributes
    ----------
    parameters:
        The model that its parameters must fit.
    role:
        The service that carries it out.
    writes:
        Whether it makes a file of a run, and so takes an acquisition number.
    """

    parameters: type[Parameters]
    role: str
    writes: bool


KINDS: dict[str, Kind] = {
    "record": Kind(RecordParameters, role="record", writes=True),
    "retrieve": Kind(RetrieveParameters, role="retrieve", writes=True),
    "check": Kind(CheckParameters, role="retrieve", writes=False),
    "routine": Kind(RoutineParameters, role="retrieve", writes=False),
}
"""Adding a kind is a line here, and what carries it out in the room ``service``."""


def kind_of(name: str) -> Kind:
    """Return a kind of job; `ConfigError` if there is none of that name."""
    if name not in KINDS:
        raise ConfigError(f"There is no kind of job {name!r}.", f"The kinds are: {', '.join(KINDS)}.")
    return KINDS[name]


def parse_parameters(kind: str, value: Mapping[str, Any]) -> Parameters:
    """Return the parameters of a job, checked.

    Raises
    ------
    ConfigError
        If the kind is unknown or a parameter is not allowed; every one is named with its value.
    """
    model = kind_of(kind).parameters
    try:
        return model.model_validate(dict(value))
    except ValidationError as error:
        allowed = ", ".join(model.model_fields)
        said = "; ".join(_say(dict(problem)) for problem in error.errors())
        raise ConfigError(f"Job {kind}: {said}.", f"Its parameters are: {allowed}.") from error


def _say(problem: dict[str, Any]) -> str:
    where = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return f"{where} is not one of its parameters"
    found = "" if isinstance(problem["input"], dict) else f" (found {problem['input']!r})"
    said = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {said}{found}" if where else f"{said}{found}"


def check_quota(parameters: Parameters, quotas: QuotaConfig) -> None:
    """Refuse what asks for too much.

    Raises
    ------
    ConfigError
        If more pulses are asked for than a request may; one request counts the pulses of all its sources.
    """
    if isinstance(parameters, RecordParameters | RetrieveParameters):
        n_asked = (parameters.n_asked or 0) * len(parameters.sources)
        if n_asked > quotas.pulses:
            raise ConfigError(
                f"{n_asked} pulses were asked for; one request may have {quotas.pulses}.",
                "Ask for fewer at once, or raise quotas.pulses.",
            )


def for_each_job(parameters: Parameters) -> list[Parameters]:
    """Return the parameters of the jobs that a request becomes: one a source, where there are sources."""
    if isinstance(parameters, RecordParameters | RetrieveParameters):
        return [parameters.model_copy(update={"sources": [name]}) for name in parameters.sources]
    return [parameters]


def routing_key(kind: str, parameters: Parameters) -> str:
    """Return the key of a job: ``job.record.SOURCE``, ``job.routine.NAME`` or ``job.check``."""
    match parameters:
        case RecordParameters(sources=sources) | RetrieveParameters(sources=sources):
            return f"job.{kind}.{sources[0]}"
        case RoutineParameters(name=name):
            return f"job.{kind}.{name}"
        case _:
            return f"job.{kind}"


DEFAULT_FILE = "run{run:04}/acq{acquisition:04}.{source}.h5"
"""Where a file lies that the request did not name."""

_PLACE = re.compile(r"\{(?:(run|acquisition)(?::0([1-9]))?|(source))\}")


def file_name(pattern: str | None, run: int, acquisition: int, source: str) -> str:
    """Return the file of one source of an acquisition, below the proposal's folder."""
    numbers = {"run": run, "acquisition": acquisition}

    def fill(place: re.Match[str]) -> str:
        number, width, _ = place.groups()
        return source if number is None else f"{numbers[number]:0{width or 1}}"

    return _PLACE.sub(fill, pattern or DEFAULT_FILE)


def _check_files(sources: list[str], pattern: str | None) -> None:
    """Refuse a pattern that names something else, or the same file for two sources."""
    if len(set(sources)) < len(sources):
        raise ValueError("sources names one of them twice")
    if pattern is None:
        return
    if {"{", "}"} & set(_PLACE.sub("", pattern)):
        raise ValueError(
            f"file {pattern!r} may have {{run}}, {{acquisition}} and {{source}} only, e.g. {{run:04}}"
        )
    if len(sources) > 1 and "{source}" not in pattern:
        raise ValueError(f"file {pattern!r} is the same for every source; put {{source}} into it")
