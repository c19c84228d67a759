"""Counters of what came before a file of readouts: in its manifest, and what the check says of them."""

import numpy as np
import pytest

from forebay.store.check import check_file
from forebay.store.left import manifest_of_stream
from forebay.store.manifest import Counters
from forebay.store.readout_file import ReadoutFile
from forebay.store.readout_layout import ReadoutRecording
from forebay.wire import ssreadout

pytestmark = pytest.mark.flow

BEFORE = Counters({"2009": {"datagrams": 7, "kernel_drop": 3}}, {"blocks": 70, "used": 69, "late": 1})


def recorded(path, after):
    readouts = ssreadout.new(4)
    readouts["number"] = readouts["time_ns"] = 1 + np.arange(4)
    readouts["data"], readouts["timestamps"] = 1.0, 5
    file = ReadoutFile(path, ReadoutRecording(counters=BEFORE))
    file.append(readouts)
    file.conclude("stopped", after)
    file.close()
    return [(one.severity, one.message) for one in check_file(path).problems]


def test_the_manifest_has_what_grew(tmp_path):
    after = Counters({"2009": {"datagrams": 39, "kernel_drop": 3}}, {"blocks": 390, "used": 389, "late": 1})
    assert recorded(tmp_path / "a.h5", after) == []
    grown = manifest_of_stream(tmp_path / "a.h5").counters.difference
    assert grown.receiver == {"2009": {"datagrams": 32, "kernel_drop": 0}}
    assert grown.builder == {"blocks": 320, "used": 320, "late": 0}


def test_the_check_says_what_the_kernel_dropped(tmp_path):
    after = Counters({"2009": {"datagrams": 39, "kernel_drop": 8}}, {})
    assert recorded(tmp_path / "a.h5", after) == [("note", "The kernel dropped 5 datagrams of port 2009.")]


def test_the_check_adds_the_builders_counters_up(tmp_path):
    ((severity, said),) = recorded(tmp_path / "a.h5", Counters({}, {"blocks": 390, "used": 388, "late": 1}))
    assert severity == "problem"
    assert "390 blocks came, 389 add up" in said
