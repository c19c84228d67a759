"""Log records without framing: found in whatever pieces they come, and never lost behind garbage."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.wire import cdts
from forebay.wire.log_stream import MAX_RECORD_BYTES, LogSplitter

pytestmark = pytest.mark.unit

TEXTS = st.text(max_size=30)
RECORDS = st.fixed_dictionaries(
    {
        "systemType": st.integers(-5, 300),
        "severity": st.sampled_from([0, 10, 20, 30, 40, 50]),
        "sender": TEXTS,
        "message": TEXTS,
        "time": st.integers(0, 2**62),
        "pid": st.integers(0, 2**22),
        "sourceFile": TEXTS,
        "line": st.integers(0, 10**5),
    },
    optional={
        "position": TEXTS,
        "geoid": TEXTS,
        "seqid": st.integers(0, 9),
        "cameraPcTime": st.integers(0, 2**62),
    },
).map(lambda record: cdts.encode(cdts.LOG, record))


def record(i, **more):
    return cdts.encode(
        cdts.LOG,
        {
            "systemType": 8,
            "severity": 20,
            "sender": f"sender {i}",
            "message": "m" * i,
            "time": i,
            "pid": i,
            "sourceFile": "f.py",
            "line": i,
            **more,
        },
    )


@settings(deadline=None)
@given(st.lists(RECORDS, max_size=6), st.data())
def test_records_come_back_from_any_pieces(records, data):
    stream = b"".join(records)
    splitter = LogSplitter()
    found = []
    while stream:
        n = data.draw(st.integers(1, len(stream)))
        found += splitter.feed(stream[:n])
        stream = stream[n:]
    assert found == records[:-1]
    assert found + splitter.close() == records
    assert (splitter.n_malformed, splitter.n_waiting) == (0, 0)


def test_the_last_record_comes_with_a_pause():
    splitter = LogSplitter()
    assert splitter.feed(record(3)) == []
    assert splitter.pause() == [record(3)]
    assert splitter.pause() == []
    half = record(4)[:20]
    assert splitter.feed(half) == []
    assert splitter.pause() == []
    assert splitter.feed(record(4)[20:]) == []
    assert splitter.pause() == [record(4)]


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 3))
def test_hostile_bytes_are_counted_and_end(data, n):
    splitter = LogSplitter()
    found = [one for i in range(n + 1) for one in splitter.feed(data[i * 7 :])]
    found += splitter.close()
    total = sum(len(data[i * 7 :]) for i in range(n + 1))
    assert sum(map(len, found)) + splitter.n_skipped_bytes == total
    assert splitter.n_waiting == 0


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\0\0\1\0" + b"\x80\x04}q\0(X\4\0\0\0nameq\1",
        b"\xff" * 50,
        record(5)[3:],
        cdts.encode(cdts.TIME_UTC, {"sec": 1}),
    ],
)
def test_records_behind_garbage_are_found(garbage):
    splitter = LogSplitter()
    records = [record(i, seqid=i) for i in range(1, 5)]
    found = splitter.feed(records[0] + records[1]) + splitter.pause()
    found += splitter.feed(garbage + records[2] + records[3]) + splitter.close()
    assert found == records
    assert splitter.n_malformed == 1
    assert splitter.n_skipped_bytes == len(garbage)


def test_a_record_that_lacks_fields_is_counted():
    short = cdts.encode(
        {**cdts.LOG, 4: cdts.Field("message", "text")},
        {
            name: (1 if field.kind == "signed" else "x")
            for number, field in cdts.LOG.items()
            if field.is_required and number != 4
            for name in [field.name]
        },
    )
    splitter = LogSplitter()
    assert splitter.feed(short + record(1) + record(2)) == [record(1)]
    assert splitter.n_malformed == 1


def test_a_sender_cannot_fill_the_memory():
    splitter = LogSplitter()
    assert splitter.feed(b"\x08\x01\x10\x01\x1a\xff\xff\xff\xff\x07") == []
    assert splitter.n_malformed == 1
    for _ in range(40):
        splitter.feed(b"\x08\x01\x10\x01\x1a\xff\xff\x3f" + b"x" * 2**16)
        assert splitter.n_waiting <= MAX_RECORD_BYTES + 2**17
    assert splitter.feed(b"y" * MAX_RECORD_BYTES + record(7) + record(8)) == [record(7)]
