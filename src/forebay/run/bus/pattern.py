"""Which keys a pattern means: ``*`` is one word, ``#`` any number of words, none included."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=4096)
def matches(pattern: str, key: str) -> bool:
    """Return whether `pattern` means `key`, as topics of AMQP do; time grows with the product of both."""
    words = pattern.split(".")
    places = _skip_any({0}, words)
    for word in key.split("."):
        stays = {place for place in places if place < len(words) and words[place] == "#"}
        moves = {place + 1 for place in places if place < len(words) and words[place] in ("*", word)}
        places = _skip_any(stays | moves, words)
    return len(words) in places


def _skip_any(places: set[int], words: list[str]) -> set[int]:
    """Add the places behind each ``#``: it may mean no word at all."""
    reached = set(places)
    for place in places:
        at = place
        while at < len(words) and words[at] == "#":
            at += 1
            reached.add(at)
    return reached
