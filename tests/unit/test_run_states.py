"""The table of states: every way leads somewhere, no run is stuck, a refusal names what is allowed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.errors import StateError
from forebay.run import states
from forebay.run.states import COMMANDS, OUTCOMES, STATES, WAYS, allowed, is_transient

pytestmark = pytest.mark.unit


def reachable(start):
    """Return every state to which ways lead from `start`."""
    found, todo = set(), [start]
    while todo:
        state = todo.pop()
        if state not in found:
            found.add(state)
            todo += WAYS[state].values()
    return found


def test_table_is_about_all_states():
    assert set(WAYS) == set(STATES)
    assert {target for ways in WAYS.values() for target in ways.values()} <= set(STATES)


@pytest.mark.parametrize("state", STATES)
def test_every_state_is_reached_and_left(state):
    assert state in reachable("idle")
    assert "idle" in reachable(state)


def test_the_usual_way():
    state = "idle"
    for word in ("prepare", "confirmed", "start", "confirmed", "stop", "confirmed"):
        state = states.next(state, word)
    assert state == "idle"


@pytest.mark.parametrize("state", [state for state in STATES if is_transient(state)])
def test_what_waits_for_services_can_be_confirmed_and_refused(state):
    assert set(OUTCOMES) <= set(WAYS[state])


@pytest.mark.parametrize("state", sorted(set(STATES) - {"idle", "ending"}))
def test_abort_is_possible_wherever_something_goes_on(state):
    assert states.next(state, "abort") == "ending"


@given(st.sampled_from(STATES), st.sampled_from(COMMANDS))
def test_a_command_is_carried_out_or_refused_with_all_that_is_allowed(state, command):
    if command in allowed(state):
        assert states.next(state, command) in STATES
        return
    with pytest.raises(StateError) as refused:
        states.next(state, command)
    assert state in str(refused.value)
    assert command in refused.value.what
    assert all(one in refused.value.todo for one in allowed(state))
    assert refused.value.todo


@given(st.lists(st.sampled_from([*COMMANDS, *OUTCOMES])))
def test_nothing_runs_that_was_not_prepared_and_confirmed(words):
    state, confirmed = "idle", 0
    for word in words:
        try:
            after = states.next(state, word)
        except StateError:
            continue
        confirmed = confirmed + 1 if word == "confirmed" else confirmed
        if after == "idle":
            confirmed = 0
        assert after != "running" or confirmed == 2
        state = after
