"""The online monitor of larpix-daq: a component that counts what passes, and shows it."""

from __future__ import annotations

import argparse
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from forebay.config import ApiConfig
from forebay.config.control import default_state_dir
from forebay.errors import WireError
from forebay.front.larpix.arguments import PORTS, home_address
from forebay.front.larpix.desk import Desk
from forebay.front.larpix.operator import Operator
from forebay.service.larpix_areas import parse_layouts
from forebay.service.larpix_flow import (
    Blocks,
    Content,
    Sequences,
    content_of,
    n_packets,
    newest_of,
    seconds_of,
)
from forebay.service.larpix_part import MOST_MESSAGES, TURN_S, Part
from forebay.service.larpix_post import Web
from forebay.service.larpix_shown import Shown
from forebay.service.larpix_tally import Tally
from forebay.service.larpix_web import served
from forebay.wire.larpix.packets import exports_of_block, packets_of
from forebay.wire.pacman_batch import PacmanArrays
from forebay.wire.xylem import BEGINNING, ENDING, Data, Info

_RECENT: Final = 1000


class Newest:
    """The newest packets of packet blocks."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._parts: deque[Content] = deque()
        self._total = 0

    def add(self, content: Content) -> None:
        """Take what a block has."""
        self._parts.append(newest_of(content, self._n))
        self._total += n_packets(self._parts[-1])
        while self._total - n_packets(self._parts[0]) >= self._n:
            self._total -= n_packets(self._parts.popleft())

    def clear(self) -> None:
        """Forget them."""
        self._parts.clear()
        self._total = 0

    def exports(self) -> list[dict[str, Any]]:
        """Return them as the original shows packets, oldest first."""
        return [one for content in self._parts for one in _exports_of(content)][-self._n :]


def _exports_of(content: Content) -> list[dict[str, Any]]:
    if not isinstance(content, PacmanArrays):
        return exports_of_block(content)
    rows, _ = content.batch.rows(content.io_group, content.word_format)
    return [packet.export() for packet in packets_of(rows)]


class Monitor(Part):
    """Counts what passes; what it shows is of this run, and rates fall to 0 when data stop."""

    def __init__(self, arguments: argparse.Namespace, name: str) -> None:
        self.tally = Tally()
        self._newest = Newest(_RECENT)
        self.shown = Shown(
            self.tally,
            packets=self._newest.exports,
            state=lambda: self.component.state,
            layouts=Path(arguments.layouts) if arguments.layouts else None,
            layout=parse_layouts(arguments.layout),
        )
        actions: dict[str, Callable[..., Any]] = {
            "retrieve_pixel_layout": self.retrieve_pixel_layout,
            "load_pixel_layout": self.load_pixel_layout,
            "data_rate": self.data_rate,
            "packets": self.packets,
            "messages": self.messages,
        }
        super().__init__(
            name,
            "CONSUMER",
            home_address(arguments),
            arguments.log_address,
            connections=("AGGREGATOR",),
            actions=actions,
        )
        self._web = Web(arguments.web)
        self._is_posting = bool(arguments.web)
        self._blocks = Blocks()
        self._sequences = Sequences()
        self._running: set[str] = set()
        self.each_second: list[Callable[[], None]] = []

    def enter(self, state: str, run: int | None) -> dict[str, Any] | None:
        """Forget the run before at READY."""
        if state == "READY":
            with self.tally.lock:
                self.tally.clear(run)
                self._newest.clear()
                self._running.clear()
                self._sequences = Sequences()
        elif state == "RUN":
            self.tally.run = run
        return {}

    def turn(self) -> None:
        """Count what has come; once a second, whether something came or not, move on."""
        source = self.listen()
        message = None if source is None else source.read(TURN_S)
        if source is None:
            time.sleep(TURN_S)
        parts: list[tuple[int, Content]] = []
        for _ in range(MOST_MESSAGES):
            if message is None or source is None:
                break
            if isinstance(message, Info):
                self._count(parts)
                self._note(message)
            elif isinstance(message, Data):
                self._take_in(message, parts)
            message = source.read(0)
        self._count(parts)
        if self.tally.advance():
            if self._is_posting:
                self._web.tell("POST", "/packets", self.shown.posted())
            for tell in self.each_second:
                tell()

    def _note(self, info: Info) -> None:
        self._follow(info.component, info.more.get("sequence"))
        self.tally.note(info.text)
        if info.text == BEGINNING:
            if not self._running:
                self.tally.begin()
            self._running.add(info.component)
        elif info.text == ENDING:
            self._running.discard(info.component)
            if not self._running:
                self.tally.end()
        if self._is_posting:
            self._web.tell("POST", "/packets", {"messages": self.shown.messages()})

    def _follow(self, name: str, sequence: object) -> None:
        self._sequences.add(name, sequence)
        self.tally.n_missing = self._sequences.n_missing

    def _take_in(self, data: Data, parts: list[tuple[int, Content]]) -> None:
        self._follow(str(data.header.get("name")), data.header.get("sequence"))
        try:
            parts.append((seconds_of(data.header), content_of(data.payload)))
        except WireError:
            self.tally.n_malformed += 1

    def _count(self, parts: list[tuple[int, Content]]) -> None:
        """Count blocks together: many small ones cost little more than one."""
        if not parts:
            return
        records = [some for _, some in parts if not isinstance(some, PacmanArrays)]
        contents: list[Content] = [some for _, some in parts if isinstance(some, PacmanArrays)]
        if records:
            contents.append(np.concatenate(records))
        events = list(self._blocks.events([(parts[-1][0], one) for one in contents]))
        with self.tally.lock:
            for one in contents:
                self._newest.add(one)
            self.tally.add(events)
        parts.clear()

    # Actions

    def retrieve_pixel_layout(self) -> dict[str, Any]:
        """retrieve_pixel_layout(): the pixel layout that is loaded, and which chip and channel a pixel is."""
        return self.shown.retrieve_pixel_layout()

    def load_pixel_layout(self, name: str) -> dict[str, Any]:
        """load_pixel_layout(name): load a pixel layout for all, or as GROUP=NAME or GROUP/TILE=NAME."""
        return self.shown.load_pixel_layout(name)

    def data_rate(self) -> str:
        """data_rate(): mean packets a second from the begin of the run until now or its end."""
        return self.shown.data_rate()

    def packets(self) -> list[dict[str, Any]]:
        """packets(): the newest packets, newest first."""
        return self.shown.packets()

    def messages(self) -> list[str]:
        """messages(): the newest INFO texts, newest first."""
        return self.shown.messages()


def run_monitor(arguments: argparse.Namespace, name: str, stop: threading.Event) -> None:
    """Be the monitor until `stop`.

    Raises
    ------
    ForebayError
        If its interface cannot be served, see `forebay.service.larpix_web`.
    """
    monitor = Monitor(arguments, name)
    if arguments.rest_port is None:
        monitor.run(stop)
        return
    api = ApiConfig(address=arguments.rest_address, port=arguments.rest_port)
    port = arguments.core_port or PORTS[0]
    desk = Desk(lambda who: Operator(arguments.core, who=who, port=port))
    with served(monitor.shown, monitor.tally, api, default_state_dir(), desk) as tell:
        monitor.each_second.append(tell)
        monitor.run(stop)
