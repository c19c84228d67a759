"""The control channel of simulated modules: words of the original, and whatever comes is answered."""

import pickle
import socket
import threading
from contextlib import closing

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.ports import free_ports
from typer.testing import CliRunner

from forebay.cli.module_control import controlled
from forebay.cli.sim_control import control_app
from forebay.errors import ConfigError, StreamError
from forebay.sim.camera import Camera, CameraOptions
from forebay.sim.camera_control import ModuleControl
from forebay.stream.request import ask
from forebay.wire import target
from forebay.wire.plain_pickle import decode

pytestmark = pytest.mark.flow

SECOND = 10**9


@pytest.fixture
def receiver():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.setblocking(False)
        yield one


@pytest.fixture
def camera(receiver):
    port = receiver.getsockname()[1]
    with closing(Camera(CameraOptions(port=port, modules=(3, 7), rate_hz=100))) as one:
        yield one


def time_tags(receiver, module):
    """Return the time tags of everything that a module sent."""
    tags = []
    try:
        while True:
            data, (address, _) = receiver.recvfrom(2**16)
            if address == f"127.0.0.{100 + module}":
                tags += target.decode(data)["time_ns"].astype(int).tolist()
    except BlockingIOError:
        return np.array(tags)


def control_of(camera, module=7):
    return ModuleControl(camera, module, module, f"127.0.0.{100 + module}")


def said(control, words):
    reply = decode(control.answer(words.encode()))
    assert (reply["name"], reply["ip"]) == ("TM:7", "127.0.0.107")
    return reply["status"], reply["msg"]


def test_every_command_of_the_original(camera, receiver):
    control = control_of(camera)
    assert said(control, "ping") == ("OK", "Ping!")
    status, commands = said(control, "available_cmds")
    assert status == "OK"
    assert set(commands) == {
        "ping",
        "available_cmds",
        "send_ss_data",
        "is_sending_ss_data",
        "change_rate",
        "get_rate",
        "get_npackets_sent",
    }
    assert said(control, "get_npackets_sent") == ("OK", 0)
    camera.send()
    assert said(control, "get_npackets_sent") == ("OK", 1)
    assert said(control, "is_sending_ss_data") == ("OK", True)
    assert said(control, "send_ss_data false") == ("OK", "send_ss_data set to: False")
    assert said(control, "is_sending_ss_data") == ("OK", False)
    camera.send()
    assert said(control, "get_npackets_sent") == ("OK", 1)
    assert said(control, "send_ss_data True") == ("OK", "send_ss_data set to: True")
    camera.send()
    assert said(control, "get_npackets_sent") == ("OK", 2)
    assert camera.counts == {"datagrams": 5, "silent": 1}
    tags = time_tags(receiver, 7)
    assert len(tags) == 20
    assert np.diff(tags)[9] == 11 * SECOND // 100  # what a silent module does not send went by


def test_the_rate_is_in_datagrams_and_time_tags_follow(camera, receiver):
    control = control_of(camera)
    assert said(control, "get_rate") == ("OK", 10.0)
    assert said(control, "change_rate 50") == ("OK", "New rate set to 50.000000 Hz")
    assert said(control, "get_rate") == ("OK", 50.0)
    n_left = iter([True, True, False])
    camera.run(lambda: not next(n_left))
    assert set(np.diff(time_tags(receiver, 7)).tolist()) == {SECOND // 500}


@pytest.mark.parametrize(
    "words",
    ["", "explode", "send_ss_data", "send_ss_data maybe", "send_ss_data true true", "change_rate"]
    + [f"change_rate {rate}" for rate in ("x", "0", "-1", "nan", "inf", "1e9", "1 2")],
)
def test_what_cannot_be_is_answered_with_an_error(camera, words):
    status, message = said(control_of(camera), words)
    assert status == "Error"
    assert message
    assert camera.rate_hz == 100
    assert not camera.silent


@given(st.binary(max_size=100))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_whatever_comes_is_answered(camera, message):
    assert decode(control_of(camera).answer(message))["status"] in ("OK", "Error")


def free_port():
    return free_ports(1, socket.SOCK_STREAM)


def test_modules_answer_at_their_own_addresses_to_any_client(camera):
    port = free_port()
    with controlled(camera, port):
        for module in (3, 7):
            reply = ask(f"tcp://127.0.0.{100 + module}:{port}", b"ping", 20)
            assert pickle.loads(reply) == {  # as the original's client does
                "name": f"TM:{module}",
                "ip": f"127.0.0.{100 + module}",
                "status": "OK",
                "msg": "Ping!",
            }
        with pytest.raises(StreamError, match="in use"), controlled(camera, port):
            pass
    with controlled(camera, port):
        assert ask(f"tcp://127.0.0.103:{port}", b"get_rate", 20)
    with controlled(camera, 0):
        assert threading.active_count() >= 1  # no channel, and nothing to wait for


def test_commands_while_it_runs(camera):
    port, is_over = free_port(), threading.Event()
    sending = threading.Thread(target=camera.run, args=(is_over.is_set,))
    runner = CliRunner()

    def typed(*words):
        done = runner.invoke(control_app, [*words, "--port", str(port)])
        return done.exit_code, done.output

    with controlled(camera, port):
        sending.start()
        code, text = typed("cmd", "change_rate", "100", "-i", "127.0.0.103")
        assert (code, "New rate set to 100" in text) == (0, True)
        code, text = typed("cmd", "send_ss_data", "false", "-i", "TM7")
        assert (code, "TM:7@127.0.0.107" in text) == (0, True)
        code, text = typed("status", "sending")
        assert code == 0
        assert (text.count("True"), text.count("False"), text.count("--")) == (1, 1, 30)
        code, text = typed("status", "-t", "-V")
        assert (text.count("ON"), text.count("OFF"), text.count("TM-")) == (2, 30, 32)
        assert "TM:3@127.0.0.103 OK: Ping!" in text
        assert typed("cmd", "explode", "-i", "TM3")[0] == 1
        for _ in range(3000):
            if camera.datagrams_of_module[3] > 5:
                break
            is_over.wait(0.01)
        is_over.set()
        sending.join(20)
    assert camera.datagrams_of_module[3] > 5
    assert camera.counts["silent"] > 0


def test_a_list_of_started_modules(tmp_path):
    path = tmp_path / "tms.txt"
    runner = CliRunner()
    path.write_text("TM3 127.0.0.1:x\nTM40 a:1\n", encoding="utf-8")
    done = runner.invoke(control_app, ["cmd", "ping", "-i", "TM3", "--list", str(path)])
    assert isinstance(done.exception, ConfigError)
    assert "TM40" in str(done.exception)
    path.write_text("TM3 127.0.0.1:1\n", encoding="utf-8")
    done = runner.invoke(control_app, ["cmd", "ping", "-i", "TM4", "--list", str(path)])
    assert "There is no module TM4" in str(done.exception)
    done = runner.invoke(control_app, ["status", "--list", str(tmp_path / "no.txt")])
    assert "There is no list" in str(done.exception)
