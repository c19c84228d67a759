"""Pages that are made from the code at build time, so that they cannot fall behind it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forebay.config import Config

SOURCE = Path(__file__).parent.parent / "src" / "forebay"


def write(folder: Path) -> None:
    """Write every generated page below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"configuration.part.md": configuration(), "cli.part.md": commands(), **api()}
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for stale in {path.name for path in folder.iterdir()} - pages.keys():
        (folder / stale).unlink()


def configuration() -> str:
    """Return a table of the keys of each part of the configuration."""
    schema = Config.model_json_schema()
    parts = {"The whole file": schema, **schema["$defs"]}
    return "\n".join(line for title, part in parts.items() for line in _table(title, part))


def _table(title: str, part: dict[str, Any]) -> Iterator[str]:
    yield from (f"## {title}", "", part["description"].partition("\n\n")[0], "")
    yield from ("| key | value | default | what it is |", "|---|---|---|---|")
    for key, value in part["properties"].items():
        default = "**required**" if key in part.get("required", ()) else _default(value)
        yield f"| `{key}` | {_allowed(value)} | {default} | {value.get('description', '')} |"
    yield ""


def _default(value: dict[str, Any]) -> str:
    default = value.get("default")
    if default is None:
        if "default" in value:
            return "none"
        return "empty" if value["type"] in ("array", "object") else "chosen at start"
    if isinstance(default, dict):
        return "every key's own"
    return f"`{default}`"


def _allowed(value: dict[str, Any]) -> str:
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in value:
        return ", or ".join(_allowed(one) for one in value["anyOf"])
    if "enum" in value:
        return ", ".join(f"`{one}`" for one in value["enum"])
    if value["type"] == "null":
        return "nothing"
    if value["type"] == "array":
        return f"list of: {_allowed(value['items'])}"
    if value["type"] == "object":
        values = value.get("additionalProperties") or next(iter(value["patternProperties"].values()))
        return f"for each name: {_allowed(values)}"
    words = str(value.get("format", value["type"]))
    limits = [
        f"{sign} {value[bound]:g}" if isinstance(value[bound], float) else f"{sign} {value[bound]}"
        for bound, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"))
        if bound in value
    ]
    return " ".join([words, ", ".join(limits)]).strip()


def commands() -> str:
    """Return the help of every command, one heading below the page's."""
    asked = [sys.executable, "-m", "typer", "forebay.cli.app", "utils", "docs", "--name", "forebay"]
    text = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    return text[text.index("\n## ") :].replace("\n#", "\n##")


def api() -> dict[str, str]:
    """Return one page for the vocabulary and one for each room: name of the page to text."""
    rooms: dict[str, list[Path]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).parts
        if path.parent != SOURCE or path.stem not in ("__init__", "__main__"):
            rooms.setdefault(parts[0] if len(parts) > 1 else "vocabulary", []).append(path)
    return {f"api-{room}.rst": _api_page(room, paths) for room, paths in rooms.items()}


def _api_page(room: str, paths: list[Path]) -> str:
    lines = [room, "=" * len(room), ""]
    for path in paths:
        is_package = path.stem == "__init__"
        module = ".".join(
            ("forebay", *(path.parent if is_package else path.with_suffix("")).relative_to(SOURCE).parts)
        )
        if module != f"forebay.{room}":
            lines += [module, "-" * len(module), ""]
        lines += [f".. automodule:: {module}", *(["   :no-members:"] if is_package else []), ""]
    return "\n".join(lines)
