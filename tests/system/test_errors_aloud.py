"""Every error, read aloud, says what was asked, what was found and what to do: as a user meets it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import h5py
import pytest
import yaml
from tests.ports import free_ports
from tests.small_disk import small_disk
from tests.system.stand import Done, Stand, wait_until, without_privileges

from forebay.store.catalog import open_catalog
from forebay.store.check import check_file

pytestmark = pytest.mark.system

ROOT_ONLY = pytest.mark.skipif(
    os.getuid() != 0, reason="only root may mount a small disk, or give a file away"
)


def says(done: Done, *words: str, code: int = 1) -> None:
    """Check that a command failed with one readable line that has all these words."""
    assert done.code == code, done
    assert "Traceback" not in done.err + done.out, done
    (line,) = done.err.splitlines()
    assert line.startswith("forebay: "), done
    missing = [word for word in words if word not in line]
    assert not missing, f"{missing} not in: {line}"


def logs(done: Done, *words: str) -> None:
    """Check that a service failed and that one line of its log, no traceback, has all these words."""
    assert done.code == 1, done
    assert "traceback" not in done.err.lower(), done
    errors = [line for line in done.err.splitlines() if " ERROR " in line]
    assert any(all(word in line for word in words) for line in errors), done


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[Stand]:
    """Lend a stand whose services run and whose detector sends."""
    with Stand(tmp_path_factory.mktemp("running"), detector={"bit_depth": 8}) as stand:
        stand.run()
        stand.simulate("--rate", 50, "--bit-depth", 8)
        with_events(stand)
        yield stand


@pytest.fixture
def stand(tmp_path) -> Iterator[Stand]:
    """Lend a stand where nothing runs."""
    with Stand(tmp_path) as stand:
        yield stand


def with_events(stand: Stand) -> None:
    ring = stand.ring()
    wait_until(lambda: ring.n_events > 2, lambda: f"events\n{stand.logs()}")
    ring.close()


# --- configuration


def test_a_typo_in_the_configuration(stand):
    detector = stand.settings["detectors"][stand.name]
    detector["n_module"] = 2
    detector["type"] = "eigr"
    stand.configure(stand.settings)
    words = (
        str(stand.config_path),
        f"{stand.name}.n_module is not a known key",
        "is n_modules meant?",
        "'jungfrau' or 'eiger'",
        "'eigr'",
    )
    says(stand.forebay("run", stand.config_path), *words)
    says(stand.record("a.h5").wait(), *words)
    says(stand.forebay("doctor", "--config", stand.config_path), *words)
    says(stand.forebay("config", "check", stand.config_path), *words)
    assert not stand.data.exists()


def test_a_configuration_that_is_no_yaml(stand):
    stand.config_path.write_text("detectors: {A: {type: eiger\nrecord: [", encoding="utf-8")
    says(stand.forebay("run", stand.config_path), f"{stand.config_path} is not valid YAML", "line 2")


def test_a_configuration_that_is_not_there(stand):
    words = ("nothing.yaml", "No such file", "Name the YAML file", "FOREBAY_CONFIG", "forebay demo")
    says(stand.forebay("run", "nothing.yaml"), *words)
    says(stand.forebay("jobs", "--config", "nothing.yaml"), *words)
    says(stand.forebay("run", env=os.environ | {"FOREBAY_CONFIG": "nothing.yaml"}), *words)


# --- recording


def test_no_services_run(stand):
    says(stand.record("a.h5").wait(), stand.name, "No ring", "forebay run")
    assert not stand.data.exists()


def test_a_detector_that_is_not_configured(running):
    done = running.forebay("record", "NOBODY", "a.h5", "--direct", "--config", running.config_path)
    says(done, "'NOBODY' is not configured", f"Configured are: {running.name}")


@pytest.mark.parametrize(
    "name", ["../outside.h5", "TMPDIR/outside.h5", "a/../../outside.h5", "link/outside.h5"]
)
def test_a_file_outside_the_directory(running, name):
    name = name.replace("TMPDIR", tempfile.gettempdir())
    running.data.mkdir(exist_ok=True)
    link = running.data / "link"
    if not link.is_symlink():
        link.symlink_to(running.directory)
    says(running.record(name, "--images", 1).wait(), name, "relative path", str(running.data))
    assert not (running.directory / "outside.h5").exists()
    assert not Path(tempfile.gettempdir(), "outside.h5").exists()


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("--pulses", "9..3"), ("9..3", "reversed", "smaller pulse id first")),
        (("--pulses", "some"), ("'some'", "not a pulse range", "A..B")),
        (("--pulses", "0..0"), ("0..0", "left the ring", "Ask for newer pulses")),
        (("--images", "3", "--seconds", "2"), ("--images", "--seconds", "Give one")),
    ],
)
def test_a_request_that_cannot_be(running, words, answer):
    says(running.record("never.h5", *words).wait(), *answer)
    assert not list(running.data.glob("never*"))


def test_a_file_that_exists(running):
    running.data.mkdir(exist_ok=True)
    there = running.data / "there.h5"
    there.write_text("precious")
    says(running.record("there.h5", "--images", 1).wait(), str(there), "exists", "another name")
    assert there.read_text() == "precious"


def test_two_recordings_to_one_file(running):
    first = running.record("same.h5")
    part = running.data / "same.h5.part"
    wait_until(part.exists, lambda: f"{first}")
    says(running.record("same.h5", "--images", 1).wait(), str(part), "still running", "forebay recover")
    says(running.forebay("recover", part), "still writing", "Wait for it to end")
    assert first.lives
    assert first.stop().code == 0
    assert check_file(running.data / "same.h5").is_good


def test_no_right_to_write(running):
    directory = running.data / "readonly"
    directory.mkdir(parents=True)
    directory.chmod(0o500)
    done = running.record("readonly/a.h5", "--images", 1, before=without_privileges()).wait()
    says(done, str(directory), "Permission denied", "Ask the owner", "name another directory")
    config = running.directory / "readonly.yaml"
    config.write_text(yaml.safe_dump(running.settings | {"record": {"directory": str(directory)}}))
    done = running.forebay("doctor", "--json", "--config", config, before=without_privileges())
    assert done.code == 1, done
    assert "may not be written" in done.out


def test_no_right_to_write_in_a_job(tmp_path):
    with Stand(tmp_path, workers={"record": 1, "retrieve": 0}) as stand:
        (stand.directory / "locked").mkdir(mode=0o555)
        locked = stand.directory / "locked" / "data"
        record = {"directory": str(locked), "min_free_bytes": 0}
        stand.configure(stand.settings | {"record": record})
        alike = without_privileges()
        stand.run(before=alike)
        asked = ("record", stand.name, "--images", 1)
        where = ("--config", stand.config_path)
        words = (f"Uid {os.getuid()}", f"may not write in {locked.parent}", "record.directory")
        done = stand.forebay(*asked, *where, before=alike)
        assert done.code == 1
        assert all(word in done.err.splitlines()[-1] for word in words), done
        runs = stand.forebay("runs", "--json", *where, before=alike)
        assert json.loads(runs.out) == [], runs  # no number was used up
        direct = stand.forebay(*asked, "a.h5", "--direct", *where, before=alike)
        says(direct, f"Cannot make the folder {locked}", "Permission denied")


def test_nothing_came(stand):
    """Less than was asked for is no success."""
    stand.run()
    done = stand.record("a.h5", "--images", 5, "--idle", 0.5).wait()
    assert done.code == 1, done
    assert "nothing came for 0.5 s" in done.out
    done = stand.forebay("check", stand.data / "a.h5")
    assert done.code == 1
    assert "5 images were asked for, 0 are there" in done.out


@ROOT_ONLY
def test_a_full_disk(tmp_path):
    with (
        small_disk(tmp_path / "data", 16 * 2**20),
        Stand(tmp_path, detector={"bit_depth": 8}, record={"compression": "none"}) as stand,
    ):
        stand.run()
        stand.simulate("--rate", 100, "--bit-depth", 8)
        with_events(stand)
        done = stand.record("full.h5", "--images", 1000).wait()
        says(
            done, "full.h5", "No space left on device", "Free some space", f"kept in {stand.data / 'full.h5'}"
        )
        file = stand.data / "full.h5"
        report = check_file(file, skip=["missing-pulses", "not-written"])
        assert report.is_good, report
        with h5py.File(file) as f:
            assert len(f["entry/data/data"]) > 20
        done = stand.forebay("check", file)
        assert done.code == 1
        assert "disk full" in done.out
        assert "could not be written" in done.out


@ROOT_ONLY
def test_a_full_disk_of_a_job(tmp_path):
    with (
        small_disk(tmp_path / "data", 16 * 2**20),
        Stand(
            tmp_path,
            detector={"bit_depth": 8},
            record={"compression": "none"},
            workers={"record": 1, "retrieve": 1},
        ) as stand,
    ):
        stand.run()
        stand.simulate("--rate", 100, "--bit-depth", 8)
        with_events(stand)
        where = ("--config", stand.config_path)
        says(
            stand.forebay("record", stand.name, "--images", 1000, *where),
            f"{stand.data} has 0.02 GB free; this may need 0.13 GB",
            "ask for less",
        )
        done = stand.forebay("record", stand.name, "full.h5", "--json", *where)
        (job,) = json.loads(done.out)
        assert (done.code, job["state"]) == (1, "failed"), done
        for words in ("No space left on device", "Free some space", f"kept in {stand.data / 'full.h5'}"):
            assert words in job["reason"]
        shown = stand.forebay("watch", job["id"], *where)
        assert shown.code == 1
        assert "No space left on device" in " ".join(
            shown.out.split()
        )  # its lines are as long as a terminal's
        assert str(stand.data / "full.h5") in stand.forebay("files", *where).out.replace("\n", "")
        assert check_file(stand.data / "full.h5", skip=["missing-pulses", "not-written"]).is_good


@ROOT_ONLY
def test_a_full_disk_of_the_catalogue(tmp_path):
    state = tmp_path / "small"
    with small_disk(state, 2**20), Stand(tmp_path, workers={"record": 1, "retrieve": 0}) as stand:
        stand.configure(stand.settings | {"state_dir": str(state)})
        stand.run()
        stand.simulate("--rate", 20)
        with_events(stand)
        where = ("--config", stand.config_path)
        done = stand.forebay("record", stand.name, "--images", 3, *where)
        assert done.code == 0, done
        with suppress(OSError), (state / "filler").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        says(stand.forebay("record", stand.name, "--images", 3, *where), str(state), "full", "Free some")
        (state / "filler").unlink()
        done = stand.forebay("record", stand.name, "--images", 3, *where)
        assert done.code == 0, done


def test_a_disk_that_is_nearly_full(stand):
    free = shutil.disk_usage(stand.directory).free
    stand.configure(stand.settings | {"record": {"directory": str(stand.data), "min_free_bytes": 2 * free}})
    says(stand.record("a.h5").wait(), "GB free", "needs", "record.min_free_bytes")


# --- services


def test_a_port_in_use(stand):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", stand.port))
        done = stand.forebay("run", stand.config_path)
        logs(
            done,
            f"UDP port {stand.port} of 127.0.0.1",
            "Address already in use",
            "ss -ulpn",
            "another address or port",
        )
        done = stand.forebay("doctor", "--config", stand.config_path)
        assert done.code == 1
        assert "ss -ulpn" in done.out
    assert not stand.processes()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (lambda port: {"api": {"port": port}}, ("for REST", "already in use", "api.port")),
        (lambda port: {"detectors": live(port)}, ("in use by another process", "another endpoint")),
    ],
)
def test_a_tcp_port_in_use(stand, settings, words):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        stand.configure(stand.settings | settings(port))
        done = stand.forebay("run", stand.config_path)
    logs(done, str(port), *words)
    logs(done, "supervisor failed", "before it was ready", str(port))
    assert "restarted" not in done.err, done  # it ends, and says nothing else
    assert not stand.processes()


def live(port: int) -> dict[str, Any]:
    return {
        "D": {
            "type": "eiger",
            "start_udp_port": free_ports(1),
            "live": {"endpoint": f"tcp://127.0.0.1:{port}"},
        }
    }


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"state_dir": "/proc/none"}, ("/proc/none", "No such file", "state_dir", "FOREBAY_STATE_DIR")),
        (
            {"bus": "amqp://guest:hidden@127.0.0.1:9/"},
            ("guest:***@127.0.0.1:9", "Connect call failed", "RabbitMQ runs there", "`bus`"),
        ),
        (
            {"catalog": "postgresql://guest:hidden@127.0.0.1:9/x"},
            ("guest:***@127.0.0.1:9", "Connection refused", "PostgreSQL runs there"),
        ),
    ],
)
def test_control_that_cannot_begin(stand, setting, words):
    stand.configure(stand.settings | {"workers": {"record": 1, "retrieve": 0}} | setting)
    done = stand.forebay("run", stand.config_path)
    logs(done, "supervisor failed", *words)
    assert "hidden" not in done.err
    assert "restarted" not in done.err


def test_control_that_is_away(stand):
    """Nothing runs: each command says what it could not reach, and what to start."""
    stand.configure(stand.settings | {"workers": {"record": 1, "retrieve": 0}})
    for words in (
        ("cancel", "x"),
        ("record", stand.name, "--images", 1),
        ("retrieve", stand.name, "1..2"),
    ):
        done = stand.forebay(*words, "--config", stand.config_path)
        assert done.code == 1
        assert "Traceback" not in done.err
        last = done.err.splitlines()[-1]
        assert last.startswith("forebay: The hub of the bus"), done
        assert "forebay run" in last
        assert all(line.startswith("forebay: ") for line in done.err.splitlines()), done
    assert "--direct" in stand.forebay("record", stand.name, "--config", stand.config_path).err


def test_what_is_booked_is_listed_while_nothing_runs(stand):
    stand.configure(stand.settings | {"workers": {"record": 1, "retrieve": 0}})
    says(stand.forebay("jobs", "--config", stand.config_path), "Nothing is booked yet", "forebay run")
    with closing(open_catalog(stand.config)) as catalog:
        catalog.put_proposal("default", stand.data)
    for word in ("jobs", "runs", "files"):
        done = stand.forebay(word, "--json", "--config", stand.config_path)
        assert (done.code, done.out, done.err) == (0, "[]\n", "")


def test_two_supervisors_of_one_configuration(running):
    first = next(program for program in running.programs if "run" in program.words)
    done = running.forebay("run", running.config_path)
    logs(done, f"Ring {running.name} is in use by process", "Stop it")
    assert first.lives
    with_events(running)


@ROOT_ONLY
def test_a_runtime_directory_of_somebody_else(stand):
    os.chown(stand.runtime_dir, 65534, 65534)
    logs(stand.forebay("run", stand.config_path), str(stand.runtime_dir), "uid 65534", "runtime_dir")


def test_a_runtime_directory_that_is_open(stand):
    stand.runtime_dir.chmod(0o755)
    logs(stand.forebay("run", stand.config_path), "mode 755", f"chmod 700 {stand.runtime_dir}")


def test_a_ring_that_is_larger_than_the_machine(stand):
    stand.settings["detectors"][stand.name]["ring"]["slots"] = 1_000_000
    stand.configure(stand.settings)
    logs(
        stand.forebay("run", stand.config_path), f"Ring {stand.name} needs", "GB are available", "ring.slots"
    )


def test_the_socket_buffer_is_too_small(tmp_path):
    asked = 2**31 - 2
    largest = int(Path("/proc/sys/net/core/rmem_max").read_text())
    if largest >= asked // 2:
        pytest.skip("this machine allows any buffer")
    with Stand(tmp_path, detector={"receive_buffer_bytes": asked // 2}) as stand:
        program = stand.run(before=without_privileges())
        (line,) = [line for line in program.err.splitlines() if "socket buffer smaller" in line]
        assert " WARNING " in line
        assert f"sysctl -w net.core.rmem_max={asked // 2}" in line
        assert program.stop().code == 0
        done = stand.forebay("doctor", "--config", stand.config_path, before=without_privileges())
        assert f"sysctl -w net.core.rmem_max={asked // 2}" in done.out


def test_a_service_that_is_not_there(stand):
    done = stand.forebay("serve", "cook", stand.name, "--config", stand.config_path)
    says(done, "'cook'", "receive, assemble")


# --- files


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("missing.h5", "There is no such file"),
        ("text.h5", "It is not an HDF5 file"),
        ("empty.h5", "damaged or cut short"),
        ("cut.h5", "damaged or cut short"),
        ("other.h5", "Its layout is none of"),
        ("directory.h5", "It is a directory"),
        ("a.h5.part", "forebay recover"),
    ],
)
def test_a_file_that_cannot_be_checked(stand, name, answer):
    path = stand.directory / name
    with h5py.File(stand.directory / "other.h5", "w") as file:
        file["x"] = range(1000)
    (stand.directory / "text.h5").write_text("Dear diary")
    (stand.directory / "empty.h5").touch()
    (stand.directory / "cut.h5").write_bytes((stand.directory / "other.h5").read_bytes()[:3000])
    (stand.directory / "directory.h5").mkdir()
    done = stand.forebay("check", path)
    assert done.code == 1, done
    assert done.err == ""
    assert str(path) in done.out
    assert answer in done.out


def test_a_check_that_is_not_there(stand):
    says(stand.forebay("check", "a.h5", "--skip", "everything"), "'everything'", "missing-pulses")


def test_nothing_to_recover(stand):
    says(stand.forebay("recover", stand.data / "a.h5"), "a.h5 is not a file in the making", "ends in .part")
    says(stand.forebay("recover", stand.data / "a.h5.part"), "There is no", "a.h5.part")


def test_a_part_without_its_journal(stand):
    stand.data.mkdir()
    part = stand.data / "a.h5.part"
    part.write_bytes(b"images")
    says(stand.forebay("recover", part), str(part), "no journal", "a.h5.part.journal")
    assert part.exists()


# --- simulator


def test_a_fault_that_is_not_there(stand):
    says(stand.simulate("--fault", "lossy=3").wait(), "'lossy'", "loss")


def test_a_host_that_is_not_there(stand):
    done = stand.simulate("--host", "nobody.invalid", "--count", 1).wait()
    says(done, "Cannot send to nobody.invalid", "Give a host that can be reached")
