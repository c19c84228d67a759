"""The real gateway, asked whatever its OpenAPI document allows and what it does not: nothing breaks.

``FOREBAY_SCHEMA_EXAMPLES=200`` for the long version.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from tests.system.stand import Stand, wait_until
from tests.system.test_gateway import with_api

from forebay.api.client import Client
from forebay.store.check import check_file

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of libraries below it
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

pytestmark = [pytest.mark.system, pytest.mark.filterwarnings("default"), pytest.mark.timeout(300)]

CHECKS = (status_code_conformance, response_schema_conformance)
EXAMPLES = int(os.environ.get("FOREBAY_SCHEMA_EXAMPLES", "4"))
"""Requests made up for each way and mode."""

ENDLESS = {"/watch", "/jobs/{job_id}/wait"}
"""These wait as long as they are asked to."""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Lend a stand with a detector that sends, workers and a gateway, and its URL."""
    directory = tmp_path_factory.mktemp("gateway")
    with Stand(directory, name="jf", workers={"record": 1, "retrieve": 1}) as stand:
        stand.settings["quotas"] = {"pulses": 1000, "queued_jobs": 1000}
        url = with_api(stand)
        stand.run()
        stand.simulate("--rate", 50)
        with Client(url) as client:
            wait_until(lambda: client.plan("record", {"sources": ["jf"]})[0].held, lambda: stand.logs())
            client.record(["jf"], images=10)
        yield stand, url


@pytest.fixture(scope="module")
def schema(running):
    return schemathesis.openapi.from_url(f"{running[1]}/openapi.json")


def test_nothing_breaks(running, schema):
    stand, _ = running
    answers: Counter[int] = Counter()
    for path in sorted(set(schema) - ENDLESS):
        for method in schema[path]:
            for mode in GenerationMode:
                _ask(schema[path][method].as_strategy(generation_mode=mode), answers)
    print(dict(sorted(answers.items())))
    assert answers[200] > 20
    log = stand.logs()
    assert "traceback" not in log.lower(), log
    assert "died" not in log, log


def test_it_goes_on_afterwards(running):
    stand, url = running
    with Client(url) as client:
        for job in client.jobs(states=["queued", "running"]):
            client.cancel(job.id)
        (job,) = client.record(["jf"], images=10, file="after.h5")
        assert client.wait(job.id, 60).state == "finished"
    assert check_file(stand.data / "after.h5").is_good


def _ask(strategy, answers: Counter[int]) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=strategy)
    def asked(case):
        response = case.call(timeout=60)
        answers[response.status_code] += 1
        if response.status_code >= 500:  # nobody records the source that was made up
            assert response.status_code == 503, response.text
            assert response.json()["error"] == "NoWorkerError", response.text
        case.validate_response(response, checks=CHECKS)

    try:
        asked()
    except Unsatisfiable:  # nothing to get wrong in a way without parameters
        return
