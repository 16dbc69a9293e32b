"""The tables of a church: those of all products."""

from pco_simulator.calendar import catalog as calendar
from pco_simulator.kind import Kind
from pco_simulator.people import catalog as people
from pco_simulator.rows import Table
from pco_simulator.webhooks import kind as webhooks

KINDS: dict[str, Kind] = {**people.KINDS, **calendar.KINDS, **webhooks.KINDS}
"""Every kind that has a table, by type."""


def new_tables() -> dict[str, Table]:
    """Empty tables for a church."""
    return {
        type_: Table(type_, kind.source.kinds, parents=kind.parents, exact=kind.exact) for type_, kind in KINDS.items()
    }
