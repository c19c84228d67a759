"""Words, messages and blocks of larpix-control, larpix-daq and its board servers, bit by bit."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest

from forebay.wire import pacman, xylem
from forebay.wire.larpix import block, dataserver, packets, register_map, registers, word
from forebay.wire.pacman_batch import Batch

pytestmark = pytest.mark.compat

VECTORS = Path(__file__).parents[1] / "vectors" / "larpix"
V1_NAMES = {"chipid": "chip_id", "channel": "channel_id", "adc_counts": "dataword"}
NOT_FIELDS = {"name", "hex", "test_counter"}


def read(name):
    return json.loads((VECTORS / name).read_text())


@pytest.mark.parametrize(
    ("name", "word_format"),
    [
        ("packets/packet_v1.json", word.V1),
        ("packets/packet_v2.json", word.V2),
        ("packets/config_write_packets_v2.json", word.V2),
    ],
)
def test_words(name, word_format):
    vectors = read(name)
    vectors = vectors["vectors"] if isinstance(vectors, dict) else vectors
    data = b"".join(bytes.fromhex(one["hex"]) for one in vectors)
    words = word.from_bytes(data, word_format)
    assert word.to_bytes(words, word_format) == data
    columns = word.decode(words, word_format)
    for theirs in vectors[0].keys() - NOT_FIELDS:
        column = columns[V1_NAMES.get(theirs, theirs)]
        if theirs == "adc_counts":
            column = column & ~np.uint16(1)  # its reader clears the lowest bit
        assert column.tolist() == [one[theirs] for one in vectors], theirs
    if word_format is word.V1:
        assert word.test_counter(words).tolist() == [one["test_counter"] for one in vectors]
    else:
        mine = {name: columns[name] for name in word_format.fields if not name.startswith("register")}
        again = word.encode(mine, word_format, parity=columns["parity"])
        assert again.tolist() == words.tolist()


def flat(commands):
    """Return our commands as larpix-control's parser writes them."""
    written = []
    for one in commands:
        match one.kind:
            case "P":
                written.append("PING")
            case "W" | "R":
                written.append([{"W": "WRITE", "R": "READ"}[one.kind], one.register, one.value])
            case "D":
                written.append(["TX", one.channel, {"bytes": one.word.to_bytes(8, "little").hex()}])
            case "E":
                written.append(["ERR", one.code, {"bytes": one.text.hex()}])
    return written


PACMAN = read("pacman/pacman_vectors.json")["vectors"]


@pytest.mark.parametrize("vector", PACMAN, ids=lambda vector: vector["file"])
def test_messages(vector):
    data = (VECTORS / "pacman" / vector["file"]).read_bytes()
    assert data.hex().startswith(vector["hex"].rstrip("."))  # long ones are cut short there
    message = pacman.decode(data)
    (kind, seconds, n_words), words = vector["parse_msg"]
    assert {"REQ": pacman.REQUEST, "REP": pacman.REPLY, "DATA": pacman.DATA_MESSAGE}[kind] == message.kind
    assert (seconds, n_words) == (message.seconds, len(message.words))
    assert pacman.encode(message.kind, message.seconds, message.words) == data
    if kind != "DATA":
        commands = pacman.decode_commands(message)
        assert flat(commands) == ["PING" if one[0] in ("PING", "PONG") else one for one in words]
        assert pacman.encode_commands(message.kind, message.seconds, commands) == data
        return
    made = []
    for one in words:
        match one:
            case ["DATA", channel, receipt, {"bytes": text}]:
                made.append(pacman.data_words(channel, receipt, word.from_bytes(bytes.fromhex(text))))
            case ["SYNC", {"bytes": text}, source, timestamp]:
                made.append(pacman.sync_word(bytes.fromhex(text), timestamp, source))
            case ["TRIG", {"bytes": text}, timestamp]:
                made.append(pacman.trigger_word(bytes.fromhex(text)[0], timestamp))
    assert len(made) == n_words
    if made:
        assert np.concatenate(made).tobytes() == message.words.tobytes()
    specials = [one[-1] for one in words if one[0] in ("SYNC", "TRIG")]
    is_special = np.isin(message.words["kind"], list(b"ST"))
    assert pacman.special_timestamps(message.words[is_special]).tolist() == specials


ROWS_OF = [one for one in PACMAN if one["file"].startswith("data_") and one["parse_msg"][1]]


