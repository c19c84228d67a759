"""What a request may say, and what is said of one that may not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.config import QuotaConfig
from forebay.errors import ConfigError
from forebay.run.jobs import (
    KINDS,
    check_quota,
    file_name,
    for_each_job,
    parse_parameters,
    routing_key,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("recrd", {}, ["'recrd'", "record, retrieve"]),
        ("record", {}, ["sources", "required"]),
        ("record", {"sources": []}, ["sources"]),
        ("record", {"sources": ["a/b"]}, ["sources.0", "'a/b'"]),
        ("record", {"sources": ["a", "a"]}, ["twice"]),
        ("record", {"sources": ["a"], "imges": 3}, ["imges", "images"]),
        ("record", {"sources": ["a"], "images": 0}, ["images", "1", "found 0"]),
        ("record", {"sources": ["a"], "images": 5, "seconds": 1}, ["images, seconds", "one of them"]),
        ("record", {"sources": ["a"], "seconds": float("nan")}, ["seconds"]),
        ("record", {"sources": ["a"], "pulses": "9..1"}, ["9..1", "reversed"]),
        ("record", {"sources": ["a"], "pulses": "1-9"}, ["1-9", "A..B"]),
        ("record", {"sources": ["a"], "pulses": 5}, ["pulses", "found 5"]),
        ("record", {"sources": ["a"], "file": "../x.h5"}, ["../x.h5", "below"]),
        ("record", {"sources": ["a"], "file": "/x.h5"}, ["/x.h5", "below"]),
        ("record", {"sources": ["a"], "file": "a\0.h5"}, ["file", "below"]),
        ("record", {"sources": ["a"], "file": "{runs}.h5"}, ["{runs}", "{run}"]),
        ("record", {"sources": ["a"], "file": "{run:099}.h5"}, ["{run:099}", "{run}"]),
        ("record", {"sources": ["a"], "file": "{source.__class__}.h5"}, ["__class__", "{source}"]),
        ("record", {"sources": ["a", "b"], "file": "x.h5"}, ["x.h5", "{source}"]),
        ("retrieve", {"sources": ["a"]}, ["pulses", "required"]),
        ("check", {"files": ["a/../../b"]}, ["a/../../b", "below"]),
        ("routine", {"name": "rm -rf"}, ["rm -rf", "name"]),
    ],
)
def test_a_refusal_names_key_and_value_and_what_is_allowed(kind, value, said):
    with pytest.raises(ConfigError) as refused:
        parse_parameters(kind, value)
    assert all(word in str(refused.value) for word in said), refused.value


def test_ends_of_a_range_are_members():
    assert parse_parameters("record", {"sources": ["a"], "pulses": "1..99/10"}).pulses == "10..90/10"


def test_a_request_for_several_sources_is_a_job_for_each():
    jobs = for_each_job(parse_parameters("record", {"sources": ["a", "b.c"], "images": 3}))
    assert [job.sources for job in jobs] == [["a"], ["b.c"]]
    assert [routing_key("record", job) for job in jobs] == ["job.record.a", "job.record.b.c"]
    assert {job.n_asked for job in jobs} == {3}


def test_keys_of_what_has_no_source():
    assert routing_key("check", parse_parameters("check", {"files": ["a.h5"]})) == "job.check"
    assert routing_key("routine", parse_parameters("routine", {"name": "scan"})) == "job.routine.scan"


def test_pulses_of_all_sources_count():
    quotas = QuotaConfig(pulses=100)
    check_quota(parse_parameters("record", {"sources": ["a", "b"], "pulses": "1..50"}), quotas)
    with pytest.raises(ConfigError, match=r"102 pulses.*100.*quotas\.pulses"):
        check_quota(parse_parameters("record", {"sources": ["a", "b"], "pulses": "1..51"}), quotas)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_of_every_kind_is_explained(kind):
    properties = KINDS[kind].parameters.model_json_schema()["properties"]
    assert all(value["description"].endswith(".") for value in properties.values())


def test_file_names():
    assert file_name(None, 12, 3, "JF") == "run0012/acq0003.JF.h5"
    assert file_name("{source}/{run}-{acquisition:02}.h5", 12, 3, "JF") == "JF/12-03.h5"
    assert file_name("plain.h5", 1, 1, "JF") == "plain.h5"


@given(st.text(max_size=30), st.integers(1, 10**6), st.integers(1, 10**6))
def test_a_file_is_refused_or_stays_below_its_folder(pattern, run, acquisition):
    try:
        parameters = parse_parameters("record", {"sources": ["s"], "file": pattern})
    except ConfigError:
        return
    name = file_name(parameters.file, run, acquisition, "s")
    assert not name.startswith("/")
    assert ".." not in name.split("/")
