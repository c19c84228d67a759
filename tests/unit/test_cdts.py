"""Protobuf messages of the camera's other streams: encoded and decoded, or refused."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.errors import WireError
from forebay.wire import cdts

pytestmark = pytest.mark.unit

SCHEMAS = [
    cdts.TRIGGER_BUNCH,
    cdts.TRIGGER_MESSAGE,
    cdts.LOG,
    cdts.MONITOR,
    cdts.TELESCOPE,
    cdts.TIME_STAMP,
]
VALUES = {
    "signed": st.integers(-(2**63), 2**63 - 1),
    "unsigned": st.integers(0, 2**64 - 1),
    "bool": st.booleans(),
    "fixed64": st.integers(0, 2**64 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "text": st.text(max_size=20),
    "packed": st.lists(st.integers(0, 2**32 - 1), max_size=5),
}


def messages(schema):
    def of(field):
        if field.kind == "message":
            return messages(field.schema)
        if field.kind == "messages":
            return st.lists(messages(field.schema), min_size=1, max_size=3)
        return VALUES[field.kind]

    return st.fixed_dictionaries(
        {field.name: of(field) for field in schema.values() if field.is_required},
        optional={field.name: of(field) for field in schema.values() if not field.is_required},
    )


@settings(deadline=None)
@given(st.data())
def test_what_is_encoded_is_decoded(data):
    schema = data.draw(st.sampled_from(SCHEMAS))
    message = data.draw(messages(schema))
    assert cdts.decode(schema, cdts.encode(schema, message)) == message


@settings(deadline=None)
@given(st.binary(max_size=80), st.sampled_from(SCHEMAS))
def test_hostile_bytes_are_refused_or_read(data, schema):
    with suppress(WireError):
        cdts.decode(schema, data)


def test_triggers_of_a_bunch_are_taken_as_they_lie():
    triggers = [{"event_counter": i, "pattern": 2**63 + i, "time": {"seconds": 5}} for i in range(3)]
    bunch = cdts.encode(cdts.TRIGGER_BUNCH, {"bunch_counter": 7, "triggers": triggers})
    assert [cdts.decode(cdts.TRIGGER_MESSAGE, one) for one in cdts.parts(bunch, 3)] == triggers


def test_fields_that_must_be_there():
    with pytest.raises(WireError, match="lacks its field time"):
        cdts.encode(cdts.TELESCOPE, {"ra": 1.0})
    with pytest.raises(WireError, match="lacks its field time"):
        cdts.decode(cdts.TELESCOPE, b"")
    with pytest.raises(WireError, match="no field 'colour'"):
        cdts.encode(cdts.TIME_UTC, {"colour": 1})


def test_fields_of_later_versions_are_passed_over():
    data = cdts.encode(cdts.TIME_UTC, {"sec": 1}) + bytes([50 << 3 & 0xFF | 0x80, 50 >> 4, 9])
    assert cdts.decode(cdts.TIME_UTC, data)["sec"] == 1


def test_messages_do_not_nest_without_end():
    endless = {1: cdts.Field("inner", "message")}
    endless[1] = cdts.Field("inner", "message", endless)
    data = b""
    for _ in range(20):
        data = b"\x0a" + bytes([len(data)]) + data
    with pytest.raises(WireError, match="inside each other"):
        cdts.decode(endless, data)
