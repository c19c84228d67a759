"""Each component of larpix-daq killed in a run: what goes on, what ends, what is counted, who joins again."""

import signal
import subprocess
import sys
import time

import pytest
from tests.system.larpix_stand import DaqStand

from forebay.store.check import check_file
from forebay.store.larpix_read import PacketFile
from forebay.store.recover import recover

pytestmark = pytest.mark.system

PARTS = {"LArPix board", "LArPix aggregator", "Offline storage"}
OPERATE = """
import sys, time
from forebay.front.larpix.operator import Operator
operator = Operator(who="the one who dies", port=int(sys.argv[1]))
for method in (operator.prepare_run, operator.begin_run):
    for answer in method(timeout=30):
        print(answer["message"]["result"], flush=True)
for answer in operator.run_routine("forever"):
    print(answer["header"], flush=True)
"""


NO_END = "No end of the run came from LArPix board: what it sent last may be missing."


def losses(path):
    return [one.message for one in check_file(path).problems if one.severity != "note"]


@pytest.fixture
def stand(tmp_path):
    stand = DaqStand(tmp_path)
    yield stand
    stand.close()


def end_of(stand):
    """Return how the only run, or the last one, ended, once it has."""
    stand.until(stand.ended)
    stand.until(lambda: stand.ask("get_state")["result"] == "STOP")
    return stand.ended()[-1]


def another_run(stand, names=PARTS):
    stand.until_clients(names)
    before = len(stand.ended())
    stand.begin_run()
    said = stand.ask("end_run")
    assert said["result"] == "UPDATED", said
    assert len(stand.ended()) == before + 1


def test_a_killed_producer_ends_the_run_and_what_it_sent_is_stored(stand):
    stand.start_all("--rate", "20000")
    stand.begin_run()
    stand.until_data()
    stand.kill("producer")
    end = end_of(stand)
    assert end["reason"].startswith("lost LArPix board")
    (said,) = [line for line in stand.errors().splitlines() if "run did not end as asked" in line]
    assert " WARNING " in said
    account = end["account"]["Offline storage"]
    assert account["packets_of"]["LArPix board"] == account["packets_stored"] > 0
    assert account["no_end_of"] == ["LArPix board"]
    (path,) = stand.files()
    assert losses(path) == [NO_END]
    stand.start("producer")
    another_run(stand)


def test_a_killed_aggregator_ends_the_run_and_what_was_lost_is_counted(stand):
    stand.start_all("--rate", "20000")
    stand.begin_run()
    stand.until_data()
    stand.kill("aggregator")
    end = end_of(stand)
    assert end["reason"].startswith("lost LArPix aggregator")
    sent = end["account"]["LArPix board"]["packets_sent"]
    stored = end["account"]["Offline storage"]["packets_stored"]
    assert f"Offline storage stored {stored} of {sent} packets of LArPix board" in end["reason"]
    (path,) = stand.files()
    assert losses(path) == [NO_END]
    stand.start("aggregator")
    another_run(stand)


def test_a_killed_storage_ends_the_run_and_its_file_is_recovered(stand):
    stand.start_all("--rate", "20000")
    stand.begin_run()
    stand.until_data()
    stand.kill("offline_storage")
    end = end_of(stand)
    assert end["reason"].startswith("lost Offline storage, whose file is ")
    assert end["account"]["LArPix board"]["packets_sent"] > 0
    assert not stand.files()
    (part,) = (stand.directory / "data").glob("*.part")
    assert str(part).removesuffix(".part") in end["reason"]
    path = recover(part)
    assert check_file(path).is_good
    with PacketFile(path) as file:
        assert int((file.rows()["packet_type"] == 0).sum()) > 0
    stand.start("offline_storage")
    another_run(stand)


def test_a_killed_monitor_changes_nothing(stand):
    stand.start_all("--rate", "20000")
    stand.start("online_monitor")
    everybody = PARTS | {"Online monitor"}
    stand.until_clients(everybody)
    for _ in range(3):  # a busy machine may hold a monitor up for so long that the core takes it for lost
        stand.until_clients(everybody)
        stand.begin_run()
        stand.kill("online_monitor")
        stand.until_clients(PARTS)
        assert stand.ask("get_state")["result"] == "RUN"
        stand.start("online_monitor")
        stand.until_clients(everybody)  # joins a run that goes on
        assert stand.ask("end_run")["result"] == "UPDATED"
        took_part = set(stand.ended()[-1]["account"])
        assert took_part >= PARTS
        if took_part == everybody:
            return
    pytest.fail(f"no monitor took part in the end of a run: {took_part}")


def test_a_killed_log_is_written_on(stand):
    stand.start("log")
    stand.start_all("--rate", "20000")
    stand.begin_run()
    log = stand.directory / "log.txt"
    stand.until(lambda: '"state": "RUN"' in log.read_text())
    stand.kill("log")
    stand.start("log")
    stand.until(lambda: stand.ask("get_state")["result"] == "RUN" and stand.logs_again(log))
    assert stand.ask("end_run")["result"] == "UPDATED"
    stand.until(lambda: '"state": "STOP"' in log.read_text())


