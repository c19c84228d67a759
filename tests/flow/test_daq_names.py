"""Receivers and writers are found by their pid files, each instance its own."""

import os

import pytest

from forebay.errors import ConfigError, ServiceError
from forebay.service.daemon import End
from forebay.service.daq_names import control_of, pid_file_of, running

pytestmark = pytest.mark.flow


@pytest.fixture(autouse=True)
def runtime(tmp_path, monkeypatch):
    tmp_path.chmod(0o700)
    monkeypatch.setenv("FOREBAY_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("SSDAQ_INSTANCE", raising=False)
    return tmp_path


def hold(part, name, instance=""):
    pid_file = pid_file_of(part, name, instance)
    fd = pid_file.take()
    pid_file.sign(fd)
    return fd


def test_what_runs_is_found_by_part_and_instance():
    fds = [
        hold("Receiver", "Log"),
        hold("Receiver", "Tel"),
        hold("Receiver", "Log", "two"),
        hold("Writer", "trig"),
    ]
    assert running("Receiver") == ["Log", "Tel"]
    assert running("Receiver", "two") == ["Log"]
    assert running("Writer") == ["trig"]
    assert running("Writer", "two") == []
    with pytest.raises(ServiceError, match="running already"):
        pid_file_of("Receiver", "Log").take()
    pid_file_of("Receiver", "Tel").sign_off(fds[1], End())
    assert running("Receiver") == ["Log"]
    for fd in fds:
        os.close(fd)


def test_a_process_that_died_runs_no_more(runtime):
    (runtime / "ssdaq-daq:Log.pid").write_text("999999999 5", encoding="utf-8")
    (runtime / "ssdaq-daq:Bad.pid").write_text("", encoding="utf-8")
    assert running("Receiver") == []


def test_control_channels_are_told_apart(runtime):
    assert control_of("Log") == f"ipc://{runtime}/ssdaq-control:Log"
    assert control_of("Log", "two") == f"ipc://{runtime}/ssdaq-control-two:Log"


def test_an_instance_of_the_environment_that_is_no_name_is_refused(monkeypatch):
    monkeypatch.setenv("SSDAQ_INSTANCE", "a b")
    with pytest.raises(ConfigError, match="SSDAQ_INSTANCE is 'a b'"):
        running("Receiver")
