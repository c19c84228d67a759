"""A stand with hub, detector and workers, each a process of its own, and an operator in the test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from forebay.run.bus import connect
from forebay.run.operator import Operator
from forebay.store.catalog import open_catalog

from .stand import Program, Stand, wait_until

RATE_HZ = 200
SLOTS = 512


class ControlStand(Stand):
    """A stand whose services run without supervisor, so that each can be killed by itself."""

    def __init__(
        self, directory: Path, *, slots: int = SLOTS, detector: dict[str, Any] | None = None, **settings: Any
    ) -> None:
        super().__init__(directory, slots=slots, detector=detector)
        self.configure(self.settings | settings)
        self.workers: dict[tuple[str, str], Program] = {}

    def serve_hub(self) -> None:
        """Start a hub, also one that was killed; nothing where a broker is used."""
        if self.config.bus == "embedded":
            self.hub = self.serve("hub")
            self.hub.waits_to_say("serving")

    def serve_detector(self) -> None:
        """Start hub and detector, and a simulator that goes on."""
        self.serve_hub()
        self.serve("receive").waits_to_say("receiving")
        self.serve("assemble")
        self.simulate("--rate", RATE_HZ)
        with closing(self.ring()) as ring:
            wait_until(lambda: ring.n_events, "events in the ring")

    def work(self, role: str, name: str) -> Program:
        """Start a worker, also one that was killed."""
        program = self.start("serve", role, name, "--config", self.config_path)
        self.workers[role, name] = program
        return program

    def work_all(self, *which: tuple[str, str]) -> None:
        """Start workers and return when all of them take jobs."""
        for role, name in which:
            self.work(role, name)
        for program in self.workers.values():
            program.waits_to_say("takes jobs")

    @contextmanager
    def operator(self) -> Iterator[Operator]:
        """Lend an operator of this stand."""
        bus = connect(self.config, name="test")
        with (
            closing(bus),
            closing(open_catalog(self.config)) as catalog,
            Operator(self.config, bus, catalog, who="test") as operator,
        ):
            yield operator


def one_host(_: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the settings of a host by itself: a hub, SQLite."""
    return {}


def many_hosts(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the settings with which workers on any host could take part."""
    broker, database = request.getfixturevalue("rabbit"), request.getfixturevalue("postgres_server")
    return {"bus": broker.url, "catalog": database.database()}
