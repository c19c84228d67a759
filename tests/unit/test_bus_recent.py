"""What a hub keeps to tell again is bounded."""

import pytest

from forebay.run.bus import recent
from forebay.run.bus.recent import Recent

pytestmark = pytest.mark.unit


def test_by_channel_and_pattern_oldest_first():
    kept = Recent()
    for channel, key in (("status", "job.a"), ("kill", "job.a"), ("status", "run.a"), ("status", "job.b")):
        kept.add(channel, key, f"{channel} {key}".encode())
    assert list(kept.of("status", "job.#")) == [b"status job.a", b"status job.b"]
    assert list(kept.of("kill", "#")) == [b"kill job.a"]


def test_bounded_in_number_and_bytes(monkeypatch):
    monkeypatch.setattr(recent, "MOST_MESSAGES", 3)
    monkeypatch.setattr(recent, "MOST_BYTES", 10)
    kept = Recent()
    for i in range(5):
        kept.add("status", "k", b"%d" % i)
    assert list(kept.of("status", "#")) == [b"2", b"3", b"4"]
    kept.add("status", "k", b"x" * 9)
    assert list(kept.of("status", "#")) == [b"4", b"x" * 9]
    kept.add("status", "k", b"x" * 11)
    assert list(kept.of("status", "#")) == []
