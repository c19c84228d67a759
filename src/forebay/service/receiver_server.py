"""`ReceiverServer` of SSDAQ 0.9, from which people derive receivers of their own: coroutines in one loop."""

from __future__ import annotations

import asyncio
import inspect
import logging
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from forebay.config import default_runtime_dir
from forebay.errors import ServiceError
from forebay.runtime import private_directory
from forebay.service.monitored import PERIOD_S, monitor_message
from forebay.service.readout_control import ControlThread
from forebay.service.receiver_classes import MONITOR
from forebay.stream.coroutines import coroutine_context
from forebay.stream.endpoint import ipc
from forebay.stream.monitoring import MonitorSender

_ANSWER_S = 5.0


class ReceiverServer:
    """Runs every method ``ct_…``, a coroutine, until it is stopped; methods ``cmd_…`` answer commands.

    Parameters
    ----------
    ip, port:
        Where `setup_udp` and `setup_stream` listen; port 0 takes any that is free.
    publishers:
        Get what is given to `publish`: `ZMQTCPPublisher`, or anything with ``send(messages)`` or with a
        coroutine ``apublish(packet)``; closed at the end.
    loop:
        The event loop; one of its own if None.
    control:
        Endpoint of the control channel; None for ``NAME`` in the runtime directory, "" for none.

    Attributes
    ----------
    log:
        A logger of its name.
    running:
        Whether it has not been stopped.
    corrs:
        Coroutines that run besides; for whoever has some that are no methods.
    _context:
        Of ZeroMQ, for sockets that are awaited.
    _setup:
        Whether there is anything that it receives from; set by those who open sockets themselves.
    """

    def __init__(
        self,
        ip: str,
        port: int,
        publishers: Sequence[Any],
        name: str,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        control: str | None = None,
    ) -> None:
        self.loop = loop or asyncio.new_event_loop()
        self.log = logging.getLogger("ssdaq").getChild(name)
        self.publishers = list(publishers)
        self.listen_addr = (ip, port)
        self.corrs: list[Coroutine[Any, Any, Any]] = []
        self.cmds: dict[str, Callable[[list[str]], bytes | str]] = {}
        self.running = True
        self._name, self._control = name, control
        self._context = coroutine_context()
        self._setup = False
        self._open: list[Any] = []
        self._failed: BaseException | None = None

    def setup_udp(self, recv_protocol: Callable[[], asyncio.DatagramProtocol]) -> tuple[Any, Any]:
        """Listen to UDP; return transport and protocol, as `loop.create_datagram_endpoint` does.

        Raises
        ------
        OSError
            If the address cannot be had.
        """
        ends = self.loop.run_until_complete(
            self.loop.create_datagram_endpoint(recv_protocol, local_addr=self.listen_addr)
        )
        self._setup = True
        self._open.append(ends[0])
        return ends

    def setup_stream(self, recv_protocol: Callable[[], asyncio.BaseProtocol]) -> asyncio.Server:
        """Listen to TCP, a protocol for each connection; raises as `setup_udp`."""
        ip, port = self.listen_addr
        server = self.loop.run_until_complete(self.loop.create_server(recv_protocol, ip, port))
        self._setup = True
        self._open.append(server)
        return server

    async def publish(self, packet: bytes) -> None:
        """Hand a message to every publisher; one that fails is left out, said, and the others go on."""
        for publisher in list(self.publishers):
            try:
                if hasattr(publisher, "apublish"):
                    await publisher.apublish(packet)
                else:
                    publisher.send([packet])
            except Exception as error:
                self.log.exception("a publisher takes nothing more")
                self.publishers.remove(publisher)
                self._open.append(publisher)
                self._failed = self._failed or error

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Work until `stop`, in the main thread also until SIGINT or SIGTERM.

        Parameters
        ----------
        ready:
            Called when commands are answered.

        Raises
        ------
        RuntimeError
            If nothing was set up to receive from.
        StreamError
            If the control channel is taken.
        Exception
            What made a coroutine, or a publisher, fail: the first of them.
        """
        if not self._setup:
            raise RuntimeError("No receiver socket setup: call setup_udp or setup_stream, or set _setup.")
        methods = inspect.getmembers(self, inspect.ismethod)
        self.cmds = {name[4:]: method for name, method in methods if name.startswith("cmd_")}
        self.corrs += [method() for name, method in methods if name.startswith("ct_")]
        try:
            control = self._control
            if control is None:
                control = ipc(private_directory(default_runtime_dir()), self._name)
            with ControlThread(self, control, answer):
                for coroutine in self.corrs:
                    self.loop.create_task(coroutine).add_done_callback(self._look_at)
                if threading.current_thread() is threading.main_thread():
                    for number in (signal.SIGINT, signal.SIGTERM):
                        self.loop.add_signal_handler(number, self._end)
                self.loop.call_soon(ready)
                self.loop.run_forever()
        finally:
            self._close()
        if self._failed is not None:
            raise self._failed

    def stop(self) -> None:
        """Let `run` end; from any thread."""
        self.loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self.running = False
        self.loop.stop()

    def _look_at(self, task: asyncio.Task[Any]) -> None:
        """Without one of its coroutines a receiver would seem to live: it ends, and says why."""
        if not task.cancelled() and task.exception() is not None:
            self._failed = self._failed or task.exception()
            self._end()

    def _close(self) -> None:
        self.running = False
        self.loop.run_until_complete(self._end_tasks())
        for coroutine in self.corrs:
            coroutine.close()  # where it was never begun
        for one in [*self._open, *self.publishers]:
            if hasattr(one, "close"):
                one.close()
        self.loop.run_until_complete(asyncio.sleep(0))  # transports close in the loop
        self._context.destroy(linger=0)
        self.loop.close()

    async def _end_tasks(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def command(self, name: str, arguments: list[str]) -> bytes:
        """Carry out a command in the loop and return its reply; from any other thread.

        Raises
        ------
        ServiceError
            If it is unknown.
        Exception
            Whatever the method raises.
        """
        if name not in self.cmds:
            raise ServiceError(f"No command `{name[:40]}` found; known: {', '.join(self.cmds) or 'none'}.")

        async def carry_out() -> bytes | str:
            reply = self.cmds[name](arguments)
            return await reply if inspect.isawaitable(reply) else reply

        reply = asyncio.run_coroutine_threadsafe(carry_out(), self.loop).result(_ANSWER_S)
        return reply.encode() if isinstance(reply, str) else reply


def answer(server: ReceiverServer, message: bytes) -> bytes:
    """Carry out one command of the control channel; whatever goes wrong is the reply."""
    name, *arguments = message.decode("ascii", "replace").split(" ")
    try:
        return server.command(name, arguments)
    except Exception as error:  # noqa: BLE001 - it is other people's code, and without a reply the asker waits
        return f"Error, {str(error) or type(error).__name__}".encode()


class ReceiverMonSender:
    """Tells once a second how a receiver is, in its loop, as long as that runs.

    Parameters
    ----------
    context:
        Taken and not used.
    monitor:
        Where it tells; see `forebay.stream.monitoring.MonitorSender`.
    """

    def __init__(
        self, name: str, loop: asyncio.AbstractEventLoop, context: object = None, *, monitor: str = MONITOR
    ) -> None:
        del context
        self.name = name
        self.n_packets = 0
        self._sender = MonitorSender(monitor)
        self._task = loop.create_task(self._tell())

    def register_data_packet(self) -> None:
        """Count one packet."""
        self.n_packets += 1

    async def _tell(self) -> None:
        try:
            before, since = self.n_packets, time.monotonic()
            while True:
                await asyncio.sleep(PERIOD_S)
                now, at = self.n_packets, time.monotonic()
                self._sender.send(monitor_message(self.name, (before, ()), (now, ()), at - since))
                before, since = now, at
        finally:
            self._sender.close()
