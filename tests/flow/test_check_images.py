"""Each check finds what it is there for, and nothing else complains."""

import shutil

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import msgspec
import numpy as np
import pytest

from forebay.errors import ConfigError
from forebay.event import Event
from forebay.store import manifest as m
from forebay.store.check import check_file, checks
from forebay.store.hdf5 import ImageFile

pytestmark = pytest.mark.flow

SHAPE, PACKETS = (32, 64), 8
DETECTOR = "entry/instrument/det"
LOSSES = ["missing-pulses", "incomplete-images"]


def event(pulse_id, lost=(0, 0)):
    data = np.random.default_rng(pulse_id).integers(1, 999, SHAPE).astype("u2")
    for i, n in enumerate(lost):
        data.reshape(2, PACKETS, -1)[i, :n] = 0
    missing = np.array(lost, np.uint32)
    return Event("det", pulse_id, 10**18 + pulse_id, {"data": data}, missing, PACKETS)


RECEIVED = {
    "received": 16,
    "placed": 10,
    "duplicate": 1,
    "late": 1,
    "malformed": 2,
    "foreign": 2,
    "overrun": 0,
}
BUILT = {"frames": 20, "used": 19, "late": 1, "duplicate": 0, "implausible": 0}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("check") / "a.h5"
    recording = m.Recording(
        "det",
        SHAPE,
        "uint16",
        n_modules=2,
        packets_per_module=PACKETS,
        requested=m.Request(pulses="10..19"),
        header=(("framenum", "<u8"),),
    )
    recording = msgspec.structs.replace(recording, header=())
    file = ImageFile(path, recording)
    file.write(
        [event(p, {12: (3, 0), 14: (0, 8)}.get(p, (0, 0))) for p in range(10, 20) if p not in (16, 17)]
    )
    file.conclude("last pulse", m.Counters({"50100": RECEIVED}, BUILT))
    file.close()
    return path


@pytest.fixture
def path(original, tmp_path):
    return shutil.copy(original, tmp_path / "a.h5")


def rewrite(path, **changes):
    """Change the manifest of a file."""
    with h5py.File(path, "r+") as f:
        value = msgspec.json.decode(f["entry/manifest/data"][()])
        for key, change in changes.items():
            value[key] = change(value[key]) or value[key]
        del f["entry/manifest/data"]
        f["entry/manifest/data"] = msgspec.json.encode(value).decode()


def test_losses_are_reported_pulse_by_pulse(path):
    report = check_file(path)
    assert [(p.check, p.severity, p.pulse_id) for p in report.problems] == [
        ("missing-pulses", "loss", 16),
        ("incomplete-images", "loss", 12),
        ("incomplete-images", "loss", 14),
    ]
    assert report.of("incomplete-images")[1].message == "Pulse 14 lacks packets: 8 of module 1."
    assert not report.is_good
    rows = dict(report.rows)
    assert [
        rows[k] for k in ("asked", "expected", "got", "missing", "incomplete images", "lost packets")
    ] == [
        "pulses 10..19",
        "10",
        "8",
        "2",
        "2",
        "11",
    ]
    assert report.layout == "images"


def test_declared_losses_can_be_allowed(path):
    report = check_file(path, skip=LOSSES)
    assert report.is_good
    assert report.problems == []
    assert report.skipped == sorted(LOSSES)
    assert not set(LOSSES) & set(report.checks)


def test_checks_are_listed_with_a_line_each():
    assert {"closed", "layout", "manifest", "checksum", *LOSSES} <= set(checks())
    assert all(text.endswith(".") and "\n" not in text for text in checks().values())


def test_an_unknown_check_is_named(path):
    with pytest.raises(ConfigError, match=r"no check 'chekcsum'.*checksum"):
        check_file(path, skip=["chekcsum"])
    with pytest.raises(ConfigError, match="0-th"):
        check_file(path, every=0)


def found(path, **options):
    return {p.check for p in check_file(path, skip=LOSSES, **options).problems}


def dataset(name, row, value):
    def change(f):
        f[DETECTOR][name][row] = value

    return change


def other_bytes(f):
    data = f[DETECTOR]["data"]
    chunk = bytearray(data.id.read_direct_chunk((3, 0, 0))[1])
    chunk[-1] ^= 1
    data.id.write_direct_chunk((3, 0, 0), bytes(chunk))


def no_fill(f):
    data = f[DETECTOR]["data"]
    data[2] = data[0]
    chunk = data.id.read_direct_chunk((2, 0, 0))[1]
    import xxhash

    f[DETECTOR]["checksum"][2] = xxhash.xxh3_64_intdigest(chunk)


def short_chunk(f):
    f[DETECTOR]["data"].id.write_direct_chunk((5, 0, 0), b"12345")


