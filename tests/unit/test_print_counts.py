"""Counts of commands are printed for people and as JSON, whatever is in them."""

import json

import pytest

from forebay.cli.show import print_counts
from forebay.service.capture import Dumped
from forebay.service.replay import Replayed

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "counts", [Dumped(datagrams=3, by_port={1: 3}), Replayed(datagrams=3, by_port={1: 3})]
)
def test_ports_and_their_datagrams(counts, capsys):
    print_counts("done", counts, json=True)
    assert json.loads(capsys.readouterr().out)["by_port"] == {"1": 3}
    print_counts("done", counts, json=False)
    assert "{1: 3}" in capsys.readouterr().out
