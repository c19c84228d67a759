"""The states of a run as a picture and as a table, drawn from the table that the code uses."""

from __future__ import annotations

from math import hypot

from forebay.run.states import OUTCOMES, STATES, WAYS, allowed, is_transient

PLACES = {
    "idle": (90, 190),
    "preparing": (230, 70),
    "ready": (430, 70),
    "starting": (630, 70),
    "running": (790, 190),
    "ending": (640, 315),
    "failed": (290, 315),
}
"""Where the middle of each state lies."""

WIDTH, HEIGHT = 104, 36
BEND = 16
"""How far a way bends aside, so that a way and its reverse do not lie on each other."""


def diagram() -> str:
    """Return the picture as SVG: commands in full lines, what services answer in dashed ones."""
    ways = []
    for state, found in WAYS.items():
        for target in dict.fromkeys(found.values()):
            words = [str(word) for word in found if found[word] == target]
            ways.append(_way(state, ", ".join(words), target, dashed=words[0] in OUTCOMES))
    boxes = [_box(state, x, y, waits=is_transient(state)) for state, (x, y) in PLACES.items()]
    head = '<path d="M0 0 10 5 0 10z" fill="#41566b"/>'
    return "\n".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 880 370" font-size="14" fill="#1b2733" '
            'font-family="system-ui, \'DejaVu Sans\', sans-serif" role="img">',
            "<title>The states of a run</title>",
            f'<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
            f'orient="auto">{head}</marker></defs>',
            '<rect width="880" height="370" rx="14" fill="#fbfcfd"/>',
            *ways,
            *boxes,
            "</svg>",
            "",
        ]
    )


def _box(state: str, x: int, y: int, *, waits: bool) -> str:
    dash = ' stroke-dasharray="5 3"' if waits else ""
    return (
        f'<rect x="{x - WIDTH / 2:g}" y="{y - HEIGHT / 2:g}" width="{WIDTH}" height="{HEIGHT}" rx="8" '
        f'fill="#d5ecf7" stroke="#1f6f94"{dash}/>'
        f'<text x="{x}" y="{y + 5}" text-anchor="middle">{state}</text>'
    )


def _way(state: str, word: str, target: str, *, dashed: bool) -> str:
    (x0, y0), (x1, y1) = PLACES[state], PLACES[target]
    length = hypot(x1 - x0, y1 - y0)
    aside = (-(y1 - y0) / length * BEND, (x1 - x0) / length * BEND)
    middle = ((x0 + x1) / 2 + aside[0], (y0 + y1) / 2 + aside[1])
    start, end = _edge(x0, y0, *middle), _edge(x1, y1, *middle)
    dash = ' stroke-dasharray="4 4"' if dashed else ""
    return (
        f'<path d="M{start[0]:.0f} {start[1]:.0f} Q{middle[0]:.0f} {middle[1]:.0f} '
        f'{end[0]:.0f} {end[1]:.0f}" '
        f'stroke="#41566b" fill="none" marker-end="url(#head)"{dash}/>'
        f'<text x="{middle[0]:.0f}" y="{middle[1]:.0f}" text-anchor="middle" font-size="12" stroke="#fbfcfd" '
        f'stroke-width="4" paint-order="stroke">{word}</text>'
    )


def _edge(x: float, y: float, towards_x: float, towards_y: float) -> tuple[float, float]:
    """Return where the line from the middle of a box leaves the box, and a little air."""
    dx, dy = towards_x - x, towards_y - y
    air = 3
    scale = min(
        (WIDTH / 2 + air) / abs(dx) if dx else float("inf"),
        (HEIGHT / 2 + air) / abs(dy) if dy else float("inf"),
    )
    return x + dx * scale, y + dy * scale


def table() -> str:
    """Return the table as Markdown."""
    lines = ["| state | commands allowed | then | services confirm | one does not |", "|---|---|---|---|---|"]
    for state in STATES:
        ways = WAYS[state]
        commands = allowed(state)
        outcomes = [ways.get(outcome, "") for outcome in OUTCOMES]
        cells = [", ".join(commands), ", ".join(ways[command] for command in commands), *outcomes]
        lines.append(f"| {state} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])
