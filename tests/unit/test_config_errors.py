"""A configuration is right, or every mistake in it is named with its value and what is allowed."""

import pytest

from forebay.config import Config, DetectorConfig, load, parse
from forebay.errors import ConfigError

pytestmark = pytest.mark.unit


def detector(**changes):
    return {"detectors": {"jf": {"type": "jungfrau", **changes}}}


def refused(value):
    with pytest.raises(ConfigError) as error:
        parse(value, "forebay.yaml")
    assert str(error.value).startswith("forebay.yaml: ")
    return str(error.value)


def test_nothing_is_a_configuration():
    assert parse({}, "x") == Config()


def test_defaults_are_written_out():
    jf = parse(detector(), "x").detectors["jf"]
    assert jf == DetectorConfig(type="jungfrau")
    assert str(jf.address) == "127.0.0.1"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_modles": 2}, ["detectors.jf.n_modles", "not a known key", "is n_modules meant?"]),
        ({"build": {"patiense": 2}}, ["detectors.jf.build.patiense", "is patience meant?"]),
        ({"streams": [{"endpont": "x"}]}, ["detectors.jf.streams.0.endpont", "is endpoint meant?"]),
        ({"type": "jungfrua"}, ["detectors.jf.type", "'jungfrua'", "jungfrau", "eiger"]),
        ({"n_modules": 0}, ["detectors.jf.n_modules", "found 0", "1"]),
        ({"n_modules": "two"}, ["detectors.jf.n_modules", "'two'"]),
        ({"address": "jf1"}, ["detectors.jf.address", "'jf1'"]),
        ({"start_udp_port": 70000}, ["detectors.jf.start_udp_port", "70000", "65535"]),
        ({"start_udp_port": 65535, "n_modules": 2}, ["65535", "2 modules"]),
        ({"sources": ["10.0.0.1"], "n_modules": 2}, ["1 addresses", "2 modules"]),
        ({"ring": {"slots": 1}}, ["detectors.jf.ring.slots", "found 1", "4"]),
        ({"build": {"deadline_s": 0}}, ["detectors.jf.build.deadline_s", "greater than 0"]),
        ({"type": "eiger", "pulse_id": "bunchid"}, ["pulse_id", "eiger"]),
    ],
)
def test_a_mistake_is_named(changes, words):
    message = refused(detector(**changes))
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"bus": "redis://x"}, ["bus", "'redis://x'", "embedded", "amqp://"]),
        ({"catalog": "mysql://x"}, ["catalog", "'mysql://x'", "sqlite", "postgresql://"]),
        ({"bsread": {"b": {"source": "x", "output_port": 1}}}, ["bsread.b.source", "'x'", "tcp://HOST:PORT"]),
        ({"epics": {"s": {"directory": "x", "pvs": ["a b"]}}}, ["epics.s.pvs.0", "'a b'", "pva://"]),
        ({"detectors": {"a b": {"type": "eiger"}}}, ["detectors.a b: ", "letters, digits"]),
    ],
)
def test_what_a_text_must_look_like_is_said_in_words(value, words):
    message = refused(value)
    assert all(word in message for word in words), message
    assert "^" not in message


def test_every_mistake_is_named():
    message = refused({**detector(n_modules=0, bit_depth=12), "recrod": {}})
    assert all(word in message for word in ("n_modules", "bit_depth", "recrod"))


@pytest.mark.parametrize("name", ["", "../x", "a b", "-x", "x" * 65, "a/b"])
def test_names_become_file_names(name):
    assert "detectors" in refused({"detectors": {name: {"type": "jungfrau"}}})


def test_two_detectors_on_one_port():
    both = {"a": {"type": "jungfrau", "n_modules": 3}, "b": {"type": "eiger", "start_udp_port": 50102}}
    assert "a and b both use UDP port 50102" in refused({"detectors": both})


@pytest.mark.parametrize("value", [[], "text", 5, {"detectors": []}])
def test_another_shape(value):
    refused(value)


def test_values_never_change():
    with pytest.raises(ValueError, match="frozen"):
        parse({}, "x").record.threads = 3


def test_files(tmp_path):
    path = tmp_path / "a.yaml"
    with pytest.raises(ConfigError, match="Cannot read"):
        load(path)
    path.write_text("")
    assert load(path).detectors == {}
    path.write_text("a: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="Cannot read"):
        load(path)
    path.write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"bus": "amqps://me:hunter2@b/v?cafile=ca.pem"},
            ["bus", "cafile must be a whole path", "not ca.pem"],
        ),
        ({"bus": "amqp://me:hunter2@b/v?cafile=/ca.pem"}, ["bus", "not encrypted", "amqps://"]),
        (
            {"catalog": "postgresql://me:hunter2@b/v?sslmode=verify-full&sslrootcert=../ca.pem"},
            ["catalog", "sslrootcert must be a whole path"],
        ),
    ],
)
def test_files_of_tls_are_found_from_everywhere(changes, words):
    message = refused(changes)
    assert all(word in message for word in words), message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    "changes",
    [
        {"bus": "amqps://me:pass@b-1,b-2:5672/v?cafile=/ca.pem&certfile=/me.pem&keyfile=/me.key"},
        {"bus": "amqps://me@b/?heartbeat=10"},
        {"catalog": "postgresql://me@b/v?sslmode=verify-full&sslrootcert=system"},
    ],
)
def test_servers_with_tls_are_allowed(changes):
    config = parse(changes, "x")
    assert {key: getattr(config, key) for key in changes} == changes
