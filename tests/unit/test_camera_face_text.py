"""The face of the camera as text: a word for each module."""

from itertools import pairwise

import pytest

from forebay.cli.sim_control import face_of

pytestmark = pytest.mark.unit


def test_modules_lie_as_in_the_originals_map():
    """First row modules 0 to 3, second 4 to 9, and so on: so SSDAQ's simulator shows them."""
    lines = face_of([f"m{i}" for i in range(32)], numbers=False)
    rows = [line.replace("|", " ").split() for line in lines]
    first = [0, 4, 10, 16, 22, 28, 32]
    assert rows == [[f"m{i}" for i in range(a, b)] for a, b in pairwise(first)]
    assert lines[0].index("|") == 11
    assert len(face_of(["x"] * 32, numbers=True)) == 12


def test_long_words_do_not_break_the_map():
    assert {len(line) for line in face_of(["x" * 50] * 32, numbers=True)} == {55, 66}