@pytest.mark.parametrize("vector", ROWS_OF, ids=lambda vector: vector["file"])
def test_rows_of_a_message(vector):
    data = (VECTORS / "pacman" / vector["file"]).read_bytes()
    rows, n_unknown = Batch(data, np.array([len(data)])).rows(3, word.V2)
    assert n_unknown == 0
    words = vector["parse_msg"][1]
    assert len(rows) == 1 + len(words)
    assert rows["packet_type"][0] == 4
    assert rows["timestamp"][0] == 1700000000
    assert set(rows["io_group"].tolist()) == {3}
    for row, one in zip(rows[1:], words, strict=True):
        match one:
            case ["DATA", channel, receipt, {"bytes": text}]:
                columns = word.decode(word.from_bytes(bytes.fromhex(text)))
                assert (row["io_channel"], row["receipt_timestamp"]) == (channel, receipt)
                assert all(row[name] == columns[name][0] for name in columns)
            case ["SYNC", {"bytes": text}, source, timestamp]:
                said = row["packet_type"], row["trigger_type"], row["dataword"], row["timestamp"]
                assert said == (6, int(text, 16), source, timestamp)
            case ["TRIG", {"bytes": text}, timestamp]:
                said = row["packet_type"], row["trigger_type"], row["timestamp"]
                assert said == (7, int(text, 16), timestamp)


@pytest.mark.parametrize("version", ["2", "2b", "lightpix-1"])
def test_registers(version):
    theirs = read(f"packets/registers_{version}.json")
    mine = registers.default_registers(version)
    assert mine.tobytes().hex() == theirs["default_register_bytes"]
    assert len(mine) == theirs["num_registers"]
    settings = registers.settings_of(mine, version)
    assert settings == {name: one["default"] for name, one in theirs["registers"].items()}
    assert {
        name: [one.first, one.first + one.n * one.n_bits]
        for name, one in register_map.PARAMETERS[version].items()
    } == {name: one["bits"] for name, one in theirs["registers"].items()}


def test_registers_of_version_1():
    theirs = read("packets/registers_1.json")
    mine = registers.default_registers("1")
    assert mine.tobytes().hex() == theirs["default_register_bytes"]
    assert registers.settings_of(mine, "1") == theirs["defaults"]


def test_packet_block():
    vectors = read("larpixdaq/larpixdaq_vectors.json")
    data = bytes.fromhex(vectors["packet_block_hex"])
    records = block.decode(data)
    assert block.encode(records) == data
    assert packets.exports_of_block(records) == vectors["decoded_again"]
    values = block.values_of(records)
    for record, value, said in zip(records, values, vectors["decoded_again"], strict=True):
        if record["kind"] == block.TIMESTAMP:
            assert value == said["timestamp"]
            continue
        columns = word.decode(np.array([value]), word.V1)
        assert said["chip_key"] == f"{record['io_group']}-{record['io_channel']}-{columns['chip_id'][0]}"
        assert said["bits"] == f"{value:054b}"
        assert said["type"] == columns["packet_type"][0]


def test_server_messages():
    data, time, v1_data, heartbeat = read("dataserver/dataserver_vectors.json")
    message = dataserver.decode(bytes.fromhex(data["hex"]))
    assert (message.kind, message.io_channel, message.words.tolist()) == ("D", 4, [0x002A000000630C14])
    assert dataserver.encode(message).hex() == data["hex"]
    assert dataserver.decode(bytes.fromhex(time["hex"])).seconds == 123456789
    message = dataserver.decode(bytes.fromhex(v1_data["hex"]), word.V1)
    assert dataserver.encode(message).hex() == v1_data["hex"]
    assert dataserver.decode(bytes.fromhex(heartbeat["hex"])).kind == "H"
    assert dataserver.encode(dataserver.ServerMessage("H")).hex() == heartbeat["hex"]


FRAMES = read("larpixdaq/larpixdaq_vectors.json")["frames"]


@pytest.mark.parametrize("name", FRAMES)
def test_frames_of_components(name):
    frames = [one.encode("latin-1") for one in FRAMES[name]]
    assert xylem.encode(xylem.decode(frames)) == frames


def test_a_session_of_an_operator():
    lines = (VECTORS / "larpixdaq" / "operator_session_frames.txt").read_text().splitlines()
    frames = [one[1] for line in lines if isinstance(one := ast.literal_eval(line), tuple)]
    assert len(frames) == len(lines) == 70
    for one in frames:
        assert xylem.encode(xylem.decode(one)) == one


def test_packets_as_the_monitor_posts_them():
    shown = read("larpixdaq/http_update_sample.json")["packets"]
    values = np.array([int(one["bits"], 2) for one in shown], np.uint64)
    records = block.make(block.WORD, values, 1, 1)
    assert packets.exports_of_block(records) == shown
