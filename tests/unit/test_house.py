"""The habits of the house: one word a thing, small files, one error tree, docs that know every command."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import forebay.errors
from forebay.errors import ForebayError

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src" / "forebay").rglob("*.py"))
NOT_NAMES = {"manager", "helper", "helpers", "util", "utils", "handler", "common", "core", "processor"}
NATIVE = sorted((ROOT / "native").iterdir())
MOST_LINES = 400


def words(name: str) -> set[str]:
    """Return the words of a snake_case or CamelCase name, in lower case."""
    return set(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_"))


def defined_names(tree: ast.Module) -> set[str]:
    """Return the names that a file gives to things: functions, classes, arguments, variables."""
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.arg(arg=name):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
    return names


def by_path(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_words_of_a_name():
    assert words("RingManager") == {"ring", "manager"}
    assert words("n_cores") == {"n", "cores"}


@pytest.mark.parametrize("path", SOURCES, ids=by_path)
def test_names_are_the_fields_own_words(path):
    names = {path.stem, path.parent.name, *defined_names(ast.parse(path.read_text(encoding="utf-8")))}
    assert not {name for name in names if words(name) & NOT_NAMES}


@pytest.mark.parametrize("path", SOURCES, ids=by_path)
def test_a_module_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", SOURCES + NATIVE, ids=by_path)
def test_files_are_small(path):
    n_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert n_lines <= MOST_LINES, f"{by_path(path)} has {n_lines} lines: it does more than one thing"


def test_error_tree_has_one_root():
    classes = [one for _, one in inspect.getmembers(forebay.errors, inspect.isclass)]
    assert len(classes) > 5
    assert all(issubclass(one, ForebayError) for one in classes)


@pytest.mark.parametrize("path", SOURCES, ids=by_path)
def test_every_error_grows_on_the_tree(path):
    known = {name for name, _ in inspect.getmembers(forebay.errors, inspect.isclass)}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Error", "Exception")):
            bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
            assert node.name in known or bases & known, f"{node.name} is no ForebayError"


def test_todo_is_part_of_what_an_error_says():
    assert (
        str(ForebayError("Port 50100 is in use.", "Choose another."))
        == "Port 50100 is in use. Choose another."
    )
    assert str(ForebayError("Nothing came.")) == "Nothing came."
