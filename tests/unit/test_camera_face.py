"""The face of the camera: modules in rows of 4, 6, 6, 6, 6 and 4."""

import numpy as np
import pytest

from forebay.cli.camera_face import face_colours, face_text, in_words
from forebay.cli.camera_png import save_face
from forebay.cli.module_rates import ModuleRates
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
    assert rates.lines(layout)[1].split() == ["0", "1.00", "1.00", "1.00"]


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
    save_face(readout, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 100


def test_the_face_in_a_terminal_of_80_columns_and_24_lines():
    """The text stands beside the face, and a module that is missing bears its number."""
    readout = ssreadout.new(1)[0]
    readout["time_ns"] = 1_700_000_000_123_000_000
    readout["data"][:] = np.arange(32 * 64).reshape(32, 64)
    readout["data"][[5, 17, 31]] = np.nan
    rates = ModuleRates()
    text = face_text(readout, [*rates.lines(), "received 1000, lost 3"], alarm="NO READOUT FOR 12 s")
    lines = text.plain.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    beside = [line[48:].strip() for line in lines]
    assert beside[0] == "NO READOUT FOR 12 s"
    assert "2023-11-14 22:13:20.123 UTC" in beside
    assert "29 of 32 modules" in beside
    assert "MISSING 5, 17, 31" in beside
    assert lines[5][8:16].strip("▀") == "5"
    assert lines[13][8:16].strip("▀") == "17"
    assert lines[21][32:40].strip("▀") == "31"
    narrow = face_text(readout, is_narrow=True).plain.splitlines()
    assert max(map(len, narrow)) <= 48
    assert narrow[0] == "readout 0"


def test_everything_that_is_wrong_has_room_in_80_columns():
    readouts = ssreadout.new(2000)
    readouts["time_ns"] = 10**18 + np.arange(2000, dtype=np.uint64) * 1_234_567
    readouts["data"][np.arange(2000) % 32 != 0] = 5000.0
    rates = ModuleRates()
    rates.add(readouts)
    lines = face_text(readouts[-1], rates.lines(), alarm="NO READOUT FOR 12345 s").plain.splitlines()
    assert max(map(len, lines)) <= 80
    lines = face_text(readouts[0], rates.lines()).plain.splitlines()
    assert max(map(len, lines)) <= 80


def test_a_time_tag_that_is_no_time_of_day_is_in_seconds():
    readout = ssreadout.new(1)[0]
    readout["time_ns"] = 1_500_000_000
    assert in_words(readout)[1] == "time tag 1.500000 s"
    readout["time_ns"] = 2**64 - 1
    assert "time tag" in in_words(readout)[1]


def test_rates_of_modules_are_those_of_the_last_seconds():
    readouts = ssreadout.new(2000)
    readouts["time_ns"] = 10**18 + np.arange(2000, dtype=np.uint64) * 10_000_000  # 100 Hz, 20 s
    readouts["data"] = 1.0
    readouts["data"][1000:, 3] = np.nan
    readouts["data"][::2, 9] = np.nan
    rates = ModuleRates()
    assert rates.lines()[0] == "0 readouts/s; by module:"
    for first in range(0, 2000, 300):
        rates.add(readouts[first : first + 300])
    assert rates.hz[[0, 3, 9]] == pytest.approx([100, 0, 50], abs=0.2)
    lines = rates.lines()
    assert [len(line.split()) for line in lines[1:7]] == [4, 6, 6, 6, 6, 4]
    assert lines[0] == "100 readouts/s; by module:"
    assert lines[7:] == ["SEND NOTHING: 3", "LOSE READOUTS: 9 (49.9 %)"]
    rates = ModuleRates()
    rates.add(ssreadout.new(1))
    assert rates.lines()[0] == "0 readouts/s; by module:"
    whole = readouts[1:900:2]
    rates.add(whole)
    assert rates.lines()[-1] == "every module sends everything"
