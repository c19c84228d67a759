"""The configuration of SSDAQ 0.9: components, each with daemon, receiver or writer, and publishers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self, TypeVar

import yaml
from pydantic import ValidationError

from forebay.config.base import Model
from forebay.config.document import Document
from forebay.errors import ConfigError
from forebay.front.ssdaq.component_settings import (
    LOCAL,
    RECEIVERS,
    SAME,
    WRITERS,
    ComponentDaemon,
    RawFile,
)
from forebay.front.ssdaq.configuration import Publisher, SsdaqConfig, checked

Part = Literal["Receiver", "Writer"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,47}")
_PUBLISHERS = ("ZMQTCPPublisher", "ZMQReadoutPublisher")
_TMP = Path("/tmp")  # noqa: S108 - so the original's configuration says
_M = TypeVar("_M", bound=Model)


@dataclass(frozen=True)
class Component:
    """A receiver or a writer.

    Attributes
    ----------
    name:
        Its key in the file.
    kind:
        Its class in SSDAQ.
    settings:
        One of `forebay.front.ssdaq.component_settings`.
    publishers:
        Of a receiver, by name.
    """

    name: str
    part: Part
    kind: str
    daemon: ComponentDaemon
    settings: Any
    publishers: dict[str, Publisher | RawFile]

    def plain(self) -> dict[str, Any]:
        """Return it as a component of a file, ready for JSON."""
        daemon = self.daemon.model_dump(mode="json", by_alias=True)
        daemon["core_id"] = ",".join(map(str, self.daemon.cores))
        published = {
            name: one.model_dump(mode="json") | ({"class": "RawWriter"} if isinstance(one, RawFile) else {})
            for name, one in self.publishers.items()
        }
        settings = self.settings.model_dump(mode="json") | {"class": self.kind}
        return {self.name: {"Daemon": daemon, self.part: settings, "Publishers": published}}

    def changed(self, settings: Mapping[str, Any], daemon: Mapping[str, Any] = MappingProxyType({})) -> Self:
        """Return it with these settings, and with its paths absolute: a daemon lives in another folder."""
        publishers: dict[str, Publisher | RawFile] = {
            name: _absolute(one) for name, one in self.publishers.items()
        }
        return replace(
            self,
            settings=_absolute(self.settings.model_copy(update=settings)),
            daemon=_absolute(self.daemon.model_copy(update=daemon)),
            publishers=publishers,
        )


def _absolute(model: _M) -> _M:
    return model.model_copy(update={key: value.absolute() for key, value in model if isinstance(value, Path)})


def read_components(path: Path | None, part: Part) -> list[Component]:
    """Read the receivers, or the writers, of a configuration of 0.9, or of one of 0.7.

    Parameters
    ----------
    path:
        None for the defaults: a receiver of each class, and no writer.

    Raises
    ------
    ConfigError
        If it cannot be read, or a key or value is not allowed; every one is named.
    """
    if path is None:
        kinds = RECEIVERS if part == "Receiver" else ()
        value = {_default_name(kind): _default(kind) for kind in kinds}
        return parse_components(yaml.safe_dump(value, sort_keys=False), part)
    return parse_components(_text_of(path), part, str(path))


def is_file_of_components(path: Path) -> bool:
    """Whether a file is a configuration of 0.9, not of 0.7; `ConfigError` if it cannot be read."""
    return is_of_components(Document(_text_of(path), str(path)).value)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read the configuration {path}: {error}.", "Name a YAML file.") from error


def _default_name(kind: str) -> str:
    return "TriggerReceiver" if kind == "TriggerPacketReceiver" else kind


def _default(kind: str) -> dict[str, Any]:
    log = str(_TMP / RECEIVERS[kind][1])
    return {"Daemon": {"stdout": log, "stderr": log}, "Receiver": {"class": kind}}


def is_of_components(value: Any) -> bool:
    """Whether a file is one of 0.9: what stands in it are receivers or writers, not sections of 0.7."""
    if not isinstance(value, Mapping) or not value.keys() & SsdaqConfig.model_fields.keys():
        return True
    return any(isinstance(one, Mapping) and {"Receiver", "Writer"} & one.keys() for one in value.values())


def parse_components(text: str, part: Part, origin: str = "the defaults of SSDAQ 0.9") -> list[Component]:
    """Read a configuration that was read from `origin`; `ConfigError` as in `read_components`."""
    document = Document(text, origin)
    value = document.value
    if not is_of_components(value):
        return [of_predecessor(checked(document, origin), part)]
    if not isinstance(value, Mapping):
        raise ConfigError(f"{origin} is not a mapping of components.")
    problems: list[str] = []
    found = []
    for name, component in value.items():
        if not isinstance(component, Mapping):
            problems.append(f"{name} is {component!r}, not a component")
        elif not _NAME.fullmatch(str(name)):
            problems.append(f"{name!r} is not a name: letters, digits, '.', '_' and '-'")
        elif not {"Receiver", "Writer"} & component.keys():
            problems.append(f"{name} has neither Receiver nor Writer")
        elif part in component:
            found.append(_Reader(document, problems).component(str(name), component, part))
    if problems:
        raise ConfigError(f"{origin}: {'; '.join(problems)}.", "Mend the file.")
    return [one for one in found if one is not None]


class _Reader:
    """Reads one component and gathers what is wrong with it."""

    def __init__(self, document: Document, problems: list[str]) -> None:
        self._document = document
        self._problems = problems

    def component(self, name: str, component: Mapping[str, Any], part: Part) -> Component | None:
        for key in component.keys() - {"Daemon", "Receiver", "Writer", "Publishers"}:
            self._say((name, str(key)), "is not a known key")
        given = self._mapping((name, part), component[part])
        kind = SAME.get(str(given.get("class")), str(given.get("class")))
        known: Mapping[str, Any] = RECEIVERS if part == "Receiver" else WRITERS
        if kind not in known:
            self._say((name, part, "class"), f"{kind} is no class; there are {', '.join(known)}")
            return None
        model = known[kind][0] if part == "Receiver" else known[kind]
        settings = self._model((name, part), model, {k: v for k, v in given.items() if k != "class"})
        daemon = self._model(
            (name, "Daemon"), ComponentDaemon, self._mapping((name, "Daemon"), component.get("Daemon"))
        )
        publishers = (
            dict(self._publishers((name, "Publishers"), component, kind)) if part == "Receiver" else {}
        )
        if settings is None or daemon is None:
            return None
        return Component(name, part, kind, daemon, settings, publishers)

    def _publishers(
        self, place: tuple[str, ...], component: Mapping[str, Any], kind: str
    ) -> Iterator[tuple[str, Publisher | RawFile]]:
        if "Publishers" not in component:
            yield "ZMQTCPPublisher", Publisher(ip=LOCAL, port=RECEIVERS[kind][2], generation="B")
            return
        for name, one in self._mapping(place, component["Publishers"]).items():
            given = self._mapping((*place, str(name)), one)
            kind = str(given.pop("class", _PUBLISHERS[0]))
            found: Publisher | RawFile | None = None
            if kind == "RawWriter":
                found = self._model((*place, str(name)), RawFile, given)
            elif kind in _PUBLISHERS:
                found = self._model((*place, str(name)), Publisher, {"generation": "B"} | given)
            else:
                choices = ", ".join((*_PUBLISHERS, "RawWriter"))
                self._say((*place, str(name), "class"), f"{kind} is no class; there are {choices}")
            if found is not None:
                yield str(name), found

    def _mapping(self, place: tuple[str, ...], value: Any) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self._say(place, f"is {value!r}, not a mapping")
            return {}
        return dict(value)

    def _model(self, place: tuple[str, ...], model: type[_M], given: dict[str, Any]) -> _M | None:
        try:
            return model.model_validate(given)
        except ValidationError as error:
            for problem in error.errors():
                where = (*place, *map(str, problem["loc"]))
                if problem["type"] == "extra_forbidden":
                    keys = [field.alias or key for key, field in model.model_fields.items()]
                    near = get_close_matches(where[-1], keys, n=1)
                    self._say(where, "is not a known key" + (f" (is {near[0]} meant?)" if near else ""))
                else:
                    said = problem["msg"].removeprefix("Value error, ")
                    self._say(where, f"{said} (found {problem['input']!r})")
        return None

    def _say(self, place: tuple[str, ...], what: str) -> None:
        line = self._document.line_of(place) or self._document.line_of(place[:-1])
        self._problems.append((f"line {line}: " if line else "") + f"{'.'.join(place)} {what}")


def of_predecessor(config: SsdaqConfig, part: Part) -> Component:
    """Return what a file of 0.7 has as a component: its assembler, or its writer."""
    if part == "Receiver":
        assembly, life = config.ReadoutAssembler, config.ReadoutAssemblerDaemon
        settings = RECEIVERS["ReadoutAssembler"][0].model_validate(assembly.SSReadoutAssembler.model_dump())
        publishers: dict[str, Publisher | RawFile] = dict(assembly.ReadoutPublishers)
        name, kind = "ReadoutAssembler", "ReadoutAssembler"
    else:
        life, publishers, name, kind = config.ReadoutFileWriterDaemon, {}, "SSFileWriter", "SSFileWriter"
        settings = WRITERS[kind].model_validate(config.SSFileWriter.model_dump())
    daemon = ComponentDaemon.model_validate(life.model_dump(by_alias=True))
    return Component(name, part, kind, daemon, settings, publishers)


def chosen(components: Sequence[Component], prefixes: Sequence[str]) -> list[Component]:
    """Return the components whose name begins with one of the prefixes; all without any.

    Raises
    ------
    ConfigError
        If a prefix fits none.
    """
    if not prefixes:
        return list(components)
    for prefix in prefixes:
        if not any(one.name.startswith(prefix) for one in components):
            names = ", ".join(one.name for one in components) or "none"
            raise ConfigError(f"No component begins with {prefix!r}.", f"There are: {names}.")
    return [one for one in components if one.name.startswith(tuple(prefixes))]


def home_config(key: Literal["daq-config", "writer-config"], home: Path | None = None) -> Path | None:
    """Return the file that ``~/.ssdaq_config.yaml`` names in the place of a default; None if it names none.

    Raises
    ------
    ConfigError
        If that file cannot be read, or what it names is not there.
    """
    path = (home or Path.home()) / ".ssdaq_config.yaml"
    if not path.is_file():
        return None
    value = Document(path.read_text(encoding="utf-8"), str(path)).value
    named = value.get(key) if isinstance(value, Mapping) else None
    if named is None:
        return None
    found = path.parent / Path(str(named)).expanduser()
    if not found.is_file():
        raise ConfigError(f"{path} names {found} as {key}; there is no such file.", "Mend it, or give -c.")
    return found
