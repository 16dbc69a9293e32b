"""JSON:API documents as light typed objects.

The objects keep the decoded JSON without copies. `included` may be absent or empty, `links` values may be null, and
relationship keys are present only when included (save for a few fixed ones such as `Household.people`).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from pco_client.errors import UnexpectedAnswer


# Tuples: a page of 100 people makes a thousand of these two, which is most of the cost of reading it.
class Identifier(NamedTuple):
    """A JSON:API resource identifier; ids are strings of digits."""

    type: str
    id: str

    def to_json(self) -> dict[str, str]:
        return {"type": self.type, "id": self.id}


class Resource(NamedTuple):
    """One record, unchanged from the vendor's JSON."""

    type: str
    id: str
    attributes: Mapping[str, Any]
    relationships: Mapping[str, Any]
    links: Mapping[str, Any]

    @property
    def identifier(self) -> Identifier:
        return Identifier(self.type, self.id)

    @property
    def created_at(self) -> datetime | None:
        """UTC, whole seconds; `None` when the type or a sparse read has none."""
        return self.instant("created_at")

    @property
    def updated_at(self) -> datetime | None:
        """UTC, whole seconds; `None` when the type or a sparse read has none. Some changes do not move `updated_at`."""
        return self.instant("updated_at")

    def instant(self, attribute: str) -> datetime | None:
        """An attribute that is a UTC instant (`2026-01-25T17:29:26Z`).

        Raises `UnexpectedAnswer` for any other value.
        """
        value = self.attributes.get(attribute)
        return None if value is None else parse_instant(value)

    def has_relationship(self, name: str) -> bool:
        """Whether the record carries the relationship (its absence says nothing about the vendor's data)."""
        return isinstance(self.relationships.get(name), dict) and "data" in self.relationships[name]

    def to_one(self, name: str) -> Identifier | None:
        """The identifier of a to-one relationship, `None` when unset or not sent."""
        data = self._linkage(name)
        if data is None:
            return None
        if not isinstance(data, dict):
            raise UnexpectedAnswer(f"{self.type}.{name} is not a to-one relationship")
        return _identifier(data)

    def to_many(self, name: str) -> tuple[Identifier, ...]:
        """The identifiers of a to-many relationship, empty when none or not sent."""
        data = self._linkage(name)
        if data is None:
            return ()
        if not isinstance(data, list):
            raise UnexpectedAnswer(f"{self.type}.{name} is not a to-many relationship")
        return tuple(_identifier(entry) for entry in data)

    def _linkage(self, name: str) -> Any:
        relationship = self.relationships.get(name)
        return relationship.get("data") if isinstance(relationship, dict) else None


@dataclass(frozen=True, slots=True)
class Included:
    """The `included` records of a document, by identifier."""

    index: Mapping[Identifier, Resource] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Resource]:
        return iter(self.index.values())

    def __len__(self) -> int:
        return len(self.index)

    def get(self, identifier: Identifier | None) -> Resource | None:
        return None if identifier is None else self.index.get(identifier)

    def one(self, resource: Resource, name: str) -> Resource | None:
        """The included record of a to-one relationship."""
        return self.get(resource.to_one(name))

    def many(self, resource: Resource, name: str) -> list[Resource]:
        """The records of a to-many relationship that `included` carries."""
        return [found for i in resource.to_many(name) if (found := self.index.get(i)) is not None]

    def missing(self, resource: Resource, name: str) -> tuple[Identifier, ...]:
        """Records the relationship names but `included` does not carry.

        The vendor's `include=` can lag for minutes after a write: a missing record is inconclusive, not gone.
        """
        return tuple(i for i in resource.to_many(name) if i not in self.index)

    def whole(self, resource: Resource, name: str) -> list[Resource] | None:
        """All included records of a to-many relationship.

        None (inconclusive) when the record lacks the relationship, or the relationship names a record that is missing.
        """
        if not resource.has_relationship(name):
            return None
        found = [self.index.get(identifier) for identifier in resource.to_many(name)]
        return None if None in found else found  # type: ignore[return-value] # mypy does not narrow by `in`


