"""Receivers that people derive from SSDAQ's `ReceiverServer`: they publish, answer, fail aloud and end."""

import asyncio
import inspect
import socket
import threading
from contextlib import closing, contextmanager

import pytest
import zmq
from tests.waiting import until

from forebay.errors import StreamError
from forebay.front.ssdaq import ReceiverMonSender, ReceiverServer, ZMQTCPPublisher
from forebay.stream.endpoint import ipc
from forebay.stream.messages import MessageListener
from forebay.stream.monitoring import MonitorInlet
from forebay.stream.request import ask
from forebay.wire import cdts

pytestmark = pytest.mark.flow


class Packets(asyncio.DatagramProtocol):
    def __init__(self):
        self.waiting = asyncio.Queue()

    def datagram_received(self, data, addr):
        self.waiting.put_nowait(data)


class Relay(ReceiverServer):
    """Publishes datagrams, as the original's documentation has it."""

    def __init__(self, publishers, control, monitor=""):
        super().__init__("127.0.0.1", 0, publishers, "Relay", control=control)
        transport, self.packets = self.setup_udp(Packets)
        self.port = transport.get_extra_info("sockname")[1]
        self.mon = monitor and ReceiverMonSender("Relay", self.loop, self._context, monitor=monitor)
        self.is_done = False

    async def ct_relay(self):
        try:
            while self.running:
                packet = await self.packets.waiting.get()
                if packet == b"bad":
                    raise ValueError("a bad packet")
                if self.mon:
                    self.mon.register_data_packet()
                await self.publish(packet)
        finally:
            self.is_done = True

    def cmd_count(self, arguments):
        return f"{self.packets.waiting.qsize()} {arguments}"

    async def cmd_wait(self, arguments):
        await asyncio.sleep(0)
        return b"waited"

    def cmd_fail(self, arguments):
        raise ValueError("no such luck")


@contextmanager
def running(server):
    failed, is_ready = [], threading.Event()

    def run():
        try:
            server.run(is_ready.set)
        except (ValueError, StreamError) as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        until(lambda: is_ready.is_set() or failed)
        yield failed
    finally:
        if thread.is_alive() and not failed:
            server.stop()
        thread.join(30)
    assert not thread.is_alive()


def send(port, data):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(data, ("127.0.0.1", port))


def test_a_relay_publishes_and_answers(tmp_path):
    control = ipc(tmp_path, "control")
    publisher = ZMQTCPPublisher("127.0.0.1", "*")
    server = Relay([publisher], control)
    port = publisher.endpoint.rpartition(":")[2]
    found = []
    with closing(MessageListener("127.0.0.1", port)) as listener, running(server) as failed:

        def comes():
            send(server.port, b"packet")
            found.extend(listener.read(0.05))
            return found

        until(comes)
        assert found[0] == b"packet"
        assert ask(control, b"count 1 b", 20.0) == b"0 ['1', 'b']"
        assert ask(control, b"wait", 20.0) == b"waited"
        assert ask(control, b"fail", 20.0) == b"Error, no such luck"
        assert b"known: count, fail, wait" in ask(control, b"other", 20.0)
    assert failed == []
    assert server.is_done
    assert server.loop.is_closed()
    assert publisher.counters["sent"] > 0


def test_a_coroutine_that_fails_ends_the_receiver_and_says_why():
    server = Relay([], "")
    with running(server) as failed:
        send(server.port, b"bad")
        until(lambda: failed)
    assert str(failed[0]) == "a bad packet"


def test_a_control_channel_that_is_taken_leaves_nothing_behind(tmp_path):
    control = ipc(tmp_path, "control")

    async def extra():
        """Run besides."""

    with running(Relay([], control)):
        server = Relay([], control)
        server.corrs = [extra()]
        with pytest.raises(StreamError):
            server.run()
        assert server.loop.is_closed()
        assert {inspect.getcoroutinestate(one) for one in server.corrs} == {inspect.CORO_CLOSED}


def test_a_publisher_that_fails_is_left_out():
    class Broken:
        async def apublish(self, packet):
            raise StreamError("it is full")

    class Kept:
        packets = ()

        def send(self, packets):
            self.packets += tuple(packets)

    kept = Kept()
    server = Relay([Broken(), kept], "")
    with running(server) as failed:
        send(server.port, b"1")
        send(server.port, b"2")
        until(lambda: len(kept.packets) == 2)
    assert kept.packets == (b"1", b"2")
    assert "it is full" in str(failed[0])


def test_monitoring_of_it(monkeypatch):
    monkeypatch.setattr("forebay.service.receiver_server.PERIOD_S", 0.01)
    with closing(MonitorInlet("127.0.0.1", "*")) as inlet:
        server = Relay([], "", f"tcp://{inlet.endpoint.removeprefix('tcp://')}")

        def comes():
            send(server.port, b"1")
            found = [cdts.decode(cdts.MONITOR, one)["reciver"] for one in inlet.read(0.05)]
            return any(one["name"] == "Relay" and one["recv_data"] for one in found)

        with running(server):
            until(comes)


def test_sockets_of_ones_own_are_awaited():
    class Puller(ReceiverServer):
        def __init__(self):
            super().__init__("127.0.0.1", 0, [], "Puller", control="")
            self.receiver = self._context.socket(zmq.PULL)
            self.port = self.receiver.bind_to_random_port("tcp://127.0.0.1")
            self._setup = True
            self.found = []

        async def ct_pull(self):
            while self.running:
                self.found.append(await self.receiver.recv())

    server = Puller()
    with running(server), zmq.Context() as context, context.socket(zmq.PUSH) as out:
        out.linger = 0
        out.connect(f"tcp://127.0.0.1:{server.port}")
        out.send(b"x")
        until(lambda: server.found == [b"x"])


def test_connections_have_a_protocol_each():
    class Lines(asyncio.Protocol):
        def __init__(self, found):
            self.found = found

        def data_received(self, data):
            self.found.append(data)

    found = []
    server = ReceiverServer("127.0.0.1", 0, [], "Lines", control="")
    port = server.setup_stream(lambda: Lines(found)).sockets[0].getsockname()[1]
    with running(server), socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"x")
        until(lambda: found == [b"x"])


def test_nothing_to_receive_from_is_said():
    server = ReceiverServer("127.0.0.1", 0, [], "Empty", control="")
    with pytest.raises(RuntimeError, match="No receiver socket setup"):
        server.run()
    server._context.destroy(linger=0)
    server.loop.close()
