"""A value that comes while its monitor is still being made is not the last one that is heard."""

import threading

import pytest
from tests.system.epics_stand import PREFIX
from tests.system.stand import wait_until

from forebay.stream.epics import EpicsSource

p4p_raw = pytest.importorskip("p4p.client.raw", reason="p4p cannot be installed here")
pytestmark = pytest.mark.system

NAME = f"{PREFIX}:EARLY"


@pytest.fixture
def served(monkeypatch):
    """Return a PV of a server in this process, found by the environment."""
    from p4p.nt import NTScalar
    from p4p.server import Server
    from p4p.server.thread import SharedPV

    pv = SharedPV(nt=NTScalar("d"), initial=1.5)
    with Server(providers=[{NAME: pv}], isolate=True) as server:
        for key, value in server.conf().items():
            monkeypatch.setenv(key, value)
        yield pv


def test_a_first_event_that_is_quicker_than_its_monitor(served, monkeypatch):
    called = threading.Event()
    made = p4p_raw.Context.monitor

    def slow(self, name, handler, request=None, **more):
        def heard():
            handler()
            called.set()

        monitor = made(self, name, heard, request, **more)
        assert called.wait(30)
        return monitor

    monkeypatch.setattr(p4p_raw.Context, "monitor", slow)
    source = EpicsSource([f"pva://{NAME}"])
    try:
        values = []

        def has(n):
            values.extend(float(one.value) for one in source.read(0.1) if one.connected)
            return len(values) >= n

        wait_until(lambda: has(1), "the first value")
        served.post(2.5)
        wait_until(lambda: has(2), "the second value")
        assert values == [1.5, 2.5]
    finally:
        source.close()
