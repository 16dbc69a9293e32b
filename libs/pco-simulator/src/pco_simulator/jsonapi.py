"""Planning Center's dialect of JSON:API: queries, filters, orders, pages, errors.

Recorded behaviour that surprises, all of it kept: unknown `where`, `order`, `include` and `fields` keys are
ignored with 200; filters on a relationship are documented and ignored; `per_page` is clamped to 100 but the
links keep what was asked; `per_page=0` gives an empty page whose `next` points at itself.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus
from zoneinfo import ZoneInfo

import orjson

from pco_simulator.exchange import HTML, JSON, ApiResponse
from pco_simulator.rows import Order, Row, View, fold, order_entry, type_of_value

FIRST_VERSION = "2018-08-01"


class Refused(Exception):
    """A call that the vendor answers with an error document."""

    def __init__(self, status: int, *errors: Mapping[str, Any]) -> None:
        super().__init__("; ".join(map(sentence, errors)))
        self.status = status
        self.errors = errors

    def response(self) -> ApiResponse:
        """The error as the vendor sends it."""
        return ApiResponse(self.status, orjson.dumps({"errors": list(self.errors)}), JSON)


def sentence(error: Mapping[str, Any]) -> str:
    """An error for a human reader: names the refused parameter, since a validation's detail is only "is invalid"."""
    text = str(error.get("detail") or error.get("title"))
    resource = (error.get("meta") or {}).get("resource")
    return f"{resource} {error['source']['parameter']} {text}" if resource else text


def not_found() -> Refused:
    """JSON 404."""
    return Refused(
        404,
        {"status": "404", "title": "Not Found", "detail": "The resource you requested could not be found"},
    )


def forbidden() -> Refused:
    """403, also for POST to a path that cannot create (planningcenter/developers#512)."""
    return Refused(403, {"status": "403", "title": "Forbidden", "detail": "You do not have access to this resource"})


def unauthorized() -> Refused:
    """401 of a person whom this product does not know."""
    return Refused(
        401,
        {
            "status": "401",
            "title": "Unauthorized",
            "detail": "This authenticated user does not have a record in this application.",
        },
    )


def bad_request(code: str, detail: str = "Your request could not be processed") -> Refused:
    """400 with the vendor's code."""
    return Refused(400, {"status": "400", "title": "Bad Request", "code": code, "detail": detail})


def forbidden_attribute(name: str) -> Refused:
    """422 for an attribute or relationship that cannot be written."""
    return Refused(422, {"status": "422", "title": "Forbidden Attribute", "detail": f"{name} cannot be assigned"})


def duplicate() -> Refused:
    """409 of a race on a unique value (vendor documentation "errors")."""
    return Refused(
        409,
        {
            "status": "409",
            "title": "Duplicate Record",
            "detail": "The record you are trying to create/update already exists",
        },
    )


def not_assignable(names: Sequence[str], type_: str) -> Refused:
    """422 of one record that this caller may not edit (the words of planningcenter/developers#1139)."""
    detail = f"You cannot assign {' and '.join(names) or 'anything'} to this {type_}"
    return Refused(422, {"status": "422", "title": "Forbidden Attribute", "detail": detail})


def invalid(resource: str, parameter: str, detail: str) -> Refused:
    """422 for a value that fails a validation."""
    return Refused(
        422,
        {
            "status": "422",
            "title": "Validation Error",
            "detail": detail,
            "source": {"parameter": parameter},
            "meta": {"resource": resource},
        },
    )


def resource_not_found(parameter: str, id_: Any) -> Refused:
    """422 for a relationship that names a record which does not exist."""
    return Refused(
        422,
        {
            "status": "422",
            "title": "Attribute Resource Not Found",
            "code": "attribute_resource_not_found",
            "detail": f"{parameter} {id_} could not be found",
            "source": {"parameter": parameter},
        },
    )


_HTML_404 = b"""<!DOCTYPE html>
<html>
  <head><title>404</title></head>
  <body><h1>404</h1><p>There is nothing to see here.</p></body>
</html>
"""


def html_not_found() -> ApiResponse:
    """The HTML page that answers a method unknown to the vendor's router."""
    return ApiResponse(404, _HTML_404, HTML)


