"""The monitor service of a set of PACMAN boards: what they send, counted for eyes and for Prometheus."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from forebay.config import ApiConfig, Config
from forebay.errors import BusError, ConfigError
from forebay.event import Event
from forebay.ports import Bus, Message
from forebay.run.bus import connect
from forebay.service.boards import HWM, block_stream, boards_config
from forebay.service.counted import counted
from forebay.service.larpix_shown import Shown
from forebay.service.larpix_tally import Tally
from forebay.service.larpix_web import served
from forebay.service.process import notify, say
from forebay.stream.zmq import Subscriber

_TURN_S = 0.1
_NEWS_S = 0.5
_NICE = 10  # whoever looks: who records has the cores first


class Blocks(Protocol):
    """A source of blocks of boards."""

    def read(self, timeout: float) -> Sequence[Event] | None:
        """Return the next blocks."""
        ...


def monitor(config: Config, name: str, stop: threading.Event) -> None:
    """Show what the boards `name` send until `stop`; count anew with each recording of them.

    Raises
    ------
    ConfigError
        If there are no such boards, or no monitor of them is configured, or others could reach it.
    ServiceError
        If its port cannot be had.
    """
    asked = boards_config(config, name).monitor
    if asked is None:
        raise ConfigError(f"Boards {name} have no monitor.", f"Add boards.{name}.monitor: {{}}.")
    recordings = Recordings()
    tally = Tally()
    shown = Shown(tally, state=lambda: recordings.state, layouts=asked.layouts, layout=asked.layout_names)
    inlet = Subscriber(block_stream(config, name), hwm=HWM)
    try:
        with (
            followed(config, name, lambda news: recordings.take(news, tally)),
            counted(lambda: {**counters_of(tally), **{f"stream_{k}": n for k, n in inlet.counters.items()}}),
        ):
            watch(inlet, shown, tally, asked, config.state_dir, stop, lambda: inlet.counters["lost"])
    finally:
        inlet.close()


def watch(
    inlet: Blocks,
    shown: Shown,
    tally: Tally,
    api: ApiConfig,
    state_dir: Path,
    stop: threading.Event,
    lost: Callable[[], int] = lambda: 0,
) -> None:
    """Count and show blocks until `stop`; see `monitor`.

    Parameters
    ----------
    lost:
        Returns how many blocks did not come so far.
    """
    os.nice(_NICE)
    with served(shown, tally, api, state_dir):
        notify("READY=1")
        n_lost = 0
        while not stop.is_set():
            events = inlet.read(_TURN_S)
            if events is None:
                break
            tally.add(events)
            with tally.lock:
                tally.n_missing += lost() - n_lost
            n_lost = lost()
            tally.advance()
    say("monitored", **counters_of(tally))


def counters_of(tally: Tally) -> dict[str, int]:
    """Return what was counted in this run."""
    with tally.lock:
        return {
            "words": tally.n_words,
            "missing": tally.n_missing,
            "counted": tally.n_counted,
            "chips": len(tally.chips.chips),
        }


class Recordings:
    """The recording that was begun last.

    Attributes
    ----------
    state:
        Of its job; nothing before the first.
    """

    def __init__(self) -> None:
        self.state = ""
        self._id = ""

    def take(self, news: Message, tally: Tally) -> None:
        """Take news of a recording; begin to count anew with each."""
        state = str(news.body.get("state", ""))
        if state == "running" and news.id != self._id:
            self._id = news.id
            run = news.body.get("run")
            tally.clear(run if isinstance(run, int) else None)
            tally.note(f"recording began, job {news.id}")
        if news.id == self._id and state != self.state:
            self.state = state
            if state != "running":
                tally.note(f"recording {state}: {news.body.get('reason') or 'no reason given'}")


@contextmanager
def followed(config: Config, name: str, take: Callable[[Message], None]) -> Iterator[None]:
    """Hand on the news of recordings of `name` while the body runs; without a bus, there are none."""
    over = threading.Event()

    def follow() -> None:
        while not over.is_set():
            try:
                bus = connect(config, name=f"monitor {name}", patience_s=_NEWS_S)
            except BusError:
                over.wait(_NEWS_S)
                continue
            try:
                _follow(bus, f"job.record.{name}", take, over)
            except BusError as error:
                say("no news of recordings", logging.WARNING, reason=error)
            finally:
                bus.close()

    thread = threading.Thread(target=follow, name="recordings", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10 * _NEWS_S)


def _follow(bus: Bus, key: str, take: Callable[[Message], None], over: threading.Event) -> None:
    news = bus.statuses(key)
    try:
        while not over.is_set():
            if (message := news.read(_NEWS_S)) is not None:
                take(message)
    finally:
        news.close()
