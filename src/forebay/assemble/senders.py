"""Where the counter of each module stands, and what most of the senders agree on."""

from __future__ import annotations

from collections.abc import Sequence

_NEVER = -(2**63)
"""A time before all times."""


class Senders:
    """The modules of one detector as the builder hears them.

    A single frame cannot tell a restarted detector from a module that is out of step with the others.
    The other modules can: those heard within the last `deadline_ns` have a vote.

    Attributes
    ----------
    at:
        (module,) pulse id of the newest accepted frame of each module; -1 before the first.
    accepted_ns:
        (module,) when that was.
    epoch:
        (module,) epoch of that frame; -1 before the first.
    away:
        (module,) how many frames of each module were refused since its last accepted one.
    """

    def __init__(self, n_modules: int, *, window: int, near: int, deadline_ns: int) -> None:
        self.at = [-1] * n_modules
        self.accepted_ns = [_NEVER] * n_modules
        self.epoch = [-1] * n_modules
        self.away = [0] * n_modules
        self._refused_at = [-1] * n_modules
        self._window = window
        self._near = near
        self._deadline_ns = deadline_ns

    def restart(self) -> None:
        """Forget where the modules were: a new run of the counter begins."""
        for module in range(len(self.at)):
            self.at[module] = -1
            self.accepted_ns[module] = _NEVER
            self.away[module] = 0

    def is_new(self, module: int) -> bool:
        """Whether nothing of this module was heard in this run, accepted or refused."""
        return self.at[module] < 0 and not self.away[module]

    def refuse(self, module: int, pulse_id: int) -> bool:
        """Note a refused frame; return whether it breaks with what this module sent before.

        A module that goes on counting, although out of step with the others, breaks with nothing.
        """
        before = self._refused_at[module] if self.away[module] else self.at[module]
        together = abs(pulse_id - before) <= self._window
        self.away[module] = self.away[module] + 1 if together else 1
        self._refused_at[module] = pulse_id
        return before < 0 or not before < pulse_id <= before + self._window

    def moved(self, pulse_id: int, now_ns: int, *, sure: bool) -> list[int]:
        """Return the modules that have moved to the neighbourhood of `pulse_id`, if the detector has.

        It has if these modules outnumber the others that are heard, and if more than two frames for each
        module were refused; with `sure`, when a receiver has already seen its module move, one is enough.
        Empty if it has not.
        """
        there = [
            module
            for module, n_refused in enumerate(self.away)
            if n_refused and abs(pulse_id - self._refused_at[module]) <= self._window
        ]
        if not sure and sum(self.away[module] for module in there) <= 2 * len(self.at):
            return []
        since = now_ns - self._deadline_ns
        n_staying = sum(ns > since and module not in there for module, ns in enumerate(self.accepted_ns))
        return there if len(there) > n_staying else []

    def is_stray(self, pulse_id: int, owners: Sequence[int], opened_ns: int, *, overdue: bool) -> bool:
        """Return whether an open pulse is one that the detector has not come to yet.

        So it is when at least as many modules went on behind it, since it was opened, as are there or
        beyond. A lead of up to `near` is a difference in delay, unless the pulse is overdue and
        most modules are still behind.

        Parameters
        ----------
        owners:
            (module,) owner words of the pulse's frames, 0 where absent.
        """
        n_beyond = n_behind = 0
        closest = -1
        for at, accepted_ns, owner in zip(self.at, self.accepted_ns, owners, strict=True):
            if at >= pulse_id or (owner and pulse_id - at <= self._near):
                n_beyond += 1
            elif accepted_ns > opened_ns:
                n_behind += 1
                closest = max(closest, at)
        if pulse_id - closest <= self._near:
            return overdue and n_behind > n_beyond
        return n_behind >= max(1, n_beyond)
