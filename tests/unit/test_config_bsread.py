"""bsread streams in the configuration: what is allowed, and what a mistake is called."""

import pytest

from forebay.config import load, parse
from forebay.errors import ConfigError
from forebay.service.bsread import bsread_config
from forebay.service.roles import services_of

pytestmark = pytest.mark.unit

SOURCE = "tcp://source:9999"


def streams(**more):
    return {"bsread": {"bs": {"source": SOURCE, **more}}}


def test_defaults_and_where_workers_connect():
    stream = parse(streams(), "test").bsread["bs"]
    assert (stream.output, stream.disk, stream.layout) == ("tcp://127.0.0.1:8082", None, "bsread")
    opened = parse(streams(output_address="0.0.0.0", public=True), "test").bsread["bs"]
    assert opened.output == "tcp://127.0.0.1:8082"
    named = parse(streams(output_address="10.0.0.5", public=True, output_port=9), "test").bsread["bs"]
    assert named.output == "tcp://10.0.0.5:9"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"source": "source:9999"}, ["bsread.bs.source", "'source:9999'"]),
        ({"source": "tcp://source:99999"}, ["bsread.bs", "tcp://source:99999", "tcp://HOST:PORT"]),
        ({"output_address": "0.0.0.0"}, ["output_address 0.0.0.0", "public: true"]),
        ({"layout": "pvdata"}, ["bsread.bs.layout", "data-api"]),
        ({"disk": {}}, ["bsread.bs.disk.directory"]),
        ({"disk": {"directory": "x", "max_bytes": 1}}, ["bsread.bs.disk.max_bytes", "16777216"]),
        ({"pulse_step": 0}, ["bsread.bs.pulse_step", "found 0"]),
    ],
)
def test_a_mistake_is_named(more, words):
    with pytest.raises(ConfigError) as error:
        parse(streams(**more), "test")
    assert all(word in str(error.value) for word in words), error.value


def test_two_streams_on_one_port_and_one_name_twice():
    with pytest.raises(ConfigError, match="bsread a and b both use output_port 8082"):
        parse({"bsread": {"a": {"source": SOURCE}, "b": {"source": SOURCE}}}, "test")
    with pytest.raises(ConfigError, match="detectors and bsread both have bs"):
        parse({**streams(), "detectors": {"bs": {"type": "jungfrau"}}}, "test")


def test_its_ring_lies_below_the_file(tmp_path):
    file = tmp_path / "forebay.yaml"
    file.write_text(f"bsread: {{bs: {{source: '{SOURCE}', disk: {{directory: ring}}}}}}")
    assert load(file).bsread["bs"].disk.directory == tmp_path / "ring"


def test_it_is_a_service_beside_its_workers():
    services = services_of(parse(streams() | {"workers": {"record": 2, "retrieve": 0}}, "test"))
    assert services == [("hub", "bus"), ("bsread", "bs"), ("record", "1"), ("record", "2")]


def test_a_stream_that_is_not_there():
    with pytest.raises(ConfigError, match=r"'other'.*Configured are: bs"):
        bsread_config(parse(streams(), "test"), "other")
