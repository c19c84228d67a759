"""Words of the command line: what they may be is said, what cannot be meant is refused."""

import pytest

from forebay.cli.app import command_tree
from forebay.cli.record import _range_and_file
from forebay.errors import ConfigError
from forebay.service.roles import ROLES

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("1..2", None, None), ("1..2", None)),
        (("1..2", "a.h5", None), ("1..2", "a.h5")),
        ((None, None, "1..2"), ("1..2", None)),
        (("a.h5", None, "1..2"), ("1..2", "a.h5")),
    ],
)
def test_range_and_file(words, meant):
    assert _range_and_file(*words) == meant


@pytest.mark.parametrize("words", [(None, None, None), ("1..2", "a.h5", "1..2")])
def test_no_range_or_two(words):
    with pytest.raises(ConfigError, match="one pulse range is needed"):
        _range_and_file(*words)


def test_every_service_is_named_where_it_can_be_started():
    role = next(one for one in command_tree().commands["serve"].params if one.name == "role")
    assert [name for name in ROLES if name not in role.help] == []


WITHOUT_JSON = {
    "run",
    "serve",  # their logs are JSON by --log-format
    "demo",
    "config schema",  # is JSON
    "camera control cmd",
    "camera control status",  # as SSDAQ has them
    "camera convert",
    "camera convert-sof",
    "camera view",
    "larpix monitor",
}


def leaves(command, path=()):
    for name, one in getattr(command, "commands", {}).items():
        yield from leaves(one, (*path, name))
    if not hasattr(command, "commands"):
        yield path, command


def test_what_people_read_programs_can_read_too():
    without = {
        " ".join(path)
        for path, one in leaves(command_tree())
        if not any("--json" in option.opts for option in one.params)
    }
    assert without <= WITHOUT_JSON
