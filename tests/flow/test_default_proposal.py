"""The folder of the default proposal is that of the configuration, whatever a catalogue of the user holds."""

import logging
from contextlib import closing
from pathlib import Path

import pytest

from forebay.config import parse
from forebay.run.proposals import follow_configuration
from forebay.store.catalog import open_catalog

pytestmark = pytest.mark.flow


@pytest.fixture
def catalog(tmp_path):
    with closing(open_catalog(parse({"state_dir": str(tmp_path / "state")}, "test"))) as catalog:
        yield catalog


def test_new_catalogue_books_the_folder(catalog, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "forebay"):
        follow_configuration(catalog, tmp_path / "data")
    assert catalog.proposal("default").directory == str(tmp_path / "data")
    assert caplog.records == []


def test_other_folder_than_booked_is_followed_and_numbers_go_on(catalog, tmp_path, caplog):
    follow_configuration(catalog, tmp_path / "first")
    first = catalog.begin_run("default")
    with caplog.at_level(logging.WARNING, "forebay"):
        follow_configuration(catalog, tmp_path / "second")
    assert caplog.records[0].fields["before"] == str(tmp_path / "first")
    assert catalog.proposal("default").directory == str(tmp_path / "second")
    assert catalog.begin_run("default").number == first.number + 1
    assert (tmp_path / "second/runs/run0002.json").exists()


def test_relative_folder_is_where_the_worker_runs(catalog, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    follow_configuration(catalog, Path("data"))
    follow_configuration(catalog, Path("data"))
    assert catalog.proposal("default").directory == str(tmp_path / "data")
