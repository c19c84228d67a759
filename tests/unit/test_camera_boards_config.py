"""Cameras and boards in the configuration: what is refused, and what the refusal names."""

import pytest

from forebay.config import parse
from forebay.errors import ConfigError

pytestmark = pytest.mark.unit

ONE_BOARD = {"members": [{"io_group": 1}]}


def test_defaults():
    config = parse({"cameras": {"chec": {}}, "boards": {"tpc": ONE_BOARD}}, "test")
    camera, boards = config.cameras["chec"], config.boards["tpc"]
    assert (camera.port, camera.window_s, camera.publishers) == (2009, 0.001, [])
    assert (boards.members[0].name, boards.members[0].port, boards.form) == ("io_group_1", 5555, "packets")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"cameras": {"a": {"window_s": 0}}}, "window_s"),
        ({"cameras": {"a": {"expected": [32]}}}, "expected"),
        ({"cameras": {"a": {"receive_buffer_bytes": 2**31}}}, "receive_buffer_bytes"),
        ({"cameras": {"a": {"modules": {"10.0.0.1": 3, "10.0.0.2": 3}}}}, "same module"),
        ({"cameras": {"a": {}, "b": {}}}, "UDP port 2009"),
        ({"cameras": {"a": {"port": 50100}}, "detectors": {"d": {"type": "jungfrau"}}}, "UDP port 50100"),
        ({"cameras": {"a": {}}, "detectors": {"a": {"type": "jungfrau"}}}, "both have a"),
        ({"cameras": {"a": {}}, "boards": {"a": ONE_BOARD}}, "both have a"),
        ({"boards": {"a": {"members": []}}}, "members"),
        ({"boards": {"a": {"members": [{"io_group": 1}, {"io_group": 1, "port": 7}]}}}, "io group 1 twice"),
        ({"boards": {"a": {"members": [{"io_group": 1}, {"io_group": 2}]}}}, "same host and port"),
        ({"boards": {"a": {"members": [{"io_group": 1, "asic": "4"}]}}}, "asic"),
        ({"boards": {"a": {**ONE_BOARD, "format_version": "1.0"}}}, "version 1 only"),
    ],
)
def test_what_cannot_be_is_refused_by_name(value, said):
    with pytest.raises(ConfigError, match=said):
        parse(value, "test")
