"""A whole beamline: two detectors, a beam-synchronous stream and slow controls, on one host or over several.

All of them count the same pulses, each by its own clock: the simulators start one after the other.
"""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forebay.pulse import PulseRange
from forebay.ring.pv_reader import PvReader, retrieve_pvs
from forebay.run.bus import connect
from forebay.run.operator import Operator
from forebay.store.catalog import open_catalog

from .epics_stand import Ioc, loopback, pv
from .hosts import Host, Network
from .postgres import Postgres
from .rabbit import Rabbit
from .stand import Stand, free_ports, wait_until

FIRST_PULSE = 10_000
RATE_HZ = 100
SLOTS = 1024
PVS = [pv("A"), pv("STATIC")]
WORKERS = {"record": 2, "retrieve": 1}


@dataclass(frozen=True)
class Post:
    """A host and what forebay runs there."""

    stand: Stand
    host: Host | None = None

    @property
    def before(self) -> list[str]:
        return [] if self.host is None else self.host.before

    @property
    def address(self) -> str:
        return "127.0.0.1" if self.host is None else self.host.address


class Site:
    """Everything that runs; `desk` is where the operator sits.

    Attributes
    ----------
    posts:
        Where each detector is received.
    slow:
        Where process variables and the beam-synchronous stream are buffered.
    servers:
        RabbitMQ and PostgreSQL, where there are such.
    """

    servers: tuple[Rabbit, Postgres] | None = None

    def __init__(
        self, directory: Path, stack: ExitStack, posts: dict[str, Post], slow: Post, desk: Post, data: Path
    ) -> None:
        self.directory = directory
        self.posts, self.slow, self.desk, self.data = posts, slow, desk, data
        self._stack = stack
        self._epics = loopback()

    def start(self, address: str = "127.0.0.1") -> None:
        """Start services, then simulators; those of this host send from `address`."""
        for post in {id(one): one for one in (*self.posts.values(), self.slow)}.values():
            post.stand.run(before=post.before, env=self._epics)
        ioc = Ioc(self._epics, before=self.slow.before)
        self._stack.callback(ioc.kill)
        wait_until(self._are_connected, lambda: f"process variables\n{self.logs()}")
        self._start_beam(address)
        for name, post in self.posts.items():
            detector = post.stand.settings["detectors"][name]
            port = detector["start_udp_port"]
            where = ("--host", post.address, "--port", port, "--rate", RATE_HZ, "--first", FIRST_PULSE)
            what = ("--type", "eiger", "--bit-depth", 8, "--pattern", "ramp")
            self.desk.stand.start("sim", "detector", *what, *where)
        self._stack.enter_context(_beating(ioc))

    def _are_connected(self) -> bool:
        names = self.slow.stand.config.epics["slow"].names
        found = retrieve_pvs(PvReader(self.directory / "pvs"), (0, 2**62), names, after_s=0)
        return len(found) == len(names) and all(one.connected.any() for one in found.values())

    def _start_beam(self, address: str) -> None:
        port = self.slow.stand.settings["bsread"]["beam"]["source"].rpartition(":")[2]
        public = [] if self.slow.host is None else ["--public"]
        every = ("--interval", 1 / RATE_HZ, "--first", FIRST_PULSE)
        self.desk.stand.start("bs", "simulate", "--bind", address, "--port", port, *every, *public)

    @contextmanager
    def operator(self) -> Iterator[Operator]:
        """Lend an operator that sits at the desk."""
        config = self.desk.stand.config
        with (
            closing(connect(config, name="test")) as bus,
            closing(open_catalog(config)) as catalog,
            Operator(config, bus, catalog, who="test") as operator,
        ):
            yield operator

    def span(self, operator: Operator) -> PulseRange:
        """Return the pulses that every detector remembers, as their workers say; waits for some."""

        def held() -> PulseRange | None:
            plans = operator.plan("record", {"sources": list(self.posts), "images": 1})
            spans = [PulseRange.parse(plan.held) for plan in plans if plan.held]
            if len(spans) < len(plans):
                return None
            return PulseRange(max(one.first for one in spans), min(one.last for one in spans))

        return wait_until(held, lambda: f"pulses of each detector\n{self.logs()}")

    def logs(self) -> str:
        stands = {id(one.stand): one.stand for one in (*self.posts.values(), self.slow, self.desk)}
        return "\n".join(stand.logs() for stand in stands.values())


