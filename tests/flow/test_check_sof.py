"""forebay check on .sof: whole, cut short, damaged; recovered and converted."""

import json
import struct
from pathlib import Path

import pytest
from typer.testing import CliRunner

from forebay.cli.app import app
from forebay.errors import StoreError, WireError
from forebay.store.check import check_file, checks
from forebay.store.paths import part_of
from forebay.store.recover import recover
from forebay.store.sof_convert import convert_sof
from forebay.store.sof_file import SofFile, read_sof
from forebay.store.sof_manifest import manifest_path, read_manifest
from forebay.wire import sof
from forebay.wire.sof import Compressor, Kind

pytestmark = pytest.mark.flow

VECTORS = Path(__file__).parents[1] / "vectors" / "ssdaq"
FILES = sorted((VECTORS / "sof").glob("*.sof"))
TRIGGERS = [(VECTORS / f"trigger/trigger_{name}.bin").read_bytes() for name in ("nominal_v1", "v2", "v3")]


def written(path, n_bunches=5, compressor=Compressor.BZ2):
    file = SofFile(path, Kind.TRIGGER, compressor, bunch_bytes=1)
    for _ in range(n_bunches):
        file.append(TRIGGERS)
    file.close()
    return read_sof(path)


def problems(path):
    return {(one.check, one.severity) for one in check_file(path).problems}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_originals_files_are_good(path):
    report = check_file(path)
    assert report.is_good
    assert report.problems == []
    assert dict(report.rows)["kind"] == path.stem.partition("_")[0]
    assert set(report.checks) < checks().keys()


@pytest.mark.parametrize("compressor", Compressor)
def test_ours_are_good(tmp_path, compressor):
    written(tmp_path / "a.sof", compressor=compressor)
    report = check_file(tmp_path / "a.sof")
    assert report.problems == []
    assert dict(report.rows)["objects"] == "15"
    assert dict(report.rows)["bunches"].startswith("5, compression")


def test_a_file_that_was_cut_short_is_told_and_read_as_far_as_it_goes(tmp_path):
    found = written(tmp_path / "a.sof")
    data = (tmp_path / "a.sof").read_bytes()
    cut = tmp_path / "cut.sof"
    cut.write_bytes(data[: found.bunches[3].trailer + 10])
    assert problems(cut) == {("bunches", "problem"), ("sof-manifest", "note")}
    assert "9 objects can be read" in check_file(cut).of("bunches")[0].message
    assert read_sof(cut).objects == TRIGGERS * 3
    cut.rename(part_of(cut))
    assert recover(part_of(cut)) == cut
    assert check_file(cut).problems == []
    assert read_sof(cut).objects == TRIGGERS * 3
    assert read_manifest(cut).closed_by == "recover"


def test_bunches_behind_a_damaged_one_are_read_and_recovered(tmp_path):
    found = written(tmp_path / "a.sof")
    data = bytearray((tmp_path / "a.sof").read_bytes())
    data[found.bunches[1].trailer + 20] ^= 1  # it does not say any more where it is
    path = tmp_path / "b.sof"
    path.write_bytes(data)
    assert problems(path) == {("bunches", "problem"), ("links", "problem"), ("sof-manifest", "note")}
    damaged = read_sof(path)
    assert (len(damaged.objects), damaged.is_whole) == (12, False)
    assert damaged.n_bytes == found.bunches[1].start
    path.rename(part_of(path))
    recover(part_of(path))
    assert check_file(path).is_good
    assert read_sof(path).objects == TRIGGERS * 4


@pytest.mark.parametrize("left", ["part", "recovered"])
def test_a_recovery_that_was_killed_is_finished(tmp_path, left):
    path = tmp_path / "a.sof"
    found = written(path)
    part = part_of(path)
    if left == "part":
        part.hardlink_to(path)  # its writer was killed between its last two steps
    else:
        part.write_bytes(path.read_bytes() + b"torn")
        part.with_name(part.name + ".recovered").hardlink_to(path)
    assert recover(part) == path
    assert read_sof(path).objects == found.objects
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.sof", "a.sof.json"]
    part.write_bytes(path.read_bytes())
    with pytest.raises(StoreError, match="overwritten"):
        recover(part)


