"""The JSON files beside the data say what the catalogue says, and make it again."""

import json
import shutil
import subprocess

import pytest
from tests.system.stand import command

from forebay.config import Config
from forebay.errors import CatalogError
from forebay.job import Job
from forebay.store.catalog import Catalog, File, open_catalog

pytestmark = pytest.mark.system


@pytest.fixture(params=["sqlite", "postgresql"])
def urls(request):
    """Return a function that names a new catalogue each time."""
    if request.param == "sqlite":
        return lambda: "sqlite"
    return request.getfixturevalue("postgres_server").database


def some_data(catalog: Catalog, folder) -> None:
    catalog.put_proposal("p1", folder)
    catalog.begin_run("p1", "tag", "words", parameters={"sources": ["a"]})
    for i in range(3):
        one = catalog.begin_acquisition("p1", 1 if i < 2 else None)
        where = {"proposal": "p1", "run": one.run, "acquisition": one.number}
        for source in ("a", "b"):
            name = f"job-{i}.{source}"
            catalog.add_job(Job(id=name, kind="record", created_ns=10 * i, parameters={"x": [i]}, **where))
            catalog.advance(name, "running", from_states=["queued"], worker="w", who="w")
            path = str(folder / f"{name}.h5")
            catalog.add_file(File(path=path, job=name, source=source, n_got=5, created_ns=i + 1, **where))
            result = {"file": path, "ünï": None}
            catalog.advance(
                name, "finished", from_states=["running"], from_worker="w", result=result, progress=(5, 5)
            )
    catalog.file_checked(folder / "job-1.a.h5", "loss", sha256="ab")
    catalog.advance_run("p1", 1, "idle", from_states=["open"], ends=True)


def everything(catalog: Catalog) -> tuple:
    return (
        catalog.proposals(),
        catalog.runs("p1"),
        catalog.acquisitions("p1"),
        catalog.jobs(),
        catalog.files(),
        catalog.n_jobs(),
    )


def test_a_lost_catalogue_is_made_again(urls, tmp_path):
    folder = tmp_path / "p1"
    catalog = open_catalog(Config(catalog=urls(), state_dir=tmp_path / "state"))
    some_data(catalog, folder)
    before = everything(catalog)
    catalog.close()
    shutil.rmtree(tmp_path / "state", ignore_errors=True)  # PostgreSQL has nothing there
    again = open_catalog(Config(catalog=urls(), state_dir=tmp_path / "state"))
    done = again.rebuild(folder)
    assert (done.n_runs, done.n_acquisitions, done.n_jobs, done.n_files, done.problems) == (2, 3, 6, 6, [])
    assert everything(again) == before
    again.rebuild(folder)
    assert everything(again) == before
    assert again.begin_run("p1").number == 3
    assert again.begin_acquisition("p1", 1).unique_number == 4
    again.rebuild(folder)
    assert again.begin_acquisition("p1", 1).number == 4
    again.close()


def test_broken_files_are_named_and_their_numbers_stay_used(tmp_path):
    folder = tmp_path / "p1"
    catalog = open_catalog(Config(state_dir=tmp_path / "a"))
    some_data(catalog, folder)
    (folder / "runs" / "run0002.json").write_text("{")
    (folder / "runs" / "run0001" / "acq0002.json").write_text('{"acquisition": 5}')
    (folder / "runs" / "notes.json").write_text("mine")
    again = open_catalog(Config(state_dir=tmp_path / "b"))
    done = again.rebuild(folder)
    assert sorted(problem.split(":")[0].rpartition("/")[2] for problem in done.problems) == [
        "acq0002.json",
        "run0002.json",
    ]
    assert again.run("p1", 2).state == "lost"
    assert again.begin_acquisition("p1", 1).number == 3
    assert again.begin_acquisition("p1").run == 3
    assert again.proposal("p1").last_acquisition == 5
    with pytest.raises(CatalogError, match=r"not the folder of a proposal.*proposal.json"):
        again.rebuild(tmp_path)
    again.close()
    catalog.close()


def test_a_folder_that_cannot_be_written_is_made_up_for(tmp_path):
    folder = tmp_path / "p1"
    folder.write_text("a file, for now")
    catalog = open_catalog(Config(state_dir=tmp_path / "state"))
    some_data(catalog, folder)
    folder.unlink()
    catalog.begin_run("p1")
    again = open_catalog(Config(state_dir=tmp_path / "b"))
    again.rebuild(folder)
    assert everything(again) == everything(catalog)
    again.close()
    catalog.close()


def test_what_a_side_file_says(tmp_path):
    catalog = open_catalog(Config(state_dir=tmp_path / "state"))
    some_data(catalog, tmp_path / "p1")
    catalog.close()
    found = json.loads((tmp_path / "p1" / "runs" / "run0001" / "acq0002.json").read_text())
    assert found["acquisition"]["unique_number"] == 2
    assert [job["state"] for job in found["jobs"]] == ["finished", "finished"]
    assert found["files"][0]["checked"] == "loss"
    assert not [path for path in (tmp_path / "p1").rglob("*") if path.name.startswith(".")]


def test_the_command(tmp_path):
    catalog = open_catalog(Config(state_dir=tmp_path / "a"))
    some_data(catalog, tmp_path / "p1")
    (tmp_path / "forebay.yaml").write_text(f"state_dir: {tmp_path / 'b'}\nruntime_dir: {tmp_path / 'r'}\n")
    words = command("catalog", "rebuild", tmp_path / "p1", "-c", tmp_path / "forebay.yaml")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    assert "2 runs, 3 acquisitions, 6 jobs, 6 files" in done.stdout
    again = open_catalog(Config(state_dir=tmp_path / "b"))
    assert everything(again) == everything(catalog)
    again.close()
    catalog.close()
