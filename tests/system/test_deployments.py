"""The same day at the instrument with embedded bus and SQLite, and with RabbitMQ and PostgreSQL."""

import json
from contextlib import closing

import pytest
from tests.system.stand import Stand, wait_until

from forebay.store.catalog import open_catalog

pytestmark = pytest.mark.system


@pytest.fixture(params=["one machine", "many machines"])
def stand(request, tmp_path):
    servers = {}
    if request.param == "many machines":
        servers = {
            "bus": request.getfixturevalue("rabbit").url,
            "catalog": request.getfixturevalue("postgres_server").database(),
        }
    with Stand(tmp_path, workers={"record": 1, "retrieve": 1}) as one:
        one.configure({**one.settings, **servers})
        yield one


def ask(stand: Stand, *words: object) -> object:
    done = stand.forebay(*words, "-c", stand.config_path, "--json", timeout=60)
    assert done.code == 0, f"{done}\n{stand.logs()}"
    return json.loads(done.out)


def test_a_day(stand):
    supervisor = stand.run()
    stand.simulate("--rate", 100)
    with closing(stand.ring()) as ring:
        wait_until(lambda: ring.span is not None, "the first pulse")
        begin = ring.span.last + 400
    assert ask(stand, "record", stand.name, "--pulses", f"{begin}..{begin + 99}")
    endless = stand.start("record", stand.name, "-c", stand.config_path, "--id", "endless", "--detach")
    assert endless.wait().code == 0, endless
    catalog = open_catalog(stand.config)
    try:
        wait_until(lambda: catalog.job("endless").n_done > 50, lambda: stand.logs())
        status = ask(stand, "status")
        assert [job["id"] for job in status["jobs"]] == ["endless"]
        assert stand.forebay("cancel", "endless", "-c", stand.config_path).code == 0
        wait_until(lambda: catalog.job("endless").has_ended, lambda: stand.logs())
        assert catalog.job("endless").state == "cancelled"
        runs = catalog.runs("default")
        assert [run.number for run in runs] == [2, 1]
        last, first = catalog.files("default")
        assert (first.n_got, first.n_missing, first.first_pulse, first.last_pulse) == (
            100,
            0,
            begin,
            begin + 99,
        )
        assert (first.run, first.acquisition, last.run) == (1, 1, 2)
        assert last.n_got > 50
        for file in (first, last):
            assert stand.forebay("check", file.path).code == 0
        assert {line["state"] for line in status["services"]} == {"ready"}
    finally:
        catalog.close()
    assert supervisor.stop().code == 0, supervisor
