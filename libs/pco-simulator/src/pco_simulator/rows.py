"""Rows in memory: tables with sorted and exact indexes, and the recent past for lagging reads."""

import unicodedata
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

type_of_value = str
"""`string`, `integer`, `boolean`, `date`, `date_time` or `primary_key`."""

Order = tuple[tuple[str, bool], ...]
"""Fields with True for descending; ties always break on the ascending id."""

DEFAULTS: Mapping[str, Any] = {
    "accounting_administrator": False,
    "blocked": False,
    "child": False,
    "pending": False,
    "primary": False,
    "site_administrator": False,
    "status": "active",
}
"""Default values; a row keeps only attributes that differ from these and from null."""


def fold(text: str) -> str:
    """Text folded as the vendor compares and sorts it: case and accents ignored."""
    if text.isascii():
        return text.lower()
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).casefold()


def parse_id(text: str) -> int | None:
    """The id in a path segment, or None when the segment cannot be an id."""
    return int(text) if len(text) < 20 and text.isascii() and text.isdecimal() else None


class Row:
    """One version of a record. A change puts a new Row, so `cache` (its rendered parts) cannot go stale."""

    __slots__ = ("attrs", "cache", "id")

    def __init__(self, id_: int, attrs: dict[str, Any]) -> None:
        self.id = id_
        self.attrs = attrs
        self.cache: Any = None

    def get(self, field: str) -> Any:
        """The value of a stored field, else its default, else None."""
        value = self.attrs.get(field)
        return DEFAULTS.get(field) if value is None else value


def _ascending(value: Any, kind: type_of_value) -> tuple[int, Any]:
    if value is None:
        return (0, 0)
    return (1, fold(value) if kind == "string" else value)


_DIGITS_ONLY = str.maketrans("", "", "-:TZ")


def _descending(value: Any, kind: type_of_value) -> tuple[int, Any]:
    if value is None:
        return (1, 0)
    if kind in ("date", "date_time"):
        return (0, -int(value.translate(_DIGITS_ONLY)))
    if isinstance(value, str):
        text = fold(value) if kind == "string" else value
        # The closing 1 sorts a longer text before its own prefix, as descending order requires.
        return (0, (*(-ord(c) for c in text), 1))
    return (0, -value)


def order_entry(row: Row, order: Order, kinds: Mapping[str, type_of_value]) -> tuple[Any, ...]:
    """A row's key in a sorted index: nulls first (last when descending), then the id."""
    if not order:
        return (row.id,)
    parts: list[Any] = []
    for field, descending in order:
        key = _descending if descending else _ascending
        parts.extend(key(row.get(field), kinds[field]))
    parts.append(row.id)
    return tuple(parts)


class Table:
    """All records of one type in one church."""

    def __init__(
        self, type_: str, kinds: Mapping[str, type_of_value], *, parents: Iterable[str], exact: Iterable[str]
    ) -> None:
        self.type = type_
        self.kinds = kinds
        self.rows: dict[int, Row] = {}
        self.children: dict[str, dict[int, list[int]]] = {field: {} for field in parents}
        self._exact: dict[str, dict[Any, list[int]]] = {field: {} for field in exact}
        self._orders: dict[Order, list[tuple[Any, ...]]] = {}
        self._changes: deque[tuple[float, int, Row | None]] = deque()

    def put(self, row: Row, *, elapsed: float | None = None) -> None:
        """Insert or replace a row; `elapsed` keeps the former version for lagging reads."""
        before = self.rows.get(row.id)
        if elapsed is not None:
            self._changes.append((elapsed, row.id, before))
        if before is not None:
            self._unlink(before)
        self.rows[row.id] = row
        for field, index in self.children.items():
            parent = row.attrs.get(field)
            if parent is not None:
                insort(index.setdefault(parent, []), row.id)
        for field, exact in self._exact.items():
            value = row.attrs.get(field)
            if value is not None:
                exact.setdefault(self._exact_key(value), []).append(row.id)
        for order, entries in self._orders.items():
            insort(entries, order_entry(row, order, self.kinds))

    def remove(self, id_: int, *, elapsed: float | None = None) -> Row:
        """Delete; `KeyError` for an unknown id."""
        row = self.rows[id_]
        if elapsed is not None:
            self._changes.append((elapsed, id_, row))
        self._unlink(row)
        del self.rows[id_]
        return row

    def _unlink(self, row: Row) -> None:
        for field, index in self.children.items():
            parent = row.attrs.get(field)
            if parent is not None:
                index[parent].remove(row.id)
                if not index[parent]:
                    del index[parent]
        for field, exact in self._exact.items():
            value = row.attrs.get(field)
            if value is not None:
                exact[self._exact_key(value)].remove(row.id)
        for order, entries in self._orders.items():
            entry = order_entry(row, order, self.kinds)
            at = bisect_left(entries, entry)
            assert entries[at] == entry
            del entries[at]

    @staticmethod
    def _exact_key(value: Any) -> Any:
        return fold(value) if isinstance(value, str) else value

    def exact(self, field: str, value: Any) -> list[int] | None:
        """Ids holding this value (folded), or None where the field has no index."""
        index = self._exact.get(field)
        return None if index is None else index.get(self._exact_key(value), [])

    def entries(self, order: Order) -> list[tuple[Any, ...]]:
        """The sorted index of an order, built on first use and kept up to date from then on. Do not modify."""
        found = self._orders.get(order)
        if found is None:
            found = sorted(order_entry(row, order, self.kinds) for row in self.rows.values())
            if len(self._orders) >= 12:
                del self._orders[next(iter(self._orders))]
            self._orders[order] = found
        return found

    def changed_since(self, as_of: float) -> dict[int, Row | None]:
        """Rows changed after `as_of` with their version at that time (None: absent)."""
        seen: dict[int, Row | None] = {}
        for at, id_, before in reversed(self._changes):
            if at <= as_of:
                break
            seen[id_] = before
        return seen

    def forget_changes(self, before: float) -> None:
        """Drop versions older than any lagging read can ask for."""
        while self._changes and self._changes[0][0] <= before:
            self._changes.popleft()


