"""Configurations of SSDAQ 0.9: components are read, wrong keys named; and files of 0.7 are read, too."""

import json
from pathlib import Path

import pytest

from forebay.errors import ConfigError
from forebay.front.ssdaq import arguments
from forebay.front.ssdaq.component_settings import RECEIVERS, WRITERS, RawFile
from forebay.front.ssdaq.components import (
    chosen,
    home_config,
    is_file_of_components,
    parse_components,
    read_components,
)

pytestmark = pytest.mark.unit

TEXT = """
SlowSignal:
  Daemon: {stdout: /tmp/a.log, stderr: /tmp/a.log, set_taskset: true, core_id: "2,3", monitor: ""}
  Receiver: {class: SSReadoutAssembler, listen_port: 17001, readout_tw: 1e7}
  Publishers:
    Local: {class: ZMQTCPPublisher, ip: 127.0.0.101, port: 9104, mode: local}
    Dumper: {class: RawWriter, file_name: bindump.dat}
Trigger:
  Receiver: {class: TriggerPacketReceiver, port: 8308}
Tel:
  Receiver: {class: TelDataReceiver, ip: 0.0.0.0, port: 10002, source: file, file: tel.jsonl}
SlowSignalWriter:
  Daemon: {stderr: /tmp/w.log}
  Writer: {class: ASlowSignalWriter, file_prefix: ss, port: 9104, filesize_lim: 500, file_enumerator: None}
ssrun:
  Writer: {class: TriggerWriter}
"""


def test_components_become_what_is_started():
    slow, trigger, tel = parse_components(TEXT, "Receiver")
    assert (slow.name, slow.kind, slow.settings.listen_port) == ("SlowSignal", "ReadoutAssembler", 17001)
    assert (slow.settings.readout_tw, slow.settings.buffer_time) == (1e7, 1e9)
    assert (slow.publishers["Local"].port, slow.publishers["Local"].generation) == (9104, "B")
    assert slow.publishers["Dumper"] == RawFile(file_name=Path("bindump.dat"))
    assert (slow.daemon.cores, slow.daemon.monitor) == ((2, 3), "")
    assert (trigger.settings.ip, trigger.settings.port) == ("0.0.0.0", 8308)
    (publisher,) = trigger.publishers.values()
    assert (publisher.ip, publisher.port) == ("127.0.0.101", 9002)
    assert trigger.daemon.monitor == "tcp://127.0.0.101:10002"
    assert (tel.settings.source, tel.settings.file) == ("file", Path("tel.jsonl"))


def test_writers_become_what_is_started():
    slow, trigger = parse_components(TEXT, "Writer")
    settings = slow.settings
    assert (settings.file_prefix, settings.generation, settings.filesize_lim) == ("ss", "B", 500)
    assert (settings.file_enumerator, settings.telescope) == ("none", "127.0.0.101:9006")
    assert str(slow.daemon.stderr) == "/tmp/w.log"
    assert (trigger.name, trigger.settings.port, trigger.publishers) == ("ssrun", 9002, {})


def test_defaults_are_those_of_the_original():
    found = read_components(None, "Receiver")
    assert [one.kind for one in found] == list(RECEIVERS)
    publishers = [one.publishers["ZMQTCPPublisher"] for one in found]
    assert [one.port for one in publishers] == [9004, 9001, 9002, 9003, 9005, 9006]
    assert {one.ip for one in publishers} == {"127.0.0.101"}
    settings = {one.kind: one.settings for one in found}
    assert settings["ReadoutAssembler"].listen_port == 17000
    assert settings["TriggerPacketReceiver"].port == 8307
    assert (settings["TimestampReceiver"].ip, settings["TimestampReceiver"].port) == ("192.168.101.102", 6666)
    assert (settings["LogReceiver"].port, settings["MonitorReceiver"].port) == (10001, 10002)
    assert [one.settings.name for one in found] == list(RECEIVERS)
    assert str(found[1].daemon.stderr) == "/tmp/logrec.log"
    assert read_components(None, "Writer") == []


@pytest.mark.parametrize("part", ["Receiver", "Writer"])
def test_a_component_comes_whole_to_its_process(part):
    for one in [*parse_components(TEXT, part), *read_components(None, part)]:
        assert parse_components(json.dumps(one.plain()), part) == [one]


@pytest.mark.parametrize("kind", WRITERS)
def test_every_class_of_a_writer_is_known(kind):
    (one,) = parse_components(f"W: {{Writer: {{class: {kind}}}}}", "Writer")
    assert one.kind == kind