@dataclass(frozen=True, slots=True)
class Document:
    """A single record and its included records."""

    data: Resource
    included: Included
    meta: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a collection."""

    data: list[Resource]
    included: Included
    total_count: int
    has_next: bool
    meta: Mapping[str, Any]


def parse_instant(value: Any) -> datetime:
    """The vendor's `YYYY-MM-DDTHH:MM:SSZ` as an aware datetime."""
    if isinstance(value, str) and value.endswith("Z"):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass
    raise UnexpectedAnswer("an instant is not of the form YYYY-MM-DDTHH:MM:SSZ")


def resource(entry: Any) -> Resource:
    """Parse a `Resource`; raises `UnexpectedAnswer` for other JSON."""
    if not isinstance(entry, dict):
        raise UnexpectedAnswer("a record is not a JSON object")
    kind, identity = entry.get("type"), entry.get("id")
    if not isinstance(kind, str) or not isinstance(identity, str | int) or isinstance(identity, bool):
        raise UnexpectedAnswer("a record has no type or no id")
    return Resource(
        type=kind,
        id=str(identity),
        attributes=_mapping(entry, "attributes"),
        relationships=_mapping(entry, "relationships"),
        links=_mapping(entry, "links"),
    )


def document(body: Any) -> Document:
    """Parse a single-record document; raises `UnexpectedAnswer` for other JSON."""
    if not isinstance(body, dict) or not isinstance(body.get("data"), dict):
        raise UnexpectedAnswer("the answer is not a document with one record")
    return Document(resource(body["data"]), _included(body), _mapping(body, "meta"))


def page(body: Any) -> Page:
    """Parse a collection document; raises `UnexpectedAnswer` for other JSON or counts that contradict the rows."""
    if not isinstance(body, dict) or not isinstance(body.get("data"), list):
        raise UnexpectedAnswer("the answer is not a collection")
    rows = [resource(entry) for entry in body["data"]]
    meta = _mapping(body, "meta")
    links = _mapping(body, "links")
    total = meta.get("total_count")
    if not isinstance(total, int):
        raise UnexpectedAnswer("the collection does not say its total_count")
    if meta.get("count", len(rows)) != len(rows):
        raise UnexpectedAnswer("the page does not hold as many records as it says")
    return Page(
        data=rows,
        included=_included(body),
        total_count=total,
        has_next=meta.get("next") is not None or links.get("next") is not None,
        meta=meta,
    )


def write_body(
    kind: str,
    attributes: Mapping[str, Any],
    *,
    identity: str | None = None,
    relationships: Mapping[str, Identifier | Iterable[Identifier]] | None = None,
) -> dict[str, Any]:
    """The body of a POST or PATCH. Relationships stand beside the attributes, not inside them: inside gives 422
    (planningcenter/developers#463)."""
    data: dict[str, Any] = {"type": kind, "attributes": dict(attributes)}
    if identity is not None:
        data["id"] = identity
    if relationships:
        data["relationships"] = {
            name: {"data": to.to_json() if isinstance(to, Identifier) else [i.to_json() for i in to]}
            for name, to in relationships.items()
        }
    return {"data": data}


def _included(body: Mapping[str, Any]) -> Included:
    entries = body.get("included") or ()
    return Included({found.identifier: found for found in map(resource, entries)})


def _identifier(entry: Any) -> Identifier:
    if not isinstance(entry, dict) or "type" not in entry or "id" not in entry:
        raise UnexpectedAnswer("a relationship's data is not a resource identifier")
    return Identifier(str(entry["type"]), str(entry["id"]))


def _mapping(entry: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = entry.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UnexpectedAnswer(f"{key} is not a JSON object")
    return value
