"""What tests leave behind is found, named and cleaned away."""

import multiprocessing
import os
import subprocess
import time
from pathlib import Path

import pytest
from tests import isolation, leaks

pytestmark = pytest.mark.system


@pytest.fixture(autouse=True)
def no_grace(monkeypatch):
    monkeypatch.setattr(leaks, "_GRACE_S", 0.0)


def test_a_process_with_the_mark_of_a_session_or_in_its_folder(tmp_path):
    mine = os.environ | {isolation.MARK: str(tmp_path / "session")}
    options = ({"env": mine}, {"cwd": tmp_path}, {})
    marked, inside, other = (subprocess.Popen(["sleep", "600"], **one) for one in options)
    try:
        found = leaks.clean(tmp_path / "session", [tmp_path], time.time())
        assert sorted(line.split(":")[0] for line in found) == sorted(
            f"process {one.pid}" for one in (marked, inside)
        )
        assert all("sleep 600 (of tests/system/test_leaks.py::test_a_process" in line for line in found)
        assert [marked.wait(10), inside.wait(10)] == [-9, -9]
        assert other.poll() is None
    finally:
        for one in (marked, inside, other):
            one.kill()
            one.wait()


def test_a_mount_with_a_file_open_in_it(tmp_path):
    point = tmp_path / "a small one"
    point.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(point)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount here")
    with (point / "open").open("w"):
        assert leaks.clean(tmp_path / "session", [tmp_path], time.time()) == [f"mount: {point}"]
        assert not point.is_mount()


def test_networks_that_are_noted_and_shared_memory_that_nobody_has(tmp_path):
    (tmp_path / leaks.NETWORKS).mkdir()
    (tmp_path / leaks.NETWORKS / "abc123").touch()
    memory = leaks._SHARED_MEMORY / f"forebay-test-{os.getpid()}"
    began_s = time.time() - 1
    lines = []
    if not subprocess.run(["ip", "netns", "add", "one-abc123"], capture_output=True, check=False).returncode:
        lines.append("netns: one-abc123")
    with memory.open("wb"):
        assert leaks.clean(tmp_path, [], began_s) == lines
    assert leaks.clean(tmp_path, [], began_s) == [f"shared memory: {memory}"]
    assert not memory.exists()


def test_files_that_no_test_makes_are_left_alone(tmp_path):
    other = leaks._SHARED_MEMORY / f"notes-of-somebody-{os.getpid()}"
    other.touch()
    try:
        assert str(other) not in str(leaks.clean(tmp_path, [], time.time() - 1))
        assert other.exists()
    finally:
        other.unlink(missing_ok=True)


def test_semaphores_of_others_are_left_alone():
    began_s = time.time() - 1
    lock = multiprocessing.get_context("spawn").Lock()
    leaks.clean(Path("/nowhere"), [], began_s)
    assert (leaks._SHARED_MEMORY / f"sem.{lock._semlock.name.lstrip('/')}").exists()
