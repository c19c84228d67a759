"""The configuration of SSDAQ 0.9: components, each with daemon, receiver or writer, and publishers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from forebay.config.document import Document
from forebay.errors import ConfigError
from forebay.front.ssdaq.configuration import SsdaqConfig, checked

_ASSEMBLER = {"listen_port": 17000, "readout_tw": 5.1e7, "buffer_time": 1e9}
_PUBLISHERS = {"ZMQTCPPublisher": {"ip": "127.0.0.101", "port": 9004}}
_WRITER = {"port": 9004, "generation": "B"}
_DAQ = "SSReadoutAssembler"
_DW = "SSFileWriter"
_ALSO = {"ASlowSignalWriter": _DW}


def read_successor(path: Path | None, prefixes: Sequence[str] = ()) -> SsdaqConfig:
    """Read the slow-signal components of a configuration of 0.9, or one of 0.7.

    Parameters
    ----------
    path:
        None for the defaults of 0.9.
    prefixes:
        What the names of the components that are asked for begin with; all if empty.

    Raises
    ------
    ConfigError
        If it cannot be read, a key is wrong, or there is no such component, or more than one.
    """
    origin = "the defaults of SSDAQ 0.9" if path is None else str(path)
    try:
        text = "" if path is None else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read the configuration {path}: {error}.", "Name a YAML file.") from error
    document = Document(text, origin)
    components = document.value
    if isinstance(components, Mapping) and components.keys() & SsdaqConfig.model_fields.keys():
        return checked(document, origin)
    value: dict[str, Any] = {
        "ReadoutAssembler": {_DAQ: dict(_ASSEMBLER), "ReadoutPublishers": _published(_PUBLISHERS, origin)},
        _DW: dict(_WRITER),
    }
    found: set[str] = set()
    for name, component in _components(components, origin, prefixes):
        kind = _class_of(component)
        if kind not in (_DAQ, _DW):
            continue
        if kind in found:
            raise ConfigError(f"{origin} has two components {kind}, {name} is one.", "Name the one to start.")
        found.add(kind)
        if kind == _DAQ:
            value["ReadoutAssembler"][_DAQ] |= _keys(component, "Receiver")
            if "Publishers" in component:
                value["ReadoutAssembler"]["ReadoutPublishers"] = _published(component["Publishers"], origin)
        else:
            value[_DW] |= _keys(component, "Writer")
        daemon = "ReadoutAssemblerDaemon" if kind == _DAQ else "ReadoutFileWriterDaemon"
        value[daemon] = component.get("Daemon") or {}
    if path is not None and not found:
        raise ConfigError(
            f"{origin} has no component of class {_DAQ} or {_DW}"
            + (f" whose name begins with {' or '.join(prefixes)}." if prefixes else "."),
            "forebay runs the slow signals; other streams are written by the chec-...-writer commands.",
        )
    return checked(document, origin, value)


def _components(value: Any, origin: str, prefixes: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{origin} is not a mapping of components.")
    for name, component in value.items():
        if not prefixes or any(str(name).startswith(prefix) for prefix in prefixes):
            if not isinstance(component, Mapping):
                raise ConfigError(f"{origin}: {name} is {component!r}, not a component.")
            yield str(name), dict(component)


def _class_of(component: Mapping[str, Any]) -> str:
    for part in ("Receiver", "Writer"):
        if isinstance(component.get(part), Mapping):
            kind = str(component[part].get("class"))
            return _ALSO.get(kind, kind)
    return ""


def _keys(component: Mapping[str, Any], part: str) -> dict[str, Any]:
    return {key: value for key, value in component[part].items() if key != "class"}


def _published(publishers: Any, origin: str) -> dict[str, Any]:
    if not isinstance(publishers, Mapping):
        raise ConfigError(f"{origin}: Publishers is {publishers!r}, not a mapping.")
    return {
        name: {"generation": "B"} | {key: value for key, value in (one or {}).items() if key != "class"}
        for name, one in publishers.items()
    }
