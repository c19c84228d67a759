"""A journal that takes no more records: the image without one is not in the file, and all others are."""

import errno

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import numpy as np
import pytest

from forebay.errors import StoreError
from forebay.event import Event
from forebay.store.check import check_file
from forebay.store.hdf5 import ImageFile
from forebay.store.journal import Journal
from forebay.store.manifest import Recording
from forebay.store.part import create

pytestmark = pytest.mark.flow


def event(pulse_id):
    data = np.full((8, 16), pulse_id, np.uint16)
    return Event("det", pulse_id, 10**18 + pulse_id, {"data": data}, np.zeros(1, np.uint32))


def test_an_image_whose_record_finds_no_room_is_left_out(tmp_path, monkeypatch):
    append = Journal.append

    def full_from_the_third_on(journal, record):
        if int(record["pulse_id"][0]) >= 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(journal, record)

    monkeypatch.setattr(Journal, "append", full_from_the_third_on)
    file = ImageFile(tmp_path / "a.h5", Recording("det", (8, 16), "uint16"))
    file.write([event(p) for p in range(1, 6)])
    with pytest.raises(StoreError, match=r"pulse 3 .*No space left"):
        file.close()
    assert file.counters == {"received": 5, "written": 2, "not_written": 3, "overwritten": 0}
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
    with h5py.File(tmp_path / "a.h5") as opened:
        assert opened["entry/data/data"].shape == (2, 8, 16)
        assert opened["entry/data/data"][:, 0, 0].tolist() == [1, 2]
    report = check_file(tmp_path / "a.h5", skip=["missing-pulses", "not-written"])
    assert report.is_good, report.problems


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("HDF5"), KeyboardInterrupt()]
)
def test_a_part_that_could_not_be_begun_is_not_left(tmp_path, failure):
    def begun_and_failed(path):
        path.write_bytes(b"the beginning of a file")
        raise failure

    kind = KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else StoreError
    with pytest.raises(kind):
        create(
            tmp_path / "a.h5",
            lambda path: Journal(path, Recording("det", (8, 16), "uint16")),
            begun_and_failed,
        )
    assert list(tmp_path.iterdir()) == []