def resolve_version(requested: str | None, default: str, known: Sequence[str]) -> str:
    """The newest known version not later than the requested date.

    `LATEST` is accepted; a date before 2018-08-01 and any value that is no date are refused with 400
    (vendor documentation "versioning").
    """
    wanted = (requested or "").strip() or default
    if wanted.upper() == "LATEST":
        return known[-1]
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", wanted, re.ASCII) or parse_date(wanted) is None:
        wanted = ""
    found = [version for version in known if version <= wanted]
    if not found:
        raise bad_request("unsupported_version_error", f"The version {requested!r} is not supported by this API.")
    return found[-1]


_WHERE = re.compile(r"where\[([^\]]+)\](?:\[([^\]]+)\])?$")
_FIELDS = re.compile(r"fields\[([^\]]+)\]$")
_LARGEST_INTEGER = 2**63 - 1
_RANGES = ("gt", "gte", "lt", "lte")


@dataclass(frozen=True, slots=True)
class Query:
    """The parsed query string of a read; unknown keys are still in it."""

    pairs: tuple[tuple[str, str], ...]
    where: tuple[tuple[str, str | None, str], ...]
    """(field, operator or None, value); filters on relationships look like an unknown operator."""
    order: tuple[tuple[str, bool], ...]
    include: tuple[tuple[str, tuple[str, ...]], ...]
    """First level and the second levels requested below it."""
    fields: Mapping[str, frozenset[str]]
    filters: tuple[str, ...]
    per_page: int
    """Clamped to 100; the links repeat the requested value."""
    offset: int

    @classmethod
    def parse(cls, pairs: Iterable[tuple[str, str]]) -> "Query":
        """Parse the query; of repeated keys the last wins, as in Rails."""
        known = dict(pairs)
        where: list[tuple[str, str | None, str]] = []
        fields: dict[str, frozenset[str]] = {}
        for key, value in known.items():
            if found := _WHERE.match(key):
                where.append((found[1], found[2], value))
            elif found := _FIELDS.match(key):
                fields[found[1]] = frozenset(_words(value))
        include: dict[str, dict[str, None]] = {}
        for path in _words(known.get("include", "")):
            first, *rest = path.split(".")
            nested = include.setdefault(first, {})
            if rest:
                nested[rest[0]] = None
        return cls(
            pairs=tuple(sorted(known.items())),
            where=tuple(where),
            order=tuple((key.lstrip("-"), key.startswith("-")) for key in _words(known.get("order", ""))),
            include=tuple((first, tuple(nested)) for first, nested in include.items()),
            fields=fields,
            filters=tuple(_words(known.get("filter", ""))),
            per_page=min(_whole(known.get("per_page"), 25), 100),
            offset=_whole(known.get("offset"), 0),
        )

    def link(self, url: str, **changed: int) -> str:
        """`url` with this query: keys sorted, values escaped, brackets of keys as they are."""
        pairs = dict(self.pairs)
        pairs.update({key: str(value) for key, value in changed.items()})
        if not pairs:
            return url
        return url + "?" + "&".join(f"{_key(k)}={quote_plus(v, safe='*')}" for k, v in sorted(pairs.items()))


def _key(text: str) -> str:
    return quote_plus(text, safe="*[]")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _whole(text: str | None, default: int) -> int:
    """A number from 0 up; one beyond a database integer is refused (the form of the refusal is unconfirmed)."""
    try:
        value = int(text) if text is not None else default
    except ValueError:
        return default
    if value > _LARGEST_INTEGER:
        raise bad_request("integer_out_of_range")
    return max(value, 0)


@dataclass(frozen=True, slots=True)
class Condition:
    """One applied filter. `op`: `eq`, `gt`, `gte`, `lt`, `lte`, `starts`, `ends`, `contains`, `present`, `absent`,
    `never`, or `search` (then `value` is the needle and `field` names the search)."""

    field: str
    op: str
    value: Any = None


NEVER = Condition("", "never")

