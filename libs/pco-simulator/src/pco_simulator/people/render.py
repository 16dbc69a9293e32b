"""Documents of People as bytes.

A row's part of a document is rendered once per version and cached on the row; relationships added by `include` are
spliced in. A page joins such parts, so the simulator stays faster than the code measured against it.
Attributes stand in alphabetical order, as in every recording.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import orjson

from pco_simulator.jsonapi import Query, page_links
from pco_simulator.people.contacts import ADDRESS, EMAIL, PHONE_NUMBER, person_ref
from pco_simulator.people.custom_fields import FIELD_DATUM, FIELD_DEFINITION, FIELD_OPTION, TAB
from pco_simulator.people.households import HOUSEHOLD, households_of, members
from pco_simulator.people.kind import Context, Kind
from pco_simulator.people.organization import ORGANIZATION
from pco_simulator.people.person import PERSON, TO_ONE
from pco_simulator.people.references import NOTHING, REFERENCES
from pco_simulator.rows import Row

Related = Callable[[Context, Row], Sequence[Row]]


def _contacts(type_: str) -> Related:
    return lambda context, row: context.view.children(type_, "person_id", row.id)


def _one(type_: str, name: str) -> Related:
    def related(context: Context, row: Row) -> Sequence[Row]:
        found = context.view.get(type_, row.attrs.get(f"{name}_id"))
        return () if found is None else (found,)

    return related


def _organization_of(context: Context, _row: Row) -> Sequence[Row]:
    return (organization_row(context),)


def organization_row(context: Context) -> Row:
    """The church itself, which has no table."""
    return context.view.tables["Organization"].rows[context.organization_id]


def _tab_of_datum(context: Context, row: Row) -> Sequence[Row]:
    definition = context.view.get("FieldDefinition", row.attrs["field_definition_id"])
    return () if definition is None else _one("Tab", "tab")(context, definition)


def _options_of_tab(context: Context, row: Row) -> Sequence[Row]:
    view = context.view
    definitions = view.children("FieldDefinition", "tab_id", row.id)
    return [option for each in definitions for option in view.children("FieldOption", "field_definition_id", each.id)]


INCLUDES: dict[str, dict[str, tuple[Kind, bool, Related]]] = {
    "Person": {
        "emails": (EMAIL, True, _contacts("Email")),
        "phone_numbers": (PHONE_NUMBER, True, _contacts("PhoneNumber")),
        "addresses": (ADDRESS, True, _contacts("Address")),
        "households": (HOUSEHOLD, True, lambda context, row: households_of(context.view, row)),
        "organization": (ORGANIZATION, False, _organization_of),
        "field_data": (FIELD_DATUM, True, _contacts("FieldDatum")),
        "person_apps": (NOTHING, True, lambda _context, _row: ()),
        "platform_notifications": (NOTHING, True, lambda _context, _row: ()),
        "social_profiles": (NOTHING, True, lambda _context, _row: ()),
        **{name: (REFERENCES[collection], False, _one(type_, name)) for name, (type_, collection) in TO_ONE.items()},
    },
    "Household": {"people": (PERSON, True, lambda context, row: members(context.view, row))},
    "HouseholdMembership": {
        "household": (HOUSEHOLD, False, _one("Household", "household")),
        "person": (PERSON, False, _one("Person", "person")),
    },
    "FieldDatum": {
        "field_definition": (FIELD_DEFINITION, False, _one("FieldDefinition", "field_definition")),
        "field_option": (FIELD_OPTION, False, _one("FieldOption", "field_option")),
        "tab": (TAB, False, _tab_of_datum),
    },
    "FieldDefinition": {
        "field_options": (
            FIELD_OPTION,
            True,
            lambda context, row: context.view.children("FieldOption", "field_definition_id", row.id),
        ),
        "tab": (TAB, False, _one("Tab", "tab")),
    },
    "Tab": {
        "field_definitions": (
            FIELD_DEFINITION,
            True,
            lambda context, row: context.view.children("FieldDefinition", "tab_id", row.id),
        ),
        "field_options": (FIELD_OPTION, True, _options_of_tab),
    },
}
"""Per type: relationship → kind, whether to many, rows. Keys are the simulated ones of `can_include`."""

_FIXED = frozenset({"field_definition", "people", "person", "tab"})
"""Relationships of kinds other than Person that are present without `include`, which extends them."""

_LINKAGE_TYPES = {"primary_campus": "PrimaryCampus"}


def _splittable(kind: Kind, context: Context, row: Row) -> tuple[bytes, bytes, bytes]:
    """Attributes part, fixed relationships (without braces), links part; cached on the row."""
    current = context.view.current or not kind.depends_on_others
    key = (context.version, context.root)
    if current and row.cache is not None and row.cache[0] == key:
        return row.cache[1]  # type: ignore[no-any-return]
    attributes = orjson.dumps(kind.attributes(context, row), option=orjson.OPT_SORT_KEYS)
    head = b'{"type":"%b","id":"%d","attributes":%b' % (kind.type.encode(), row.id, attributes)
    if kind.relationships is person_ref:
        relationships = b'"person":{"data":{"type":"Person","id":"%d"}}' % row.attrs["person_id"]
    else:
        relationships = orjson.dumps(kind.relationships(context, row))[1:-1]
    links = {**kind.listed_links(context, row), "self": context.root + kind.self_path(row)}
    parts = (head, relationships, b',"links":%b}' % orjson.dumps(links))
    if current:
        row.cache = (key, parts)
    return parts


def listed(kind: Kind, context: Context, row: Row, extra: dict[str, Any], self_url: str | None = None) -> bytes:
    """A row of a collection or of `included`; `extra`: relationships that `include` added."""
    if kind.type in context.fields or self_url is not None:
        return _sparse(kind, context, row, extra, kind.listed_links(context, row), self_url)
    head, relationships, tail = _splittable(kind, context, row)
    if extra:
        if "primary_campus" in extra or (kind is not PERSON and not _FIXED.isdisjoint(extra)):
            return _sparse(kind, context, row, extra, kind.listed_links(context, row), None)
        added = orjson.dumps(extra)[1:-1]
        relationships = relationships + b"," + added if relationships else added
    if not relationships:
        return head + tail
    return b'%b,"relationships":{%b}%b' % (head, relationships, tail)


def _sparse(
    kind: Kind,
    context: Context,
    row: Row,
    extra: dict[str, Any],
    links: dict[str, Any],
    self_url: str | None,
) -> bytes:
    """Any row, rendered from its values: sparse fields, all links of a single document."""
    attributes = dict(sorted(kind.attributes(context, row).items()))
    relationships = {**kind.relationships(context, row), **extra}
    wanted = context.fields.get(kind.type)
    if wanted is not None:
        attributes = {name: value for name, value in attributes.items() if name in wanted}
        relationships = {name: value for name, value in relationships.items() if name in wanted}
    document: dict[str, Any] = {"type": kind.type, "id": str(row.id), "attributes": attributes}
    if relationships:
        document["relationships"] = relationships
    document["links"] = {**links, "self": self_url or context.root + kind.self_path(row)}
    return orjson.dumps(document)


class Included:
    """Collects the rows that `include` adds, each once, in the order found."""

    def __init__(self, context: Context, query: Query) -> None:
        self._context = context
        self._query = query
        self._parts: dict[tuple[str, int], bytes] = {}

    def relationships(self, kind: Kind, row: Row) -> dict[str, Any]:
        """The relationships that `include` adds to a primary row; their targets are collected.

        A second level (`households.people`) also appears as a relationship of the primary row, without a link
        (recorded).
        """
        known = INCLUDES.get(kind.type)
        if not known or not self._query.include:
            return {}
        added: dict[str, Any] = {}
        context = self._context
        for name, nested in self._query.include:
            if name not in known:
                continue
            target, many, related = known[name]
            rows = self._rows(related, row)
            added[name] = self._linkage(kind, row, name, target, many, rows)
            if not nested and target is not ORGANIZATION:
                for found in rows:
                    if (target.type, found.id) not in self._parts:
                        self._add(target, found, {})
                continue
            # An empty relationship is shown as well: it tells "none" from "not requested" (recorded).
            below_it = INCLUDES.get(target.type, {})
            deeper: dict[str, list[dict[str, str]]] = {second: [] for second in nested if second in below_it}
            self_url = f"{context.root}/people/{row.id}/organization" if target is ORGANIZATION else None
            later: list[tuple[Kind, Row]] = []
            for found in rows:
                below = self._below(target, found, nested, deeper)
                if (target.type, found.id) not in self._parts or below[0]:
                    self._add(target, found, below[0], self_url)
                later += below[1]
            for next_kind, next_row in later:
                if (next_kind.type, next_row.id) not in self._parts:
                    self._add(next_kind, next_row, {})
            for second, refs in deeper.items():
                # Concatenated: a person in two households appears twice (recorded).
                added.setdefault(second, {"links": {"related": None}, "data": []})["data"].extend(refs)
        return added

    def _rows(self, related: Related, row: Row) -> Sequence[Row]:
        context = self._context
        if context.behind is not None and context.relationships_behind:
            context = replace(context, view=context.behind)
        return related(context, row)

    def _add(self, kind: Kind, row: Row, extra: dict[str, Any], self_url: str | None = None) -> None:
        context = self._context
        shown: Row | None = row
        if context.behind is not None and kind is not ORGANIZATION:
            shown = context.behind.get(kind.type, row.id)
            context = replace(context, view=context.behind)
        if shown is not None:
            self._parts[kind.type, row.id] = listed(kind, context, shown, extra, self_url)

    def _below(
        self, kind: Kind, row: Row, nested: Iterable[str], deeper: dict[str, list[dict[str, str]]]
    ) -> tuple[dict[str, Any], list[tuple[Kind, Row]]]:
        known = INCLUDES.get(kind.type, {})
        added: dict[str, Any] = {}
        found: list[tuple[Kind, Row]] = []
        for name in nested:
            if name not in known:
                continue
            target, many, related = known[name]
            rows = self._rows(related, row)
            added[name] = self._linkage(kind, row, name, target, many, rows)
            for next_row in rows:
                deeper[name].append({"type": target.type, "id": str(next_row.id)})
                found.append((target, next_row))
        return added, found

    def _linkage(
        self, kind: Kind, row: Row, name: str, target: Kind, many: bool, rows: Sequence[Row]
    ) -> dict[str, Any]:
        type_ = _LINKAGE_TYPES.get(name, target.type)
        data = [{"type": type_, "id": str(found.id)} for found in rows]
        if many or target is ORGANIZATION:
            related = f"{self._context.root}{kind.self_path(row)}/{name}"
        elif rows:
            related = self._context.root + target.self_path(rows[0])
        else:
            return {"data": None}
        return {"links": {"related": related}, "data": data if many else data[0]}

    def body(self) -> bytes:
        """`,"included":[...]`, or no bytes where this version omits an empty list."""
        if not self._parts and not self._context.always_included:
            return b""
        return b',"included":[%b]' % b",".join(self._parts.values())


def collection(
    kind: Kind,
    context: Context,
    query: Query,
    rows: Sequence[Row],
    *,
    url: str,
    total: int,
    parent: tuple[str, str],
    can_filter: tuple[str, ...],
) -> bytes:
    """A page; `parent`: type and id for `meta.parent`."""
    links, moves = page_links(query, url, total, len(rows))
    included = Included(context, query)
    data = b",".join([listed(kind, context, row, included.relationships(kind, row)) for row in rows])
    lists = {
        "can_order_by": kind.can_order(context.version),
        "can_query_by": kind.can_query(context.version),
        "can_include": kind.can_include,
        "can_filter": can_filter,
    }
    meta = {
        "total_count": total,
        "count": len(rows),
        **moves,
        **{name: values for name, values in lists.items() if values},
        "parent": {"id": parent[1], "type": parent[0]},
    }
    return b'{"links":%b,"data":[%b]%b,"meta":%b}' % (
        orjson.dumps(links),
        data,
        included.body(),
        orjson.dumps(meta),
    )


def single(
    kind: Kind,
    context: Context,
    query: Query,
    row: Row,
    *,
    parent: tuple[str, str] | None,
    self_url: str | None = None,
) -> bytes:
    """One record with all its links."""
    included = Included(context, query)
    extra = included.relationships(kind, row)
    data = _sparse(kind, context, row, extra, kind.links(context, row), self_url)
    meta: dict[str, Any] = {}
    if kind.can_include:
        meta["can_include"] = kind.can_include
    if parent is not None:
        meta["parent"] = {"id": parent[1], "type": parent[0]}
    return b'{"data":%b%b,"meta":%b}' % (data, included.body(), orjson.dumps(meta))
