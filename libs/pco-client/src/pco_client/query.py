"""Queries, each checked against the answer's own list of supported keys.

The vendor ignores an unknown `where` or `order` key with HTTP 200 and answers the whole collection: a typo in a filter
becomes a full export. Nested filters (`where[emails][address]`) are documented and ignored too. So keys are plain
names, and every query is checked against the answer's `meta.can_query_by`, `can_order_by`, `can_include`, `can_filter`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pco_client.errors import QueryNotSupported

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_DOTTED: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?")

Comparison = Literal["gt", "gte", "lt", "lte"]
Scalar = str | int | bool | datetime


@dataclass(frozen=True, slots=True)
class Where:
    """`where[field]=value` or `where[field][comparison]=value`.

    A datetime must be aware and is sent as a full UTC instant in whole seconds: a bare date would mean the
    organization's local day (planningcenter/developers#894). A `%` at either end of a text makes it a partial match.
    """

    field: str
    value: Scalar
    comparison: Comparison | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.field):
            raise ValueError(f"{self.field!r} is not a plain attribute name; nested filters are ignored by the vendor")

    def parameter(self) -> tuple[str, str]:
        key = f"where[{self.field}]" + (f"[{self.comparison}]" if self.comparison else "")
        return key, _scalar(self.value)


@dataclass(frozen=True, slots=True)
class Query:
    """The query of a read. `per_page` is 1 to 100: the vendor answers 0 with endless empty pages."""

    where: tuple[Where, ...] = ()
    order: str | None = None
    """Attribute name, `-` before it for descending. Ties break on ascending id."""
    include: tuple[str, ...] = ()
    """Relationship names, at most two levels (`households.people`)."""
    filter: tuple[str, ...] = ()
    """Named scopes of the collection."""
    fields: Mapping[str, tuple[str, ...]] | None = None
    """Type to attribute names: limits attributes and relationships. A sparse copy lacks `updated_at` unless named."""
    per_page: int | None = None
    offset: int | None = None

    def __post_init__(self) -> None:
        if self.order is not None and not _NAME.fullmatch(self.order.removeprefix("-")):
            raise ValueError(f"{self.order!r} is not an attribute to order by")
        for name in (*self.include, *self.filter):
            if not _DOTTED.fullmatch(name):
                raise ValueError(f"{name!r} is not a name to include or filter by")
        if self.per_page is not None and not 1 <= self.per_page <= 100:
            raise ValueError("per_page must be 1 to 100")
        if self.offset is not None and self.offset < 0:
            raise ValueError("offset must not be negative")

    def parameters(self) -> list[tuple[str, str]]:
        """The pairs to send, unencoded."""
        pairs = [where.parameter() for where in self.where]
        if self.order:
            pairs.append(("order", self.order))
        if self.include:
            pairs.append(("include", ",".join(self.include)))
        if self.filter:
            pairs.append(("filter", ",".join(self.filter)))
        pairs.extend((f"fields[{kind}]", ",".join(names)) for kind, names in (self.fields or {}).items())
        if self.per_page is not None:
            pairs.append(("per_page", str(self.per_page)))
        if self.offset is not None:
            pairs.append(("offset", str(self.offset)))
        return pairs


def check_honoured(query: Query, meta: Mapping[str, Any], *, method: str = "GET", path: str = "") -> None:
    """Raises `QueryNotSupported` unless the answer's `meta` admits every key of the query.

    A list missing from `meta` admits no key: a filter counts as applied only when the vendor confirms it.
    """
    asked = (
        ("where", "can_query_by", {where.field for where in query.where}),
        ("order", "can_order_by", {query.order.removeprefix("-")} if query.order else set()),
        ("include", "can_include", {name.partition(".")[0] for name in query.include}),
        ("filter", "can_filter", set(query.filter)),
    )
    for parameter, key, names in asked:
        ignored = names - set(meta.get(key) or ())
        if ignored:
            raise QueryNotSupported(
                f"Planning Center would ignore {parameter}={','.join(sorted(ignored))} here (meta.{key})",
                method=method,
                path=path,
            )


def utc_instant(value: datetime) -> str:
    """Format as `YYYY-MM-DDTHH:MM:SSZ`, fractions cut off. Raises `ValueError` for a naive datetime."""
    if value.tzinfo is None:
        raise ValueError("an instant must be timezone-aware")
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _scalar(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return utc_instant(value)
    return str(value)
