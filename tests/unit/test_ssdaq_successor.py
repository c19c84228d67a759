"""Configurations of SSDAQ 0.9, and of 0.7 where 0.9's command reads them."""

import pytest

from forebay.errors import ConfigError
from forebay.front.ssdaq.configuration import read_config
from forebay.front.ssdaq.successor import read_successor

pytestmark = pytest.mark.unit

TEXT = """
SlowSignal:
  Daemon: {stdout: /tmp/a.log, stderr: /tmp/a.log, set_taskset: true, core_id: 2}
  Receiver: {class: SSReadoutAssembler, listen_port: 17001, readout_tw: 1e7}
  Publishers:
    Local: {class: ZMQTCPPublisher, ip: 127.0.0.101, port: 9104, mode: local}
Trigger:
  Receiver: {class: TriggerPacketReceiver, listen_port: 8307}
SlowSignalWriter:
  Daemon: {stderr: /tmp/w.log}
  Writer: {class: ASlowSignalWriter, file_prefix: ss, port: 9104, filesize_lim: 500}
"""


def written(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_components_become_what_is_started(tmp_path):
    config = read_successor(written(tmp_path, TEXT))
    assembler = config.ReadoutAssembler.SSReadoutAssembler
    assert (assembler.listen_port, assembler.readout_tw, assembler.buffer_time) == (17001, 1e7, 1e9)
    (publisher,) = config.ReadoutAssembler.ReadoutPublishers.values()
    assert (publisher.port, publisher.generation) == (9104, "B")
    assert config.ReadoutAssemblerDaemon.cores == (2,)
    writer = config.SSFileWriter
    assert (writer.file_prefix, writer.generation, writer.filesize_lim) == ("ss", "B", 500)
    assert str(config.ReadoutFileWriterDaemon.stderr) == "/tmp/w.log"


def test_defaults_are_those_of_the_successor():
    config = read_successor(None)
    assert config.ReadoutAssembler.SSReadoutAssembler.listen_port == 17000
    (publisher,) = config.ReadoutAssembler.ReadoutPublishers.values()
    assert (publisher.ip, publisher.port, publisher.generation) == ("127.0.0.101", 9004, "B")


def test_a_file_of_the_predecessor_is_read_as_it_stands(tmp_path):
    path = written(tmp_path, "SSFileWriter: {file_prefix: a}")
    assert read_successor(path) == read_config(path)


@pytest.mark.parametrize(
    ("text", "prefixes", "said"),
    [
        (TEXT, ["Trig"], "whose name begins with Trig"),
        (TEXT + "SlowToo: {Receiver: {class: SSReadoutAssembler}}", [], "two components"),
        ("A: {Receiver: {class: SSReadoutAssembler, listen_prt: 1}}", [], "listen_port meant"),
        ("A: 5", [], "not a component"),
        ("[]", [], "not a mapping"),
    ],
)
def test_what_cannot_be_started_is_named(tmp_path, text, prefixes, said):
    with pytest.raises(ConfigError, match=said):
        read_successor(written(tmp_path, text), prefixes)


def test_components_are_chosen_by_their_names(tmp_path):
    text = TEXT + "Other: {Receiver: {class: SSReadoutAssembler}}"
    config = read_successor(written(tmp_path, text), ["SlowS"])
    assert config.ReadoutAssembler.SSReadoutAssembler.listen_port == 17001
