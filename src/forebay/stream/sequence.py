"""What of a numbered stream arrived: gaps, duplicates and restarts of its senders."""

from __future__ import annotations

from collections import OrderedDict

MAX_SENDERS = 1024
"""Senders remembered at once; beyond that the one heard longest ago is forgotten."""


class Sequence:
    """Follows the sequence numbers of any number of senders.

    A sender is known by its `instance`, drawn anew at every start: a restarted sender is a new one, and
    its numbers begin anew without being taken for a gap. Numbers of one sender arrive in order, as ZeroMQ
    keeps them; a number that is not larger than the last one is a duplicate.

    Attributes
    ----------
    lost:
        Numbers that were jumped over.
    duplicate:
        Numbers that came again.
    before:
        Numbers that senders had used before we heard of them: lost, or read by somebody before us.
    senders:
        How many instances were heard.
    """

    def __init__(self) -> None:
        self.lost = 0
        self.duplicate = 0
        self.before = 0
        self.senders = 0
        self._next: OrderedDict[int, int] = OrderedDict()

    def accept(self, instance: int, sequence: int) -> bool:
        """Note one number; return whether it is new."""
        expected = self._next.get(instance)
        if expected is None:
            self.senders += 1
            self.before += sequence
            if len(self._next) >= MAX_SENDERS:
                self._next.popitem(last=False)
        elif sequence < expected:
            self.duplicate += 1
            return False
        else:
            self.lost += sequence - expected
        self._next[instance] = sequence + 1
        self._next.move_to_end(instance)
        return True
