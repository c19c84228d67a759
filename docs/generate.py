"""Pages that are made from the code at build time, so that they cannot fall behind it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import states

from forebay.api.rest import rest_app
from forebay.api.route import Rest
from forebay.config import Config

SOURCE = Path(__file__).parent.parent / "src" / "forebay"


def write(folder: Path) -> None:
    """Write every generated page below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        "configuration.part.md": configuration(),
        "cli.part.md": commands(),
        "rest.part.md": rest_routes(),
        "run-states.svg": states.diagram(),
        "run-states.part.md": states.table(),
        **api(),
    }
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


def rest_routes() -> str:
    """Return the routes of the REST interface by subject, and the models that they take and give."""
    document = rest_app(Rest(Config(), None, None, str, str)).openapi()  # nothing is asked of anybody
    subjects: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            lines = subjects.setdefault(route["tags"][0], [])
            lines += [f"### `{method.upper()} {path}`", "", route["description"], ""]
            for parameter in route.get("parameters", ()):
                lines.append(
                    f"* `{parameter['name']}` ({parameter['in']}): {parameter.get('description', '')}"
                )
            lines += ["", *_body(route), *_example(route), ""]
    page = [line for subject, lines in subjects.items() for line in (f"## {subject.title()}", "", *lines)]
    page += ["## Models", ""]
    for name, model in document["components"]["schemas"].items():
        if "properties" in model:
            page += [f"### {name}", "", *_fields(model)]
    return "\n".join(page)


def _body(route: dict[str, Any]) -> Iterator[str]:
    if "requestBody" in route:
        schema = route["requestBody"]["content"]["application/json"]["schema"]
        yield f"Takes {_model(schema)}."
        yield ""
    good = next(answer for status, answer in route["responses"].items() if status.startswith("2"))
    content = good.get("content", {})
    if schema := content.get("application/json", {}).get("schema"):
        yield f"Gives {_model(schema)}."
    elif content:
        yield f"Gives `{next(iter(content))}`."


def _example(route: dict[str, Any]) -> Iterator[str]:
    content = route.get("requestBody", {}).get("content", {}).get("application/json", {})
    for example in content.get("examples", {}).values():
        yield from ("", "```json", json.dumps(example["value"]), "```")


def _model(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return ", or ".join(_model(one) for one in schema[choice])
    if schema.get("type") == "array":
        return f"a list of {_model(schema['items'])}"
    return {"object": "an object", "null": "nothing", "string": "text"}.get(
        str(schema.get("type")), str(schema.get("type", "anything"))
    )


def _fields(model: dict[str, Any]) -> Iterator[str]:
    yield from (model.get("description", "").partition("\n\n")[0], "")
    yield from ("| field | value | what it is |", "|---|---|---|")
    for name, field in model["properties"].items():
        needed = " (required)" if name in model.get("required", ()) else ""
        value = " or ".join(f"`{one}`" for one in field["enum"]) if "enum" in field else _model(field)
        yield f"| `{name}` | {value}{needed} | {field.get('description', '')} |"
    yield ""


def api() -> dict[str, str]:
    """Return one page for the vocabulary and one for each room: name of the page to text."""
    rooms: dict[str, list[Path]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).parts
        if "migrations" in parts:  # they run only inside a migration
            continue
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