@contextmanager
def one_host(directory: Path) -> Iterator[Site]:
    """Lend a site on one host: embedded bus, SQLite."""
    with ExitStack() as stack:
        stand = stack.enter_context(_stand(directory, {"workers": WORKERS | {"record": 4}}))
        (first,) = stand.settings["detectors"].values()
        second = first | {"start_udp_port": free_ports(1)}
        detectors = {stand.name: first, f"{stand.name}-B": second}
        stand.configure(stand.settings | {"detectors": detectors} | _slow(directory, "127.0.0.1"))
        post = Post(stand)
        site = Site(directory, stack, dict.fromkeys(detectors, post), post, post, stand.data)
        site.start()
        yield site


@contextmanager
def many_hosts(directory: Path) -> Iterator[Site]:
    """Lend a site of three hosts: two with a detector each, and this one with RabbitMQ and PostgreSQL."""
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        hosts = [network.host("alpha"), network.host("beta")]
        (directory / "rabbit").mkdir()
        broker = stack.enter_context(Rabbit(directory / "rabbit", network.address))
        open_to_all = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fb-pg-")))
        open_to_all.chmod(0o755)
        database = stack.enter_context(Postgres(open_to_all / "server", network.address))
        shared = {"bus": broker.url, "catalog": database.database()}
        data = directory / "data"
        settings = shared | {"record": {"directory": str(data), "min_free_bytes": 0}}

        def stand(name: str, **more: Any) -> Stand:
            (directory / name).mkdir()
            return stack.enter_context(_stand(directory / name, settings | more))

        posts = [
            Post(stand("alpha"), hosts[0]),
            Post(stand("beta", **_slow(directory, network.address, hosts[1].address)), hosts[1]),
        ]
        for post in posts:
            (detector,) = post.stand.settings["detectors"].values()
            detector["address"] = post.address
            post.stand.configure(post.stand.settings)
        desk = Post(stand("desk", detectors={}, workers={"record": 0, "retrieve": 0}))
        named = {post.stand.name: post for post in posts}
        site = Site(directory, stack, named, posts[1], desk, data)
        site.servers = broker, database
        site.start(network.address)
        yield site


def _stand(directory: Path, settings: dict[str, Any]) -> Stand:
    stand = Stand(directory, slots=SLOTS, detector={"bit_depth": 8}, workers=WORKERS)
    stand.configure(stand.settings | settings)
    return stand


def _slow(directory: Path, sender: str, address: str = "127.0.0.1") -> dict[str, Any]:
    """Return settings of a host at `address` with process variables, and the beam that `sender` sends."""
    source, output = (free_ports(1, socket.SOCK_STREAM) for _ in range(2))
    beam = {
        "source": f"tcp://{sender}:{source}",
        "output_address": address,
        "output_port": output,
        "public": sender != "127.0.0.1",
        "max_messages": 4 * SLOTS,
    }
    slow = {"pvs": PVS, "pulse_id_pv": pv("PULSE"), "directory": str(directory / "pvs")}
    return {"epics": {"slow": slow}, "bsread": {"beam": beam}}


@contextmanager
def _beating(ioc: Ioc) -> Iterator[None]:
    """Let an IOC count pulses beside the body."""
    done = threading.Event()

    def count() -> None:
        first, n_together = FIRST_PULSE, 50
        while not done.is_set():
            ioc.tell(beat=[first, n_together, 1 / RATE_HZ])
            first += n_together

    thread = threading.Thread(target=count, name="beat")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
