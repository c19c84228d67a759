"""A system of larpix-daq's components as processes: whole runs, and everything killed once."""

import json
import resource
import socket
import sys
import urllib.request

import pytest
from tests.system.larpix_stand import DaqStand
from tests.system.stand import free_ports

from forebay.store.check import check_file
from forebay.store.larpix_read import PacketFile

pytestmark = pytest.mark.system


@pytest.fixture
def stand(tmp_path):
    stand = DaqStand(tmp_path)
    yield stand
    stand.close()


def test_a_run_to_its_last_packet(stand):
    stand.start("log")
    stand.start_all()
    stand.begin_run()
    stand.until_data()
    assert stand.ask("end_run")["result"] == "UPDATED"
    (end,) = stand.ended()
    account = end["account"]
    sent = account["LArPix board"]["packets_sent"]
    assert sent > 300
    assert account["Offline storage"]["packets_stored"] == sent
    assert account["Offline storage"]["messages_missing"] == 0
    (path,) = stand.files()
    assert check_file(path).is_good
    with PacketFile(path) as file:
        assert int((file.rows()["packet_type"] == 0).sum()) == sent
    stand.until(lambda: "stored" in (stand.directory / "log.txt").read_text())


def test_a_full_disk_stops_the_run_with_its_reason(stand):
    stand.start("core")
    stand.start("producer", "--rate", "20000")
    stand.start("aggregator")
    stand.start("offline_storage")
    stand.until_clients({"LArPix board", "LArPix aggregator", "Offline storage"})
    stand.begin_run()
    no_room = (2_000_000, 2_000_000)  # from now on: all have confirmed the run
    resource.prlimit(stand.processes["offline_storage"].pid, resource.RLIMIT_FSIZE, no_room)
    stand.until(stand.ended)
    (end,) = stand.ended()
    assert end["reason"].startswith("Offline storage: ")
    assert "Cannot write" in end["reason"]
    stand.until(lambda: stand.ask("get_state")["result"] == "STOP")


def test_a_stopped_component_is_named(stand):
    stand.start("core", "--confirm", "1")
    stand.start("producer")
    stand.until_clients({"LArPix board"})
    stand.start("offline_storage")
    stand.until_clients({"LArPix board", "Offline storage"})
    said = stand.ask("prepare_run")
    assert said["result"] == "NOT UPDATED"
    assert "Offline storage: No data can come" in said["metadata"]["reason"]


def test_a_late_answer_is_not_taken_for_another(stand):
    stand.start("core")
    stand.start("producer")
    stand.until_clients({"LArPix board"})
    operator = stand.operator()
    answers = list(operator._act("LArPix board", "sleep", [1.0], 0.2))
    assert answers[-1] is None
    *_, last = operator.run_routine("hello_world", "you", timeout=20)
    assert last["message"]["result"].startswith("ERROR") or last["message"]["result"] == "Hello, you!"
    assert last["message"]["metadata"]["action_name"] == "run_routine"


def test_a_routine_can_be_ended(stand):
    registered = stand.directory / "routines.json"
    registered.write_text('{"forever": {"function": "tests.system.larpix_stand:forever"}}')
    stand.start("core")
    stand.start("producer", "--routines", registered)
    stand.until_clients({"LArPix board"})
    running = stand.operator().run_routine("forever", timeout=30)
    assert next(running)["header"] == "ACTION TICKET"
    stand.until(lambda: stand.ask("abort_routine")["result"] == "success")
    assert next(running)["message"]["result"] == "ERROR: routine forever was aborted"
    assert stand.ask("run_routine", "quickstart", "pcb-1")["result"] == "success"
    assert stand.ask("run_routine", "nothing")["result"].startswith("ERROR: There is no routine")


def test_the_operator_of_the_readme(stand):
    registered = stand.directory / "routines.json"
    registered.write_text('{"calibrate": {"function": "tests.system.larpix_stand:calibrate"}}')
    stand.start("core")
    stand.start("producer", "--routines", registered)
    stand.until_clients({"LArPix board"})
    Operator = stand.operator  # noqa: N806 - as printed

    o = Operator()
    final_responses = []
    for response in o.run_routine("calibrate"):
        print(response)
        # interact with response object within loop
    # When the loop ends, the last response received is still saved in
    # the response object
    final_responses.append(response)
    assert final_responses[0]["message"]["result"] == [63, 63, 63, 63]


LAYOUT = """
chips: [[246, [0, 1, 2, 3, 4, 5, 6, 7]], [245, [8, 9, null, 11]]]
pixels: [[0, 1.0, 1.0, [], []], [1, 4.0, 1.0, [], []], [8, 1.0, 4.0, [], []], [11, 4.0, 4.0, [], []]]
x: 0
y: 0
width: 5
height: 5
"""


def test_the_monitor_shows_a_run(stand):
    (stand.directory / "layout-2.4.0.yaml").write_text(LAYOUT)
    port = free_ports(1, socket.SOCK_STREAM)
    stand.start_all()
    stand.start("online_monitor", "--rest-port", port, "--layouts", stand.directory)
    stand.until_clients(stand.clients() | {"Online monitor"})

    def get(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.read()

    assert stand.ask("retrieve_pixel_layout")["result"].startswith("ERROR: No pixel layout")
    assert stand.ask("load_pixel_layout", "2.4.0")["result"]["lookup"]["8"] == {
        "channel": 0,
        "chip": "1-1-245",
    }
    stand.begin_run()
    stand.until(lambda: json.loads(get("/rates"))["total"] > 500)
    rates = json.loads(get("/api/rates"))
    assert rates["groups"]["1"] == pytest.approx(rates["total"])
    assert {one["chip_id"] for one in rates["chips"]} == {246, 245, 252, 243}
    shown = json.loads(get("/packets"))
    assert len(shown["packets"]) == 100
    assert shown["messages"] == ["Beginning run"]
    assert len(shown["rate_bypixel"]) == 832
    stand.until(lambda: json.loads(get("/packets"))["maxrate_bypixel"][8] > 0)
    assert set(json.loads(get("/histograms"))["adc"]) == {f"1-1-{chip}" for chip in (246, 245, 252, 243)}
    assert get("/pixels.png")[:8] == b"\x89PNG\r\n\x1a\n"
    assert json.loads(get("/pixels"))["layout"]["width"] == 5
    assert stand.ask("end_run")["result"] == "UPDATED"
    stand.until(lambda: json.loads(get("/rates"))["total"] == 0)  # also when data stop
    sent = stand.ended()[0]["account"]["LArPix board"]["packets_sent"]
    assert f"forebay_larpix_packets {sent}" in get("/metrics").decode()


def test_a_board_on_the_network(stand):
    first = free_ports(3, socket.SOCK_STREAM)
    simulate = ["-m", "forebay", "larpix", "simulate", "-p", first + 1, "--asic", "1", "--chips", 1]
    stand.spawn("board", [sys.executable, *simulate, "--rate", 2000])
    stand.start("core")
    stand.start("producer", "--io-config", "PACMAN_IO", f"1=127.0.0.1:{first + 1}/1")
    stand.start("aggregator")
    stand.start("offline_storage")
    stand.until_clients({"LArPix board", "LArPix aggregator", "Offline storage"})
    stand.begin_run()
    stand.until_data()
    assert stand.ask("end_run")["result"] == "UPDATED"
    account = stand.ended()[0]["account"]
    assert account["LArPix board"]["packets_sent"] == account["Offline storage"]["packets_stored"] > 100
