"""Sockets of xylem in one process: both ports, registration again, slow listeners, hostile frames."""

import socket
import threading

import pytest
import zmq
from tests.system.stand import free_ports

from forebay.errors import StreamError
from forebay.stream.xylem import ComponentLink, DataIn, DataOut, LogIn, LogOut, OneAnswer, RouterSocket
from forebay.wire import xylem as x

pytestmark = pytest.mark.flow

WAIT_S = 20.0


@pytest.fixture
def ports():
    first = free_ports(2, socket.SOCK_STREAM)
    return [f"tcp://127.0.0.1:{first}", f"tcp://127.0.0.1:{first + 1}"]


def link_to(address):
    link = ComponentLink(address, x.Register("name", "GROUP", 1000, confirms=True))
    link.start()
    return link


def test_a_core_is_at_both_ports(ports):
    router = RouterSocket(ports)
    links = [link_to(address) for address in ports]
    for _ in links:
        identity, frames = router.receive(WAIT_S)
        assert isinstance(x.decode(frames), x.Register)
        router.send(identity, x.encode(x.Registered({})))
    for link in links:
        assert link.inbox.get(timeout=WAIT_S) == (1, x.Registered({}))
        link.close()
    router.close()


def test_a_component_that_is_refused_registers_again(ports):
    router = RouterSocket(ports[:1])
    link = link_to(ports[0])
    seen = set()
    for answer in (x.Refused("no"), x.Registered({})):
        identity, frames = router.receive(WAIT_S)
        assert frames[0] == b"NEW"
        seen.add(identity)
        router.send(identity, [b"\xff", b"noise"])
        router.send(identity, x.encode(answer))
    assert link.inbox.get(timeout=WAIT_S) == (2, x.Registered({}))
    assert len(seen) == 2
    link.send(x.StateRequest(), 1)  # for a core that is not there any more
    link.send(x.ActionResult(1, "a", [], None), 2)
    frames = [b"PING"]
    while frames == [b"PING"]:
        _, frames = router.receive(WAIT_S)
    assert frames[0] == b"ACTION"
    link.close()
    router.close()


def test_a_slow_listener_loses_nothing(ports):
    out = DataOut(ports[0])
    source = DataIn(ports[0])
    while not source.is_connected:
        source.read(0.01)
    sent = threading.Thread(
        target=lambda: [out.send(x.Data({"sequence": i}, bytes(1000))) for i in range(5000)]
    )
    sent.start()
    for i in range(5000):
        assert source.read(WAIT_S).header["sequence"] == i
    sent.join()
    assert out.n_lossy == 0
    source.close()
    out.close()


def test_a_listener_that_does_not_read_is_told_of_and_holds_up_nobody(ports, monkeypatch):
    monkeypatch.setattr("forebay.stream.xylem._PATIENCE_S", 0.05)
    monkeypatch.setattr("forebay.stream.xylem._AGAIN_S", 0.05)
    n = 4000
    out, reader, stalled = DataOut(ports[0]), DataIn(ports[0]), DataIn(ports[0])
    while not (reader.is_connected and stalled.is_connected):
        reader.read(0.01)
        stalled.read(0)
    sent = threading.Thread(
        target=lambda: [out.send(x.Data({"sequence": i}, bytes(20_000))) for i in range(n)]
    )
    sent.start()
    for i in range(n):
        assert reader.read(WAIT_S).header["sequence"] == i
    sent.join()
    came = []
    while (message := stalled.read(0.5)) is not None:
        came.append(message.header["sequence"])
    assert len(came) < n
    assert came == sorted(set(came))  # what is missing shows as gaps in the sequence
    assert out.n_lossy > 0
    for one in (reader, stalled, out):
        one.close()


def test_frames_that_are_none_are_counted(ports):
    context = zmq.Context()
    publisher = context.socket(zmq.XPUB)
    publisher.bind(ports[0])
    source = DataIn(ports[0])
    assert publisher.recv() == b"\x01"
    for frames in ([b""], [b"DATA"], [b"DATA", b"[]", b""], [b"INFO", b"{", b""]):
        publisher.send_multipart(frames)
    publisher.send_multipart(x.encode(x.Data({}, b"good")))
    while (message := source.read(WAIT_S)) is None:
        pass
    assert message.payload == b"good"
    assert source.n_malformed == 4
    source.close()
    context.destroy(linger=0)


def test_lines_of_the_log(ports):
    log = LogIn(ports[0])
    out = LogOut(ports[0], "me")
    entry = None
    for _ in range(1000):  # what is said before the connection stands is lost, as in the original
        out.say("INFO", "here")
        if (entry := log.read(0.02)) is not None:
            break
    assert (entry.component, entry.level, entry.text) == ("me", "INFO", "here")
    out.close()
    log.close()


def test_nobody_answers(ports):
    asked = OneAnswer(ports[0], x.Control("CLIENTS", ""))
    assert asked.receive(0.05) is None
    asked.close()


def test_other_hosts_only_when_asked_for():
    for make in (lambda one: RouterSocket([one]), DataOut, LogIn):
        with pytest.raises(StreamError, match="open to other hosts"):
            make("tcp://0.0.0.0:5999")


def test_what_a_core_would_not_take_is_not_sent(ports):
    link = ComponentLink(ports[0], x.Register("name", "GROUP"))
    with pytest.raises(StreamError, match="bytes, and it takes"):
        link.send(x.ActionResult(1, "a", [], "x" * 2**20), 1)
    with pytest.raises(StreamError, match="bytes, and it takes"):
        OneAnswer(ports[0], x.Control("ACTION", "x" * 2**20))
    link.close()
