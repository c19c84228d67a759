"""Counters in Prometheus' format: rings of this host, services by what they say, and all of it documented."""

import re
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.operator_stand_in import StandInOperator

from forebay.api import feed as feed_module
from forebay.api.feed import Feed
from forebay.config import parse
from forebay.errors import BusError
from forebay.ring.shared import RingShape, SharedRing
from forebay.ring.slots import BUILD_COUNTERS, RECEIVE_COUNTERS
from forebay.run.values import RunStatus, ServiceStatus, Status
from forebay.service.metrics import Metrics
from forebay.wire.jungfrau import jungfrau

pytestmark = pytest.mark.flow

COUNTERS_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "counters.md"


class Operator(StandInOperator):
    def __init__(self, *services):
        super().__init__()
        self.services = list(services)

    def status(self, proposal="default"):
        self._enter()
        run = RunStatus(proposal=proposal, run=None, state="idle", allowed=[])
        return Status(services=self.services, run=run, n_jobs={"queued": 3, "running": 1}, jobs=[])


def service(key, **detail):
    return ServiceStatus(key=key, state=detail.get("state", ""), detail=detail, heard_ns=time.time_ns())


@pytest.fixture
def measure(monkeypatch, tmp_path):
    """Return a function that gives the samples of an operator and a configuration."""
    monkeypatch.setattr(feed_module, "_READ_S", 0.01)
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    open_ones = []

    def make(operator, **config):
        feed = Feed(operator, most=3)
        metrics = Metrics(parse({"runtime_dir": str(runtime), **config}, "test"), operator, feed)
        open_ones.extend((feed, metrics))

        def samples():
            families = text_string_to_metric_families(metrics.text())
            return {
                (sample.name, *sorted(sample.labels.items())): sample.value
                for family in families
                for sample in family.samples
            }

        return samples

    make.runtime = runtime
    yield make
    for one in open_ones:
        one.close()


def test_what_services_say(measure):
    samples = measure(
        Operator(
            service("service.h.epics.e", state="ready", counters={"written": 7, "rate": 2.5, "note": "x"}),
            service('service.h."odd\\name\n', state="failing", counters="none"),
        )
    )()
    labels = (("counter", "written"), ("service", "service.h.epics.e"))
    assert samples["forebay_service_counter_total", *labels] == 7
    assert len([key for key in samples if key[0] == "forebay_service_counter_total"]) == 2
    odd = (("service", 'service.h."odd\\name\n'), ("state", "failing"))
    assert samples["forebay_service_state", *odd] == 1
    assert samples["forebay_jobs", ("state", "queued")] == 3
    assert samples["forebay_control_up",] == 1


def test_a_bus_that_is_away(measure):
    operator = Operator()
    samples = measure(operator, detectors={"jf": {"type": "jungfrau"}})
    operator.fault = BusError("away")
    found = samples()
    assert found["forebay_control_up",] == 0
    assert found["forebay_ring_present", ("detector", "jf")] == 0
    assert found["forebay_up",] == 1


def test_rings_are_read_also_after_their_owner_came_back(measure):
    samples = measure(Operator(), detectors={"jf": {"type": "jungfrau", "start_udp_port": 50100}})
    present = ("forebay_ring_present", ("detector", "jf"))
    assert samples()[present] == 0
    for _ in range(2):
        ring = SharedRing.create("jf", jungfrau(), RingShape(8, 1, 1), measure.runtime)
        found = samples()
        assert found[present] == 1
        for name in RECEIVE_COUNTERS:
            assert found[f"forebay_receive_{name}_total", ("detector", "jf"), ("port", "50100")] == 0
        for name in BUILD_COUNTERS:
            assert found[f"forebay_build_{name}_total", ("detector", "jf")] == 0
        ring.close()
        assert samples()[present] == 0


def test_every_metric_is_documented(measure):
    page = COUNTERS_PAGE.read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(forebay_\w+)", page, re.MULTILINE))
    ring = SharedRing.create("jf", jungfrau(), RingShape(8, 1, 1), measure.runtime)
    samples = measure(
        Operator(service("worker.h.1", state="idle", counters={"a": 1})),
        detectors={"jf": {"type": "jungfrau"}},
    )()
    ring.close()
    found = set()
    for name, *_ in samples:
        found.add(re.sub(r"^forebay_(receive|build)_(.+)_total$", r"forebay_\1_COUNTER_total", name))
    assert found == documented
