"""The building blocks of every People resource: versions, rendering, links and query lists.

Shapes follow three recordings: 2018-08-01 (recorded in 2019), the vendor's documentation of mid-2025, and
2026-06-04 (recorded in 2026). Where they differ, the version decides; the version in between that introduced a
change is unconfirmed unless the vendor's change notes name it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pco_simulator.jsonapi import Source
from pco_simulator.rows import Row, View

VERSIONS = (
    "2018-08-01",
    "2019-01-14",
    "2019-10-10",
    "2020-04-06",
    "2020-07-22",
    "2021-08-17",
    "2022-01-05",
    "2022-01-28",
    "2022-07-14",
    "2023-02-15",
    "2023-03-21",
    "2024-09-12",
    "2025-03-20",
    "2025-07-02",
    "2025-07-17",
    "2025-11-10",
    "2026-06-04",
)

ROOT = "/people/v2"

FIRST_SHAPE_ENDS = "2020-07-22"
"""Versions before this one have fewer attributes."""
_INCLUDED_WHEN_FILLED = "2026-06-04"


@dataclass(frozen=True, slots=True)
class Context:
    """Inputs of rendering besides the row."""

    view: View
    version: str
    root: str
    """Prefix of links: `https://host/people/v2`."""
    fields: Mapping[str, frozenset[str]]
    organization_id: int
    behind: View | None = None
    """The view that `included` shows, where it lags behind the rest."""
    relationships_behind: bool = False
    """Whether the relationships to included rows lag as well."""

    @property
    def always_included(self) -> bool:
        """Whether an empty `included` is sent: recorded as `[]` in 2019 and absent in 2026."""
        return self.version < _INCLUDED_WHEN_FILLED


Render = Callable[[Context, Row], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource type."""

    type: str
    source: Source
    attributes: Render
    relationships: Render
    """Relationships present without `include`."""
    self_path: Callable[[Row], str]
    can_order: Callable[[str], tuple[str, ...]]
    """Attribute names by version."""
    can_query: Callable[[str], tuple[str, ...]]
    links: Render = field(default=lambda _context, _row: {})
    """Links of a single document, besides `self`."""
    listed_links: Render = field(default=lambda _context, _row: {})
    """Links of a row in a collection or in `included`, besides `self`."""
    can_include: tuple[str, ...] = ()
    can_filter: tuple[str, ...] = ()
    only_with_fields: frozenset[str] = frozenset()
    parents: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()
    depends_on_others: bool = False
    """Whether rendering shows values of other rows (then a lagging view renders afresh)."""


def ref(type_: str, id_: int | None) -> dict[str, Any]:
    return {"data": None if id_ is None else {"type": type_, "id": str(id_)}}


def fixed(*names: str) -> Callable[[str], tuple[str, ...]]:
    return lambda _version: names


def stored(*names: str) -> Render:
    return lambda _context, row: {name: row.attrs.get(name) for name in names}


def nothing(_context: Context, _row: Row) -> dict[str, Any]:
    return {}