_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def condition_of(name: str, op: str | None, text: str, kind: type_of_value, zone: ZoneInfo) -> list[Condition]:
    """The filter of one `where[...]` on a field of this kind; a value that cannot be coerced matches no row.

    Ranges exist on dates and times alone (vendor documentation "dates-times"); on other fields, and with an
    unknown operator, the whole filter is ignored (unconfirmed, the harsher reading).
    """
    if op is not None and (op not in _RANGES or kind not in ("date", "date_time")):
        return []
    if kind == "string":
        return [_text_condition(name, text)]
    if kind == "boolean":
        known = _BOOLEANS.get(text.strip().lower())
        return [NEVER if known is None else Condition(name, "eq", known)]
    if kind in ("integer", "primary_key"):
        return [Condition(name, "eq", int(text)) if re.fullmatch(r"\s*-?[0-9]{1,19}\s*", text) else NEVER]
    if kind == "date":
        day = parse_date(text[:10])
        return [NEVER if day is None else Condition(name, op or "eq", day)]
    return _time_conditions(name, op, text, zone)


def _text_condition(name: str, text: str) -> Condition:
    bare = fold(text.removeprefix("%").removesuffix("%"))
    starts, ends = not text.startswith("%"), not (len(text) > 1 and text.endswith("%"))
    if starts and ends:
        return Condition(name, "eq", bare)
    return Condition(name, "starts" if starts else "ends" if ends else "contains", bare)


def parse_date(text: str) -> str | None:
    """`YYYY-MM-DD` of a date that exists, else None."""
    found = re.fullmatch(r"\s*(\d{4})-(\d{1,2})-(\d{1,2})\s*", text)
    if not found:
        return None
    try:
        return date(int(found[1]), int(found[2]), int(found[3])).isoformat()
    except ValueError:
        return None


def parse_time(text: str, zone: ZoneInfo) -> datetime | None:
    """UTC, or None. A time without a zone is the organization's local time (unconfirmed, the harsher reading)."""
    try:
        known = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    if known.tzinfo is None:
        known = known.replace(tzinfo=zone)
    try:
        return known.astimezone(UTC)
    except OverflowError:
        return None


