"""Names of groups lead nowhere else and never meet; how a value is stored follows from its header."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.errors import ConfigError, WireError
from forebay.store.channel_layout import (
    LAYOUTS,
    Definition,
    data_options,
    definition_of,
    group_name,
    layout_of,
)
from forebay.store.channel_manifest import ChannelAccount, ChannelManifest
from forebay.wire.bsread import Channel

pytestmark = pytest.mark.unit

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "channel-files.md"
NAMES = st.one_of(
    st.text(min_size=1), st.text("./%a0d2", min_size=1, max_size=5), st.sampled_from(["data", "general"])
)


@given(st.sets(NAMES, min_size=2, max_size=2))
def test_different_channels_have_different_groups(names):
    first, second = names
    assert group_name(first) != group_name(second)


@given(NAMES)
def test_names_of_groups_lead_nowhere(name):
    text = group_name(name)
    assert text not in ("", ".", "..", "data", "general")
    assert "/" not in text
    assert text.isprintable()


@pytest.mark.parametrize("name", ["SARES20-CAMS142-M5:FPICTURE", "a b", "é", "X(1)", "PV|status", "a.b"])
def test_usual_names_stay(name):
    assert group_name(name) == name


def test_unusual_names():
    names = {
        "a/b": "a%2Fb",
        "..": "%2E.",
        "data": "%64ata",
        "\ud800": "%ED%A0%80",
        "a\x00": "a%00",
        "%": "%25",
    }
    assert {name: group_name(name) for name in names} == names


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        (Channel("x"), {"bsread": ("<f8", (1,)), "data-api": ("<f8", ()), "pvdata": ("<f8", (1,))}),
        (Channel("x", "int16", (5,), "big"), {"bsread": ("<i2", (5,)), "data-api": (">i2", (5,))}),
        (
            Channel("x", "uint16", (64, 48), "big"),
            {"bsread": (">u2", (48, 64)), "data-api": (">u2", (48, 64))},
        ),
        (Channel("x", "STRING", (7,)), {"bsread": ("", ()), "data-api": ("", ()), "pvdata": ("", (1,))}),
        (Channel("x", "bool", (4, 2)), {"bsread": ("|b1", (2, 4))}),
        (Channel("x", "uint8", (4, 1)), {"bsread": ("|u1", (1, 4))}),
    ],
)
def test_how_a_value_is_stored(channel, expected):
    for name, found in expected.items():
        definition = definition_of(layout_of(name), channel)
        assert (definition.dtype, definition.shape) == found
        is_image = channel.name == "x" and channel.shape == (64, 48)
        assert (definition.kind == "image") == is_image
        assert (definition.kind == "text") == channel.is_string


@pytest.mark.parametrize(
    "channel",
    [
        Channel("x", "complex128"),
        Channel("x", compression="zip"),
        Channel("x", encoding="middle"),
        Channel("x", shape=(1,) * 32),
        Channel("x", shape=(2**30,)),
        Channel("x", shape=(3, 0)),
        Channel("x" * 1025),
        Channel("/" * 400),
    ],
)
def test_what_cannot_be_stored_is_refused(channel):
    with pytest.raises(WireError):
        definition_of(layout_of("bsread"), channel)


@given(
    st.sampled_from(list(LAYOUTS)),
    st.sampled_from(["number", "image"]),
    st.sampled_from(["|i1", "<f8"]),
    st.lists(st.integers(1, 300), max_size=3),
)
def test_chunks_are_bounded(layout, kind, dtype, shape):
    definition = Definition(kind, dtype, tuple(shape))
    options = data_options(layout_of(layout), definition)
    rows = options["chunks"][0]
    assert options["chunks"][1:] == definition.shape
    assert rows == 1 or (kind != "image" and rows * definition.row_bytes <= 2**20)


def test_an_unknown_layout_is_refused():
    with pytest.raises(ConfigError, match="'nexus'"):
        layout_of("nexus")


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.name)
def test_reference_has_every_layout_and_column(layout):
    text = PAGE.read_text(encoding="utf-8")
    assert f"`{layout.name}`" in text
    assert all(f"`{column.name}`" in text for column in layout.columns)


def test_reference_has_every_key():
    text = PAGE.read_text(encoding="utf-8").partition("## Manifest")[2]
    own = set(ChannelManifest.__struct_fields__) & {"layout", "channels"}
    assert all(f"`{key}`" in text for key in own | set(ChannelAccount.__struct_fields__))
