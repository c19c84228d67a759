"""Both buses for one suite: each with a broker of its own that can be killed and started again."""

from __future__ import annotations

import secrets
import shutil
import signal
import sys
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path

import yaml

from forebay.config import Config, load
from forebay.ports import Bus, Delivery, Message, WorkQueue
from forebay.run.bus import connect

from .rabbit import Rabbit
from .stand import PATIENCE_S, Program, command

_WORKER = Path(__file__).with_name("bus_worker.py")


class BusStand(ABC):
    """A bus with its broker, and the processes that a test starts on it."""

    kind: str

    def __init__(self, directory: Path, bus: str) -> None:
        self.directory = directory
        self.runtime_dir = Path(tempfile.mkdtemp(prefix="fb-"))  # short: names of sockets are
        self.config_path = directory / "forebay.yaml"
        settings = {"bus": bus, "runtime_dir": str(self.runtime_dir), "state_dir": str(directory / "state")}
        self.config_path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        self.config: Config = load(self.config_path)
        self.clients: list[Bus] = []
        self.programs: list[Program] = []

    def connect(self, patience_s: float = PATIENCE_S) -> Bus:
        """Return a client, closed with the stand."""
        self.clients.append(connect(self.config, name="test", patience_s=patience_s))
        return self.clients[-1]

    def worker(self, queue: str, *words: object) -> Program:
        """Start a worker in a process of its own; see ``bus_worker.py``."""
        log = self.directory / f"{len(self.programs):02}-worker"
        arguments = [sys.executable, "-u", str(_WORKER), str(self.config_path), queue, *map(str, words)]
        self.programs.append(Program(arguments, log))
        return self.programs[-1]

    @abstractmethod
    def kill_broker(self) -> None:
        """End hub or broker as ``kill -9`` does."""

    @abstractmethod
    def start_broker(self) -> None:
        """Start it, again on the same state."""

    @abstractmethod
    def hold_broker(self) -> None:
        """Stop it where it is: connections stay, and nothing answers."""

    @abstractmethod
    def let_broker_go(self) -> None:
        """Let it go on."""

    def close(self) -> None:
        """End everything."""
        for client in self.clients:
            client.close()
        for program in self.programs:
            if program.lives:
                program.kill()
        shutil.rmtree(self.runtime_dir)


class HubStand(BusStand):
    """The embedded bus: the hub is ``forebay serve hub``."""

    kind = "embedded"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "embedded")
        self.start_broker()

    def start_broker(self) -> None:
        log = self.directory / f"{len(self.programs):02}-hub"
        self.hub = Program(command("serve", "hub", "bus", "--config", self.config_path), log)
        self.programs.append(self.hub)
        self.hub.waits_to_say("serving the bus")

    def kill_broker(self) -> None:
        self.hub.kill()

    def hold_broker(self) -> None:
        self.hub.process.send_signal(signal.SIGSTOP)

    def let_broker_go(self) -> None:
        self.hub.process.send_signal(signal.SIGCONT)


class RabbitStand(BusStand):
    """RabbitMQ: one broker for all tests, a virtual host for each."""

    kind = "rabbitmq"

    def __init__(self, directory: Path, rabbit: Rabbit) -> None:
        self.rabbit = rabbit
        self.vhost = f"test-{secrets.token_hex(4)}"
        rabbit.tell(
            f'rabbit_vhost:add(<<"{self.vhost}">>, <<"test">>), '
            f'rabbit_auth_backend_internal:set_permissions(<<"guest">>, <<"{self.vhost}">>, '
            '<<".*">>, <<".*">>, <<".*">>, <<"test">>).'
        )
        super().__init__(directory, f"{rabbit.url}{self.vhost}")

    def start_broker(self) -> None:
        self.rabbit.start()

    def kill_broker(self) -> None:
        # RabbitMQ 3.10 writes what it knows of vhosts and queues to disk seconds late, and a queue so young
        # does not survive a power cut; messages in older ones do.
        self.rabbit.tell("mnesia:sync_log(), [dets:sync(Table) || Table <- dets:all()].")
        self.rabbit.kill()

    def hold_broker(self) -> None:
        self.rabbit.hold()

    def let_broker_go(self) -> None:
        self.rabbit.let_go()


def request(i: int, key: str = "record.camera", **body: object) -> Message:
    """Return request number `i`."""
    return Message(key, f"request-{i}", {"i": i, **body}, {"action": "request"})


def take(queue: WorkQueue) -> Delivery:
    """Return the next request; fails if none comes."""
    delivery = queue.take(PATIENCE_S)
    assert delivery is not None
    return delivery


def drain(queue: WorkQueue, timeout: float = 0.5) -> list[str]:
    """Do all requests that come and return their ids."""
    ids = []
    while (delivery := queue.take(timeout)) is not None:
        ids.append(delivery.message.id)
        delivery.ack()
    return ids