def stamp(at: datetime) -> str:
    """UTC in whole seconds, as the vendor writes times; such texts sort as times do."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _local_day(day: str, zone: ZoneInfo) -> tuple[str, str]:
    begin = datetime.fromisoformat(day)
    return stamp(begin.replace(tzinfo=zone)), stamp((begin + timedelta(days=1)).replace(tzinfo=zone))


def _time_conditions(name: str, op: str | None, text: str, zone: ZoneInfo) -> list[Condition]:
    day = parse_date(text)
    if day is not None:
        try:
            first, after = _local_day(day, zone)
        except OverflowError:
            return [NEVER]
        return {
            None: [Condition(name, "gte", first), Condition(name, "lt", after)],
            "gt": [Condition(name, "gte", after)],
            "gte": [Condition(name, "gte", first)],
            "lt": [Condition(name, "lt", first)],
            "lte": [Condition(name, "lt", after)],
        }[op]
    at = parse_time(text, zone)
    if at is None:
        return [NEVER]
    if at.microsecond:
        # Rows hold whole seconds: for an instant between two, `gte` equals `gt` and `lt` equals `lte`.
        op = {None: "never", "gte": "gt", "lt": "lte"}.get(op, op)
    return [Condition(name, op or "eq", stamp(at))]


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "starts": lambda a, b: fold(a).startswith(b),
    "ends": lambda a, b: fold(a).endswith(b),
    "contains": lambda a, b: b in fold(a),
}

Derived = Mapping[str, Callable[[View, Row], Any]]
Searches = Mapping[str, Callable[[View, str], Callable[[Row], bool]]]


@dataclass(frozen=True, slots=True)
class Source:
    """The rows a collection draws from: all of a type, or those of one record."""

    type: str
    kinds: Mapping[str, type_of_value]
    derived: Derived = field(default_factory=dict)
    searches: Searches = field(default_factory=dict)
    unlisted: frozenset[str] = frozenset()
    """Filters that work though `meta.can_query_by` does not name them."""
    implied: Callable[[View, Sequence[Condition]], list[Condition]] | None = None
    """Conditions that follow from the given ones and that an index answers faster."""


def _tests(view: View, source: Source, conditions: Sequence[Condition]) -> list[Callable[[Row], bool]]:
    tests: list[Callable[[Row], bool]] = []
    for condition in conditions:
        if condition.op == "search":
            tests.append(source.searches[condition.field](view, condition.value))
        else:
            tests.append(_test(view, source, condition))
    return tests


def _test(view: View, source: Source, condition: Condition) -> Callable[[Row], bool]:
    name, wanted = condition.field, condition.value
    if condition.op == "never":
        return lambda _row: False
    if condition.op in ("present", "absent"):
        there = condition.op == "present"
        return lambda row: (row.get(name) is not None) is there
    if name == "id":
        return lambda row: row.id == wanted
    derive = source.derived.get(name)
    read: Callable[[Row], Any] = (lambda row: derive(view, row)) if derive is not None else (lambda row: row.get(name))
    if condition.op == "eq":
        if isinstance(wanted, str):
            return lambda row: (value := read(row)) is not None and fold(str(value)) == fold(wanted)
        return lambda row: read(row) == wanted
    compare = _COMPARE[condition.op]
    return lambda row: (value := read(row)) is not None and compare(value, wanted)


def select(
    view: View, source: Source, conditions: Sequence[Condition], order: Order, among: Sequence[Row] | None
) -> Sequence[int]:
    """Ids of the matching rows in order. `among` limits it to the rows of one record."""
    plain = all(name not in source.derived for name, _ in order)
    if among is None and plain:
        found = _by_index(view, source, conditions, order)
        if found is not None:
            return found
    rows = among if among is not None else _candidates(view, source, conditions)
    if rows is None:
        if plain:
            entries, left = _stretch(view, source, conditions, order)
            tests, get = _tests(view, source, left), view.get
            return [
                entry[-1]
                for entry in entries
                if (row := get(source.type, entry[-1])) is not None and all(test(row) for test in tests)
            ]
        rows = list(view.all(source.type))
    tests = _tests(view, source, conditions)
    kept = [row for row in rows if all(test(row) for test in tests)]
    return [entry[-1] for entry in sorted(_entry(view, source, row, order) for row in kept)]


def _entry(view: View, source: Source, row: Row, order: Order) -> tuple[Any, ...]:
    attrs = {name: source.derived[name](view, row) for name, _ in order if name in source.derived}
    return order_entry(Row(row.id, {**row.attrs, **attrs}) if attrs else row, order, source.kinds)


class _Ids(Sequence[int]):
    """A slice of a sorted index, read as ids without copying it."""

    def __init__(self, entries: list[tuple[Any, ...]], begin: int, end: int) -> None:
        self._entries, self._begin, self._end = entries, begin, max(begin, end)

    def __len__(self) -> int:
        return self._end - self._begin

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            begin, end, _ = at.indices(len(self))
            return [entry[-1] for entry in self._entries[self._begin + begin : self._begin + max(begin, end)]]
        return self._entries[self._begin + at][-1]


def _by_index(view: View, source: Source, conditions: Sequence[Condition], order: Order) -> Sequence[int] | None:
    if not conditions:
        entries = view.entries(source.type, order)
        return _Ids(entries, 0, len(entries))
    if len(order) == 1 and not order[0][1] and _is_range(source, conditions, order[0][0]):
        entries = view.entries(source.type, order)
        return _Ids(entries, *_bounds(entries, conditions))
    return None


def _stretch(
    view: View, source: Source, conditions: Sequence[Condition], order: Order
) -> tuple[list[tuple[Any, ...]], Sequence[Condition]]:
    """The sorted index, cut to what the conditions on its first field admit, and the conditions left to test."""
    entries = view.entries(source.type, order)
    if order and not order[0][1]:
        ranged = [condition for condition in conditions if condition.field == order[0][0]]
        if ranged and _is_range(source, ranged, order[0][0]):
            begin, end = _bounds(entries, ranged)
            return entries[begin:end], [condition for condition in conditions if condition not in ranged]
    return entries, conditions


def _is_range(source: Source, conditions: Sequence[Condition], name: str) -> bool:
    return source.kinds.get(name) in ("date", "date_time") and all(
        condition.field == name and condition.op in (*_RANGES, "eq") for condition in conditions
    )


def _bounds(entries: list[tuple[Any, ...]], conditions: Sequence[Condition]) -> tuple[int, int]:
    begin, end = bisect_left(entries, (1,)), len(entries)
    for condition in conditions:
        left = bisect_left(entries, (1, condition.value))
        right = bisect_right(entries, (1, condition.value, float("inf")))
        if condition.op in ("gt", "gte", "eq"):
            begin = max(begin, right if condition.op == "gt" else left)
        if condition.op in ("lt", "lte", "eq"):
            end = min(end, left if condition.op == "lt" else right)
    return begin, end


def _candidates(view: View, source: Source, conditions: Sequence[Condition]) -> list[Row] | None:
    """A superset of the matching rows, found by an index; None when every row has to be checked."""
    for condition in conditions:
        if condition.op == "eq" and condition.field == "id":
            row = view.get(source.type, condition.value)
            return [] if row is None else [row]
        if condition.op == "eq" and condition.field not in source.derived:
            ids = view.exact(source.type, condition.field, condition.value)
            if ids is not None:
                return [row for i in ids if (row := view.get(source.type, i)) is not None]
    for name in ("updated_at", "created_at", "starts_at"):
        ranged = [condition for condition in conditions if condition.field == name]
        if ranged and _is_range(source, ranged, name):
            entries = view.entries(source.type, ((name, False),))
            begin, end = _bounds(entries, ranged)
            if end - begin < len(entries) // 4:
                return [row for e in entries[begin:end] if (row := view.get(source.type, e[-1])) is not None]
    return None


def page_links(query: Query, url: str, total: int, count: int) -> tuple[dict[str, str], dict[str, Any]]:
    """`links` of a collection, and its `meta.next`/`meta.prev`."""
    links = {"self": query.link(url)}
    meta: dict[str, Any] = {}
    if query.offset + count < total:
        following = query.offset + query.per_page
        links["next"] = query.link(url, offset=following)
        meta["next"] = {"offset": following}
    if query.offset > 0:
        before = max(query.offset - query.per_page, 0)
        links["prev"] = query.link(url, offset=before)
        meta["prev"] = {"offset": before}
    return links, meta


def parse_write(body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Attributes and relationships of a write; `Refused` as the vendor refuses malformed bodies.

    `data.type` is ignored: the vendor's own examples omit it (the answer to a wrong type is unconfirmed).
    """
    try:
        document = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError:
        raise bad_request("invalid_json") from None
    if isinstance(document, list) and document:
        raise _internal_server_error()
    if not isinstance(document, dict) or "data" not in document:
        raise bad_request("invalid_resource_payload", "The payload given does not contain a 'data' key.") from None
    data = document["data"]
    if not isinstance(data, dict):
        raise _invalid_payload("'data' must be an object")
    parts = []
    for name in ("attributes", "relationships"):
        part = data.get(name)
        if part is not None and not isinstance(part, dict):
            raise _invalid_payload(f"'{name}' must be an object")
        parts.append(dict(part or {}))
    return parts[0], parts[1]


