"""Many processes draw numbers from one catalogue and die at random: none is lost, doubled or used again."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forebay.config import Config
from forebay.store.catalog import open_catalog

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
N_CLIENTS = 20
KILLS = int(os.environ.get("FOREBAY_CATALOG_KILLS", "15"))
CLIENT = """
import sys
from pathlib import Path
from forebay.config import Config
from forebay.store.catalog import open_catalog
catalog = open_catalog(Config(catalog=sys.argv[1], state_dir=Path(sys.argv[2])))
say = lambda *words: print(*words, flush=True)
say("ready")
while True:
    run = catalog.begin_run("p1")
    say("run", run.number)
    for which in (run.number, run.number, 1, None):
        one = catalog.begin_acquisition("p1", which)
        say("acquisition", one.run, one.number, one.unique_number)
"""


def client(config: Config, log: Path) -> subprocess.Popen:
    words = [sys.executable, "-c", CLIENT, config.catalog, str(config.state_dir)]
    with log.open("wb") as out:
        return subprocess.Popen(words, stdout=out, cwd=ROOT, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_no_number_is_lost_doubled_or_used_again(kind, tmp_path, request):
    url = kind if kind == "sqlite" else request.getfixturevalue("postgres_server").database()
    config = Config(catalog=url, state_dir=tmp_path / "state")
    logs = [tmp_path / f"client-{i}" for i in range(N_CLIENTS + KILLS)]
    clients = [client(config, log) for log in logs[:2]]  # these make the tables, both at once
    try:
        wait(lambda: all(b"ready" in log.read_bytes() for log in logs[:2]))
        catalog = open_catalog(config)
        catalog.put_proposal("p1", tmp_path / "p1")
        for one in clients:
            one.kill()
            one.wait()
        clients = [client(config, log) for log in logs[:N_CLIENTS]]
        for i_kill in range(KILLS):
            enough = catalog.proposal("p1").last_acquisition + random.randrange(1, 40)
            wait(lambda n=enough: catalog.proposal("p1").last_acquisition >= n)
            victim = clients.pop(random.randrange(len(clients)))
            victim.kill()
            victim.wait()
            clients.append(client(config, logs[N_CLIENTS + i_kill]))
        enough = catalog.proposal("p1").last_acquisition + 100
        wait(lambda: catalog.proposal("p1").last_acquisition >= enough)
        assert [one.poll() for one in clients] == [None] * N_CLIENTS  # none was refused
    finally:
        for one in clients:
            one.kill()
            one.wait()

    lines = [line.split() for log in logs for line in log.read_text().splitlines() if line != "ready"]
    said_runs = [int(words[1]) for words in lines if words[0] == "run" and len(words) == 2]
    said = [tuple(map(int, words[1:])) for words in lines if words[0] == "acquisition" and len(words) == 4]
    assert len(set(said_runs)) == len(said_runs) > N_CLIENTS
    assert len({one[2] for one in said}) == len({one[:2] for one in said}) == len(said) > N_CLIENTS

    runs = catalog.runs("p1", limit=10**6)
    n_runs = catalog.proposal("p1").last_run
    assert [run.number for run in runs] == list(range(n_runs, 0, -1))
    assert {*said_runs, *(one[0] for one in said)} <= {run.number for run in runs}
    booked = catalog.acquisitions("p1", limit=10**6)
    assert [one.unique_number for one in booked] == list(range(len(booked), 0, -1))
    assert set(said) <= {(one.run, one.number, one.unique_number) for one in booked}
    for run in runs:
        assert run.last_acquisition == sum(one.run == run.number for one in booked)
    assert catalog.begin_run("p1").number == n_runs + 1
    assert catalog.begin_acquisition("p1", 1).unique_number == len(booked) + 1
    catalog.close()


def wait(condition, timeout: float = 60.0) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
