"""Counters of a service, asked from another room: before and after, over two lives, and when it is away."""

import tempfile
from pathlib import Path

import pytest

from forebay.errors import StreamError
from forebay.service.account import Account, telling
from forebay.store.manifest import Counters
from forebay.stream.endpoint import ipc

pytestmark = pytest.mark.flow


@pytest.fixture
def endpoint():
    with tempfile.TemporaryDirectory(prefix="fb-") as folder:
        Path(folder).chmod(0o700)
        yield ipc(Path(folder), "chec.account")


def counted(n):
    return Counters({"2009": {"datagrams": n}, "module 3": {"datagrams": n}}, {"blocks": 10 * n})


def test_what_was_counted_before_and_after(endpoint):
    n = 5
    with telling(endpoint, lambda: counted(n)):
        account = Account(endpoint)
        n = 12
        end = account.end()
    assert account.start == counted(5)
    assert end == counted(12)
    assert end.since(account.start) == counted(7)


def test_a_service_that_was_started_again_counts_on(endpoint):
    with telling(endpoint, lambda: counted(5)):
        account = Account(endpoint)
    with telling(endpoint, lambda: Counters({"2009": {"datagrams": 2, "foreign": 1}}, {"blocks": 3})):
        end = account.end()
    assert end.since(account.start) == Counters(
        {"2009": {"datagrams": 2, "foreign": 1}, "module 3": {"datagrams": 0}}, {"blocks": 3}
    )


def test_a_service_that_came_later_counts_from_nothing(endpoint):
    account = Account(endpoint)
    assert account.start == Counters()
    with telling(endpoint, lambda: counted(4)):
        assert account.end() == counted(4)


def test_where_nobody_answers_nothing_is_claimed(endpoint):
    with telling(endpoint, lambda: counted(5)):
        account = Account(endpoint)
    assert account.end() == Counters()


def test_two_cannot_tell_at_one_place(endpoint):
    with (
        telling(endpoint, lambda: counted(5)),
        pytest.raises(StreamError),
        telling(endpoint, lambda: counted(6)),
    ):
        pass