def test_a_wrong_checksum_is_told(tmp_path):
    found = written(tmp_path / "a.sof", compressor=Compressor.NONE)
    data = bytearray((tmp_path / "a.sof").read_bytes())
    data[found.bunches[2].start + 700] ^= 1
    (tmp_path / "a.sof").write_bytes(data)
    assert problems(tmp_path / "a.sof") == {("object-checksums", "problem")}
    report = check_file(tmp_path / "a.sof", skip=["object-checksums"])
    assert (report.is_good, report.skipped) == (True, ["object-checksums"])


def test_a_trailer_that_leads_the_original_astray_is_told(tmp_path):
    found = written(tmp_path / "a.sof")
    data = bytearray((tmp_path / "a.sof").read_bytes())
    struct.pack_into("<Q", data, found.bunches[4].trailer, 12345)
    (tmp_path / "a.sof").write_bytes(data)
    assert problems(tmp_path / "a.sof") == {("links", "problem")}


def test_the_manifest_says_what_came(tmp_path):
    path = tmp_path / "a.sof"
    file = SofFile(path, Kind.TRIGGER, source="127.0.0.101:9002")
    file.append(TRIGGERS)
    file.close()
    manifest = read_manifest(path)
    assert manifest.counters == {
        "received": 3,
        "written": 3,
        "not_written": 0,
        "bytes": sum(map(len, TRIGGERS)),
    }
    assert (manifest.source, manifest.kind, manifest.closed_by) == ("127.0.0.101:9002", 3, "writer")
    assert dict(check_file(path).rows)["source"] == "127.0.0.101:9002"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"kind": 1}, {("sof-manifest", "problem")}),
        ({"counters": {"received": 9, "written": 9}}, {("sof-manifest", "problem")}),
        ({"counters": {"received": 16, "written": 15}}, {("sof-manifest", "problem")}),
        ({"counters": {"received": 16, "written": 15, "not_written": 1}}, {("sof-not-written", "loss")}),
        ({"version": 2}, {("sof-manifest", "problem")}),
    ],
)
def test_a_manifest_that_does_not_agree_is_told(tmp_path, change, expected):
    path = tmp_path / "a.sof"
    written(path)
    said = json.loads(manifest_path(path).read_text(encoding="utf-8"))
    manifest_path(path).write_text(json.dumps(said | change), encoding="utf-8")
    assert problems(path) == expected
    manifest_path(path).write_text("nonsense", encoding="utf-8")
    assert problems(path) == {("sof-manifest", "problem")}
    manifest_path(path).unlink()
    assert problems(path) == {("sof-manifest", "note")}


def test_what_was_sent_wrong_is_a_note(tmp_path):
    file = SofFile(tmp_path / "a.sof", Kind.TRIGGER)
    file.append([*TRIGGERS, b"none"])
    file.close()
    assert problems(tmp_path / "a.sof") == {("objects", "note")}
    assert check_file(tmp_path / "a.sof").is_good


@pytest.mark.parametrize("data", [b"", b"SOF\0", b"SOF\0" + b"\xff" * 30, b"text"])
def test_what_is_no_container_is_told(tmp_path, data):
    path = tmp_path / "a.sof"
    path.write_bytes(data)
    assert {severity for _, severity in problems(path)} == {"problem"}


def test_a_part_and_a_file_that_is_not_there_are_told(tmp_path):
    SofFile(tmp_path / "a.sof", Kind.LOG)
    (problem,) = check_file(tmp_path / "a.sof.part").problems
    assert "forebay recover" in problem.message
    assert problems(tmp_path / "b.sof") == {("closed", "problem")}


