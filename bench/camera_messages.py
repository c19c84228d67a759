"""A camera's triggers and log records: CPU time of a message from socket to publisher, beside asyncio.

    python bench/camera_messages.py [--quick]

The peer is what SSDAQ 0.9 does, written anew: an asyncio protocol that makes a task for each datagram,
or for each piece of a TCP stream, and publishes it by a ZeroMQ socket of asyncio. It looks at no
message. forebay looks at each, counts it, and cuts log records where they end. Log records come from as
many programs as a batch has, one from each: what comes from one at once the peer would publish as one.
Both alternate in one run; CPU time is that of the thread that receives. The ratio is peer / forebay.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import statistics
import time
from collections.abc import Callable
from contextlib import closing

import zmq
import zmq.asyncio

from forebay.assemble.triggers import TriggerInlet
from forebay.sim.triggers import TriggerOptions, pattern
from forebay.stream.logs import LogInlet
from forebay.stream.message_publisher import MessagePublisher
from forebay.stream.messages import MessageListener
from forebay.wire import cdts
from forebay.wire.trigger import encode

BATCH = 50  # messages that wait in the socket when the receiver looks
TRIGGERS = [encode(pattern(TriggerOptions(), i, i)) for i in range(BATCH)]
LOGS = [
    cdts.encode(
        cdts.LOG,
        {
            "systemType": 0,
            "severity": 20,
            "sender": "camera",
            "message": "m" * (i % 100),
            "time": i,
            "pid": 1,
            "sourceFile": "camera.cc",
            "line": i,
        },
    )
    for i in range(BATCH)
]


def feeder(kind: str, port: int) -> Callable[[], None]:
    """Return what puts a batch into the receiver's socket."""
    if kind == "triggers":
        board = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        return lambda: [board.sendto(one, ("127.0.0.1", port)) for one in TRIGGERS] and None
    programs = [socket.create_connection(("127.0.0.1", port)) for _ in LOGS]
    return lambda: [program.sendall(one) for program, one in zip(programs, LOGS, strict=True)] and None


def forebay(kind: str, n_batches: int) -> float:
    inlet = TriggerInlet("127.0.0.1", 0) if kind == "triggers" else LogInlet("127.0.0.1", 0)
    publisher = MessagePublisher("127.0.0.1", "*")
    listener = MessageListener("127.0.0.1", int(publisher.endpoint.rpartition(":")[2]))
    with closing(inlet), closing(publisher), closing(listener):
        while not publisher.count_subscribers():
            time.sleep(0.01)
        feed = feeder(kind, inlet.port)
        took = 0.0
        for i in range(n_batches + 1):
            feed()
            began, n = time.thread_time(), 0
            while n < BATCH and (i or kind == "triggers"):  # a record ends where the next one begins
                messages = inlet.read(0.05)  # waiting costs no CPU time
                publisher.send(messages)
                n += len(messages)
            took += time.thread_time() - began if i > 1 else 0.0
            while listener.read(0.0):
                pass
    return took / ((n_batches - 1) * BATCH)


class Peer(asyncio.DatagramProtocol, asyncio.Protocol):
    def __init__(self, publisher: zmq.asyncio.Socket) -> None:
        self.publisher = publisher
        self.n_bytes = 0

    def datagram_received(self, data: bytes, addr: object) -> None:
        asyncio.get_running_loop().create_task(self.publish(data))

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().create_task(self.publish(data))

    async def publish(self, data: bytes) -> None:
        await self.publisher.send(data)
        self.n_bytes += len(data)


async def asyncio_peer(kind: str, n_batches: int) -> float:
    loop = asyncio.get_running_loop()
    context = zmq.asyncio.Context()
    publisher = context.socket(zmq.PUB)
    publisher.linger = 0
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    listener = MessageListener("127.0.0.1", port)
    peer = Peer(publisher)
    if kind == "triggers":
        transport, _ = await loop.create_datagram_endpoint(lambda: peer, local_addr=("127.0.0.1", 0))
        where = transport.get_extra_info("sockname")[1]
    else:
        transport = await loop.create_server(lambda: peer, "127.0.0.1", 0)
        where = transport.sockets[0].getsockname()[1]
    await asyncio.sleep(0.3)
    feed = feeder(kind, where)
    total = sum(map(len, TRIGGERS if kind == "triggers" else LOGS))
    took = 0.0
    for i in range(n_batches + 1):
        wanted = peer.n_bytes + total
        feed()
        began = time.thread_time()
        while peer.n_bytes < wanted:
            await asyncio.sleep(0)
        took += time.thread_time() - began if i > 1 else 0.0
        while listener.read(0.0):
            pass
    transport.close()
    listener.close()
    context.destroy()
    return took / ((n_batches - 1) * BATCH)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    n_rounds, n_batches = (3, 20) if quick else (9, 200)
    print(f"{'':10}{'forebay µs':>12}{'asyncio µs':>12}{'ratio':>8}  spread")
    for kind in ("triggers", "logs"):
        ours, theirs = [], []
        for _ in range(n_rounds):
            ours.append(forebay(kind, n_batches) * 1e6)
            theirs.append(asyncio.run(asyncio_peer(kind, n_batches)) * 1e6)
        ratios = [peer / own for own, peer in zip(ours, theirs, strict=True)]
        print(
            f"{kind:10}{statistics.median(ours):12.1f}{statistics.median(theirs):12.1f}"
            f"{statistics.median(ratios):8.2f}  {min(ratios):.2f} to {max(ratios):.2f}"
        )


if __name__ == "__main__":
    main()
