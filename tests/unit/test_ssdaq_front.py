"""SSDAQ's configuration, commands and words, as they were typed and written."""

import gzip
import json
import struct
import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.errors import ConfigError, WireError
from forebay.front.ssdaq import arguments
from forebay.front.ssdaq.configuration import parse_config, read_config
from forebay.front.ssdaq.readout import SSReadout, SSReadoutB, record_of
from forebay.front.ssdaq.words import answer
from forebay.service.readout_commands import histogram, status_lines

pytestmark = pytest.mark.unit

VECTORS = Path(__file__).parents[1] / "vectors" / "ssdaq"


class Assembler:
    def __init__(self):
        self.publishes = True
        self.n_reset = 0

    def publish(self, on):
        self.publishes = on

    def reset_count(self):
        self.n_reset += 1

    def status(self):
        return {"readouts": 5}


def test_the_configuration_of_the_readme_is_read_as_it_stands():
    config = read_config(VECTORS / "readme" / "control-ssdaq.yaml")
    assembler = config.ReadoutAssembler.SSReadoutAssembler
    assert (assembler.listen_ip, assembler.listen_port, assembler.buffer_length) == ("0.0.0.0", 2009, 1000)
    assert (assembler.readout_tw, assembler.buffer_time) == (1e7, 4e9)
    modes = [(one.port, one.mode) for one in config.ReadoutAssembler.ReadoutPublishers.values()]
    assert modes == [(5551, "local"), (9999, "outbound"), (9999, "remote")]
    assert config.ReadoutAssemblerDaemon.set_taskset
    assert config.ReadoutAssemblerDaemon.cores == (0,)
    assert str(config.ReadoutFileWriterDaemon.stderr) == "/tmp/ssdaq_writer.log"
    assert (config.SSFileWriter.file_enumerator, str(config.SSFileWriter.folder)) == ("date", "/tmp")


@pytest.mark.parametrize("text", ["1.e7", "!!float 1.e7", "1e7", "10000000", "1.0e+7"])
def test_floats_with_and_without_their_tag(text):
    config = parse_config(f"ReadoutAssembler: {{SSReadoutAssembler: {{readout_tw: {text}}}}}", "a")
    assert config.ReadoutAssembler.SSReadoutAssembler.readout_tw == 1e7
    assert config.ReadoutAssembler.SSReadoutAssembler.buffer_time == 4e9


def test_nothing_given_is_the_default():
    assert parse_config("", "a") == read_config(None)
    assert parse_config("SSFileWriter:\n", "a") == read_config(None)


def test_the_packet_debug_stream_is_a_key():
    text = "ReadoutAssembler: {SSReadoutAssembler: {packet_debug_stream_file: /tmp/a.txt}}"
    settings = parse_config(text, "here").ReadoutAssembler.SSReadoutAssembler
    assert settings.packet_debug_stream_file == Path("/tmp/a.txt")


def test_publishers_of_the_file_take_the_place_of_the_default_one():
    text = "ReadoutAssembler: {ReadoutPublishers: {P: {ip: 127.0.0.1, port: 1}}}"
    assert list(parse_config(text, "a").ReadoutAssembler.ReadoutPublishers) == ["P"]


@pytest.mark.parametrize(("text", "cores"), [("3", (3,)), ("'0,4'", (0, 4)), ("1-3", (1, 2, 3))])
def test_cores_as_taskset_takes_them(text, cores):
    assert (
        parse_config(f"ReadoutAssemblerDaemon: {{core_id: {text}}}", "a").ReadoutAssemblerDaemon.cores
        == cores
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "SSFileWriter:\n  file_prefx: a",
            "line 2: SSFileWriter.file_prefx is not a known key (is file_prefix",
        ),
        ("SSFileWritr: {}", "SSFileWritr is not a known key (is SSFileWriter meant?)"),
        ("SSFileWriter: {file_enumerator: size}", "'size'"),
        ("ReadoutAssembler: {SSReadoutAssembler: {readout_tw: -1}}", "readout_tw"),
        ("ReadoutAssembler: {ReadoutPublishers: {P: {ip: 127.0.0.1, port: 1, mode: loud}}}", "'loud'"),
        ("ReadoutAssembler: {ReadoutPublishers: {P: {ip: 127.0.0.1}}}", "P.port"),
        ("ReadoutAssemblerDaemon: {core_id: all}", "0 or 0,4"),
        ("ReadoutAssemblerDaemon: {log_level: eval()}", "eval()"),
        ("[1]", "c.yaml is [1], and no sections"),
        ("a", "c.yaml is 'a', and no sections"),
        (
            "ReadoutAssembler:\n  ReadoutPublishers:\n"
            "    P: {ip: 127.0.0.1, port: 1}\n    Q: {ip: 127.0.0.1, port: 1, mode: outbound}",
            "line 2: ReadoutAssembler.ReadoutPublishers: P and Q both publish at 127.0.0.1:1",
        ),
        ("a: [", "not valid YAML"),
    ],
)
def test_wrong_keys_and_values_are_named(text, said):
    with pytest.raises(ConfigError) as error:
        parse_config(text, "c.yaml")
    assert said in str(error.value)
    assert "c.yaml" in str(error.value)


