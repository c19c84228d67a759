"""Where values of the configuration come from: file, environment, default; and what is never shown."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from forebay.cli.app import app
from forebay.config import Config, load, masked, parse, read
from forebay.config.keys import leaves
from forebay.errors import CatalogError, ConfigError
from forebay.store.catalog.database import open_postgresql

pytestmark = pytest.mark.unit

FILE = """\
# a host
detectors:
  jf:
    type: jungfrau
    n_modules: 2
    streams:
      - endpoint: tcp://127.0.0.1:9500
record:
  directory: raw
bus: amqp://me:hunter2@host/x
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "forebay.yaml"
    path.write_text(FILE)
    return path


def refused(path, environment=None):
    with pytest.raises(ConfigError) as error:
        read(path, environment or {})
    return str(error.value)


def test_file_environment_default(file):
    reading = read(file, {"FOREBAY__RECORD__THREADS": "4", "FOREBAY_CONFIG": "x", "OTHER": "1"})
    assert reading.config.record.threads == 4
    assert reading.origin(("record", "threads")) == "FOREBAY__RECORD__THREADS"
    assert reading.origin(("record", "directory")) == f"{file}:9"
    assert reading.origin(("detectors", "jf", "streams", 0, "endpoint")) == f"{file}:7"
    assert reading.origin(("detectors", "jf", "ring", "slots")) == "default"
    assert reading.origin(("quotas", "pulses")) == "default"


def test_environment_wins_and_leaves_the_rest(file):
    names = {"FOREBAY__DETECTORS__JF__N_MODULES": "3", "FOREBAY__DETECTORS__jf__ring": "{slots: 8}"}
    jf = read(file, names).config.detectors["jf"]
    assert (jf.n_modules, jf.ring.slots, len(jf.streams)) == (3, 8, 1)


def test_a_part_of_what_another_variable_gave(file):
    names = {"FOREBAY__RECORD__THREADS": "7", "FOREBAY__RECORD": "{threads: 1, directory: /x}"}
    record = read(file, names).config.record
    assert (record.threads, str(record.directory)) == (7, "/x")


def test_an_empty_variable_is_nothing(file):
    file.write_text("api: {port: 1}")
    assert read(file, {"FOREBAY__API": ""}).config.api is None


def test_a_new_name_from_the_environment(file):
    names = {"FOREBAY__DETECTORS__NEW": "{type: eiger, start_udp_port: 1}"}
    names |= {"FOREBAY__DETECTORS__New2": "{type: eiger, start_udp_port: 2}"}
    assert set(read(file, names).config.detectors) == {"jf", "new", "New2"}


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (
            {"FOREBAY__RECORD__THREADS": "many"},
            ["variable FOREBAY__RECORD__THREADS", "record.threads", "'many'"],
        ),
        ({"FOREBAY__RECORD__THREDS": "1"}, ["variable FOREBAY__RECORD__THREDS", "is threads meant?"]),
        ({"FOREBAY__BUS__X": "1"}, ["FOREBAY__BUS__X", "has no keys"]),
        ({"FOREBAY__RECORD": "{a: ["}, ["FOREBAY__RECORD", "not valid YAML"]),
        ({"FOREBAY__RECORD": "!!python/name:os.system"}, ["FOREBAY__RECORD", "not valid YAML"]),
    ],
)
def test_a_wrong_variable_is_named(file, environment, words):
    message = refused(file, environment)
    assert all(word in message for word in words), message
    assert "hunter2" not in message


def test_a_mistake_is_named_with_its_line(file):
    file.write_text(FILE.replace("n_modules: 2", "n_modules: 0").replace("endpoint", "endpont"))
    message = refused(file)
    assert "line 5: detectors.jf.n_modules: " in message
    assert "line 7: detectors.jf.streams.0.endpont is not a known key (is endpoint meant?)" in message
    assert "line 7: detectors.jf.streams.0.endpoint: Field required" in message


def test_a_key_given_twice(file):
    file.write_text("record: {threads: 1}\nrecord: {threads: 2}\n")
    assert "line 2, column 1: the key 'record' is given twice" in refused(file)


