"""Tests, and what they start, see nothing of the user's and of other runs."""

import os
import tempfile
from pathlib import Path

import pytest
from tests import isolation

from forebay.config import Config

pytestmark = pytest.mark.unit

FOLDER = isolation.enter()


def test_state_and_sockets_are_those_of_the_session():
    config = Config()
    assert config.state_dir.is_relative_to(FOLDER)
    assert config.runtime_dir.is_relative_to(FOLDER)
    assert Path.home().is_relative_to(FOLDER)
    assert Path(tempfile.gettempdir()) == FOLDER
    assert isolation.enter() == FOLDER


def test_a_socket_has_room_below_it():
    assert len(os.fsencode(FOLDER)) < 60


def test_a_session_takes_nothing_of_the_user_along(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(isolation, "_LONGEST", 1000)
    monkeypatch.setattr(
        os, "environ", {"HOME": "/home/user", "FOREBAY__BUS": "x", "FOREBAY_URL": "y", "PATH": "z"}
    )
    folder = isolation.enter()
    assert folder.is_relative_to(tmp_path)
    assert set(os.environ) == {*isolation._HOMES, "PATH", "PYTEST_DEBUG_TEMPROOT", "TMPDIR", isolation.MARK}
    assert os.environ["HOME"] == str(folder / "home")
    assert (folder / "run").stat().st_mode & 0o777 == 0o700
