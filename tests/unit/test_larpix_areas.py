"""Pixel layouts of boards and of their tiles, and layouts that are none."""

import struct

import numpy as np
import pytest
from pydantic import ValidationError
from tests.unit.test_larpix_tally import event, hits, seconds, tally

from forebay.config.larpix import BoardsConfig
from forebay.errors import ConfigError
from forebay.service.larpix_areas import Layouts, parse_layouts, tile_of
from forebay.service.larpix_layout import Layout, find_layout
from forebay.service.larpix_shown import Shown

pytestmark = pytest.mark.unit

ONE = "chips: [[3, [5, null]]]\npixels: [[5, 1.0, 2.0, [], []]]\n"
OTHER = "chips: [[3, [7, 8]]]\npixels: [[7, 1.0, 2.0], [8, 9.0, 2.0]]\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "layout-1.yaml").write_text(ONE)
    (tmp_path / "layout-2.yaml").write_text(OTHER)
    return tmp_path


def test_tiles_are_four_io_channels_each():
    assert [tile_of(channel) for channel in (1, 4, 5, 8, 9, 32)] == [1, 1, 2, 2, 3, 8]


KEYS = ("*", "*/*", "1", "*/2", "1/*", "1/2")


@pytest.mark.parametrize("n", range(len(KEYS)))
def test_the_key_that_says_most_is_taken(folder, n):
    layouts = {key: Layout(folder / "layout-1.yaml") for key in KEYS[: n + 1]}
    tile, found = Layouts(layouts).of(1, 5)
    assert found is layouts[KEYS[n]]
    assert tile == (2 if "/" in KEYS[n] else None)


@pytest.mark.parametrize("text", ["x=1", "1/2/3=a", "-1=a", "=a", "1/=a", "01=a", "1/02=a", "1/0=a"])
def test_keys_that_are_none(text):
    with pytest.raises(ConfigError, match="names no board and no tile"):
        parse_layouts([text])


def test_maps_of_boards_and_tiles(folder):
    counted, clock = tally()
    shown = Shown(counted, layouts=folder, layout={"1": "1", "2/*": "2", "9": "1"})
    seconds(
        counted,
        clock,
        1,
        [
            hits(4, io_group=1, chip_id=3, channel_id=0),
            hits(1, io_group=1, chip_id=4, channel_id=0),  # a chip that the layout does not have
            hits(2, io_group=2, chip_id=3, channel_id=1),
            hits(2, io_group=3, chip_id=3, channel_id=1),
        ],
    )
    maps = shown.glance()["maps"]
    assert [(one["io_group"], one["tile"], one["layout"]) for one in maps] == [
        (1, None, "layout-1"),
        (2, 1, "layout-2"),
        (3, None, None),
        (9, None, "layout-1"),
    ]
    assert [one["unplaced"] for one in maps] == pytest.approx([0.2, 0, 0, 0])
    assert counted.pixel_rates() == {5: pytest.approx(4), 8: pytest.approx(2)}
    assert counted.pixel_rates(2) == {8: pytest.approx(2)}
    whole, board, tile = shown.picture(), shown.picture(2), shown.picture(2, 1)
    assert board == tile
    assert size_of(whole) > size_of(board)
    assert shown.retrieve_pixel_layout()["layouts"] == {"1": "layout-1", "2/*": "layout-2", "9": "layout-1"}


def size_of(picture):
    return struct.unpack(">II", picture[16:24])


def test_a_layout_is_loaded_beside_the_others_or_for_all(folder):
    counted, _ = tally()
    counted.add([event(1, {"chip_id": [3], "channel_id": 0})])
    shown = Shown(counted, layouts=folder, layout={"1": "1"})
    shown.load_pixel_layout("2/3=layout-2")
    assert shown.retrieve_pixel_layout()["layouts"] == {"1": "layout-1", "2/3": "layout-2"}
    with pytest.raises(ConfigError):
        shown.load_pixel_layout("1=3")
    shown.load_pixel_layout("2")
    assert shown.retrieve_pixel_layout()["layouts"] == {"*": "layout-2"}
    assert shown.retrieve_pixel_layout()["lookup"][8] == {"chip": "1-1-3", "channel": 1}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("3", "it holds int"),
        ("a: [", "no YAML"),
        ("tile_positions: {}\npixels: []", "its key chips is not there; it has tile_positions, pixels"),
        ("chips: 3\npixels: []", "its key chips is 3, no list"),
        ("chips: [[1, [2]], [3]]\npixels: [[2, 0, 0]]", r"chips\[1\] is \[3\], not \[chip id"),
        ("chips: [[1, [a]]]\npixels: [[2, 0, 0]]", r"chips\[0\]"),
        ("chips: [[1, [2]], [1, [3]]]\npixels: [[2, 0, 0]]", "chip 1 is there twice"),
        ("chips: [[300, [2]]]\npixels: [[2, 0, 0]]", "chip 300"),
        (
            "chips: [[1, [2, 2]]]\npixels: [[2, 0, 0]]",
            "pixel 2 is both chip 1 channel 0 and chip 1 channel 1",
        ),
        ("chips: [[1, [2]]]\npixels: [[2, 0]]", r"pixels\[0\] is \[2, 0\]"),
        ("chips: [[1, [2]]]\npixels: [[2, .nan, 0]]", r"pixels\[0\]"),
        ("chips: [[1, [2]]]\npixels: [[2, 0, 0], [2, 1, 1]]", "pixel 2 is there twice"),
    ],
)
def test_what_is_wrong_with_a_layout_is_said(tmp_path, text, why):
    path = tmp_path / "layout-9.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=why) as caught:
        find_layout(tmp_path, "9")
    assert "larpix-geometry" in caught.value.todo


def test_the_configuration_names_boards_that_there_are():
    def boards(**monitor):
        return BoardsConfig.model_validate({"members": [{"io_group": 1}], "monitor": monitor})

    assert boards(layouts="x", layout="2.4.0").monitor.layout_names == {"*": "2.4.0"}
    assert boards(layouts="x", layout={"1/2": "a"}).monitor.layout_names == {"1/2": "a"}
    for wrong in (
        {"layout": "a"},
        {"layouts": "x", "layout": {"2": "a"}},
        {"layouts": "x", "layout": {"b": "a"}},
    ):
        with pytest.raises(ValidationError):
            boards(**wrong)


def test_pictures_of_many_chips_have_a_place_for_each():
    chips = np.array([[group, channel, 3] for group in (1, 2) for channel in range(1, 33)])
    areas = Layouts({}).areas(chips)
    assert [(one.io_group, len(one.rows)) for one in areas] == [(1, 32), (2, 32)]