_PRIVATE = 0x100000
"""Offset from a lone surrogate, which cannot be encoded, to the private-use character stored in its place."""
_HALVES = re.compile("[\ud800-\udfff]")
_KEPT_HALVES = re.compile(rb"\xf4\x8d[\xa0-\xbf][\x80-\xbf]")


def without_surrogates(text: str) -> str:
    """Text with lone surrogates replaced by private-use characters, which can be encoded."""
    return _HALVES.sub(lambda half: chr(_PRIVATE + ord(half[0])), text)


def with_surrogates(body: bytes) -> bytes:
    """A JSON body whose lone surrogates are escapes such as `\\ud83d` again, which strict readers of JSON refuse
    (that the vendor sends them is unconfirmed)."""
    if b"\xf4\x8d" not in body:
        return body
    return _KEPT_HALVES.sub(lambda kept: b"\\u%04x" % (ord(kept[0].decode()) - _PRIVATE), body)


def _internal_server_error() -> Refused:
    """The answer to a list of resources in place of a document (planningcenter/developers#707)."""
    return Refused(
        500,
        {
            "status": "500",
            "title": "Internal Server Error",
            "detail": "An internal server error occurred on our end and we've been notified."
            " Please contact support if the issue persists.",
        },
    )


def _invalid_payload(detail: str) -> Refused:
    return Refused(422, {"status": "422", "title": "Invalid Payload", "code": "invalid_payload", "detail": detail})
