"""The online monitor of larpix-daq: rates, histograms, flags, hot channels, the last packets and messages."""

from __future__ import annotations

import argparse
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from forebay.errors import WireError
from forebay.front.larpix.arguments import home_address
from forebay.service.larpix_conductor import Web
from forebay.service.larpix_flow import Blocks, Records, seconds_of
from forebay.service.larpix_layout import Layout, find_layout
from forebay.service.larpix_part import TURN_S, Part
from forebay.service.larpix_picture import chip_map, pixel_map, png
from forebay.wire.larpix import block
from forebay.wire.larpix.packets import exports_of_block
from forebay.wire.larpix.statistics import FIFO_FLAGS, ChipStatistics
from forebay.wire.larpix.word import V1
from forebay.wire.pacman_batch import messages_of
from forebay.wire.xylem import BEGINNING, Data, Info

N_PIXELS: Final = 832
"""Pixels of the original's lists."""

_SHOWN, _ADCS, _SECONDS, _MESSAGES = 100, 1000, 100, 10_000


class Monitor(Part):
    """Counts what passes; what it shows is of this run, and rates fall to 0 when data stop."""

    def __init__(self, arguments: argparse.Namespace, name: str) -> None:
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
        self._layouts = Path(arguments.layouts) if arguments.layouts else None
        self._layout: Layout | None = None
        self._web = Web(arguments.web)
        self._lock = threading.Lock()
        self._statistics = ChipStatistics()
        self._messages: deque[str] = deque(maxlen=_MESSAGES)
        self.n_malformed = 0
        self.run_number: int | None = None
        self._clear()

    def _clear(self) -> None:
        self._statistics.clear()
        self._blocks = Blocks()
        self._recent: deque[Records] = deque()
        self._n_recent = self.n_packets = 0
        self._seconds: deque[tuple[int, int]] = deque(maxlen=_SECONDS)
        self._begun, self._last = time.time(), time.time()
        self._second, self._in_second = int(time.time()), 0
        self._greatest: dict[int, float] = {}

    def enter(self, state: str, run: int | None) -> dict[str, Any] | None:
        """Forget the run before at READY."""
        self.run_number = run
        if state == "READY":
            with self._lock:
                self._clear()
        return {}

    def turn(self) -> None:
        """Count what has come; once a second, whether something came or not, move on."""
        source = self.listen()
        message = None if source is None else source.read(TURN_S)
        if source is None:
            time.sleep(TURN_S)
        for _ in range(_SHOWN):
            if message is None or source is None:
                break
            with self._lock:
                if isinstance(message, Info):
                    self._messages.append(message.text)
                    if message.text == BEGINNING:
                        self._begun = self._last = time.time()
                elif isinstance(message, Data):
                    self._add(message)
            message = source.read(0)
        if int(time.time()) != self._second:
            with self._lock:
                self._advance()

    def _add(self, data: Data) -> None:
        try:
            records = block.decode(data.payload)
        except WireError:
            self.n_malformed += 1
            return
        for event in self._blocks.events([(seconds_of(data.header), records)]):
            arrays = messages_of(event)
            self._statistics.add(arrays.batch, arrays.io_group, V1)
        self.n_packets += len(records)
        self._in_second += len(records)
        self._last = time.time()
        self._recent.append(records[-_ADCS:])
        self._n_recent += len(self._recent[-1])
        while self._n_recent - len(self._recent[0]) >= _ADCS:
            self._n_recent -= len(self._recent.popleft())

    def _advance(self) -> None:
        self._seconds.append((self._second, self._in_second))
        self._second, self._in_second = int(time.time()), 0
        self._statistics.advance(time.time())
        for pixel, rate in self._pixel_rates().items():
            self._greatest[pixel] = max(rate, self._greatest.get(pixel, 0.0))
        self._web.tell("POST", "/packets", self._shown())

    def _rates(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        rates = np.zeros(self._statistics.counts.shape)
        found = self._statistics.channel_rates()
        rates[np.nonzero(self._statistics.counts)] = found["rate_hz"]
        return rates

    def _pixel_rates(self) -> dict[int, float]:
        if self._layout is None:
            return {}
        return self._layout.by_pixel(self._statistics.chips, self._rates())

    def _last_packets(self) -> list[dict[str, Any]]:
        if not self._recent:
            return []
        records = np.concatenate(list(self._recent))
        return exports_of_block(records[-_ADCS:])

    def _shown(self) -> dict[str, Any]:
        packets = self._last_packets()
        rates = self._pixel_rates()
        return {
            "rate": self.data_rate(),
            "packets": packets[-_SHOWN:][::-1],
            "messages": list(self._messages)[-_SHOWN:][::-1],
            "rate_list": [n for _, n in self._seconds],
            "rate_times": [second for second, _ in self._seconds],
            "adcs": [one["adc_counts"] for one in packets if "adc_counts" in one],
            "rate_bypixel": [rates.get(pixel, 0.0) for pixel in range(N_PIXELS)],
            "maxrate_bypixel": [self._greatest.get(pixel, 0.0) for pixel in range(N_PIXELS)],
        }

    # What REST shows, from other threads

    def shown(self) -> dict[str, Any]:
        """Return what the original posts to its web server."""
        with self._lock:
            return self._shown()

    def status(self) -> dict[str, Any]:
        """Return state and run."""
        return {"state": self.component.state, "run": self.run_number}

    def rates(self) -> dict[str, Any]:
        """Return rates in Hz over the last seconds: in total, of io groups, chips and channels; hot ones."""
        with self._lock:
            found = self._statistics
            return {
                "total": found.rate_hz,
                "groups": {str(group): rate for group, rate in found.group_rates().items()},
                "chips": _dicts(found.chip_rates()),
                "channels": _dicts(found.channel_rates()),
                "hot": _dicts(found.hot()),
            }

    def histograms(self) -> dict[str, Any]:
        """Return, of each chip, counts of ADC values and of FIFO flags, of this run."""
        with self._lock:
            chips = ["-".join(map(str, one)) for one in self._statistics.chips.tolist()]
            flags = [dict(zip(FIFO_FLAGS, one, strict=True)) for one in self._statistics.fifo.tolist()]
            return {
                "adc": dict(zip(chips, self._statistics.adc.tolist(), strict=True)),
                "fifo": dict(zip(chips, flags, strict=True)),
            }

    def counters(self) -> dict[str, float]:
        """Return what ``/metrics`` shows."""
        with self._lock:
            fifo = self._statistics.fifo.sum(0).tolist()
            counts: dict[str, float] = {
                "packets": self.n_packets,
                "malformed": self.n_malformed,
                "rate_hz": self._statistics.rate_hz,
                "chips": len(self._statistics.chips),
                "hot_channels": len(self._statistics.hot()),
            }
            return counts | {f"fifo_{name}": n for name, n in zip(FIFO_FLAGS, fifo, strict=True)}

    def picture(self) -> bytes:
        """Return the map of pixels as PNG."""
        with self._lock:
            if self._layout is None or not len(self._layout.places):
                return png(chip_map(self._rates()))
            return png(pixel_map(self._layout.places, self._layout.in_place(self._pixel_rates())))

    # Actions

    def retrieve_pixel_layout(self) -> dict[str, Any]:
        """retrieve_pixel_layout(): the pixel layout that is loaded, and which chip and channel a pixel is."""
        if self._layout is None:
            raise WireError("No pixel layout is loaded.", "Load one: load_pixel_layout(NAME).")
        return self._layout.said()

    def load_pixel_layout(self, name: str) -> dict[str, Any]:
        """load_pixel_layout(name): load a pixel layout."""
        layout = find_layout(self._layouts, str(name))
        with self._lock:
            self._layout = layout
        return layout.said()

    def data_rate(self) -> str:
        """data_rate(): mean packets a second from the begin of the run to the last packet."""
        return f"{self.n_packets / max(self._last - self._begun, 1e-3) if self.n_packets else 0:.2f}"

    def packets(self) -> list[dict[str, Any]]:
        """packets(): the newest packets, newest first."""
        return self._last_packets()[-_SHOWN:][::-1]

    def messages(self) -> list[str]:
        """messages(): the newest INFO texts, newest first."""
        return list(self._messages)[-_SHOWN:][::-1]


def _dicts(table: np.ndarray[Any, np.dtype[np.void]]) -> list[dict[str, Any]]:
    names = table.dtype.names or ()
    return [dict(zip(names, one, strict=True)) for one in table.tolist()]


def run_monitor(arguments: argparse.Namespace, name: str, stop: threading.Event) -> None:
    """Be the monitor until `stop`."""
    monitor = Monitor(arguments, name)
    if arguments.rest_port is None:
        monitor.run(stop)
        return
    from forebay.front.bsread.server import RestServer, open_rest_port
    from forebay.front.larpix.monitor_rest import monitor_app

    server = RestServer(monitor_app(monitor), open_rest_port(arguments.rest_port))
    server.start()
    try:
        monitor.run(stop)
    finally:
        server.close()
