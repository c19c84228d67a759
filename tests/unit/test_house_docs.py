"""Documentation cannot fall behind: every command, counter and key of the file format is written down."""

import re
import textwrap
from pathlib import Path

import pytest
import typer
import yaml

from forebay.cli.app import app
from forebay.config import Config, parse
from forebay.ring.slots import BUILD_COUNTERS, RECEIVE_COUNTERS
from forebay.store.layout import COLUMNS
from forebay.store.manifest import Manifest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def command_names(command, prefix="forebay"):
    """Return the full name of every command that does something."""
    children = getattr(command, "commands", {})
    if not children:
        return [prefix]
    return [
        name
        for child, inner in children.items()
        if not inner.hidden
        for name in command_names(inner, f"{prefix} {child}")
    ]


COMMANDS = command_names(typer.main.get_command(app))


def test_commands_are_found():
    assert {"forebay record", "forebay sim detector", "forebay config check"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_reference_has_every_command(command):
    assert f"| `{command}` |" in (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("counter", sorted({*RECEIVE_COUNTERS, *BUILD_COUNTERS}))
def test_reference_has_every_counter(counter):
    assert f"| `{counter}` |" in (DOCS / "reference" / "counters.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("column", COLUMNS)
def test_reference_has_every_dataset(column):
    assert f"/DET/{column}`" in (DOCS / "reference" / "file-format.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("key", Manifest.__struct_fields__)
def test_reference_has_every_key_of_the_manifest(key):
    manifest = (DOCS / "reference" / "file-format.md").read_text(encoding="utf-8").partition("## Manifest")[2]
    assert f"`{key}`" in manifest


def test_glossary_has_every_counter_of_a_port():
    glossary = (DOCS / "explanations" / "glossary.md").read_text(encoding="utf-8")
    for word in ("placed", "duplicate", "late", "malformed", "foreign", "overrun"):
        assert f"\n{word}\n: " in glossary


def test_readme_names_only_commands_that_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = {line.split("`forebay ", 1)[1].split("`")[0] for line in text.splitlines() if "`forebay " in line}
    assert named
    assert all(any(f"forebay {one}".startswith(command) for command in COMMANDS) for one in named)


def test_the_detector_of_the_how_to_is_one():
    text = (DOCS / "how-to" / "add-a-detector.md").read_text(encoding="utf-8")
    block = re.search(r"^ +```python\n(.*?)```", text, re.MULTILINE | re.DOTALL)
    names = {}
    exec(textwrap.dedent(block[1]), names)
    assert names["example"]().packet_bytes == 48 + 25 * 400 * 2


def blocks_of_pages(language):
    """Return every block of a language in README and documentation."""
    pattern = re.compile(
        rf"^```(?:\{{code-block\}} )?{language}\n(?::caption:[^\n]*\n\n)?(.*?)^```", re.M | re.S
    )
    pages = [ROOT / "README.md", *DOCS.rglob("*.md")]
    return [block for page in pages for block in pattern.findall(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("block", blocks_of_pages("python"))
def test_python_of_the_pages_can_be_parsed(block):
    compile(block, "page", "exec")


@pytest.mark.parametrize("block", [one for one in blocks_of_pages("yaml") if "detectors:" in one])
def test_configurations_of_the_pages_are_right(block):
    assert parse(yaml.safe_load(block), "page").detectors


def keys_of_the_configuration():
    schema = Config.model_json_schema()
    parts = {"Config": schema, **schema["$defs"]}
    return [
        pytest.param(value, id=f"{part}.{key}")
        for part, one in parts.items()
        for key, value in one["properties"].items()
    ]


@pytest.mark.parametrize("value", keys_of_the_configuration())
def test_every_key_says_what_it_is(value):
    assert value.get("description", "").endswith(".")


def test_blocks_are_found():
    assert len(blocks_of_pages("python")) >= 2
    assert len([one for one in blocks_of_pages("yaml") if "detectors:" in one]) >= 3
