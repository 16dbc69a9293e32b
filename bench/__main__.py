"""`make bench`: measure, print one table, keep it in README.md."""

from bench import decisions, door, figures, million, plans, undo
from bench.parameters import Parameters
from bench.table import Row, show
from bench.work import say


def main() -> None:
    """All figures asked for."""
    asked = Parameters.read()
    rows: list[str] = []

    def shown(row: Row) -> None:
        rows.append(row.render())
        say(rows[-1])

    try:
        if {"pull", "nochange", "pypco", "now"} & set(asked.figures):
            figures.reading(asked, shown)
        for name in ("apply", "push", "memory", "start", "matching", "idle"):
            if name in asked.figures:
                getattr(figures, name)(asked, shown)
        for name in ("conflicts", "decide", "bulk"):
            if name in asked.figures:
                getattr(decisions, name)(asked, shown)
        if "plan" in asked.figures:
            plans.plan(asked, shown)
        if "undo" in asked.figures:
            undo.undo(asked, shown)
        for name in ("through", "hostile"):
            if name in asked.figures:
                getattr(door, name)(asked, shown)
        if "million" in asked.figures:
            million.million(asked, shown)
    finally:
        show(rows, str(asked))


main()
