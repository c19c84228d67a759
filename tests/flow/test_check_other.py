"""forebay check on raw files, and on what has no checks of its own."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from forebay.cli.app import app
from forebay.service.raw_file import RawWriter
from forebay.store.check import check_file, checks
from forebay.store.sof_file import SofFile
from forebay.store.sof_manifest import manifest_path
from forebay.wire.sof import Kind
from forebay.wire.ssreadout import MESSAGE_B, READOUT

pytestmark = pytest.mark.flow

VECTORS = Path(__file__).parents[1] / "vectors" / "ssdaq"
TRIGGERS = [(VECTORS / f"trigger/trigger_{name}.bin").read_bytes() for name in ("nominal_v1", "v2", "v3")]
T0 = 1_700_000_000_000_000_000


def written(path, numbers=range(1, 6)):
    readouts = np.zeros(len(numbers), READOUT)
    readouts["number"] = numbers
    readouts["time_ns"] = T0 + np.asarray(numbers, np.uint64) * np.uint64(1000)
    readouts["arrived_ns"] = T0
    readouts["data"][:, 3] = np.nan
    writer = RawWriter(path)
    writer.append(readouts)
    writer.close()
    return path


def found(path):
    return {(one.check, one.severity) for one in check_file(path).problems}


def test_raw_readouts_are_checked_whatever_the_file_is_called(tmp_path):
    report = check_file(written(tmp_path / "SlowSignal"))
    assert report.is_good
    assert report.problems == []
    assert dict(report.rows) | {"readouts": "5", "numbers": "1..5"} == dict(report.rows)
    assert set(report.checks) < checks().keys()


def test_what_is_wrong_with_raw_readouts_is_told(tmp_path):
    path = written(tmp_path / "a.raw", [1, 2, 5, 6])
    assert found(path) == {("raw-numbers", "loss")}
    assert check_file(path, skip=["raw-numbers"]).is_good
    with path.open("ab") as file:
        file.write(b"cut")
    assert found(path) == {("raw-numbers", "loss"), ("raw-messages", "problem")}
    assert "2 readouts" in check_file(path).of("raw-numbers")[0].message


def test_times_of_raw_readouts_are_looked_at(tmp_path):
    path = written(tmp_path / "a.raw")
    messages = np.fromfile(path, MESSAGE_B)
    messages["arrived_rest_ns"][2] = 10**9
    messages["time_ns"][4] = T0
    messages.tofile(path)
    assert found(path) == {("raw-times", "problem"), ("raw-numbers", "problem")}


def test_a_raw_file_that_another_run_continued_is_good(tmp_path):
    path = written(written(tmp_path / "a.raw"))
    assert found(path) == {("raw-numbers", "note")}


def test_raw_triggers_are_told_apart(tmp_path):
    path = tmp_path / "a.raw"
    path.write_bytes(b"".join(TRIGGERS * 3))
    report = check_file(path)
    assert report.problems == []
    assert dict(report.rows)["objects"] == "9"
    for n_bytes in (1, 20, 100, len(TRIGGERS[-1]) - 1):
        path.write_bytes(b"".join(TRIGGERS)[:-n_bytes])
        assert found(path) == {("raw-messages", "problem")}
        assert "behind 2 patterns" in check_file(path).problems[0].message


def test_a_manifest_names_its_container(tmp_path):
    file = SofFile(tmp_path / "a.sof", Kind.TRIGGER)
    file.append(TRIGGERS)
    file.close()
    beside = manifest_path(tmp_path / "a.sof")
    shown = CliRunner().invoke(app, ["check", str(beside)])
    assert shown.exit_code == 1
    assert "forebay check" in shown.output
    (tmp_path / "a.sof").unlink()
    assert "is not there" in check_file(beside).problems[0].message


@pytest.mark.parametrize(
    ("name", "head", "said"),
    [
        ("a.raw", b"\x08\x01\x10\x14", "let a writer of .sof files"),
        ("a.h5.part.journal", b"forebay readouts 1\n", "forebay recover"),
        ("a.pcap", b"\xd4\xc3\xb2\xa1", "forebay replay"),
        ("catalog.sqlite", b"SQLite format 3\0", "database"),
        ("00000001", b"forebay ring 1\n\0", "ring on disk"),
        ("run0001.json", b"{}", "run or proposal"),
        ("a.h5.json", b"{}", "forebay check"),
        ("other.json", b"{}", "JSON"),
        ("daq.yaml", b"cameras:", "forebay config check"),
        ("a.jsonl", b"{}", "lines"),
        ("picture", b"\x89PNG", "picture"),
        ("notes.txt", b"hello", "not an HDF5 file, nor any other"),
    ],
)
def test_what_has_no_checks_says_what_to_do_instead(tmp_path, name, head, said):
    (tmp_path / name).write_bytes(head)
    (problem,) = check_file(tmp_path / name).problems
    assert said in problem.message
