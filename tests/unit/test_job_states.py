"""What may follow each state of a job: every way ends, and nothing follows an end."""

import msgspec
import pytest

from forebay.job import ENDS, NEXT, STATES, Change, Job

pytestmark = pytest.mark.unit


def test_the_table_knows_every_state():
    assert tuple(NEXT) == STATES
    assert {one for after in NEXT.values() for one in after} <= set(STATES)


@pytest.mark.parametrize("state", STATES)
def test_nothing_follows_an_end_and_everything_else_can_fail_or_be_cancelled(state):
    if state in ENDS:
        assert NEXT[state] == ()
    else:
        assert {"failed", "cancelled"} <= set(NEXT[state])
    assert Job(id="a", kind="record", state=state).has_ended == (state in ENDS)


def test_only_a_running_job_is_queued_again():
    assert [state for state in STATES if "queued" in NEXT[state]] == ["running"]


def test_a_job_survives_json():
    job = Job(
        id="a", kind="record", history=(Change("queued", 1, "me"),), n_asked=2**63, parameters={"x": [1]}
    )
    assert msgspec.json.decode(msgspec.json.encode(job), type=Job) == job
