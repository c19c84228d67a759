"""Which ports the demo tries: those that no sender is given first, and others where there are none."""

import pytest

from forebay.cli import demo

pytestmark = pytest.mark.unit


@pytest.fixture
def senders(tmp_path, monkeypatch):
    def have(first, last):
        path = tmp_path / "range"
        path.write_text(f"{first}\t{last}\n", encoding="ascii")
        monkeypatch.setattr(demo, "PORTS_OF_SENDERS", path)
        return demo.candidate_ports(3)

    return have


def test_ports_of_senders_come_last(senders):
    starts = senders(32768, 60999)
    n_others = 32768 - 3 + 1 - demo.FIRST_PORT + 2**16 - 3 + 1 - 61000
    assert all(start + 2 < 32768 or start > 60999 for start in starts[:n_others])
    assert len(starts) == len(set(starts)) == 2**16 - 3 + 1 - demo.FIRST_PORT


@pytest.mark.parametrize("ends", [(1024, 65535), (1024, 60999), (60000, 65535), (32768, 32768)])
def test_there_are_some_whatever_the_range_of_senders_is(senders, ends):
    starts = senders(*ends)
    assert set(starts) == set(range(demo.FIRST_PORT, 2**16 - 3 + 1))
