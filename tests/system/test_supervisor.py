"""Supervision with real processes: what dies comes back or is reported, what is stopped ends in order."""

import json
import os
import re
import signal
import socket
import time

import pytest
import yaml
from tests.system.stand import Stand, free_ports, wait_until

pytestmark = pytest.mark.system


@pytest.fixture
def stand(tmp_path):
    api = {"port": free_ports(1, socket.SOCK_STREAM)}
    with Stand(tmp_path, workers={"record": 1, "retrieve": 1}) as one:
        one.configure({**one.settings, "api": api})
        yield one


def overview(stand: Stand) -> dict:
    return json.loads(stand.forebay("status", "--json", "-c", stand.config_path).out)


def states(stand: Stand) -> dict[str, str]:
    """Return the state of each service, without its detector's name."""
    return {line["name"].replace(f".{stand.name}", ""): line["state"] for line in overview(stand)["services"]}


def pid_of(stand: Stand, service: str) -> int | None:
    role, _, name = service.partition(".")
    asked = f" serve {role} {name or stand.name} "
    return next((pid for pid, words in stand.processes().items() if asked in words), None)


ALL = ["hub.bus", "receive", "assemble", "record.1", "retrieve.1", "gateway.rest"]


def test_from_start_to_stop(stand):
    before = stand.forebay("status", "--once", "-c", stand.config_path)
    assert before.code == 1
    assert before.out.count("not running") == len(ALL)
    assert "Jobs are not known" in before.out
    supervisor = stand.run()
    assert states(stand) == dict.fromkeys(ALL, "ready")
    now = stand.forebay("status", "--once", "-c", stand.config_path)
    assert now.code == 0, now
    assert "idle" in now.out
    assert "Jobs: none" in now.out
    done = supervisor.stop()
    assert done.code == 0, done
    ended = re.findall(r"supervisor stopped service=(\S+)", done.err)
    order = [
        "gateway.rest",
        "record.1",
        "retrieve.1",
        f"receive.{stand.name}",
        f"assemble.{stand.name}",
        "hub.bus",
    ]
    assert ended == order
    assert not [path.name for path in stand.runtime_dir.glob("supervisor-*")]


def test_each_service_comes_back(stand):
    supervisor = stand.run()
    for service in ALL:
        old = wait_until(lambda name=service: pid_of(stand, name), service)
        os.kill(old, signal.SIGKILL)
        wait_until(
            lambda name=service, pid=old: pid_of(stand, name) not in (None, pid), lambda: f"{supervisor}"
        )
    wait_until(lambda: states(stand) == dict.fromkeys(ALL, "ready"), lambda: f"{states(stand)}\n{supervisor}")
    lines = overview(stand)["services"]
    assert [line["n_restarts"] for line in lines] == [1] * len(ALL), lines
    assert {line["detail"] for line in lines if line["name"].startswith("receive")} == {
        "last ended with exit code -9: killed by SIGKILL"
    }
    assert supervisor.stop().code == 0, supervisor


def test_a_crash_loop_is_reported(stand):
    supervisor = stand.run()
    port = stand.settings["api"]["port"]
    gateway = pid_of(stand, "gateway.rest")
    os.kill(gateway, signal.SIGSTOP)  # it must not have the port back before we have it
    os.kill(gateway, signal.SIGKILL)
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        wait_until(lambda: can_bind(thief, port), "the gateway's port")
        thief.listen()
        supervisor.waits_to_say("dies again and again")
        shown = stand.forebay("status", "--json", "-c", stand.config_path)
        assert shown.code == 1
        *others, line = json.loads(shown.out)["services"]
        assert (line["name"], line["state"]) == ("gateway.rest", "failing")
        assert "exit code 1" in line["detail"]
        assert str(port) in line["detail"]
        assert {one["state"] for one in others} == {"ready"}
    wait_until(lambda: "serving gateway=rest" in supervisor.err.partition("again and again")[2], "its return")
    supervisor.stop()


def can_bind(sock: socket.socket, port: int) -> bool:
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def test_a_busy_port_at_the_start(stand):
    port = stand.settings["api"]["port"]
    with socket.create_server(("127.0.0.1", port)):
        done = stand.forebay("run", stand.config_path)
    assert done.code == 1
    assert "gateway.rest ended with exit code 1 before it was ready" in done.err
    assert str(port) in done.err
    assert stand.processes() == {}


def test_a_second_supervisor_of_the_same_hub(stand):
    first = stand.run()
    second = stand.forebay("run", stand.config_path)
    assert second.code == 1
    assert f"forebay runs here already with {stand.config_path} (process {first.pid}). See it" in second.err
    other = stand.config_path.with_name("other.yaml")
    other.write_text(yaml.safe_dump(stand.settings), encoding="utf-8")
    third = stand.forebay("run", other)
    assert third.code == 1
    assert f"already with {stand.config_path} (process {first.pid}). Both would use" in third.err
    assert f"two lines in {other}: `runtime_dir: run` and `state_dir: state`" in third.err
    asked = stand.forebay("status", "--once", "-c", other)
    assert f"Note: what runs here was started with {stand.config_path}, not with {other}" in asked.err
    assert "Note" not in stand.forebay("jobs", "-c", stand.config_path).err
    assert set(states(stand).values()) == {"ready"}
    assert first.stop().code == 0, first


def test_a_wrong_configuration(stand):
    stand.configure({**stand.settings, "workers": {"record": -1}})
    done = stand.forebay("run", stand.config_path)
    assert done.code == 1
    assert "workers.record" in done.err
    assert stand.processes() == {}


def test_sigterm_during_start(stand):
    for after_s in (0.3, 0.8, 1.2, 1.6, 2.0):
        supervisor = stand.start("run", stand.config_path)
        time.sleep(after_s)  # the moment is what is tested
        done = supervisor.stop()
        assert done.code in (0, -signal.SIGTERM), done  # it dies of the signal before it has learnt of it
        assert stand.processes() == {}, after_s


def test_logs_as_json(stand):
    supervisor = stand.run(env=os.environ | {"FOREBAY_LOG_FORMAT": "json"})
    done = supervisor.stop()
    lines = [json.loads(line) for line in done.err.splitlines()]
    assert {"supervisor", "hub.bus", f"receive.{stand.name}"} <= {line["process"] for line in lines}
    assert all({"time", "level", "event"} <= set(line) for line in lines)
    (started,) = [line for line in lines if line["event"] == "started" and line["service"] == "hub.bus"]
    assert isinstance(started["pid"], int)


def test_status_without_bus_and_of_a_dead_supervisor(tmp_path):
    with Stand(tmp_path) as stand:
        supervisor = stand.run()
        assert states(stand) == {"receive": "ready", "assemble": "ready"}
        assert "Jobs are not known" in stand.forebay("status", "--once", "-c", stand.config_path).out
        supervisor.kill()
        assert set(states(stand).values()) == {"not running"}
