"""Updates of process variables: types of both protocols, records, hostile records."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from forebay.errors import ForebayError, WireError
from forebay.wire import epics_types
from forebay.wire.epics import ROW, Update, decode, disconnected, encode, split_name

pytestmark = pytest.mark.unit

TIMES = st.integers(0, 2**62)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
NUMBERS = st.one_of(
    [
        arrays.arrays(dtype, st.one_of(st.just(()), arrays.array_shapes(min_dims=1, max_dims=3, min_side=0)))
        for dtype in ("?", "i1", "u1", "<i2", ">i2", "<u2", "<i4", ">u4", "<i8", "<u8", "<f4", "<f8", ">f8")
    ]
)
VALUES = st.one_of(
    NUMBERS, TEXTS.map(np.array), st.lists(TEXTS, max_size=5).map(lambda a: np.array(a, np.str_))
)
UPDATES = st.builds(
    Update,
    st.sampled_from(["A", "B:C", "pva://D", "Ä"]),
    TIMES,
    TIMES,
    st.booleans(),
    st.sampled_from(["NO_ALARM", "HIHI", "unknown"]),
    st.integers(0, 3),
    st.one_of(st.none(), VALUES),
)


def same(one, other):
    if one.value is None or other.value is None:
        return one == other
    return one[:-1] == other[:-1] and same_value(one.value, other.value)


def same_value(one, other):
    if one.dtype.kind == "U":
        return one.tolist() == other.tolist() and one.shape == other.shape
    return (
        one.dtype.newbyteorder("<") == other.dtype
        and one.shape == other.shape
        and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    )


@given(st.lists(UPDATES, min_size=1, max_size=20))
def test_a_record_gives_back_what_it_was_given(updates):
    got = decode(encode(updates)).updates()
    assert len(got) == len(updates)
    assert all(same(one, other) for one, other in zip(updates, got, strict=True))


def test_a_row_has_no_padding():
    assert ROW.itemsize == sum(ROW[name].itemsize for name in ROW.names) == 32


def test_a_record_without_updates_is_refused():
    with pytest.raises(WireError, match="not 0"):
        encode([])


def test_values_that_are_no_numbers_are_refused_by_name():
    with pytest.raises(WireError, match="SOME:PV"):
        encode([Update("SOME:PV", 1, 1, True, "NO_ALARM", 0, np.array([object()]))])
    with pytest.raises(WireError, match="no text"):
        encode([Update("A", 1, 1, True, "NO_ALARM", 0, np.array("\ud800"))])


RECORD = encode(
    [
        Update("A", 1, 2, True, "NO_ALARM", 0, np.arange(3.0)),
        disconnected("B", 3),
        Update("B", 4, 5, True, "HIGH", 1, np.array("text")),
    ]
)


@given(st.integers(0, 2), st.data())
def test_a_damaged_record_is_a_wire_error_or_another_record(i_part, data):
    parts = list(RECORD)
    raw = bytearray(parts[i_part])
    if data.draw(st.booleans()):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    else:
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    parts[i_part] = bytes(raw)
    with suppress(WireError):
        decode(parts).updates()


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_bytes_that_are_no_record_are_a_wire_error(parts):
    with pytest.raises(WireError):
        decode(parts)


@pytest.mark.parametrize(
    "row", [{"i_name": 2}, {"i_type": 2}, {"i_type": -2}, {"i_status": 3}, {"n_bytes": 8}, {"i_type": 1}]
)
def test_a_row_that_points_outside_is_a_wire_error(row):
    rows = np.frombuffer(RECORD[1], ROW).copy()
    for key, value in row.items():
        rows[0][key] = value
    with pytest.raises(ForebayError):
        decode([RECORD[0], rows.tobytes(), RECORD[2]]).updates()


@pytest.mark.parametrize(("code", "dtype"), epics_types.CA_TYPES.items())
def test_numbers_of_channel_access_keep_their_type(code, dtype):
    scalar, array = epics_types.ca_array(7, code), epics_types.ca_array(np.array([1, 2], dtype), code)
    assert scalar.dtype == array.dtype == np.dtype(dtype)
    assert scalar.shape == ()
    assert scalar == 7
    assert array.tolist() == [1, 2]


def test_text_of_channel_access():
    assert epics_types.ca_array("Grüße", 0).item() == "Grüße"
    assert epics_types.ca_array(np.array(["a", "bc"]), 0).tolist() == ["a", "bc"]
    with pytest.raises(WireError, match="type 38"):
        epics_types.ca_array(1.0, 38)


@pytest.mark.parametrize(("letter", "dtype"), epics_types.PVA_TYPES.items())
def test_numbers_of_pvaccess_keep_their_type(letter, dtype):
    assert epics_types.pva_array(1, letter).dtype == np.dtype(dtype)
    array = epics_types.pva_array(np.array([0, 1], dtype), "a" + letter)
    assert (array.dtype, array.tolist()) == (np.dtype(dtype), [0, 1])


def test_text_of_pvaccess():
    assert epics_types.pva_array("x" * 20_000, "s").item() == "x" * 20_000
    assert epics_types.pva_array(["a", "bc"], "as").tolist() == ["a", "bc"]
    assert epics_types.pva_array([], "as").shape == (0,)
    for letter in ("v", "S", "aS", "", "aad"):
        with pytest.raises(WireError):
            epics_types.pva_array(1, letter)


def test_alarms_have_the_names_of_epics():
    assert [epics_types.ca_status(i) for i in (0, 3, 9, 17, 21, 99)] == [
        *("NO_ALARM", "HIHI", "COMM", "UDF", "WRITE_ACCESS", "STATUS_99")
    ]
    assert epics_types.pva_status(3, 2, "HIHI") == "HIHI"
    assert epics_types.pva_status(3, 2, "HIHI_ALARM") == "HIHI"
    assert epics_types.pva_status(1, 3, "no power") == "DEVICE"
    assert epics_types.pva_status(1, 0, "HIHI") == "NO_ALARM"
    assert [epics_types.severity_of(i) for i in (0, 2, 3, 4, -1)] == [0, 2, 3, 3, 3]
    assert epics_types.time_ns(1_795_232_239, 168_600_320) == 1_795_232_239_168_600_320


@pytest.mark.parametrize(
    ("value", "severity", "pulse_id"),
    [
        (17.0, 0, 17),
        ("23", 1, 23),
        (np.int32(5), 2, 5),
        (17.0, 3, None),
        (17.5, 0, None),
        (0, 0, None),
        (-1, 0, None),
        (float("nan"), 0, None),
        (float("inf"), 0, None),
        (1e30, 0, None),
        ("beam", 0, None),
        ([1, 2], 0, None),
    ],
)
def test_what_is_a_pulse_id(value, severity, pulse_id):
    assert epics_types.pulse_id_of(np.array(value), severity) == pulse_id


def test_how_a_pv_is_reached():
    assert split_name("A:B") == split_name("ca://A:B") == ("ca", "A:B")
    assert split_name("pva://A:B") == ("pva", "A:B")
