"""What a camera's receivers of 0.9 take in: triggers, bunches, logs of several programs, monitoring."""

import itertools
import socket
from contextlib import closing
from pathlib import Path

import pytest
import zmq
from tests.one_cpu import one_cpu
from tests.waiting import until

from forebay.assemble.triggers import TriggerInlet
from forebay.errors import ConfigError, StreamError
from forebay.stream import logs
from forebay.stream.bunches import BunchInlet
from forebay.stream.logs import LogInlet
from forebay.stream.message_publisher import MessagePublisher
from forebay.stream.messages import MessageListener
from forebay.stream.monitoring import MonitorInlet, MonitorSender
from forebay.wire import cdts

pytestmark = pytest.mark.flow

VECTORS = Path(__file__).parents[1] / "vectors" / "ssdaq"
TRIGGERS = [(VECTORS / f"trigger/trigger_{name}.bin").read_bytes() for name in ("nominal_v1", "v2", "v3")]
LOG = (VECTORS / "zmq/B_log_LogData_0.bin").read_bytes()
MONITOR = (VECTORS / "zmq/B_monitor_MonitorData_0.bin").read_bytes()
BUNCH = (VECTORS / "trigger/timestamp_bunch_in.bin").read_bytes()
STAMPS = [(VECTORS / f"zmq/B_timestamp_TriggerMessage_{i}.bin").read_bytes() for i in range(2)]
N_TRIES = 500


def gathered(inlet, n):
    """Read until `n` messages came."""
    found = []
    for _ in range(N_TRIES):
        found += inlet.read(0.02)
        if len(found) >= n:
            break
    return found


def test_triggers_are_handed_on_as_they_came_and_judged():
    sent = [*TRIGGERS, b"", b"none", TRIGGERS[0][:-1]]
    with (
        closing(TriggerInlet("127.0.0.1", 0)) as inlet,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as board,
    ):
        with one_cpu():
            for datagram in sent:
                board.sendto(datagram, ("127.0.0.1", inlet.port))
        assert gathered(inlet, len(sent)) == sent
        assert inlet.finish() == []
        expected = {"received": 6, "messages": 6, "malformed": 3, "type_0": 1, "type_2": 1, "type_3": 1}
        expected |= {"bytes": sum(map(len, sent)), "kernel_drop": 0, "type_1": 0}
        assert inlet.counters == expected


def test_triggers_that_the_kernel_dropped_are_counted():
    with (
        closing(TriggerInlet("127.0.0.1", 0)) as inlet,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as board,
    ):
        inlet._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(100):
            board.sendto(TRIGGERS[1], ("127.0.0.1", inlet.port))
        while inlet.read(0.0):
            pass
        inlet.finish()
        assert inlet.counters["received"] + inlet.counters["kernel_drop"] == 100
        assert inlet.counters["kernel_drop"] > 0


def test_a_bunch_is_taken_apart_byte_for_byte():
    with (
        zmq.Context() as context,
        context.socket(zmq.XPUB) as timing_board,
    ):
        timing_board.linger = 0
        port = timing_board.bind_to_random_port("tcp://127.0.0.1")
        with closing(BunchInlet("127.0.0.1", port)) as inlet:
            timing_board.recv()
            timing_board.send(BUNCH)
            found = gathered(inlet, 3)
            assert found[:2] == STAMPS
            assert len(found) == 3
            empty = [cdts.encode(cdts.TRIGGER_BUNCH, {"bunch_counter": i}) for i in (10, 11, 15, 3)]
            for one in (*empty, b"\xff", BUNCH[:-1], BUNCH):
                timing_board.send(one)
            assert gathered(inlet, 3) == found
            assert inlet.counters["received"] == 8
            assert inlet.counters["malformed"] == 2
            assert inlet.counters["messages"] == 6
    first = cdts.decode(cdts.TRIGGER_BUNCH, BUNCH)["bunch_counter"]
    expected = sum(b - a - 1 for a, b in itertools.pairwise([first, 10, 11, 15, 3, first]) if b > a + 1)
    assert inlet.counters["lost"] == expected


def connected(port):
    return socket.create_connection(("127.0.0.1", port))


def test_records_of_several_programs_do_not_mix():
    records = {
        i: [
            cdts.encode(cdts.LOG, {**cdts.decode(cdts.LOG, LOG), "pid": i, "line": k, "message": "m" * k})
            for k in range(40)
        ]
        for i in range(5)
    }
    with closing(LogInlet("127.0.0.1", 0)) as inlet:
        clients = [connected(inlet.port) for _ in records]
        found = []
        for k in range(40):  # first halves of all, then second halves: they come in pieces
            for i, client in enumerate(clients):
                client.sendall(records[i][k][:50])
            found += inlet.read(0.02)
            for i, client in enumerate(clients):
                client.sendall(records[i][k][50:])
            found += inlet.read(0.02)
        for client in clients:
            client.close()
        for _ in range(N_TRIES):
            if len(found) == 200 and not inlet.n_clients:
                break
            found += inlet.read(0.02)
        by_program = {i: [one for one in found if cdts.decode(cdts.LOG, one)["pid"] == i] for i in records}
        assert by_program == records
        expected = {
            "received": 200,
            "messages": 200,
            "malformed": 0,
            "clients": 5,
            "refused": 0,
            "evicted": 0,
        }
        expected |= {"skipped_bytes": 0, "bytes": sum(len(one) for each in records.values() for one in each)}
        assert inlet.counters == expected


