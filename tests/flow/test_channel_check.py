"""Every check of a file of channels finds what it is for, in our files and in those of other software."""

import gzip
from pathlib import Path

import h5py
import numpy as np
import pytest
from tests.channel_events import event, image, write

from forebay.store import manifest as m
from forebay.store.channel_layout import LAYOUTS
from forebay.store.check import check_file

pytestmark = pytest.mark.flow

VECTORS = Path(__file__).parents[1] / "vectors" / "channels"


@pytest.fixture(params=LAYOUTS)
def good(tmp_path, request):
    path = tmp_path / "a.h5"
    events = [event(p, {"A": float(p), "CAM:FPICTURE": image(p)}) for p in range(10)]
    write(path, events, layout=request.param, requested=m.Request(pulses="0..9"))
    assert check_file(path).problems == []
    return path


def found(path):
    return [(problem.check, problem.severity) for problem in check_file(path).problems]


def group(file, name):
    return file["data"][name] if "data" in file else file[name]


def change(path, do):
    with h5py.File(path, "r+") as file:
        do(file)
    return found(path)


def unless_event_driven(path, check):
    """Return a problem; but values that come as they change have rows beside the range, in any order."""
    return [] if LAYOUTS[check_file(path).layout].is_event_driven else [(check, "problem")]


def test_layout_is_recognised(good):
    report = check_file(good)
    assert report.layout in LAYOUTS
    assert dict(report.rows)["values"] == "20"


def test_pulse_order(good):
    def swap(file):
        ids = group(file, "A")["pulse_id"]
        ids[3:5] = ids[3:5][::-1]

    assert change(good, swap) == unless_event_driven(good, "pulse-order")


def test_pulse_range(good):
    def leave(file):
        group(file, "A")["pulse_id"][9] = 10

    assert change(good, leave) == unless_event_driven(good, "pulse-range")


def test_rows_and_manifest(good):
    def cut(file):
        group(file, "A")["data"].resize(9, axis=0)

    assert set(change(good, cut)) == {("manifest", "problem"), ("rows", "problem")}


def test_a_column_or_a_channel_that_is_gone(good):
    def remove(file):
        del group(file, "A")["timestamp"]

    def remove_all(file):
        del group(file, "A")["data"]

    assert change(good, remove) == [("rows", "problem")]
    assert change(good, remove_all) == [("manifest", "problem")]


def test_no_manifest(good):
    def remove(file):
        del file["general/manifest"]

    assert change(good, remove) == [("manifest", "problem")]


def test_another_version(good):
    def rename(file):
        file.attrs["forebay_format"] = "forebay-channels 9"

    assert change(good, rename) == [("format", "problem")]


def test_a_damaged_image(good):
    with h5py.File(good, "r+") as file:
        data = group(file, "CAM:FPICTURE")["data"]
        chunk = bytearray(data.id.read_direct_chunk((4, 0, 0))[1])
        chunk[3] ^= 1
        data.id.write_direct_chunk((4, 0, 0), bytes(chunk))
    assert found(good) == [("checksum", "problem"), ("decompress", "problem")]
    assert check_file(good, every=3).is_good


def test_an_image_that_was_never_written(good):
    def grow(file):
        for dataset in group(file, "CAM:FPICTURE").values():
            dataset.resize(11, axis=0)
            if dataset.name.endswith("pulse_id"):
                dataset[10] = 9

    kinds = {check for check, _ in change(good, grow)}
    assert {"manifest", "checksum", "decompress"} <= kinds


def test_is_data_present(tmp_path):
    write(tmp_path / "a.h5", [event(p, {"A": float(p)}) for p in range(10)])

    def absent(file):
        file["data/A/is_data_present"][2] = 0

    assert change(tmp_path / "a.h5", absent) == [("present", "problem")]


def test_losses_are_told(tmp_path):
    ids = [100, 101, 105, 105]
    write(
        tmp_path / "a.h5",
        [event(p, {"A": 1.0}) for p in ids],
        requested=m.Request(pulses="100..106"),
        channels=("A", "B"),
    )
    assert found(tmp_path / "a.h5") == [
        ("missing-pulses", "loss"),
        ("missing-pulses", "loss"),
        ("channels", "loss"),
        ("counters", "note"),
    ]


@pytest.mark.parametrize(
    ("name", "layout", "n"),
    [("bsdata", "data-api", 75), ("cameras", "data-api", 25), ("pvdata", "pvdata", 8)],
)
def test_files_of_other_software(name, layout, n):
    report = check_file(VECTORS / f"{name}.h5")
    assert (report.layout, report.is_good, dict(report.rows)["values"]) == (layout, True, str(n))


def test_a_file_of_the_original_writer(tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(gzip.decompress((VECTORS / "sf_bsread_writer.h5.gz").read_bytes()))
    report = check_file(path)
    assert (report.layout, report.is_good) == ("bsread", True)
    assert [problem.message for problem in report.of("present")] == [
        "/data/LATE:F64: 2 of 23 rows are no values (is_data_present is 0).",
        "/data/SLOW:F32_10HZ: 20 of 23 rows are no values (is_data_present is 0).",
    ]


def test_a_channel_of_another_kind_is_no_channel(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x/data"] = 1.0
        file["x/pulse_id"] = np.arange(3)
    assert [problem.check for problem in check_file(tmp_path / "a.h5").problems] == ["layout"]
