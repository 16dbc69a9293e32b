"""Documents of a product as bytes.

A row's part of a document is rendered once per version and cached on the row; relationships added by `include` are
spliced in. A page joins such parts, so the simulator stays faster than the code measured against it.
Attributes stand in alphabetical order, as in every recording.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import orjson

from pco_simulator.jsonapi import Query, page_links
from pco_simulator.kind import Context, Include, Kind, Related
from pco_simulator.rows import Row


def _splittable(kind: Kind, context: Context, row: Row) -> tuple[bytes, bytes, bytes]:
    """Attributes part, fixed relationships (without braces), links part; cached on the row."""
    current = context.view.current or not kind.depends_on_others
    key = (context.version, context.root, context.hour)
    if current and row.cache is not None and row.cache[0] == key:
        return row.cache[1]  # type: ignore[no-any-return]
    attributes = orjson.dumps(kind.attributes(context, row), option=orjson.OPT_SORT_KEYS)
    head = b'{"type":"%b","id":"%b","attributes":%b' % (kind.type.encode(), kind.shown_id(row).encode(), attributes)
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
        if not kind.extended.isdisjoint(extra):
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
    document: dict[str, Any] = {"type": kind.type, "id": kind.shown_id(row), "attributes": attributes}
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
        (recorded), unless the row has one of that name (unconfirmed).
        """
        context = self._context
        known = context.includes.get(kind.type)
        if not known or not self._query.include:
            return {}
        own = kind.extended.union(name for name, _ in self._query.include)
        added: dict[str, Any] = {}
        for name, nested in self._query.include:
            edge = known.get(name)
            if edge is None:
                continue
            rows = self._rows(edge.related, row)
            added[name] = self._linkage(kind, row, name, edge, rows)
            if nested or edge.at_edge:
                self_url = f"{context.root}{kind.self_path(row)}/{name}" if edge.at_edge else None
                for second, refs in self._nested(edge, rows, nested, self_url).items():
                    if second not in own:
                        # Concatenated: a person in two households appears twice (recorded).
                        added.setdefault(second, {"links": {"related": None}, "data": []})["data"].extend(refs)
            else:
                for found in rows:
                    if (edge.kind.type, found.id) not in self._parts:
                        self._add(edge.kind, found, {})
        return added

    def _nested(
        self, edge: Include, rows: Sequence[Row], nested: Iterable[str], self_url: str | None
    ) -> dict[str, list[dict[str, str]]]:
        """Collects included rows with what is included below them; gives the linkage of each second level."""
        # An empty relationship is shown as well: it tells "none" from "not requested" (recorded).
        below_it = self._context.includes.get(edge.kind.type, {})
        deeper: dict[str, list[dict[str, str]]] = {second: [] for second in nested if second in below_it}
        later: list[tuple[Kind, Row]] = []
        for found in rows:
            extra, following = self._below(edge.kind, found, nested, deeper)
            if (edge.kind.type, found.id) not in self._parts or extra:
                self._add(edge.kind, found, extra, self_url)
            later += following
        for next_kind, next_row in later:
            if (next_kind.type, next_row.id) not in self._parts:
                self._add(next_kind, next_row, {})
        return deeper

    def _rows(self, related: Related, row: Row) -> Sequence[Row]:
        context = self._context
        if context.behind is not None and context.relationships_behind:
            context = replace(context, view=context.behind)
        return related(context, row)

    def _add(self, kind: Kind, row: Row, extra: dict[str, Any], self_url: str | None = None) -> None:
        context = self._context
        shown: Row | None = row
        if context.behind is not None:
            shown = context.behind.get(kind.type, row.id)
            context = replace(context, view=context.behind)
        if shown is not None:
            self._parts[kind.type, row.id] = listed(kind, context, shown, extra, self_url)

    def _below(
        self, kind: Kind, row: Row, nested: Iterable[str], deeper: dict[str, list[dict[str, str]]]
    ) -> tuple[dict[str, Any], list[tuple[Kind, Row]]]:
        known = self._context.includes.get(kind.type, {})
        added: dict[str, Any] = {}
        found: list[tuple[Kind, Row]] = []
        for name in nested:
            edge = known.get(name)
            if edge is None:
                continue
            rows = self._rows(edge.related, row)
            added[name] = self._linkage(kind, row, name, edge, rows)
            for next_row in rows:
                deeper[name].append({"type": edge.kind.type, "id": edge.kind.shown_id(next_row)})
                found.append((edge.kind, next_row))
        return added, found

    def _linkage(self, kind: Kind, row: Row, name: str, edge: Include, rows: Sequence[Row]) -> dict[str, Any]:
        type_ = edge.type or edge.kind.type
        data = [{"type": type_, "id": edge.kind.shown_id(found)} for found in rows]
        if edge.many or edge.at_edge:
            related = f"{self._context.root}{kind.self_path(row)}/{name}"
        elif rows:
            related = self._context.root + edge.kind.self_path(rows[0])
        else:
            return {"data": None}
        return {"links": {"related": related}, "data": data if edge.many else data[0]}

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
