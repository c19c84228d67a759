"""Messages that are almost right: what no sender of forebay makes is refused, and said."""

import numpy as np
import pytest

from forebay.errors import WireError
from forebay.event import Event
from forebay.wire import envelope, frames
from forebay.wire.larpix import block

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("sizes", [(1, 2), (0, 3), (3,), (2, 0, 1), (2, 1, 0)])
def test_an_array_whose_parts_are_cut_elsewhere_is_refused(monkeypatch, sizes):
    """The bytes may all be there: whoever cuts otherwise is no sender of this format."""
    monkeypatch.setattr(envelope, "PART_BYTES", 2 * 2**20)
    array = np.arange(3 * 2**20, dtype=np.uint8)
    event = Event("det", 1, 2, {"data": array}, np.zeros(1, np.uint32))
    head, *parts = envelope.encode(event, sequence=0, instance=1, pixels=True)
    assert [len(part) for part in parts] == [2 * 2**20, 2**20]
    whole, ends = b"".join(parts), np.cumsum(sizes) * 2**20
    cut = [whole[end - n * 2**20 : end] for n, end in zip(sizes, ends, strict=True)]
    with pytest.raises(WireError, match=r"data|announces"):
        envelope.decode([head, *cut])
    assert (envelope.decode([head, *parts]).event.arrays["data"] == array).all()


def test_a_batch_of_frames_that_is_too_large_is_refused(monkeypatch):
    record = np.dtype([("pulse_id", "<u8")])
    batch = frames.FrameBatch(np.zeros(9, record), "ring", 1, 2, 3)
    message = frames.encode(batch)
    assert len(frames.decode(message, record).frames) == 9
    monkeypatch.setattr(frames, "MAX_BYTES", 8 * 8)
    with pytest.raises(WireError, match="72 bytes"):
        frames.decode(message, record)


@pytest.mark.parametrize("kind", [2, 255])
def test_a_record_of_larpix_daq_of_an_unknown_kind_is_refused(kind):
    records = block.make(block.WORD, np.arange(3, dtype=np.uint64), 1, 2)
    records["kind"][1] = kind
    with pytest.raises(WireError, match=f"kind {kind}"):
        block.decode(block.encode(records))
