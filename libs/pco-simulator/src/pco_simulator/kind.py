"""The building blocks of every resource: rendering, links and query lists. People and Calendar are made of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pco_simulator.jsonapi import Source
from pco_simulator.rows import Row, View


@dataclass(frozen=True, slots=True)
class Context:
    """Inputs of rendering besides the row."""

    view: View
    version: str
    root: str
    """Prefix of links: `https://host/people/v2`."""
    fields: Mapping[str, frozenset[str]]
    organization_id: int
    includes: "Includes" = field(default_factory=dict)
    behind: View | None = None
    """The view that `included` shows, where it lags behind the rest."""
    relationships_behind: bool = False
    """Whether the relationships to included rows lag as well."""
    always_included: bool = True
    """Whether an empty `included` is sent."""
    hour: int = 0
    """Hours since 1970 where rendered parts depend on the time: signed addresses of pictures expire."""


Render = Callable[[Context, Row], dict[str, Any]]
Related = Callable[[Context, Row], Sequence[Row]]


def _id_of(row: Row) -> str:
    return str(row.id)


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
    extended: frozenset[str] = frozenset()
    """Relationships present without `include` that an include of the same name replaces."""
    parents: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()
    depends_on_others: bool = False
    """Whether rendering shows values of other rows (then a lagging view renders afresh)."""
    shown_id: Callable[[Row], str] = _id_of


@dataclass(frozen=True, slots=True)
class Include:
    """One relationship that `include` adds."""

    kind: Kind
    many: bool
    related: Related
    type: str | None = None
    """Type in the linkage, where it differs from that of the resource."""
    at_edge: bool = False
    """Whether the included resource's address is that of the edge (recorded for `organization`)."""


Includes = Mapping[str, Mapping[str, Include]]
"""Relationship → include, per type."""


def ref(type_: str, id_: int | None) -> dict[str, Any]:
    return {"data": None if id_ is None else {"type": type_, "id": str(id_)}}


def fixed(*names: str) -> Callable[[str], tuple[str, ...]]:
    return lambda _version: names


def stored(*names: str) -> Render:
    return lambda _context, row: {name: row.attrs.get(name) for name in names}


def nothing(_context: Context, _row: Row) -> dict[str, Any]:
    return {}


def no_rows(_context: Context, _row: Row) -> Sequence[Row]:
    """The rows of an edge whose records are outside this simulator."""
    return ()


def one(type_: str, name: str) -> Related:
    """The row that `<name>_id` names."""

    def related(context: Context, row: Row) -> Sequence[Row]:
        found = context.view.get(type_, row.attrs.get(f"{name}_id"))
        return () if found is None else (found,)

    return related


def children(type_: str, field: str) -> Related:
    """The rows whose `field` names this one."""
    return lambda context, row: context.view.children(type_, field, row.id)


def organization_row(context: Context) -> Row:
    """The church itself."""
    return context.view.tables["Organization"].rows[context.organization_id]


NOTHING = Kind(
    type="Nothing",
    source=Source("Nothing", {}),
    attributes=nothing,
    relationships=nothing,
    self_path=lambda row: f"/{row.id}",
    can_order=fixed(),
    can_query=fixed(),
)
"""The kind of collections that exist and are empty, because their records are outside this simulator."""
