"""A stand-in for the original, SSDAQ 0.7, which cannot be installed any more: its algorithm as described.

Written from a description, not from its source: an asyncio datagram protocol; a task for each block, which
puts it into a queue; a deque of partial readouts ordered by time, searched from the newest, in which the
first one within the window counts; the oldest one is assembled, packed and published when the deque spans
`BUFFER_NS`. Without the original's logging and checks it is faster: that was measured at 261 us CPU a
datagram of 10 readouts and 31 us of 1 readout, on a machine of the same kind, with a socket that always had
the next datagram. Run alone, this says what the stand-in takes of the same.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import statistics
import struct
import time
from collections import deque
from contextlib import closing
from typing import Any

import numpy as np
import zmq

from forebay.sim.camera import Camera, CameraOptions

WINDOW_NS = 100_000
BUFFER_NS = 200_000_000
BUFFER_LENGTH = 20_000
BLOCK = struct.Struct(">Q32HQ32H")
N_MODULES, N_PIXELS = 32, 64
T0 = 1_700_000_000_000_000_000


class Partial:
    """A readout in the making: the time tag of the block that opened it, and one block a module."""

    def __init__(self, time_ns: int, module: int, block: bytes) -> None:
        self.time_ns = time_ns
        self.blocks: list[bytes | None] = [None] * N_MODULES
        self.blocks[module] = block


class Original(asyncio.DatagramProtocol):
    """Receives, assembles and publishes in one event loop."""

    def __init__(self, publisher: zmq.Socket[bytes] | None) -> None:
        self.n_datagrams = self.n_readouts = 0
        self._publisher = publisher
        self._queue: asyncio.Queue[tuple[int, int, bytes]] = asyncio.Queue()
        self._partial: deque[Partial] = deque(maxlen=BUFFER_LENGTH)
        self._tasks: set[asyncio.Task[Any]] = set()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Queue the blocks of a datagram."""
        self.n_datagrams += 1
        if len(data) % BLOCK.size:
            return
        module = int(addr[0].split(".")[-1]) % 100
        loop = asyncio.get_running_loop()
        for start in range(0, len(data), BLOCK.size):
            block = data[start : start + BLOCK.size]
            (time_ns,) = struct.unpack_from(">Q", block)
            task = loop.create_task(self._queue.put((module, time_ns, block)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def assemble(self) -> None:
        """Work until it is cancelled."""
        while True:
            module, time_ns, block = await self._queue.get()
            self._place(module, time_ns, block)
            if abs(self._partial[-1].time_ns - self._partial[0].time_ns) > BUFFER_NS:
                self._publish(self._partial.popleft())

    def _place(self, module: int, time_ns: int, block: bytes) -> None:
        partial = self._partial
        if not partial:
            partial.append(Partial(time_ns, module, block))
            return
        tail = partial[-1]
        if abs(tail.time_ns - time_ns) < WINDOW_NS and tail.blocks[module] is None:
            tail.blocks[module] = block
        elif time_ns > tail.time_ns:
            partial.append(Partial(time_ns, module, block))
        elif time_ns < partial[0].time_ns:
            partial.appendleft(Partial(time_ns, module, block))
        else:
            for i in range(len(partial) - 1, 0, -1):
                if abs(partial[i].time_ns - time_ns) < WINDOW_NS:
                    partial[i].blocks[module] = block
                    return
                if partial[i].time_ns < time_ns:
                    partial.insert(i + 1, Partial(time_ns, module, block))
                    return

    def _publish(self, one: Partial) -> None:
        self.n_readouts += 1
        data = np.full((N_MODULES, N_PIXELS), np.nan)
        times = np.zeros((N_MODULES, 2), np.uint64)
        for module, block in enumerate(one.blocks):
            if block is not None:
                values = BLOCK.unpack(block)
                raw = np.array(values[1:33] + values[34:], np.uint16)
                data[module] = (raw ^ 0x8000) * (0.03815 * 2)
                times[module] = values[0], values[33]
        message = struct.pack("<QQ", self.n_readouts, one.time_ns) + data.tobytes() + times.tobytes()
        if self._publisher is not None:
            self._publisher.send(message)


def closed_loop(packed: int, n_cycles: int) -> float:
    """Return us CPU a datagram where the next one always waits in the socket, and the deque is full."""
    n_filling = BUFFER_NS // 10**6 // packed + 10
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as port:
        port.bind(("127.0.0.1", 0))
        port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 2**20)
        options = CameraOptions(port=port.getsockname()[1], rate_hz=1000, start_ns=T0, packed=packed)
        original = Original(None)

        async def run() -> float:
            loop = asyncio.get_running_loop()
            await loop.create_datagram_endpoint(lambda: original, sock=port)
            working = loop.create_task(original.assemble())
            used = 0.0
            with closing(Camera(options)) as camera:
                for cycle in range(n_filling + n_cycles):
                    camera.send()
                    used = 0.0 if cycle < n_filling else used
                    start = time.process_time()
                    while original.n_datagrams < N_MODULES * (cycle + 1) or not original._queue.empty():  # noqa: SLF001
                        await asyncio.sleep(0)
                    used += time.process_time() - start
            working.cancel()
            return used

        return asyncio.run(run()) / (N_MODULES * n_cycles) * 1e6


def main() -> None:
    """Print what the stand-in takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds")
    options = parser.parse_args()
    rounds = 3 if options.quick else 7
    for packed, n_cycles, known in ((10, 200, 261), (1, 2000, 31)):
        found = [closed_loop(packed, n_cycles // (3 if options.quick else 1)) for _ in range(rounds)]
        print(
            f"{packed:2} readouts a datagram: the stand-in takes {statistics.median(found):.0f} us CPU "
            f"({min(found):.0f} .. {max(found):.0f}) a datagram; the original was measured at {known}"
        )


if __name__ == "__main__":
    main()
