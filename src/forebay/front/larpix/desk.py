"""What the web side asks of the core: questions with one answer, and commands that answer as they go."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from forebay.errors import ForebayError, StreamError
from forebay.front.larpix.operator import Answer, Answers, Operator

TIMED_OUT: Final = "ERROR: timed out"
PATIENCE_S: Final = 5.0
"""How long a question may take."""

FRESH_S: Final = 10.0
"""How old an answer about state and components may be: a core whose disk is slow misses some looks at it."""

MOST_COMMANDS: Final = 16
"""Commands under way at once."""

_MOST_RESULTS = 1000
_LOOK_S = 1.0

Tell = Callable[[Answer], None]
Ask = Callable[[Operator, float | None], Answers]


class Desk:
    """Asks one core, and knows how it stands.

    Parameters
    ----------
    operator:
        Returns an operator with a name, for the audit.
    """

    def __init__(self, operator: Callable[[str], Operator]) -> None:
        self._operator = operator
        self._results: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(MOST_COMMANDS)
        self._known: dict[str, tuple[float, Answer]] = {}
        self._told: dict[str, Any] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="core watch", daemon=True)
        self.on_news: list[Callable[[str, Answer], None]] = []

    def start(self) -> None:
        """Begin to look how the core stands, once a second."""
        self._thread.start()

    def close(self) -> None:
        """Look no more; may be called twice."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2 * PATIENCE_S)

    def _look(self) -> None:
        operator = self._operator("monitor")
        while not self._stop.wait(_LOOK_S):
            for name, ask in (("state", operator.get_state), ("component", operator.get_clients)):
                try:
                    *_, answer = ask(timeout=_LOOK_S)
                except StreamError:
                    continue
                if answer is not None and isinstance(answer["message"], dict):
                    self._known[name] = time.monotonic(), answer
                    self.news(name, answer)

    def news(self, name: str, answer: Answer) -> None:
        """Tell everybody of a state or of the components if that is new."""
        result = answer["message"].get("result")
        if self._told.get(name) != result:
            self._told[name] = result
            for tell in self.on_news:
                tell(name, answer)

    def standing(self, name: str) -> Answer:
        """Return the core's last answer to ``state`` or ``component``; `StreamError` if it is old."""
        when, answer = self._known.get(name, (float("-inf"), {}))
        if time.monotonic() - when > FRESH_S:
            raise StreamError("The core does not answer.", "Start it: larpixdaq-core")
        return answer

    def ask(self, ask: Ask, who: str) -> Answer:
        """Return the last answer to a question; `StreamError` if it does not come."""
        answer: Answer | None = None
        for answer in ask(self._operator(who), PATIENCE_S):
            self._keep(answer)
        if answer is None:
            raise StreamError(
                f"No answer came within {PATIENCE_S:g} s.", "See that the core and the component are there."
            )
        if not isinstance(answer["message"], dict):
            raise StreamError(f"The core answers something else: {str(answer['message'])[:80]!r}.")
        return answer

    def command(self, ask: Ask, who: str, timeout: float | None, tell: Tell) -> None:
        """Carry out a command in a thread of its own, and tell every answer."""
        if not self._free.acquire(blocking=False):
            tell({"message": {"result": f"ERROR: {MOST_COMMANDS} commands are under way; wait for one."}})
            return
        threading.Thread(target=self._carry_out, args=(ask, who, timeout, tell), daemon=True).start()

    def _carry_out(self, ask: Ask, who: str, timeout: float | None, tell: Tell) -> None:
        number: int | None = None
        try:
            for answer in ask(self._operator(who), timeout):
                number = self._keep(answer) if answer is not None else self._give_up(number)
                tell(answer if answer is not None else {"message": {"result": TIMED_OUT}})
        except (ForebayError, TypeError, ValueError) as error:
            tell({"message": {"result": f"ERROR: {error}"}})
        finally:
            self._free.release()

    def _give_up(self, number: int | None) -> int | None:
        if number is not None:
            self._put(number, TIMED_OUT)
        return number

    def _keep(self, answer: Answer | None) -> int | None:
        """Keep the result of an action by the number that the core gave it."""
        message = answer["message"] if answer is not None else None
        metadata = message.get("metadata") if isinstance(message, dict) else None
        number = metadata.get("id") if isinstance(metadata, dict) else None
        if not isinstance(number, int):
            return None
        self._put(number, message.get("result") if isinstance(message, dict) else None)
        return number

    def _put(self, number: int, result: Any) -> None:
        with self._lock:
            self._results[number] = result
            while len(self._results) > _MOST_RESULTS:
                self._results.popitem(last=False)

    def result(self, number: int) -> Any:
        """Return the result of an action asked for here, or ``pending``; KeyError if there was none."""
        with self._lock:
            return self._results[number]