class View:
    """The tables of a church as a read sees them: now, or in the recent past."""

    def __init__(self, tables: Mapping[str, Table], as_of: float | None) -> None:
        self.tables = tables
        self._overlays: dict[str, dict[int, Row | None]] = {}
        if as_of is not None:
            for type_, table in tables.items():
                overlay = table.changed_since(as_of)
                if overlay:
                    self._overlays[type_] = overlay
        self.current = not self._overlays
        """Whether the view equals the present."""

    def get(self, type_: str, id_: int | None) -> Row | None:
        """A record, or None."""
        if id_ is None:
            return None
        overlay = self._overlays.get(type_)
        if overlay is not None and id_ in overlay:
            return overlay[id_]
        return self.tables[type_].rows.get(id_)

    def children(self, type_: str, field: str, parent: int) -> list[Row]:
        """Records whose `field` is `parent`, by ascending id."""
        table = self.tables[type_]
        ids = table.children[field].get(parent)
        overlay = self._overlays.get(type_)
        if overlay is None:
            return [table.rows[i] for i in ids] if ids else []
        found = {i: table.rows[i] for i in ids or () if i not in overlay}
        found.update({i: row for i, row in overlay.items() if row and row.attrs.get(field) == parent})
        return [found[i] for i in sorted(found)]

    def entries(self, type_: str, order: Order) -> list[tuple[Any, ...]]:
        """The sorted index of an order as this view sees it. Do not modify."""
        table = self.tables[type_]
        base = table.entries(order)
        overlay = self._overlays.get(type_)
        if overlay is None:
            return base
        # Positions where a present entry is dropped or a past one inserted; the stretches between are copied whole.
        cuts: list[tuple[int, bool, tuple[Any, ...]]] = []
        for id_, row in overlay.items():
            now = table.rows.get(id_)
            new = None if now is None else order_entry(now, order, table.kinds)
            old = None if row is None else order_entry(row, order, table.kinds)
            if new != old:
                cuts += [(bisect_left(base, new), True, new)] if new else []
                cuts += [(bisect_left(base, old), False, old)] if old else []
        if not cuts:
            return base
        seen: list[tuple[Any, ...]] = []
        at = 0
        for place, is_left_out, entry in sorted(cuts):
            seen += base[at:place]
            at = place + is_left_out
            if not is_left_out:
                seen.append(entry)
        seen += base[at:]
        return seen

    def exact(self, type_: str, field: str, value: Any) -> list[int] | None:
        """Ids that may hold this value (the caller filters again), or None without an index."""
        ids = self.tables[type_].exact(field, value)
        overlay = self._overlays.get(type_)
        if ids is None or overlay is None:
            return ids
        return [*(i for i in ids if i not in overlay), *(i for i, row in overlay.items() if row)]

    def all(self, type_: str) -> Iterable[Row]:
        """Every record, in no particular order."""
        overlay = self._overlays.get(type_)
        if overlay is None:
            return self.tables[type_].rows.values()
        return [row for (i,) in self.entries(type_, ()) if (row := self.get(type_, i))]


Derived = Callable[[View, Row], Any]
"""A value that is computed from other rows when it is read."""