def test_commands_and_their_replies():
    assembler = Assembler()
    assert answer(assembler, b"reset_ro_count 1") == b"Readout count reset"
    assert answer(assembler, b"set_publish_readouts False") == b"Paused readout publishing"
    assert (assembler.publishes, assembler.n_reset) == (False, 1)
    assert answer(assembler, b"set_publish_readouts true") == b"Unpaused readout publishing"
    assert assembler.publishes
    assert answer(assembler, b"set_publish_readouts").startswith(b"Unrecognized arg")
    assert answer(assembler, b"set_publish_readouts maybe").startswith(b"Unrecognized arg 'maybe'")
    assert json.loads(answer(assembler, b"status")) == {"readouts": 5}


@given(st.binary(max_size=100))
def test_whatever_comes_is_answered(message):
    assert answer(Assembler(), message)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("start roa -d", {"what": "roa", "daemon": True, "config": None}),
        ("start roa c.yaml", {"daemon": False, "config": Path("c.yaml")}),
        (
            "start dw --no-daemon -f P -o D",
            {"what": "dw", "filename_prefix": "P", "output_folder": Path("D")},
        ),
        ("start daq -c c.yaml", {"what": "daq", "daemon": True, "config": Path("c.yaml"), "names": []}),
        ("restart daq", {"daemon": True}),
        ("stop roa", {"command": "stop", "what": "roa"}),
        ("roa-ctrl pause-pub", {"what": "pause-pub"}),
        ("roa-ctrl status --json", {"json": True}),
        ("stop dw --instance two", {"instance": "two"}),
    ],
)
def test_command_lines_of_control_ssdaq(words, expected):
    assert expected.items() <= vars(arguments.control_arguments(words.split())).items()


@pytest.mark.parametrize("words", ["", "start", "start cat", "stop dw --instance ../x", "roa-ctrl explode"])
def test_wrong_command_lines_exit_with_2(words, capsys):
    with pytest.raises(SystemExit) as end:
        arguments.control_arguments(words.split())
    assert end.value.code == 2
    assert "control-ssdaq" in capsys.readouterr().err


def test_command_lines_of_the_others():
    assert vars(arguments.ssdaq_arguments([])) == {
        "listen_port": 2009,
        "publishing_port": 5555,
        "publishing_interface": "127.0.0.101",
        "relaxed_ip": False,
        "verbose": "INFO",
    }
    assert arguments.ssdaq_arguments(["-V", "-r", "-l", "7"]).verbose == "DEBUG"
    assert arguments.ssdaq_arguments(["-V", "error"]).verbose == "ERROR"
    assert arguments.writer_arguments(["-i", "1.2.3.4", "name"]).filename == "name"
    assert arguments.listener_arguments(["-t", "3", "-n", "5"]).tm == 3


@pytest.mark.parametrize("name", ["A_golden_ssreadout_full", "A_golden_ssreadout_missing31"])
def test_a_readout_packs_to_the_golden_message(name):
    message = (VECTORS / "zmq" / f"{name}.bin").read_bytes()
    readout = SSReadout()
    readout.unpack(message)
    assert readout.data.shape == (32, 64)
    assert bytes(readout.pack()) == message
    assert readout.asic_mapped_data[0, 0] == readout.data[0, 29]
    assert readout.colrow_mapped_data[0, 0] == readout.data[0, 8]


