"""`make bench`: measure, print one table, keep it in README.md."""

from bench import calendar, console, decisions, door, feed, figures, million, plans, traffic, undo, webhooks
from bench.parameters import Parameters
from bench.table import Row, show
from bench.work import say

_ALONE = (
    (figures, ("apply", "push", "memory", "start", "matching", "idle")),
    (decisions, ("conflicts", "decide", "bulk")),
    (plans, ("plan",)),
    (undo, ("undo",)),
    (door, ("through", "hostile")),
    (million, ("million",)),
    (traffic, ("queued", "facts", "live")),
    (console, ("console",)),
    (feed, ("feed",)),
    (calendar, ("links", "there")),
    (webhooks, ("intake", "applied", "seen")),
)
"""Figures by module; each figure is a function."""


def main() -> None:
    """Measure all requested figures."""
    asked = Parameters.read()
    rows: list[str] = []

    def shown(row: Row) -> None:
        rows.append(row.render())
        say(rows[-1])

    try:
        if {"pull", "nochange", "pypco", "now"} & set(asked.figures):
            figures.reading(asked, shown)
        for module, names in _ALONE:
            for name in names:
                if name in asked.figures:
                    getattr(module, name)(asked, shown)
    finally:
        show(rows, str(asked))


main()
