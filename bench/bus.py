"""Both buses against the bare libraries below them: requests, statuses, round trips of calls.

    python bench/bus.py [--quick]

Each figure is taken in turns with its peer in the same run. The embedded bus is compared with a round trip
through a bare pyzmq ROUTER, RabbitMQ with a bare aio-pika that publishes with confirms to the same kind of
queue. Medians, with the smallest and the largest.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aio_pika
import zmq

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.system.rabbit import Rabbit, missing

from forebay.config import Config
from forebay.ports import Bus, Message
from forebay.run.bus import connect
from forebay.run.bus.hub import running_hub

BODY = {"pulses": "1000..2000", "detectors": {"JF01": {"compression": True}}, "directory": "raw/run0001"}


@contextmanager
def bare_zmq(directory: Path) -> Iterator[Callable[[int], None]]:
    """Lend a function that makes n round trips through a ROUTER that sends everything back."""
    context = zmq.Context()
    router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    router.bind(f"ipc://{directory}/bare")
    dealer.connect(f"ipc://{directory}/bare")

    def serve() -> None:
        while len((parts := router.recv_multipart())[1]) > 0:
            router.send_multipart(parts)

    thread = threading.Thread(target=serve)
    thread.start()

    def trips(n: int) -> None:
        for _ in range(n):
            dealer.send(b"x" * 200)
            dealer.recv()

    yield trips
    dealer.send(b"")
    thread.join()
    context.destroy()


@contextmanager
def bare_aio_pika(url: str) -> Iterator[Callable[[int], None]]:
    """Lend a function that publishes n confirmed messages to a quorum queue, one after another."""
    loop = asyncio.new_event_loop()

    async def begin() -> tuple[aio_pika.abc.AbstractConnection, aio_pika.abc.AbstractChannel]:
        connection = await aio_pika.connect(url)
        channel = await connection.channel()
        await channel.declare_queue("bare", durable=True, arguments={"x-queue-type": "quorum"})
        return connection, channel

    connection, channel = loop.run_until_complete(begin())

    async def publish(n: int) -> None:
        for _ in range(n):
            message = aio_pika.Message(b"x" * 200, delivery_mode=2)
            await channel.default_exchange.publish(message, "bare")

    yield lambda n: loop.run_until_complete(publish(n))
    loop.run_until_complete(connection.close())
    loop.close()


def rate(what: Callable[[int], None], n: int) -> float:
    began = time.perf_counter()
    what(n)
    return n / (time.perf_counter() - began)


def measure(title: str, bus: Bus, other: Bus, peer: Callable[[int], None], n: int, n_rounds: int) -> None:
    bus.declare("bench", ["bench.*"])
    work, statuses, answers = other.work("bench"), other.statuses(), other.answer("bench")
    stop = threading.Event()

    def answer() -> None:
        while not stop.is_set():
            if (asked := answers.read(0.1)) is not None:
                asked[1]({"yes": 1})

    def request(n: int) -> None:
        for _ in range(n):
            bus.request(Message("bench.x", f"{time.time_ns()}", BODY))

    def work_off(n: int) -> None:
        for _ in range(n):
            delivery = work.take(10)
            assert delivery is not None
            delivery.ack()

    def fan_out(n: int) -> None:
        for _ in range(n):
            bus.publish(Message("bench.x", "status", BODY))
        for _ in range(n):
            assert statuses.read(10) is not None

    def call(n: int) -> None:
        for _ in range(n):
            bus.call(Message("bench", "call", BODY), 10)

    thread = threading.Thread(target=answer)
    thread.start()
    figures: dict[str, list[tuple[float, float]]] = {}
    for _ in range(n_rounds):
        for name, what in (
            ("requests", request),
            ("worked off", work_off),
            ("statuses", fan_out),
            ("calls", call),
        ):
            figures.setdefault(name, []).append((rate(what, n), rate(peer, n)))
    stop.set()
    thread.join()
    for name, found in figures.items():
        ours = [one for one, _ in found]
        ratios = [one / bare for one, bare in found]
        print(
            f"{title:9} {name:10} {statistics.median(ours):7.0f} /s ({min(ours):.0f} .. {max(ours):.0f})"
            f"   {statistics.median(ratios):5.2f} x bare ({min(ratios):.2f} .. {max(ratios):.2f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    quick = parser.parse_args().quick
    n, n_rounds = (200, 3) if quick else (1000, 7)
    with tempfile.TemporaryDirectory(prefix="fb-") as name:
        directory = Path(name)
        config = Config(runtime_dir=directory / "run", state_dir=directory / "state")
        with running_hub(config), bare_zmq(directory) as peer:
            bus, other = connect(config), connect(config)
            measure("embedded", bus, other, peer, n, n_rounds)
            bus.close()
            other.close()
        if why := missing():
            print(why)
            return
        (directory / "rabbit").mkdir()
        with Rabbit(directory / "rabbit") as rabbit, bare_aio_pika(rabbit.url) as peer:
            config = Config(bus=rabbit.url)
            bus, other = connect(config), connect(config)
            measure("rabbitmq", bus, other, peer, n, n_rounds)
            bus.close()
            other.close()


if __name__ == "__main__":
    main()