def test_a_readout_of_the_successor_packs_to_the_golden_message():
    message = (VECTORS / "zmq" / "B_golden_ssreadout_full.bin").read_bytes()
    readout = SSReadoutB.from_bytes(message)
    assert readout.serialize() == message
    assert readout.cpu_t == pytest.approx(readout.cpu_t_s, abs=1)
    assert bytes(SSReadoutB.deserialize(readout.pack()).pack()) == message


def test_every_golden_message_goes_through_a_readout_unchanged():
    data = gzip.decompress((VECTORS / "zmq" / "golden_A_zmq.bin.gz").read_bytes())
    while data:
        (n,) = struct.unpack_from("<I", data)
        readout = SSReadout()
        readout.unpack(data[4 : 4 + n])
        assert bytes(readout.pack()) == data[4 : 4 + n]
        data = data[4 + n :]


def test_an_empty_readout_has_no_module():
    readout = SSReadout()
    assert np.isnan(readout.data).all()
    assert not readout.timestamps.any()
    assert len(readout.pack()) == 16912
    assert record_of(SSReadoutB(5, 6))["number"] == 6
    with pytest.raises(WireError):
        readout.unpack(b"short")


def scripts():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["project"]["scripts"]


@pytest.mark.parametrize("name", sorted(name for name in scripts() if "ss" in name or "chec" in name))
def test_commands_are_installed(name):
    module, _, function = scripts()[name].partition(":")
    assert callable(getattr(import_module(module), function))


def test_the_status_is_told_in_words():
    nothing = {
        "port": 2009,
        "receiver": {"datagrams": 0},
        "builder": {"blocks": 0},
        "open": 0,
        "publishing": True,
        "withheld": 0,
        "publishers": [],
        "datagrams_of_module": [0] * 32,
        "missing_modules": list(range(32)),
        "shared_modules": [],
        "receive_buffer": {"asked": 8192, "given": 8192},
        "block_log": {},
        "queues": [],
        "failed": [],
    }
    assert status_lines(nothing) == [
        "UDP port 2009",
        "receiver: nothing yet",
        "builder: nothing yet",
        "open: 0 readouts wait for modules",
        "publishing: yes; withheld 0",
    ]
    some = nothing | {
        "receiver": {"datagrams": 9},
        "open": 3,
        "publishing": False,
        "withheld": 5,
        "publishers": [
            {
                "name": "local",
                "endpoint": "tcp://127.0.0.1:1",
                "mode": "local",
                "subscribers": 2,
                "sent": 7,
                "offered": 8,
                "unwatched": 1,
                "congested": 4,
            }
        ],
        "datagrams_of_module": [9] + [0] * 31,
        "missing_modules": [1, 2],
        "shared_modules": [5],
        "receive_buffer": {"asked": 8192, "given": 4096},
        "block_log": {"overflow": 6},
        "queues": [{"offered": 9, "taken": 2, "overflow": 7}],
        "failed": ["the disk is full"],
    }
    assert status_lines(some)[1:] == [
        "receiver: datagrams 9",
        "builder: nothing yet",
        "open: 3 readouts wait for modules",
        "publishing: no; withheld 5",
        "local tcp://127.0.0.1:1 (local), 2 listen: sent 7 of 8, nobody there 1, somebody too slow 4",
        "never came: modules 1, 2",
        "sent from several addresses: modules 5; give each its own, or name them (modules:)",
        "socket buffer: 4096 bytes, 8192 were asked; bursts may be lost",
        "packet_debug_stream_file: 6 blocks left out, the disk was too slow",
        "not written: 7 readouts, the disk was too slow",
        "failed: the disk is full",
    ]


def test_readouts_by_their_number_of_modules():
    assert histogram({}) == []
    assert histogram({32: 200, 31: 100, 4: 1}) == [
        " 4 modules:      1 readouts █",
        "31 modules:    100 readouts " + "█" * 20,
        "32 modules:    200 readouts " + "█" * 40,
    ]


@pytest.mark.parametrize(
    "words", [arguments.ssdaq_arguments, arguments.writer_arguments, arguments.listener_arguments]
)
def test_help_says_the_defaults(words, capsys):
    with pytest.raises(SystemExit) as end:
        words(["-h"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert "(default: 127.0.0.101)" in said
    assert "(default: 5555)" in said
