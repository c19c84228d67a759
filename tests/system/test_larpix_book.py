"""Runs of larpix-daq's components as the catalogue, the audit and a disk that is full show them."""

import json
import subprocess
import sys

import pytest
from tests.system.larpix_stand import DaqStand
from tests.system.test_errors_aloud import ROOT_ONLY, small_disk

from forebay.store.check import check_file
from forebay.store.larpix_read import PacketFile

pytestmark = pytest.mark.system

PARTS = {"LArPix board", "LArPix aggregator", "Offline storage"}


@pytest.fixture
def stand(tmp_path):
    stand = DaqStand(tmp_path)
    yield stand
    stand.close()


def forebay(*words):
    done = subprocess.run(
        [sys.executable, "-m", "forebay", *map(str, words)], capture_output=True, text=True, timeout=60
    )
    return done.stdout if not done.returncode else ""


def test_runs_are_seen_in_the_catalogue(stand):
    config = stand.directory / "forebay.yaml"
    state = stand.directory / "state"
    config.write_text(json.dumps({"state_dir": str(state), "detectors": {}}))
    where = ("--proposal", "larpix", "--config", config, "--json")
    stand.spawn("forebay", [sys.executable, "-m", "forebay", "run", config])
    (stand.directory / "elsewhere").mkdir()
    stand.start("core", "--config", config, cwd=stand.directory / "elsewhere")
    for script in ("producer", "aggregator", "offline_storage"):
        stand.start(script)
    stand.until_clients(PARTS)
    ann = stand.operator("ann")
    asked = (
        ann.prepare_run(30, comment="cosmics", configuration={"threshold": 40}),
        ann.begin_run(30),
        stand.operator("ben").end_run(30),
    )
    for answers in asked:
        *_, last = answers
        assert last["message"] == {"result": "UPDATED", "metadata": {"run": 1}}
    stand.until(lambda: forebay("runs", *where))
    assert f"folder={stand.directory / 'data'}" in (stand.directory / "core.err").read_text()
    (run,) = json.loads(forebay("runs", *where))
    assert (run["number"], run["state"], run["comment"]) == (1, "ended", "cosmics\nended by ben")
    assert run["started_ns"] < run["ended_ns"]
    found = run["parameters"]
    assert (found["who"], found["configuration"]) == ("ann", {"threshold": 40})
    sent = found["account"]["LArPix board"]["packets_sent"]
    assert found["account"]["Offline storage"]["packets_of"] == ({"LArPix board": sent} if sent else {})
    (file,) = json.loads(forebay("files", *where))
    assert file["path"] == str(stand.files()[0])
    assert file["n_got"] == sent
    audit = (stand.directory / "core.err").read_text()
    for line in ("state asked for who=ann state=READY", "state asked for who=ben state=STOP"):
        assert line in audit


@ROOT_ONLY
def test_a_disk_that_is_full_stops_the_run_and_its_file_is_good(stand):
    stand.start("core")
    with small_disk(stand.directory / "data", 24 * 2**20):
        stand.start("producer", "--rate", "100000")
        stand.start("aggregator")
        stand.start("offline_storage")
        stand.until_clients(PARTS)
        stand.begin_run()
        stand.until(stand.ended)
        (end,) = stand.ended()
        assert end["reason"].startswith("Offline storage: ")
        assert "No space left on device" in end["reason"]
        stand.until(lambda: stand.ask("get_state")["result"] == "STOP")
        assert "No space left on device" in stand.ask("get_state")["metadata"]["last_end"]
        account = end["account"]
        stored = account["Offline storage"]["packets_stored"]
        assert account["LArPix board"]["packets_sent"] > stored > 10_000
        stand.until(stand.files)
        (path,) = stand.files()
        found = check_file(path).problems  # good up to there, and it says what is missing
        assert {one.severity for one in found} == {"loss"}
        with PacketFile(path) as file:
            assert int((file.rows()["packet_type"] == 0).sum()) == stored
        path.unlink()  # there is room again, and the next run is taken
        for method in ("prepare_run", "begin_run", "end_run"):
            assert stand.ask(method)["result"] == "UPDATED"
        stand.kill("offline_storage")


def test_a_run_from_a_shell(stand):
    stand.start("core")
    for script in ("producer", "aggregator", "offline_storage"):
        stand.start(script)
    stand.until_clients(PARTS)

    def ask(*words):
        command = [sys.executable, "-m", "forebay", "larpix", "ask", *words, "--core-port", stand.core_port]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout.splitlines(), done.stderr

    said = ask("prepare_run", "--comment", "cosmics", "--configuration", '{"threshold": 40}', "--who", "ann")
    assert said[:2] == (0, ["UPDATED", "run: 1"])
    code, lines, _ = ask("begin_run", "--who", "ben")
    assert (code, lines[0]) == (1, "NOT UPDATED")
    assert "The run was prepared by ann" in lines[-1]
    assert ask("begin_run", "--who", "ann")[0] == 0
    assert ask("run_routine", "hello_world", "you", "--json")[1][-1].startswith('{"header": "ACTION RESULT"')
    assert ask("write_configuration", "nothing")[0] == 1
    assert ask("end_run")[0] == 0
    for method in ("prepare_run", "begin_run", "end_run"):  # who has no name is one, whatever the process
        code, lines, _ = ask(method)
        assert (code, lines[0]) == (0, "UPDATED")
    assert stand.booked()[0]["configuration"] == {"threshold": 40}
    assert "It has abort_routine" in ask("nonsense")[2]
    assert "missing a required argument" in ask("load_board")[2]
    stand.kill("core")
    assert "did not answer get_state within 0.2 s" in ask("get_state", "--timeout", "0.2")[2]