def test_relative_paths_are_below_the_file(file, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    assert load(file).record.directory == tmp_path / "raw"
    assert read(file, {"FOREBAY__RECORD__DIRECTORY": "b"}).config.record.directory == tmp_path / "b"
    file.write_text("epics: {e: {pvs: [x], directory: pvs}}")
    assert load(file).epics["e"].directory == tmp_path / "pvs"
    assert load(file).record.directory == tmp_path / "data"


def test_a_password_is_never_shown(file):
    config = read(file, {"FOREBAY__CATALOG": "postgresql://u:hunter2@h/n?password=hunter2"}).config
    assert config.bus == "amqp://me:hunter2@host/x"
    for text in (
        repr(config),
        str(config),
        config.model_dump_json(),
        json.dumps(config.model_dump(mode="json")),
    ):
        assert "hunter2" not in text
    assert config.model_dump(mode="json")["bus"] == "amqp://me:***@host/x"


@given(
    st.text(st.characters(exclude_characters="@", exclude_categories=["Z", "C"]), min_size=1).map(
        lambda s: f"S3{s}"
    ),
    st.sampled_from(["amqp://u:{}@host/x", "amqp//u:{}@host", "u:{}@host", "postgresql://u:{}@h/n"]),
)
def test_masking(password, url):
    assert "S3" not in masked(f"Cannot reach {url.format(password)} now.")


@pytest.mark.parametrize("text", ["tcp://127.0.0.1:9400", "embedded", "10:30", "amqp://host/x"])
def test_what_is_no_password_stays(text):
    assert masked(text) == text


def test_a_wrong_url_is_shown_without_its_password():
    with pytest.raises(ConfigError) as error:
        parse({"bus": "amqq://me:hunter2@host"}, "x")
    assert "hunter2" not in str(error.value)
    assert "amqq://me:***@host" in str(error.value)


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:hunter2@h:port/x", "postgresql://u:hunter2@[h/x", "postgresql://h/x?password=hunter2"],
)
def test_the_catalogue_shows_no_password(url, monkeypatch):
    try:
        said = open_postgresql(url).where
    except CatalogError as error:
        said = str(error)
    assert said
    assert "hunter2" not in said


def test_leaves():
    assert list(leaves({"a": {"b": [1, {}]}, "c": None})) == [
        (("a", "b", 0), 1),
        (("a", "b", 1), {}),
        (("c",), None),
    ]


def cli(*words):
    result = CliRunner().invoke(app, ["config", *map(str, words)])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_file_with_a_password_that_others_may_read(file):
    file.chmod(0o644)
    assert read(file, {}).is_indiscreet
    assert "chmod 600" in CliRunner().invoke(app, ["config", "check", str(file)]).stderr
    file.chmod(0o600)
    assert not read(file, {}).is_indiscreet
    file.write_text("record: {directory: 'a:b'}")
    file.chmod(0o644)
    assert not read(file, {}).is_indiscreet


def test_every_kind_of_source_is_named(file):
    file.chmod(0o600)
    file.write_text("bsread: {bs: {source: 'tcp://h:1', output_port: 2}}")
    assert cli("check", file) == f"{file}: right (bsread bs).\n"
    file.write_text("{}")
    assert cli("check", file) == f"{file}: right, and nothing in it runs.\n"


def test_commands(file):
    file.chmod(0o600)
    assert cli("check", file) == f"{file}: right (detectors jf).\n"
    assert json.loads(cli("check", file, "--json"))["ok"]
    shown = json.loads(cli("show", file, "--json"))
    assert shown["bus"] == {"value": "amqp://me:***@host/x", "from": f"{file}:10"}
    assert shown["quotas.pulses"] == {"value": 1_000_000, "from": "default"}
    lines = cli("show", file).splitlines()
    assert ["detectors.jf.n_modules", "2", f"{file}:5"] in [line.split() for line in lines]
    assert len(lines) == len(shown)
    assert json.loads(cli("schema"))["properties"].keys() == Config.model_fields.keys()