def test_a_run_goes_on_without_its_core(stand):
    stand.start_all("--rate", "20000")
    stand.begin_run()
    stand.until_data()
    stand.kill("core")
    stand.until_data(100_000)  # data do not need it
    stand.start("core")
    stand.until_clients(PARTS)
    where = stand.ask("get_state")
    assert (where["result"], where["metadata"]["run"]) == ("RUN", 1)
    assert not stand.ended()
    assert stand.ask("end_run")["result"] == "UPDATED"
    account = stand.ended()[0]["account"]
    assert account["LArPix board"]["packets_sent"] == account["Offline storage"]["packets_stored"] > 0
    (path,) = stand.files()
    assert check_file(path).is_good
    another_run(stand)


def test_a_run_whose_core_is_killed_while_it_ends_is_ended_by_the_next_one(stand):
    stand.start_all("--rate", "20000")
    stand.begin_run()
    stand.until_data()
    answers = stand.operator().end_physics_run(timeout=0.01)
    assert next(answers) is None  # it has been asked
    stand.until(lambda: "state=STOP" in (stand.directory / "core.err").read_text())
    stand.kill("core")
    stand.start("core")
    account = end_of(stand)["account"]
    assert account["LArPix board"]["packets_sent"] == account["Offline storage"]["packets_stored"] > 0
    (path,) = stand.files()
    assert check_file(path).is_good


def test_a_core_that_stands_still_for_a_while_loses_nobody(stand):
    stand.start_all("--rate", "20000")
    stand.begin_run()
    stand.processes["core"].send_signal(signal.SIGSTOP)
    end = time.monotonic() + 2.5  # longer than all have patience with each other
    stand.until(lambda: time.monotonic() > end)
    stand.processes["core"].send_signal(signal.SIGCONT)
    stand.until_clients(PARTS)
    assert stand.ask("get_state")["result"] == "RUN"
    assert stand.ask("end_run")["result"] == "UPDATED"
    account = stand.ended()[0]["account"]
    assert account["LArPix board"]["packets_sent"] == account["Offline storage"]["packets_stored"] > 0


def test_a_run_ends_if_core_and_producer_are_killed(stand):
    stand.start("core", "--confirm", "3")
    for script in ("producer", "aggregator", "offline_storage"):
        stand.start(script)
    stand.until_clients(PARTS)
    stand.begin_run()
    stand.until_data()
    stand.kill("core")
    stand.kill("producer")
    stand.start("core", "--confirm", "3")
    end = end_of(stand)
    assert "LArPix board did not come back when the core was started again" in end["reason"]
    assert end["account"]["Offline storage"]["packets_stored"] > 0
    (path,) = stand.files()
    assert losses(path) == [NO_END]


def test_no_run_begins_by_itself_after_everything_was_killed(stand):
    stand.start_all("--rate", "20000")
    stand.begin_run()
    stand.until_data()
    for name in ("core", "producer", "aggregator", "offline_storage"):
        stand.kill(name)
    stand.start_all("--rate", "20000")
    assert "was started again too" in end_of(stand)["reason"]
    assert not stand.files()
    another_run(stand)


def test_a_killed_operator_leaves_the_run_to_others(stand):
    registered = stand.directory / "routines.json"
    registered.write_text('{"forever": {"function": "tests.system.larpix_stand:forever"}}')
    stand.start("core")
    stand.start("producer", "--routines", registered)
    stand.start("aggregator")
    stand.start("offline_storage")
    stand.until_clients(PARTS)
    words = [sys.executable, "-c", OPERATE, str(stand.core_port)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as one:
        lines = [one.stdout.readline().strip() for _ in range(3)]
        one.kill()
    assert lines == ["UPDATED", "UPDATED", "ACTION TICKET"]
    where = stand.ask("get_state")
    assert (where["result"], where["metadata"]["owner"]) == ("RUN", "the one who dies")
    assert stand.ask("abort_routine")["result"] == "success"
    assert stand.ask("end_run")["result"] == "UPDATED"
    assert stand.ended()[0]["reason"] == "ended by tester"


def test_a_second_component_of_a_name_is_refused_and_the_first_goes_on(stand):
    stand.start_all("--rate", "20000")
    stand.begin_run()
    first = stand.processes.pop("offline_storage")
    stand.start("offline_storage")
    stand.until(lambda: "There is a component named Offline storage already" in stand.errors())
    assert stand.ask("end_run")["result"] == "UPDATED"
    first.kill()
    first.wait()
    stand.until(lambda: "component lost" in (stand.directory / "core.err").read_text())
    another_run(stand)  # it takes the place that is free now