def test_a_bunch_is_written_when_it_has_waited(tmp_path):
    now = [0.0]
    file = SofFile(tmp_path / "a.sof", Kind.TRIGGER, flush_s=1.0, clock=lambda: now[0])
    part = part_of(file.path)
    file.append(TRIGGERS)
    now[0] = 0.9
    file.tick()
    assert read_sof(part).objects == []
    file.append(TRIGGERS)
    now[0] = 1.0
    file.tick()
    assert read_sof(part).objects == TRIGGERS * 2
    now[0] = 1.5
    file.append(TRIGGERS)
    now[0] = 2.4
    file.append(TRIGGERS)
    assert read_sof(part).objects == TRIGGERS * 2
    now[0] = 2.5
    file.append([])
    assert read_sof(part).objects == TRIGGERS * 4
    file.close()
    assert check_file(file.path).problems == []


@pytest.mark.parametrize("compressor", [None, *Compressor])
def test_containers_are_converted(tmp_path, compressor):
    (source,) = [path for path in FILES if "trigger" in path.name]
    found = convert_sof(source, tmp_path / "a.sof", compressor)
    made = read_sof(tmp_path / "a.sof")
    assert (made.objects, made.kind) == (found.objects, Kind.TRIGGER)
    assert made.version == (0 if compressor is None else 1)
    assert check_file(tmp_path / "a.sof").is_good
    if compressor is not None:
        assert (made.created_s, made.software, made.compressor) == (
            found.created_s,
            found.software,
            compressor,
        )
    with pytest.raises(StoreError, match="never overwritten"):
        convert_sof(source, tmp_path / "a.sof", compressor)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.sof", "a.sof.json"]


def test_what_is_no_container_is_not_converted(tmp_path):
    (tmp_path / "a").write_bytes(b"text")
    with pytest.raises(WireError, match=r"are no \.sof"):
        convert_sof(tmp_path / "a", tmp_path / "b.sof", Compressor.NONE)
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


def test_many_objects_make_many_bunches():
    objects = [bytes([i % 256]) * 3000 for i in range(1000)]
    data = b"".join(sof.encode(objects, Kind.LOG, Compressor.NONE, 5, "x"))
    found = sof.decode(data)
    assert found.objects == objects
    assert len(found.bunches) == 3
    assert all(bunch.is_linked for bunch in found.bunches)


def convert(*words):
    return CliRunner().invoke(app, ["camera", "convert-sof", *map(str, words)])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_containers_become_lines(tmp_path, path):
    done = convert(path, tmp_path / "a.jsonl")
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(lines) == len(read_sof(path).objects)
    assert not any("malformed" in line for line in lines)
    assert all({"sender", "event_counter", "TACK"} & line.keys() for line in lines)


def test_the_command_says_what_is_wrong(tmp_path):
    found = written(tmp_path / "a.sof")
    assert convert(tmp_path / "a.sof", tmp_path / "b.sof", "--old").exit_code == 0
    assert read_sof(tmp_path / "b.sof").version == 0
    cut = tmp_path / "cut.sof"
    cut.write_bytes((tmp_path / "a.sof").read_bytes()[: found.bunches[3].trailer])
    done = convert(cut, tmp_path / "c.sof", "--compression", "none")
    assert done.exit_code == 1
    assert "is damaged" in done.output
    assert read_sof(tmp_path / "c.sof").objects == TRIGGERS * 3
    assert convert(cut, tmp_path / "d.sof", "--compression", "lzo").exit_code != 0


def test_frames_become_lines(tmp_path):
    file = SofFile(tmp_path / "a.sof", Kind.FRAME)
    file.append([(VECTORS / "sof/frame_example.bin").read_bytes(), b"none"])
    file.close()
    assert problems(tmp_path / "a.sof") == {("objects", "note")}
    assert convert(tmp_path / "a.sof", tmp_path / "a.jsonl").exit_code == 0
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0])["ro"] == {"class": "SSReadout", "bytes": 16416}
    assert "malformed" in json.loads(lines[1])