def fewer_rows(f):
    ids = f[DETECTOR]["pulse_id"][:-1]
    del f[DETECTOR]["pulse_id"]
    f[DETECTOR]["pulse_id"] = ids


def delete(name):
    def change(f):
        del f[name]

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (dataset("pulse_id", 3, 12), {"pulse-order", "manifest"}),
        (dataset("pulse_id", 7, 25), {"pulse-range", "manifest"}),
        (dataset("status", 4, 0), {"status", "manifest"}),
        (dataset("status", 4, 1), {"status"}),
        (dataset("status", 0, 1), {"status", "manifest"}),
        (dataset("missing_packets", (0, 1), 1), {"status", "fill"}),
        (dataset("missing_packets", (2, 0), 4), {"fill"}),
        (dataset("time_ns", 5, 10**18), {"times"}),
        (dataset("checksum", 5, 1), {"checksum"}),
        (other_bytes, {"checksum"}),
        (short_chunk, {"checksum", "decompress"}),
        (no_fill, {"fill"}),
        (fewer_rows, {"manifest"}),
        (delete("entry/manifest"), {"manifest"}),
        (delete(f"{DETECTOR}/missing_packets"), {"manifest"}),
        (delete(f"{DETECTOR}/data"), {"manifest"}),
        (delete("entry/instrument"), {"manifest"}),
        (lambda f: f.attrs.__setitem__("forebay_format", "forebay-images 7"), {"format"}),
        (lambda f: f.attrs.__delitem__("forebay_format"), {"layout"}),
    ],
)
def test_a_change_is_found(path, change, expected):
    with h5py.File(path, "r+") as f:
        change(f)
    assert found(path) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"version": lambda v: 99}, {"manifest"}),
        ({"sources": lambda v: v["det"].update(got=9)}, {"manifest"}),
        ({"sources": lambda v: {"other": v["det"]}}, {"manifest"}),
        ({"counters": lambda v: v["end"]["receiver"]["50100"].update(placed=9)}, {"counters"}),
        ({"counters": lambda v: v["difference"]["builder"].update(used=9)}, {"counters"}),
        ({"counters": lambda v: v["end"]["recorder"].update(overwritten=1)}, {"counters"}),
        ({"counters": lambda v: v["difference"]["receiver"]["50100"].update(kernel_drop=4)}, {"counters"}),
        ({"requested": lambda v: v.update(pulses="10..19/2")}, {"pulse-range", "manifest"}),
    ],
)
def test_a_changed_manifest_is_found(path, change, expected):
    rewrite(path, **change)
    assert found(path) == expected


def test_too_few_images(path):
    rewrite(path, requested=lambda v: v.update(pulses=None, images=10))
    messages = [p.message for p in check_file(path).of("missing-pulses")]
    assert messages == ["2 pulses 16..17 are missing.", "10 images were asked for, 8 are there."]


def test_notes_leave_a_file_good(path):
    with h5py.File(path, "r+") as f:
        f[DETECTOR]["time_ns"][5] = 10**18
    report = check_file(path, skip=LOSSES)
    assert [p.severity for p in report.problems] == ["note"]
    assert report.is_good


def test_a_sample_looks_at_some_images_only(path):
    with h5py.File(path, "r+") as f:
        f[DETECTOR]["checksum"][5] = 1
    assert found(path, every=5) == {"checksum"}
    assert found(path, every=4) == set()


def test_a_part_is_not_a_file(path, tmp_path):
    part = path.rename(tmp_path / "a.h5.part")
    report = check_file(part)
    assert report.of("closed")[0].message.endswith(f"forebay recover {part}")
    assert not report.is_good


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all", b"\x89HDF\r\n\x1a\n" + b"\0" * 500])
def test_what_hdf5_cannot_open(tmp_path, content):
    (tmp_path / "a.h5").write_bytes(content)
    assert found(tmp_path / "a.h5") == {"closed"}
    assert found(tmp_path / "missing.h5") == {"closed"}


def test_a_file_of_somebody_else(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["x"] = [1, 2]
    assert found(tmp_path / "a.h5") == {"layout"}


def test_cut_anywhere_no_check_fails_itself(original, tmp_path):
    whole = original.read_bytes()
    for n in range(100, len(whole), 997):
        (tmp_path / "a.h5").write_bytes(whole[:n])
        assert not check_file(tmp_path / "a.h5", skip=LOSSES).is_good


def test_any_wrong_byte_no_check_fails_itself(original, tmp_path):
    whole = original.read_bytes()
    for n in np.random.default_rng(1).integers(0, len(whole), 150):
        changed = bytearray(whole)
        changed[n] ^= 0x55
        (tmp_path / "a.h5").write_bytes(changed)
        check_file(tmp_path / "a.h5")
