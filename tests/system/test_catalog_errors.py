"""A catalogue that cannot be had says what was found and what to do, and never shows a password."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.system.stand import free_ports, without_privileges

from forebay.config import Config
from forebay.errors import CatalogError
from forebay.store.catalog import Catalog, open_catalog
from forebay.store.catalog.database import open_postgresql, open_sqlite
from forebay.store.catalog.migrate import SCRIPTS, migrate, revision
from forebay.store.catalog.tables import METADATA, REVISION

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
PROGRAM = """
import resource, sys
from pathlib import Path
from forebay.config import Config
from forebay.errors import CatalogError
from forebay.store.catalog import open_catalog
try:
    catalog = open_catalog(Config(state_dir=Path(sys.argv[1])))
    catalog.put_proposal("p1", sys.argv[2])
    if len(sys.argv) > 3:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
        import signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for _ in range(10_000):
        print(catalog.begin_run("p1").number)
except CatalogError as error:
    print(error, file=sys.stderr)
    sys.exit(1)
"""


def run(state_dir: Path, *words: object, before: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [*(before or []), sys.executable, "-c", PROGRAM, str(state_dir), "data", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=100, cwd=state_dir.parent
    )


def test_a_directory_of_somebody_else(tmp_path):
    tmp_path.chmod(0o555)
    done = run(tmp_path / "state", before=without_privileges())
    tmp_path.chmod(0o755)
    assert done.returncode == 1
    assert "cannot be made: Permission denied. Set state_dir" in done.stderr


def test_a_catalogue_that_may_be_read_only(tmp_path):
    state = tmp_path / "state"
    open_catalog(Config(state_dir=state)).close()
    for path in (*state.iterdir(), state):
        path.chmod(path.stat().st_mode & 0o555)
    done = run(state, before=without_privileges())
    state.chmod(0o700)
    assert done.returncode == 1
    assert "catalog" in done.stderr
    assert "Look who owns" in done.stderr


def test_a_full_disk_refuses_and_nothing_is_lost(tmp_path):
    done = run(tmp_path / "state", 200_000)
    numbers = [int(line) for line in done.stdout.split()]
    assert done.returncode == 1, done.stderr
    assert "failed: " in done.stderr
    assert "disk" in done.stderr
    catalog = open_catalog(Config(state_dir=tmp_path / "state"))
    assert [one.number for one in catalog.runs("p1", limit=10**6)][::-1] == numbers
    assert catalog.begin_run("p1").number == len(numbers) + 1
    catalog.close()


def test_a_file_that_is_no_catalogue(tmp_path):
    (tmp_path / "catalog.sqlite").write_bytes(b"not a database" * 1000)
    with pytest.raises(CatalogError, match=r"not a database.*forebay catalog rebuild"):
        open_catalog(Config(state_dir=tmp_path))


def test_a_catalogue_of_a_newer_forebay(tmp_path):
    open_catalog(Config(state_dir=tmp_path)).close()
    engine = sa.create_engine(f"sqlite:///{tmp_path}/catalog.sqlite")
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'of tomorrow'"))
    engine.dispose()
    with pytest.raises(CatalogError, match="newer forebay: revision of tomorrow"):
        open_catalog(Config(state_dir=tmp_path))


def test_postgresql_that_is_not_there(tmp_path):
    port = free_ports(1)
    config = Config(catalog=f"postgresql://me:secret@127.0.0.1:{port}/x", state_dir=tmp_path)
    with pytest.raises(CatalogError, match="Look whether PostgreSQL runs there") as caught:
        open_catalog(config)
    assert "secret" not in str(caught.value)
    assert f"127.0.0.1:{port}" in str(caught.value)


def test_postgresql_that_refuses(tmp_path, postgres_server):
    url = postgres_server.database()
    wrong = url.replace(url.split(":")[2].split("@")[0], "secret")
    for config, todo in (
        (Config(catalog=wrong), "Check user and password"),
        (Config(catalog=f"{url}x"), "Create it"),
    ):
        with pytest.raises(CatalogError, match=todo) as caught:
            open_catalog(config)
        assert "secret" not in str(caught.value)


def test_postgresql_that_goes_away_and_comes_back(tmp_path, postgres_server):
    catalog = open_catalog(Config(catalog=postgres_server.database()))
    catalog.put_proposal("p1", tmp_path)
    assert catalog.begin_run("p1").number == 1
    postgres_server.stop()
    try:
        with pytest.raises(CatalogError):
            catalog.begin_run("p1")
    finally:
        postgres_server.start()
    assert catalog.begin_run("p1").number == 2
    catalog.close()


# --- migrations


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    if request.param == "sqlite":
        opened = open_sqlite(tmp_path / "catalog.sqlite")
    else:
        opened = open_postgresql(request.getfixturevalue("postgres_server").database())
    yield opened
    opened.close()


def test_the_newest_step_is_the_one_that_we_name():
    from alembic.config import Config as Settings
    from alembic.script import ScriptDirectory

    settings = Settings()
    settings.set_main_option("script_location", str(SCRIPTS))
    settings.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(settings).get_current_head() == REVISION


def test_migrations_make_the_tables_that_we_use(database):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    migrate(database)
    migrate(database)
    with database.read() as connection:
        assert revision(connection) == REVISION
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_a_catalogue_of_the_version_before_is_brought_to_ours(database, tmp_path):
    migrate(database, "1")
    with database.write() as connection:
        connection.execute(sa.text(f"INSERT INTO proposals VALUES ('p1', '{tmp_path}', 1, NULL, 1, 1)"))
        connection.execute(sa.text("INSERT INTO runs VALUES ('p1', 1, 'open', '', '', '{}', 1, NULL, 1)"))
        connection.execute(sa.text("INSERT INTO acquisitions VALUES ('p1', 1, 1, 1, 1)"))
    migrate(database)
    catalog = Catalog(database)
    assert catalog.begin_run("p1").number == 2
    assert catalog.begin_acquisition("p1", 1).number == 2
    assert [one.number for one in catalog.runs("p1")] == [2, 1]


def test_environment_is_not_asked(tmp_path):
    """The embedded catalogue needs nothing but the directory."""
    done = subprocess.run(
        [sys.executable, "-c", "import forebay.cli.app, sys; print('sqlalchemy' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ,
    )
    assert done.stdout.strip() == "False"
