"""The face of the camera: modules in rows of 4, 6, 6, 6, 6 and 4."""

import numpy as np
import pytest

from forebay.cli.camera_face import ModuleRates, face_colours, face_text, save_face
from forebay.errors import ConfigError, StoreError
from forebay.wire import camera_map, ssreadout
from forebay.wire.camera_map import FaceLayout

pytestmark = pytest.mark.unit


def test_modules_lie_in_rows_of_4_6_6_6_6_4():
    picture = FaceLayout().picture(np.repeat(np.arange(32.0), 64).reshape(32, 64))
    assert picture.shape == (48, 48)
    blocks = picture[::8, ::8]
    nan = np.nan
    np.testing.assert_array_equal(blocks[0], [nan, 0, 1, 2, 3, nan])
    np.testing.assert_array_equal(blocks[1], [4, 5, 6, 7, 8, 9])
    np.testing.assert_array_equal(blocks[5], [nan, 28, 29, 30, 31, nan])
    assert np.isnan(picture).sum() == 4 * 64


def test_pixels_are_where_the_map_says():
    data = np.tile(np.arange(64.0), (32, 1))
    picture = FaceLayout().picture(data)
    assert picture[8:10, :8].ravel().tolist() == camera_map.SSL2COLROW[:16].tolist()
    picture = FaceLayout(by_columns=True).picture(data)
    assert picture[8:16, :2].T.ravel().tolist() == camera_map.SSL2COLROW[:16].tolist()
    assert camera_map.mapped(data, "ssl2asic_ch")[0, 0] == 29
    with pytest.raises(ConfigError, match="ssl2colrow"):
        camera_map.mapped(data, "x")


def test_another_order_of_modules():
    layout = FaceLayout.parse(", ".join(map(str, reversed(range(32)))))
    picture = layout.picture(np.repeat(np.arange(32.0), 64).reshape(32, 64))
    assert picture[0, 8:40:8].tolist() == [31, 30, 29, 28]
    assert picture[40, 8:40:8].tolist() == [3, 2, 1, 0]
    assert layout.rows[0] == (31, 30, 29, 28)
    assert FaceLayout.parse("") == FaceLayout()
    rates = ModuleRates()
    readouts = ssreadout.new(2)
    readouts["time_ns"], readouts["data"] = [1, 10**9 + 1], 1.0
    readouts["data"][:, 31] = np.nan
    rates.add(readouts)
    assert rates.lines(layout)[1].split() == ["0.0", "1.0", "1.0", "1.0"]


@pytest.mark.parametrize("order", ["1 2 3", "x", " ".join(["0"] * 32), " ".join(map(str, range(1, 33)))])
def test_an_order_that_cannot_be(order):
    with pytest.raises(ConfigError, match="order of modules"):
        FaceLayout.parse(order)


def test_a_picture_that_cannot_be_written_is_named(tmp_path):
    readout = ssreadout.new(1)[0]
    for name in ("no/a.png", "a.xyz"):
        with pytest.raises(StoreError, match=name):
            save_face(readout, tmp_path / name)


@pytest.mark.parametrize("order", [camera_map.SSL2ASIC_CH, camera_map.SSL2COLROW])
def test_maps_have_every_pixel_once(order):
    assert sorted(order.tolist()) == list(range(64))


def test_a_picture_of_any_readout(tmp_path):
    readout = ssreadout.new(1)[0]
    assert (face_colours(readout)[9, 9] == (90, 30, 30)).all()
    readout["data"][3:] = np.arange(29 * 64).reshape(29, 64)
    found = face_colours(readout)
    assert (found[0, 0] == 0).all()
    assert (found[0, 8] == (90, 30, 30)).all()
    assert len(np.unique(found.reshape(-1, 3), axis=0)) > 20
    text = face_text(readout, ["received 1"])
    assert "29 modules, missing 0, 1, 2" in text.plain
    assert text.plain.count("▀") == 48 * 24
    save_face(readout, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 100


def test_rates_of_modules_are_those_of_the_last_seconds():
    readouts = ssreadout.new(2000)
    readouts["time_ns"] = 10**18 + np.arange(2000, dtype=np.uint64) * 10_000_000  # 100 Hz, 20 s
    readouts["data"] = 1.0
    readouts["data"][1000:, 3] = np.nan
    readouts["data"][::2, 9] = np.nan
    rates = ModuleRates()
    assert rates.lines()[-1] == "modules that lose: none"
    for first in range(0, 2000, 300):
        rates.add(readouts[first : first + 300])
    assert rates.hz[[0, 3, 9]] == pytest.approx([100, 0, 50], abs=0.2)
    lines = rates.lines()
    assert [len(line.split()) for line in lines[1:7]] == [4, 6, 6, 6, 6, 4]
    assert lines[-1] == "modules that lose: 3 (100.0 %), 9 (49.9 %)"
