"""What is printed for systemd and compose runs what the configuration asks for."""

from configparser import RawConfigParser
from pathlib import Path

import pytest
import yaml

from forebay.config import Config
from forebay.service.roles import ROLES, role_of, services_of
from forebay.service.units import compose_file, systemd_unit, systemd_units

pytestmark = pytest.mark.unit

CONFIG = Config.model_validate(
    {
        "detectors": {"JF": {"type": "jungfrau", "live": {}}},
        "epics": {"PVS": {"pvs": ["A"], "directory": "/data/pvs"}},
        "api": {},
        "state_dir": "/var/lib/fore bay",
        "runtime_dir": "/run/forebay",
        "record": {"directory": "/data/raw"},
    }
)
PATH = Path("/etc/forebay/100 %.yaml")


def parsed(text: str) -> RawConfigParser:
    parser = RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read_string(text)
    return parser


def test_services_of_a_configuration():
    assert services_of(CONFIG) == [
        ("hub", "bus"),
        ("receive", "JF"),
        ("epics", "PVS"),
        ("assemble", "JF"),
        ("live", "JF"),
        ("record", "1"),
        ("record", "2"),
        ("retrieve", "1"),
        ("gateway", "rest"),
    ]


def test_nobody_needs_a_hub_without_workers_and_api():
    alone = Config.model_validate({"workers": {"record": 0, "retrieve": 0}})
    assert services_of(alone) == []
    assert services_of(Config.model_validate({"bus": "amqp://host/", "workers": {"retrieve": 1}})) == [
        ("retrieve", "1")
    ]
    assert services_of(Config.model_validate({"api": {}}))[0] == ("hub", "bus")


@pytest.mark.parametrize("role", ROLES)
def test_every_role_has_a_body(role):
    assert callable(role_of(role))


def test_unit_of_a_supervisor():
    unit = parsed(systemd_unit(CONFIG, PATH))["Service"]
    assert unit["Type"] == "notify"
    assert unit["ExecStart"].endswith('-m forebay run "/etc/forebay/100 %%.yaml"')
    assert unit["KillMode"] == "mixed"
    assert int(unit["TimeoutStopSec"]) >= 20 * 6


def test_units_of_services_are_ordered():
    units = systemd_units(CONFIG, PATH)
    assert len(units) == 10
    after = {name: parsed(text)["Unit"].get("After", "").split() for name, text in units.items()}
    assert "forebay-receive-JF.service" in after["forebay-assemble-JF.service"]
    assert "forebay-hub-bus.service" in after["forebay-gateway-rest.service"]
    assert after["forebay-hub-bus.service"] == ["network-online.target"]
    assert set(parsed(units["forebay.target"])["Unit"]["Wants"].split()) == set(units) - {"forebay.target"}
    assert "serve record 2 --config" in units["forebay-record-2.service"]


def test_compose():
    (service,) = yaml.safe_load(compose_file(CONFIG, PATH, "forebay:1"))["services"].values()
    assert service["command"] == ["forebay", "run", str(PATH)]
    assert (service["network_mode"], service["ipc"]) == ("host", "host")
    assert {"/data/raw:/data/raw", "/data/pvs:/data/pvs", f"{PATH}:{PATH}:ro"} <= set(service["volumes"])
