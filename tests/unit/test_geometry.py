"""Modules to image, against a reading pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.assemble.geometry import Geometry, eiger_geometry, stacked
from forebay.errors import ConfigError

pytestmark = pytest.mark.unit


def modules(n, rows, columns, dtype=np.uint16):
    return np.arange(1, n * rows * columns + 1, dtype=dtype).reshape(n, rows, columns)


def test_stacked_is_the_slot_as_it_lies():
    slot = modules(3, 4, 5)
    image = stacked(slot)
    assert image.shape == (12, 5)
    assert np.shares_memory(image, slot)
    assert np.array_equal(image[4:8], slot[1])


def test_stacked_positions_make_the_stacked_view():
    slot = modules(2, 512, 1024, np.uint32)
    geometry = Geometry((1024, 1024), (512, 1024), ((0, 0, 1023, 511), (0, 512, 1023, 1023)))
    assert np.array_equal(geometry.assemble(slot), stacked(slot))


def test_eiger_500k_of_four_ports():
    """Two half modules of two ports each: the lower half is upside down; 2 pixels between chips."""
    ports = modules(4, 256, 512, np.uint32)
    geometry = eiger_geometry(
        (514, 1030),
        ((0, 0, 513, 255), (516, 0, 1029, 255), (0, 513, 513, 258), (516, 513, 1029, 258)),
    )
    image = geometry.assemble(ports)
    assert image.dtype == np.uint32
    assert np.array_equal(image[:256, :256], ports[0, :, :256])
    assert np.array_equal(image[:256, 258:514], ports[0, :, 256:])
    assert np.array_equal(image[:256, 516:772], ports[1, :, :256])
    assert image[513, 0] == ports[2, 0, 0]
    assert image[258, 1029] == ports[3, 255, 511]
    gaps = np.zeros((514, 1030), bool)
    gaps[256:258] = True
    for start in (256, 514, 772):
        gaps[:, start : start + 2] = True
    assert np.array_equal(image == 0, gaps)


@given(
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    chip=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    gap=st.integers(0, 2),
    flip=st.tuples(st.booleans(), st.booleans()),
    at=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    turns=st.integers(-4, 4),
)
def test_every_pixel_goes_to_its_place(rows, columns, chip, gap, flip, at, turns):
    shape = rows * chip[0], columns * chip[1]
    height, width = shape[0] + (rows - 1) * gap, shape[1] + (columns - 1) * gap
    top, left = at
    ys = (top, top + height - 1)[:: -1 if flip[0] else 1]
    xs = (left, left + width - 1)[:: -1 if flip[1] else 1]
    frame = modules(1, *shape)
    geometry = Geometry(
        (top + height + 1, left + width + 2), shape, ((xs[0], ys[0], xs[1], ys[1]),), chip, gap, turns
    )
    expected = np.full((top + height + 1, left + width + 2), 65535, np.uint16)
    for y in range(shape[0]):
        for x in range(shape[1]):
            dy, dx = y + y // chip[0] * gap, x + x // chip[1] * gap
            expected[ys[0] + (-dy if flip[0] else dy), xs[0] + (-dx if flip[1] else dx)] = frame[0, y, x]
    assert np.array_equal(geometry.assemble(frame, fill=65535), np.rot90(expected, turns))


@pytest.mark.parametrize(
    ("positions", "says"),
    [
        (((0, 0, 4, 3),), "5 columns; a module has 4 and 6"),
        (((1, 0, 6, 3),), "leaves the image"),
        (((-1, 0, 4, 3),), "leaves the image"),
        (((0, 8, 5, 11),), "leaves the image"),
        (((0, 0, 5, 3), (0, 6, 5, 3)), "modules 0 and 1 overlap"),
    ],
)
def test_positions_that_cannot_be_are_named(positions, says):
    with pytest.raises(ConfigError, match=says):
        Geometry((10, 6), (4, 6), positions)


def test_chips_fill_the_frame():
    with pytest.raises(ConfigError, match="do not fill"):
        Geometry((10, 6), (4, 6), (), (4, 4))


def test_modules_without_position_are_an_error():
    with pytest.raises(ValueError, match="shorter"):
        Geometry((10, 6), (4, 6), ((0, 0, 5, 3),)).assemble(modules(2, 4, 6))
