"""The tree is everybody's: it names no machine of ours, and needs none."""

import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]

# Brackets keep these patterns from finding themselves.
NOT_IN_THE_TREE = {
    "a path of somebody's machine": r"(?<![\w.])/([w]ork|[r]oot|[h]ome/\w+)/",
    "the host of a package index": r"[p]ypi\.(org|io|python)|[p]ythonhosted|[r]egistry\.npmjs",
    "a tracker that readers do not have": r"\b[i]ssues? (number )?\d+\b|\b[i]ssues show\b",
    "a conflict that was not resolved": r"^([<]{7}|[>]{7}) ",
}


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize("what", NOT_IN_THE_TREE)
def test_tree_is_free_of(what):
    pattern = re.compile(NOT_IN_THE_TREE[what], re.MULTILINE)
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # bytes of an instrument
            continue
        found += [
            f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, hit.start()) + 1}: {hit.group()}"
            for hit in pattern.finditer(text)
        ]
    assert not found


def test_patterns_find_what_they_are_for():
    for text in ("see /ro" + "ot/x", "https://py" + "pi.org/simple", "iss" + "ue 12", "<<<" + "<<<< HEAD"):
        assert any(re.search(pattern, text, re.MULTILINE) for pattern in NOT_IN_THE_TREE.values()), text


def test_no_large_file():
    large = [path for path in tracked_files() if path.stat().st_size > 2 * 2**20]
    assert not large
