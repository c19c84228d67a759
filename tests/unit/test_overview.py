"""How everything stands, put together from what was written here and heard of others."""

import os
import time
from dataclasses import dataclass, field

import msgspec
import pytest

from forebay.config import Config
from forebay.errors import ServiceError
from forebay.run.owner import host_name, owner
from forebay.run.values import RunStatus, ServiceStatus, Status
from forebay.service.board import Board, check_alone, others
from forebay.service.child import ServiceReport
from forebay.service.overview import look

pytestmark = pytest.mark.unit

HERE = host_name()


@dataclass
class Told:
    """Stands for the operator."""

    services: list[ServiceStatus] = field(default_factory=list)

    def status(self) -> Status:
        run = RunStatus(proposal="p", run=None, state="idle", allowed=[])
        return Status(services=self.services, run=run, n_jobs={"running": 1}, jobs=[])


@pytest.fixture
def config(tmp_path) -> Config:
    return Config.model_validate(
        {"runtime_dir": str(tmp_path), "state_dir": str(tmp_path), "workers": {"record": 0, "retrieve": 1}}
    )


def write(tmp_path, *reports: ServiceReport, supervisor: str = "") -> None:
    board = Board(supervisor=supervisor or owner("supervisor"), config="", time_ns=1, services=list(reports))
    (tmp_path / "supervisor-1.json").write_bytes(msgspec.json.encode(board))


def heard(key: str, *, age_s: float = 0, **detail: object) -> ServiceStatus:
    state = str(detail.get("state", ""))
    return ServiceStatus(key=key, state=state, detail=detail, heard_ns=time.time_ns() - int(age_s * 1e9))


def test_nothing_runs(config):
    overview = look(config, None, "no bus")
    assert [(line.name, line.state) for line in overview.services] == [
        ("hub.bus", "not running"),
        ("retrieve.1", "not running"),
    ]
    assert (overview.bus, overview.is_good) == ("no bus", False)


def test_all_is_well(config, tmp_path):
    write(tmp_path, *(ServiceReport(name=name, state="ready", pid=5) for name in ("hub.bus", "retrieve.1")))
    told = Told([heard(f"worker.{HERE}.retrieve.1", state="busy", job="abc")])
    overview = look(config, told)
    assert overview.is_good
    assert [line.detail for line in overview.services] == ["", "job abc"]
    assert overview.n_jobs == {"running": 1}


def test_what_fails_says_why(config, tmp_path):
    write(
        tmp_path, ServiceReport(name="hub.bus", state="failing", exit_code=1, reason="No room.", n_restarts=4)
    )
    (hub, _) = look(config, None).services
    assert (hub.state, hub.n_restarts) == ("failing", 4)
    assert hub.detail == "last ended with exit code 1: No room."


def test_what_a_dead_supervisor_wrote_does_not_count(config, tmp_path):
    gone = owner("supervisor", pid=2**22 + 1)  # beyond the largest pid
    write(tmp_path, ServiceReport(name="hub.bus", state="ready"), supervisor=gone)
    assert look(config, None).services[0].state == "not running"
    (tmp_path / "supervisor-2.json").write_text("{")
    assert look(config, None).services[0].state == "not running"


def test_only_who_certainly_lives_here_is_in_the_way(config, tmp_path):
    """What a host of another name or another container wrote may be left from before: it keeps nobody out."""
    hub = ServiceReport(name="hub.bus", state="ready")
    me = owner("supervisor")
    for left in (me.replace(" on ", " on not-"), me.replace(", ", ", 0"), owner("supervisor", 2**22 + 1)):
        write(tmp_path, hub, supervisor=left)
        check_alone(config, tmp_path / "forebay.yaml")
        assert others(config, tmp_path / "forebay.yaml") == []
    write(tmp_path, ServiceReport(name="receive.jf", state="ready"))
    check_alone(config, tmp_path / "forebay.yaml")  # of many hosts: they share no hub
    write(tmp_path, hub)
    assert len(others(config, tmp_path / "forebay.yaml")) == 1
    with pytest.raises(ServiceError, match=f"process {os.getpid()}"):
        check_alone(config, tmp_path / "forebay.yaml")


def test_other_hosts_are_heard(config):
    report = msgspec.to_builtins(ServiceReport(name="receive.JF", state="ready", pid=7))
    told = Told(
        [
            heard("service.far.away.receive.JF", **report),
            heard("service.silent.receive.JF", age_s=60, **report),
            heard("worker.lone.host.record.1", state="idle"),
            heard("worker.lone.host.record.2", age_s=60, state="idle"),
            heard("service.new.receive.JF", state="of another version"),
        ]
    )
    found = {(line.host, line.name): line for line in look(config, told).services if line.host != HERE}
    assert {key: line.state for key, line in found.items()} == {
        ("far.away", "receive.JF"): "ready",
        ("silent", "receive.JF"): "silent",
        ("lone.host", "record.1"): "alone",
    }
