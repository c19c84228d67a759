"""The OpenAPI document holds: whatever is made of it, nothing breaks and answers are as documented."""

import os
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from tests.operator_stand_in import StandInOperator

from forebay.api.feed import Feed
from forebay.api.guard import Guard
from forebay.api.rest import rest_app
from forebay.api.route import Rest
from forebay.api.tokens import TokenFile
from forebay.config import ApiConfig, parse
from forebay.errors import ConfigError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of libraries below it
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

pytestmark = [pytest.mark.flow, pytest.mark.filterwarnings("default"), pytest.mark.timeout(300)]

CHECKS = (not_a_server_error, status_code_conformance, response_schema_conformance)
EXAMPLES = int(os.environ.get("FOREBAY_SCHEMA_EXAMPLES", "10"))
"""Requests made up for each route."""


def no_picture(detector):
    raise ConfigError(f"There is no detector {detector}.")


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """Lend the ways of an application and a function that asks it."""
    operator = StandInOperator()
    for job_id in ("a", "b"):
        operator.request("record", {"sources": ["jf"], "images": 1}, id=job_id)
    tokens = TokenFile(tmp_path_factory.mktemp("state"))
    headers = {"Authorization": f"Bearer {tokens.add('ann', 'admin')}", "Host": "localhost"}
    feed = Feed(operator, most=3, heartbeat_s=0.05)
    app = Guard(
        rest_app(Rest(parse({}, "test"), operator, feed, lambda: "", no_picture)), ApiConfig(), tokens
    )
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=headers)
    yield schema, headers
    feed.close()


# `wait` waits and `watch` never ends; the rest is asked whatever the document allows, and what it does not.
WAYS = [
    "/configuration",
    "/files",
    "/health",
    "/jobs",
    "/jobs/{job_id}",
    "/jobs/{job_id}/cancel",
    "/jobs/{job_id}/finish",
    "/live",
    "/live/{detector}",
    "/metrics",
    "/plan",
    "/proposals",
    "/proposals/{proposal}",
    "/proposals/{proposal}/close",
    "/proposals/{proposal}/run",
    "/proposals/{proposal}/run/abort",
    "/proposals/{proposal}/run/prepare",
    "/proposals/{proposal}/run/start",
    "/proposals/{proposal}/run/stop",
    "/proposals/{proposal}/runs",
    "/ready",
    "/routines",
    "/status",
]


def test_no_way_is_forgotten(ask):
    schema, _ = ask
    assert {*WAYS, "/watch", "/jobs/{job_id}/wait"} == set(schema)


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("path", WAYS)
def test_nothing_breaks(ask, path, mode):
    schema, headers = ask
    for method in schema[path]:
        n_asked = 0

        @settings(
            max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(case=schema[path][method].as_strategy(generation_mode=mode))
        def asked(case):
            nonlocal n_asked
            n_asked += 1
            response = case.call(headers=headers)
            case.validate_response(response, checks=CHECKS)

        try:
            asked()
        except Unsatisfiable:  # nothing to get wrong in a way without parameters
            assert mode is GenerationMode.NEGATIVE
        assert n_asked or mode is GenerationMode.NEGATIVE