def test_a_file_of_the_predecessor_is_read_as_it_stands(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("SSFileWriter: {file_prefix: a}\nReadoutAssembler: {}", encoding="utf-8")
    assert not is_file_of_components(path)
    (writer,) = read_components(path, "Writer")
    assert (writer.settings.file_prefix, writer.settings.generation) == ("a", "A")
    (assembler,) = read_components(path, "Receiver")
    assert (assembler.settings.listen_port, assembler.settings.readout_tw) == (2009, 1e7)
    (publisher,) = assembler.publishers.values()
    assert (publisher.port, publisher.generation) == (5555, "A")


def test_a_component_may_have_the_name_of_a_section_of_the_predecessor():
    (one,) = parse_components("ReadoutAssembler: {Receiver: {class: ReadoutAssembler}}", "Receiver")
    assert one.settings.listen_port == 17000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A: {Receiver: {class: SSReadoutAssembler, listen_prt: 1}}", "listen_port meant"),
        ("A: {Receiver: {class: TriggerPacketReceiver, port: many}}", "line 1: A.Receiver.port .*'many'"),
        (
            "\nA:\n  Receiver:\n    class: Nonesuch",
            "line 4: A.Receiver.class Nonesuch is no class; there are R",
        ),
        ("A: {Receiver: {}}", "None is no class"),
        ("A: {Receiver: {class: LogReceiver}, Publishers: {P: {class: X, ip: 1.1.1.1, port: 1}}}", "ZMQTCPP"),
        ("A: {Receiver: {class: LogReceiver}, Publishers: {P: {ip: 1.1.1.1}}}", "A.Publishers.P.port"),
        ("A: {Receiver: {class: LogReceiver}, Publishers: 7}", "is 7, not a mapping"),
        ("A: {Receiver: {class: LogReceiver}, Demon: {}}", "A.Demon is not a known key"),
        ("A: {Receiver: {class: LogReceiver}, Daemon: {core_ids: 1}}", "core_id meant"),
        ("A: {Daemon: {}}", "A has neither Receiver nor Writer"),
        ("a/b: {Receiver: {class: LogReceiver}}", "'a/b' is not a name"),
        ("A: 5", "not a component"),
        ("[]", "not a mapping"),
    ],
)
def test_what_cannot_be_started_is_named(text, said):
    with pytest.raises(ConfigError, match=said):
        parse_components(text, "Receiver")


def test_every_mistake_is_named_at_once():
    with pytest.raises(ConfigError) as error:
        parse_components(
            "A: {Receiver: {class: LogReceiver, port: -1}}\nB: {Receiver: {class: X}}", "Receiver"
        )
    assert "A.Receiver.port" in str(error.value)
    assert "B.Receiver.class" in str(error.value)


def test_components_are_chosen_by_their_names():
    found = parse_components(TEXT, "Receiver")
    assert [one.name for one in chosen(found, ["T"])] == ["Trigger", "Tel"]
    assert [one.name for one in chosen(found, ["Tri", "Sl"])] == ["SlowSignal", "Trigger"]
    assert chosen(found, []) == found
    with pytest.raises(ConfigError, match=r"begins with 'Log'.*SlowSignal, Trigger, Tel"):
        chosen(found, ["Tri", "Log"])


def test_the_home_folder_may_name_other_defaults(tmp_path):
    assert home_config("daq-config", tmp_path) is None
    (tmp_path / "daq.yaml").touch()
    home = tmp_path / ".ssdaq_config.yaml"
    home.write_text("daq-config: daq.yaml\nwriter-config: /none/such.yaml", encoding="utf-8")
    assert home_config("daq-config", tmp_path) == tmp_path / "daq.yaml"
    with pytest.raises(ConfigError, match="no such file"):
        home_config("writer-config", tmp_path)
    home.write_text("", encoding="utf-8")
    assert home_config("writer-config", tmp_path) is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("start daq Moni Read", {"names": ["Moni", "Read"], "config": None, "daemon": True}),
        ("stop daq -c c.yaml Moni", {"names": ["Moni"], "config": Path("c.yaml")}),
        ("restart daq Trigg", {"names": ["Trigg"]}),
        ("start dw -d ssrun", {"names": ["ssrun"], "config": None}),
        ("start dw -d conf/w.yaml ssrun", {"names": ["ssrun"], "config": Path("conf/w.yaml")}),
        ("start dw -c w.yaml -l", {"names": [], "config": Path("w.yaml"), "list": True}),
        ("stop dw ssrun", {"names": ["ssrun"]}),
        ("status daq --json Log", {"names": ["Log"], "json": True}),
    ],
)
def test_command_lines_with_components(words, expected):
    assert expected.items() <= vars(arguments.control_arguments(words.split())).items()