def test_a_record_does_not_wait_for_the_next_one():
    with closing(LogInlet("127.0.0.1", 0)) as inlet, connected(inlet.port) as client:
        client.sendall(LOG + LOG)
        assert gathered(inlet, 2) == [LOG, LOG]
        client.sendall(LOG[:30])
        assert [one for _ in range(5) for one in inlet.read(0.02)] == []
        assert inlet.finish() == []
        assert inlet.counters["malformed"] == 1
        assert inlet.counters["skipped_bytes"] == 30


def test_what_waits_in_a_socket_at_the_end_is_taken():
    with closing(LogInlet("127.0.0.1", 0)) as inlet, connected(inlet.port) as known:
        known.sendall(LOG)
        assert gathered(inlet, 1) == [LOG]
        known.sendall(LOG * 1000)
        with connected(inlet.port) as late:  # nobody has seen this one yet
            late.sendall(LOG * 2)
        assert inlet.finish() == [LOG] * 1002
        assert inlet.n_clients == 0
        assert (inlet.counters["messages"], inlet.counters["malformed"]) == (1003, 0)


@pytest.mark.parametrize("is_patient", [False, True])
def test_those_who_say_nothing_keep_nobody_out(monkeypatch, is_patient):
    monkeypatch.setattr(logs, "_MOST_CLIENTS", 3)
    idle_s = 1000.0 if is_patient else 0.0
    with closing(LogInlet("127.0.0.1", 0, idle_s=idle_s)) as inlet, connected(inlet.port) as known:
        known.sendall(LOG)
        assert gathered(inlet, 1) == [LOG]
        silent = [connected(inlet.port) for _ in range(2)]
        while inlet.n_clients < 3:
            inlet.read(0.02)
        silent[0].sendall(LOG[:30])
        while inlet.counters["bytes"] < len(LOG) + 30:
            inlet.read(0.02)
        with connected(inlet.port) as late:
            late.sendall(LOG)
            if is_patient:
                while not inlet.counters["refused"]:
                    inlet.read(0.02)
            else:
                assert gathered(inlet, 1) == [LOG]
            known.sendall(LOG)
            assert gathered(inlet, 1) == [LOG]
            assert inlet.n_clients == 3
            assert inlet.counters["evicted"] == inlet.counters["clients"] - 3 == (not is_patient)
        for one in silent:
            one.close()


def test_garbage_of_one_program_harms_no_other():
    with (
        closing(LogInlet("127.0.0.1", 0)) as inlet,
        connected(inlet.port) as bad,
        connected(inlet.port) as good,
    ):
        bad.sendall(bytes(range(256)) * 4000)
        good.sendall(LOG)
        assert gathered(inlet, 1) == [LOG]
        bad.sendall(LOG)
        assert gathered(inlet, 1) == [LOG]
        assert inlet.counters["malformed"] >= 1
        total = inlet.counters["skipped_bytes"] + 2 * len(LOG)
        assert total == inlet.counters["bytes"]


def test_monitoring_is_gathered():
    with closing(MonitorInlet("127.0.0.1", "*")) as inlet:
        sender = MonitorSender(inlet.endpoint)
        for message in (MONITOR, b"\xff", MONITOR):
            until(lambda message=message: sender.send(message))
        assert gathered(inlet, 2) == [MONITOR, MONITOR]
        sender.close()
        assert inlet.counters == {"received": 3, "messages": 2, "malformed": 1}


def test_nobody_who_gathers_holds_nobody_up():
    with closing(MonitorSender("tcp://127.0.0.1:1")) as sender:
        assert [sender.send(MONITOR) for _ in range(20)][-1] is False


def test_messages_are_published_and_accounted_for():
    publisher = MessagePublisher("127.0.0.1", "*", hwm=10)
    publisher.send([b"a"])
    listener = MessageListener("127.0.0.1", int(publisher.endpoint.rpartition(":")[2]))
    until(lambda: publisher.count_subscribers() == 1)
    publisher.send([b"b", b"", b"c"])
    assert gathered(listener, 3) == [b"b", b"", b"c"]
    assert publisher.counters == {"offered": 4, "sent": 3, "unwatched": 1, "congested": 0}
    listener.close()
    publisher.close()
    publisher.close()


def test_publishers_send_to_who_binds():
    listener = MessageListener("0.0.0.0", "*")
    publisher = MessagePublisher("127.0.0.1", listener.endpoint.rpartition(":")[2], "remote", topic=b"logs")
    until(lambda: listener.read(0.0) or publisher.count_subscribers())  # who binds subscribes as it reads
    publisher.send([b"a"])
    assert gathered(listener, 1) == [b"a"]
    publisher.close()
    listener.close()
    with pytest.raises(StreamError, match="open to other hosts"):
        MessagePublisher("0.0.0.0", "*", "local")
    MessagePublisher("0.0.0.0", "*", "outbound").close()


def test_addresses_that_cannot_be_had_are_named():
    with pytest.raises(ConfigError, match="not an IP address"):
        TriggerInlet("camera", 0)
    with pytest.raises(ConfigError, match="not an IP address"):
        LogInlet("camera", 0)
    with closing(LogInlet("127.0.0.1", 0)) as inlet, pytest.raises(StreamError, match=str(inlet.port)):
        LogInlet("127.0.0.1", inlet.port)
    with pytest.raises(ConfigError, match="no mode 'outward'"):
        MessagePublisher("127.0.0.1", "*", "outward")
