"""Runs of LArPix in the catalogue."""

from pathlib import Path

import pytest

from forebay.config import parse
from forebay.errors import StoreError
from forebay.front.larpix.book import CUT_OFF, OpenRun
from forebay.service.larpix_catalog_book import CatalogBook
from forebay.store.catalog import open_catalog

pytestmark = pytest.mark.flow


BOARDS = {"LArPix board": "i"}


def config_in(directory: Path):
    return parse({"state_dir": str(directory), "detectors": {}}, "test")


def test_runs_are_booked_in_the_catalogue(tmp_path):
    book = CatalogBook(open_catalog(config_in(tmp_path)), "larpix", tmp_path, tmp_path / "lock")
    assert [book.prepare("ann", "a comment", {"threshold": 40}, BOARDS), book.prepare("ben", "", {}, {})] == [
        1,
        2,
    ]
    book.begin(1)
    (tmp_path / "a.h5").write_bytes(b"1234")
    account = {
        "Offline storage": {"packets_stored": 3, "file": str(tmp_path / "a.h5")},
        "Storage of another host": {"packets_stored": 3, "file": str(tmp_path / "b.h5")},
    }
    book.end(1, "ended by ann", account)
    book.close()
    catalog = open_catalog(config_in(tmp_path))
    again = CatalogBook(catalog, "larpix", tmp_path, tmp_path / "lock")
    second, first = catalog.runs("larpix")
    assert first.state == "ended"
    assert first.parameters == {
        "who": "ann",
        "configuration": {"threshold": 40},
        "components": BOARDS,
        "reason": "ended by ann",
        "account": account,
    }
    assert first.comment == "a comment\nended by ann"
    (file,) = catalog.files(proposal="larpix")
    assert (file.path, file.run, file.acquisition) == (str(tmp_path / "a.h5"), 1, 1)
    assert (file.n_bytes, file.n_got) == (4, 3)
    assert second.state == "prepared"
    assert again.open_run() == OpenRun(2, "ben", {}, is_running=False)
    assert again.prepare("ann", "", {}, {}) == 3
    again.close()


def test_the_folder_of_a_proposal_stays_unless_another_is_named(tmp_path):
    catalog, lock = open_catalog(config_in(tmp_path)), tmp_path / "lock"
    for asked, moved_to, stands in (
        ("a", None, "a"),
        ("b", None, "a"),
        ("b", "c", "c"),
    ):
        folder = None if moved_to is None else tmp_path / moved_to
        book = CatalogBook(catalog, "larpix", tmp_path / asked, lock, folder)
        assert book.directory == catalog.proposal("larpix").directory == str(tmp_path / stands)
        book._lock.close()


@pytest.mark.parametrize("packets", ["many", None, [1]])
def test_what_a_storage_says_of_itself_may_be_anything(tmp_path, packets):
    catalog = open_catalog(config_in(tmp_path))
    book = CatalogBook(catalog, "larpix", tmp_path, tmp_path / "lock")
    (tmp_path / "a.h5").write_bytes(b"1234")
    said = {"packets_stored": packets, "file": str(tmp_path / "a.h5")}
    book.end(
        book.prepare("ann", "", {}, {}), "over", {"one": said, "other": {"file": "/nowhere\0"}, "third": {}}
    )
    (file,) = catalog.files(proposal="larpix")
    assert (file.n_bytes, file.n_got) == (4, 0)
    assert catalog.runs("larpix")[0].state == "ended"
    book.close()


def test_a_lock_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be made"):
        CatalogBook(open_catalog(config_in(tmp_path)), "larpix", tmp_path, tmp_path / "file" / "lock")


def test_a_run_that_took_data_may_go_on(tmp_path):
    book = CatalogBook(open_catalog(config_in(tmp_path)), "larpix", tmp_path, tmp_path / "lock")
    assert book.open_run() is None
    for run in (1, 2):
        book.prepare("ann", "", {}, BOARDS)
        book.begin(run)
    book.close()  # as if it were killed
    again = CatalogBook(open_catalog(config_in(tmp_path)), "larpix", tmp_path, tmp_path / "lock")
    assert again.open_run() == OpenRun(2, "ann", BOARDS)
    again.ending(2)
    again.close()
    catalog = open_catalog(config_in(tmp_path))
    last = CatalogBook(catalog, "larpix", tmp_path, tmp_path / "lock")
    assert last.open_run() == OpenRun(2, "ann", BOARDS, is_running=False)
    assert [(run.number, run.state, run.comment) for run in catalog.runs("larpix")] == [
        (2, "ending", ""),
        (1, "ended", CUT_OFF),
    ]
    last.close()


def test_two_cores_do_not_book_runs_of_one_proposal(tmp_path):
    book = CatalogBook(open_catalog(config_in(tmp_path)), "larpix", tmp_path, tmp_path / "lock")
    other = open_catalog(config_in(tmp_path))
    with pytest.raises(StoreError, match="Another core books the runs of proposal larpix"):
        CatalogBook(other, "larpix", tmp_path, tmp_path / "lock")
    book.close()
    CatalogBook(other, "larpix", tmp_path, tmp_path / "lock").close()
