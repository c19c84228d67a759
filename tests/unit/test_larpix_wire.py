"""Words, messages and blocks: every value comes back, and no bytes do any harm."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.errors import ConfigError, WireError
from forebay.event import Event
from forebay.wire import envelope, pacman
from forebay.wire.larpix import block, configure, dataserver, packets, register_map, registers, row, word
from forebay.wire.pacman_batch import Batch, PacmanArrays, messages_of

pytestmark = pytest.mark.unit

FORMATS = {"1": word.V1, "2": word.V2, "diagnostics": word.V2_DIAGNOSTICS, "3": word.V3}
DISJOINT = {
    "1": ("packet_type", "chip_id", "channel_id", "timestamp", "dataword", "fifo_half", "fifo_full"),
    "2": ("packet_type", "chip_id", "channel_id", "timestamp", "first_packet", "dataword", "shared_fifo"),
    "diagnostics": ("packet_type", "timestamp", "shared_fifo_events", "local_fifo_events", "dataword"),
    "3": ("packet_type", "chip_id", "timestamp", "reset_sample_flag", "cds_flag", "dataword", "local_fifo"),
}


@settings(deadline=None)
@given(st.sampled_from(sorted(FORMATS)), st.data())
def test_fields_come_back(name, data):
    word_format = FORMATS[name]
    given_fields = {
        one: data.draw(st.lists(st.integers(0, 2 ** word_format.fields[one][1] - 1), min_size=3, max_size=3))
        for one in DISJOINT[name]
    }
    words = word.encode(given_fields, word_format)
    columns = word.decode(words, word_format)
    assert {one: columns[one].tolist() for one in given_fields} == given_fields
    assert columns["valid_parity"].all()
    flipped = words ^ (np.uint64(1) << np.uint64(data.draw(st.integers(0, word_format.n_bits - 1))))
    assert not word.has_good_parity(flipped, word_format).any()
    assert word.from_bytes(word.to_bytes(words, word_format), word_format).tolist() == words.tolist()


def test_parity_is_odd():
    assert not word.has_good_parity(np.zeros(1, np.uint64)).any()
    assert word.encode({"packet_type": [0]}).tolist() == [1 << 63]


@pytest.mark.parametrize("fields", [{"dataword": [256]}, {"dataword": [-1]}, {"colour": [1]}])
def test_what_is_no_field_is_refused(fields):
    with pytest.raises(WireError):
        word.encode(fields)


def test_unknown_chip():
    with pytest.raises(ConfigError, match="lightpix-1"):
        word.format_of("4")


def records(draw):
    n = draw(st.integers(0, 5))
    made = [
        pacman.data_words(draw(st.integers(1, 32)), draw(st.integers(0, 2**32 - 1)), [w]) for w in range(n)
    ]
    made += [pacman.sync_word(b"S", draw(st.integers(0, 2**32 - 1)), 1)] * draw(st.integers(0, 1))
    made += [pacman.trigger_word(3, draw(st.integers(0, 2**32 - 1)))] * draw(st.integers(0, 1))
    return np.concatenate(made) if made else np.zeros(0, pacman.WORD)


@settings(deadline=None)
@given(st.data())
def test_batches_have_the_words_of_their_messages(data):
    parts = [records(data.draw) for _ in range(data.draw(st.integers(0, 4)))]
    messages = [pacman.encode(pacman.DATA_MESSAGE, i, one) for i, one in enumerate(parts)]
    batch = Batch(b"".join(messages), np.array(list(map(len, messages)), np.uint32))
    assert (batch.n_malformed, batch.n_miscounted) == (0, 0)
    assert batch.counts.tolist() == list(map(len, parts))
    assert batch.seconds.tolist() == list(range(len(parts)))
    assert batch.words.tobytes() == b"".join(one.tobytes() for one in parts)
    rows, n_unknown = batch.rows(np.arange(len(parts)), word.V2)
    assert n_unknown == 0
    assert rows["io_group"].tolist() == [i for i, one in enumerate(parts) for _ in range(len(one) + 1)]
    one_by_one = [
        Batch(message, np.array([len(message)])).rows(i, word.V2)[0] for i, message in enumerate(messages)
    ]
    assert rows.tobytes() == b"".join(one.tobytes() for one in one_by_one)
    assert [pacman.decode(message).words.tobytes() for message in messages] == [p.tobytes() for p in parts]


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=8), st.sampled_from(sorted(FORMATS)))
def test_hostile_messages(messages, name):
    batch = Batch(b"".join(messages), np.array(list(map(len, messages)), np.uint32))
    rows, n_unknown = batch.rows(1, FORMATS[name])
    assert batch.n_messages + batch.n_malformed == len(messages)
    assert len(rows) + n_unknown == batch.n_messages + len(batch.words)
    assert len([packet.export() for packet in packets.packets_of(rows)]) == len(rows)
    for message in messages:
        for decode in (pacman.decode, block.decode, dataserver.decode, word.from_bytes):
            try:
                decode(message)
            except WireError:
                continue


@settings(deadline=None)
@given(st.integers(0, 40), st.binary(max_size=64), st.sampled_from(b"D?!"))
def test_hostile_words(n_words, body, kind):
    body = body[: len(body) // 16 * 16]
    message = bytes([kind, 0, 0, 0, 0, 0]) + n_words.to_bytes(2, "little") + body
    batch = Batch(message, np.array([len(message)]))
    assert batch.n_miscounted == (n_words != len(body) // 16)
    if batch.n_miscounted:
        with pytest.raises(WireError, match="says that it has"):
            pacman.decode(message)
    else:
        with contextlib.suppress(WireError):  # words of kinds that commands do not have
            pacman.decode_commands(pacman.decode(message))


def test_words_that_nobody_knows_are_counted():
    unknown = pacman.data_words(1, 2, [3, 4])
    unknown["kind"][0] = ord("x")
    message = pacman.encode(pacman.DATA_MESSAGE, 5, unknown)
    rows, n_unknown = Batch(message, np.array([len(message)])).rows(1, word.V2)
    assert (n_unknown, rows["packet_type"].tolist()) == (1, [4, 0])


def test_words_of_requests_go_to_the_chip():
    write = word.encode({"packet_type": 2, "chip_id": 11, "register_address": 200, "register_data": 7})
    commands = [pacman.Command("P"), pacman.Command("D", channel=3, word=int(write))]
    message = pacman.encode_commands(pacman.REQUEST, 9, commands)
    rows, n_unknown = Batch(message, np.array([len(message)])).rows(2, word.V2)
    assert n_unknown == 1  # a ping is no packet
    assert (rows[1]["direction"], rows[1]["io_channel"], rows[1]["receipt_timestamp"]) == (0, 3, 0)
    assert (rows[1]["register_address"], rows[1]["register_data"]) == (200, 7)


def test_lengths_must_add_up():
    with pytest.raises(WireError, match="together"):
        Batch(b"12345678", np.array([7]))


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.just(pacman.Command("P")),
            st.builds(
                pacman.Command,
                st.sampled_from("WR"),
                register=st.integers(0, 2**32 - 1),
                value=st.integers(0, 2**32 - 1),
            ),
            st.builds(
                pacman.Command, st.just("D"), channel=st.integers(0, 255), word=st.integers(0, 2**64 - 1)
            ),
            st.builds(
                pacman.Command,
                st.just("E"),
                code=st.integers(0, 255),
                text=st.binary(max_size=14).map(lambda text: text.ljust(14, b"\0")),
            ),
        ),
        max_size=6,
    )
)
def test_commands_come_back(commands):
    message = pacman.decode(pacman.encode_commands(pacman.REQUEST, 1, commands))
    assert pacman.decode_commands(message) == commands


@pytest.mark.parametrize(
    "command",
    [
        pacman.Command("X"),
        pacman.Command("W", register=2**32),
        pacman.Command("D", channel=256),
        pacman.Command("E", text=b"longer than fourteen"),
    ],
)
def test_commands_that_do_not_fit(command):
    with pytest.raises(WireError):
        pacman.encode_commands(pacman.REQUEST, 0, [command])


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**54 - 1), max_size=5), st.integers(0, 255), st.integers(0, 255))
def test_blocks_come_back(words, group, channel):
    made = block.make(block.WORD, np.array(words, np.uint64), group, channel)
    again = block.decode(block.encode(made))
    assert block.values_of(again).tolist() == words
    assert set(again["io_group"].tolist()) <= {group}


@settings(deadline=None)
@given(st.sampled_from(sorted(register_map.PARAMETERS)), st.data())
def test_settings_come_back(version, data):
    before = registers.default_registers(version)
    name = data.draw(st.sampled_from(sorted(register_map.PARAMETERS[version])))
    one = register_map.PARAMETERS[version][name]
    values = data.draw(st.lists(st.integers(0, 2**one.n_bits - 1), min_size=one.n, max_size=one.n))
    value = values if one.n > 1 else values[0]
    after = registers.settings_of(registers.with_settings(before, {name: value}, version), version)
    assert after == registers.settings_of(before, version) | {name: value}


@pytest.mark.parametrize(
    ("version", "settings"),
    [
        ("2", {"colour": 1}),
        ("2", {"threshold_global": 256}),
        ("2", {"csa_enable": [1, 0]}),
        ("2", {"threshold_global": "high"}),
        ("3", {"csa_gain": 1}),
        ("4", {"threshold_global": 1}),
    ],
)
def test_settings_that_do_not_fit(version, settings):
    with pytest.raises(ConfigError):
        registers.with_settings(registers.default_registers("2"), settings, version)


@pytest.mark.parametrize("version", sorted(register_map.PARAMETERS))
def test_no_bit_belongs_to_two_parameters(version):
    taken = np.zeros(8 * register_map.N_REGISTERS[version], int)
    for one in register_map.PARAMETERS[version].values():
        taken[one.first : one.first + one.n * one.n_bits] += 1
    assert taken.max() == 1


# The chip's test benches put a data packet together bit by bit: type 01, chip id [9:2], channel [15:10],
# timestamp [43:16], reset sample [44], CDS [45], ADC [55:46], trigger [57:56], odd parity [63]; and
# configuration packets with type 10 or 11, register address [17:10], data [25:18], magic number [57:26].
def test_words_of_version_3_as_the_chip_makes_them():
    bits = 0b01 | 0xAA << 2 | 5 << 10 | 100 << 16 | 1 << 44 | 0 << 45 | 1023 << 46 | 2 << 56 | 1 << 62
    bits |= (1 - bits.bit_count() % 2) << 63
    columns = word.decode(np.array([bits], np.uint64), word.V3)
    found = {name: int(column[0]) for name, column in columns.items()}
    assert found["packet_type"] == word.V3.data_type == 1
    assert (found["chip_id"], found["channel_id"], found["timestamp"]) == (0xAA, 5, 100)
    assert (found["reset_sample_flag"], found["cds_flag"]) == (1, 0)
    assert (found["dataword"], found["trigger_type"]) == (1023, 2)
    assert found["valid_parity"]
    bits = 0b10 | 0x55 << 2 | 0x10 << 10 | 0xC3 << 18 | 0x89504E47 << 26
    bits |= (1 - bits.bit_count() % 2) << 63
    assert configure.write_words("3", 0x55, [0x10], 0xC3).tolist() == [bits]


def test_old_versions_keep_only_fields_of_the_type():
    words = word.encode({"packet_type": [0, 2], "timestamp": [2**31 - 1, 0], "register_data": [255, 0]})
    rows = np.zeros(2, row.ROW)
    row.fill(rows, words, word.V2)
    assert rows["register_data"].tolist() == [255, 0]
    assert row.of_version(rows, "2.2")["register_data"].tolist() == [0, 0]
    assert row.of_version(rows, "2.3") is rows


def test_events_carry_messages():
    message = pacman.encode(pacman.DATA_MESSAGE, 5, pacman.data_words(1, 2, [3]))
    arrays = PacmanArrays(message, np.array([len(message)], np.uint32), 4, "2b")
    event = Event("board", 0, 0, arrays, np.zeros(0, np.uint32))
    assert messages_of(event) is arrays
    plain = messages_of(Event("board", 0, 0, dict(arrays), np.zeros(0, np.uint32)))
    assert (plain.data, plain.io_group, plain.asic_version) == (message, 4, "2b")
    parts = envelope.encode(event, sequence=0, instance=1, pixels=True)
    received = messages_of(envelope.decode(parts).event)
    assert (received.data, received.io_group, received.asic_version) == (message, 4, "2b")
    assert received.lengths.tolist() == [24]
    with pytest.raises(WireError, match="board"):
        messages_of(Event("board", 0, 0, {}, np.zeros(0, np.uint32)))


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), max_size=5), st.binary(max_size=40))
def test_serial_frames_come_back(words, noise):
    data = dataserver.serial(np.array(words, np.uint64))
    assert len(data) == 10 * len(words)
    assert dataserver.from_serial(data).tolist() == words
    with contextlib.suppress(WireError):
        dataserver.from_serial(noise)


def test_words_for_the_data_server():
    assert dataserver.send_word(0xAB, 3, word.V1) == b"SNDWORD 0x00000000000000ab 3"
    with pytest.raises(WireError, match="cannot be sent"):
        dataserver.send_word(2**54, 3, word.V1)


@settings(deadline=None)
@given(st.sampled_from("DTH"), st.integers(0, 2**56 - 1), st.integers(0, 255))
def test_server_messages_come_back(kind, number, io_channel):
    words = np.array([number, 0], np.uint64)
    message = dataserver.ServerMessage(kind, io_channel, words, number)
    again = dataserver.decode(dataserver.encode(message))
    assert again.kind == kind
    if kind == "D":
        assert (again.io_channel, again.words.tolist()) == (io_channel, [number, 0])
    if kind == "T":
        assert again.seconds == number


def test_data_of_version_3_are_called_data():
    words = word.encode({"packet_type": 1, "dataword": 1000, "cds_flag": [1]}, word.V3)
    rows = np.zeros(1, row.row_type({word.V2, word.V3}))
    row.fill(rows, words, word.V3)
    (packet,) = packets.packets_of(rows)
    said = packet.export()
    assert (packet.packet_type, said["type_str"], said["dataword"], said["cds_flag"]) == (1, "data", 1000, 1)
