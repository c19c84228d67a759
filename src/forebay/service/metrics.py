"""Counters of every service in Prometheus' text format: rings are read, the others say theirs on the bus."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import CollectorRegistry

from forebay.api.feed import Feed
from forebay.config import Config
from forebay.errors import ForebayError, RingError
from forebay.ring.shared import SharedRing
from forebay.ring.slots import BUILD_COUNTERS, RECEIVE_COUNTERS
from forebay.run.operator import Operator


class Metrics:
    """What this host and all whom the bus knows have counted.

    A status of a service with a key ``counters`` (name to number) is shown as it was said last.
    """

    def __init__(self, config: Config, operator: Operator, feed: Feed) -> None:
        self._config = config
        self._operator = operator
        self._feed = feed
        self._lock = threading.Lock()
        self._rings: dict[str, SharedRing] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> str:
        """Return all of it, now."""
        return generate_latest(self._registry).decode()

    def describe(self) -> Iterable[Metric]:
        """Name nothing ahead: what there is is found out at each look."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return every family of counters."""
        yield GaugeMetricFamily("forebay_up", "The gateway answers.", 1)
        yield from self._ring_families()
        yield from self._feed_families()
        try:
            status = self._operator.status()
        except ForebayError:  # bus or catalogue is away: what can be read here is still told
            yield GaugeMetricFamily("forebay_control_up", "Bus and catalogue answer.", 0)
            return
        yield GaugeMetricFamily("forebay_control_up", "Bus and catalogue answer.", 1)
        jobs = GaugeMetricFamily("forebay_jobs", "Jobs that have not ended.", labels=["state"])
        for state, n_jobs in status.n_jobs.items():
            jobs.add_metric([state], n_jobs)
        services = GaugeMetricFamily(
            "forebay_service_state", "1 for the state a service is in.", labels=["service", "state"]
        )
        heard = GaugeMetricFamily(
            "forebay_service_heard_seconds", "When a service was heard last, since 1970.", labels=["service"]
        )
        counters = CounterMetricFamily(
            "forebay_service_counter", "What a service has counted.", labels=["service", "counter"]
        )
        for service in status.services:
            services.add_metric([service.key, service.state], 1)
            heard.add_metric([service.key], service.heard_ns / 1e9)
            for name, value in _numbers(service.detail.get("counters")):
                counters.add_metric([service.key, name], value)
        yield from (jobs, services, heard, counters)

    def _ring_families(self) -> Iterable[Metric]:
        ports = {
            name: CounterMetricFamily(
                f"forebay_receive_{name}", f"{name} of a port.", labels=["detector", "port"]
            )
            for name in RECEIVE_COUNTERS
        }
        builders = {
            name: CounterMetricFamily(f"forebay_build_{name}", f"{name} of a builder.", labels=["detector"])
            for name in BUILD_COUNTERS
        }
        present = GaugeMetricFamily(
            "forebay_ring_present", "The detector is being received on this host.", labels=["detector"]
        )
        with self._lock:
            for detector, one in self._config.detectors.items():
                found = self._counters_of(detector)
                present.add_metric([detector], 0 if found is None else 1)
                for block, counts in (found or {}).items():
                    for name, value in counts.items():
                        if block == "builder":
                            builders[name].add_metric([detector], value)
                        else:
                            port = one.start_udp_port + int(block.split()[1])
                            ports[name].add_metric([detector, str(port)], value)
        return [present, *ports.values(), *builders.values()]

    def _counters_of(self, detector: str) -> Mapping[str, Mapping[str, int]] | None:
        """Return the counters of a detector's ring; None while there is none."""
        ring = self._rings.get(detector)
        if ring is not None and not ring.owner_lives:
            self._rings.pop(detector).close()
            ring = None
        if ring is None:
            try:
                ring = self._rings[detector] = SharedRing.attach(detector, self._config.runtime_dir)
            except RingError:
                return None
        return ring.counters()

    def _feed_families(self) -> Iterable[Metric]:
        for name, value in self._feed.counters.items():
            yield CounterMetricFamily(f"forebay_watch_{name}", f"{name} of the watch stream.", value)
        yield GaugeMetricFamily("forebay_watchers", "Clients that watch.", self._feed.n_watchers)

    def close(self) -> None:
        """Let go of the rings; may be called twice."""
        with self._lock:
            for ring in self._rings.values():
                ring.close()
            self._rings.clear()


def _numbers(counters: object) -> Iterable[tuple[str, float]]:
    if isinstance(counters, Mapping):
        for name, value in counters.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield str(name), value
