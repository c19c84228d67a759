"""A silent stream is told of once, and again when it speaks."""

import pytest

from forebay.service.bsread_silence import SILENT_S, Audible

pytestmark = pytest.mark.unit


class Stage:
    """A source that gives what it is told, a clock, and what was said."""

    def __init__(self, mode="pull"):
        self.now, self.said, self.next, self.closed = 100.0, [], (), False
        self.source = Audible(self, "tcp://h:1", mode, self.tell, clock=lambda: self.now)

    def tell(self, what, fields):
        self.said.append((what, fields))

    def read(self, timeout):
        return self.next

    def close(self):
        self.closed = True

    def after(self, seconds, given=()):
        self.now, self.next = self.now + seconds, given
        assert self.source.read(0) is given
        return [what for what, _ in self.said]


def test_silence_is_told_once_and_its_end_too():
    stage = Stage()
    assert stage.after(SILENT_S - 0.1) == []
    assert stage.after(0.2) == ["nothing comes"]
    assert stage.after(100) == ["nothing comes"]
    assert stage.after(1, ["event"]) == ["nothing comes", "messages come"]
    assert stage.said[1][1]["silent_s"] == pytest.approx(SILENT_S + 101.1)
    assert stage.after(SILENT_S - 1) == ["nothing comes", "messages come"]
    assert stage.after(2) == ["nothing comes", "messages come", "nothing comes"]


@pytest.mark.parametrize(("mode", "words"), [("pull", ("PUSH", "mode sub")), ("sub", ("PUB", "mode pull"))])
def test_what_to_look_at_is_said(mode, words):
    stage = Stage(mode)
    stage.after(SILENT_S)
    ((_, fields),) = stage.said
    assert fields["stream"] == "tcp://h:1"
    assert all(word in fields["todo"] for word in words)


def test_a_stream_that_speaks_or_ends_is_not_silent():
    stage = Stage()
    for _ in range(5):
        assert stage.after(SILENT_S - 1, ["event"]) == []
    assert stage.after(2 * SILENT_S, None) == []
    stage.source.close()
    assert stage.closed
