"""Personal data in the vendor's webhook messages, hidden without changing the message's structure.

A message is `{"data": [{"id", "type", "attributes": {"name", "payload": "<JSON>"}, "relationships"}]}`; its payload is
a JSON:API document. Shown are its structure, ids and types of resources, the event's name, timestamps, and, outside the
resources' attributes, booleans and null. Every other text becomes `HIDDEN` and every other number 0.

An attribute is `HIDDEN` whatever it holds and also if it holds nothing: the resource's id names a person, so that a
passed background check, or medical notes that are not empty, would tell something about them. Only timestamps, ids
and what says nothing about a person (`_FLAGS`) are shown.
"""

import json
import math
import re
from collections.abc import Mapping
from datetime import date
from typing import Any, Final, Literal

HIDDEN: Final = "•••"
_DEEPEST: Final = 40
"""Levels of a document that are shown."""
_ADULT_YEARS: Final = 18
_NO_YEAR: Final = 1885
"""The vendor's year of a birthdate without one."""
_IMPERSONAL: Final = frozenset({"FieldDefinition", "EventRequest", "Event", "EventInstance", "EventTime"})
"""Types whose attributes are about no person."""
_ID: Final = re.compile(r"[0-9]{1,20}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_TYPE: Final = re.compile(r"[A-Z][A-Za-z]{0,60}")
_EVENT: Final = re.compile(r"[a-z_]{1,40}(\.[a-z0-9_]{1,60}){2,6}")
_TIMESTAMP: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})", re.ASCII)
_NUMBERS: Final = frozenset({"person_to_keep_id", "person_to_remove_id"})
"""Ids that the vendor writes as numbers."""
_TIMES: Final = frozenset({"created_at", "updated_at", "event_time", "inactivated_at", "starts_at", "ends_at"})
_FLAGS: Final = frozenset({"primary"})
"""Booleans that tell how contacts are ordered, and nothing about whose they are."""

_INNER: Final = ("attributes", "links")
"""Members of a resource that hold its values."""
_Inside = Literal["frame", "open"]
"""Part of a document: `frame` around the resources' attributes, or attributes that are shown."""


def show(body: bytes, position: int, *, revealed: bool, today: date) -> dict[str, Any] | None:
    """The delivery at a position of a message, its payload as JSON instead of text. None if it cannot be read.

    revealed: show the values of adults and of resources about nobody; those of children, and of whoever cannot be told
    to be an adult, stay hidden.
    """
    try:
        delivery = json.loads(body)["data"][position]
        attributes = dict(delivery["attributes"])
        payload = attributes.pop("payload")
        # As the intake takes it (`domain/envelope`): the vendor sends text, and an object says the same.
        payload = json.loads(payload) if isinstance(payload, str) else payload
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if not isinstance(payload, dict):
        return None
    shown: dict[str, Any] = _copy({**delivery, "attributes": None}, "frame")
    name, attempt = attributes.pop("name", None), attributes.pop("attempt", None)
    shown["attributes"] = {
        "name": name if isinstance(name, str) and _EVENT.fullmatch(name) else _copy(name, "frame"),
        "attempt": attempt if isinstance(attempt, int) else _copy(attempt, "frame"),
        **_hidden(attributes),
        "payload": _document(payload, today if revealed else None),
    }
    return shown


def _document(payload: dict[str, Any], today: date | None) -> dict[str, Any]:
    """A JSON:API document. today: reveal values; None to hide all."""
    shown = {}
    for name, value in payload.items():
        if name == "data" and isinstance(value, dict):
            shown[name] = _resource(value, today)
        elif name in {"data", "included"} and isinstance(value, list):
            shown[name] = [_resource(one, today) for one in value]
        else:
            shown[_text(name)] = _copy(value, "frame")
    return shown


def _resource(value: Any, today: date | None) -> Any:
    if not isinstance(value, dict):
        return HIDDEN
    seen = today is not None and _may_be_seen(value, today)
    around = {name: None if name in _INNER else below for name, below in value.items()}
    inner = {name: value[name] for name in _INNER if name in value}
    return _copy(around, "frame") | {
        name: _copy(below, "open") if seen else _hidden(below) for name, below in inner.items()
    }


def _hidden(value: Any) -> Any:
    """A resource's values: their names stay, and nothing tells how much is in each."""
    if not isinstance(value, dict):
        return HIDDEN
    return {_text(name): below if _is_plain(name, below, named=False) else HIDDEN for name, below in value.items()}


def _copy(value: Any, inside: _Inside, depth: int = 0) -> Any:
    if value is None or isinstance(value, bool) or value in ("", [], {}):
        return value
    if depth < _DEEPEST and isinstance(value, dict):
        named = inside == "frame" and value.keys() >= {"id", "type"}
        return {
            _text(name): below if _is_plain(name, below, named=named) else _copy(below, inside, depth + 1)
            for name, below in value.items()
        }
    if depth < _DEEPEST and isinstance(value, list):
        return [_copy(one, inside, depth + 1) for one in value]
    if inside == "open" and isinstance(value, str):
        return _text(value)
    if inside == "open" and isinstance(value, int | float) and math.isfinite(value):
        return value
    return 0 if isinstance(value, int | float) else HIDDEN


def _text(value: str) -> str:
    """Without lone surrogates, which JSON can hold and UTF-8 cannot."""
    return value.encode("utf-8", "replace").decode()


def _is_plain(name: str, value: Any, *, named: bool) -> bool:
    """Whether a member is no personal value. named: the object around it is a resource or names one."""
    if isinstance(value, str):
        if named and name in {"id", "type"}:
            return (_ID if name == "id" else _TYPE).fullmatch(value) is not None
        return name in _TIMES and _TIMESTAMP.fullmatch(value) is not None
    if isinstance(value, bool):
        return name in _FLAGS
    if value is None:
        # Where a value would be shown, its absence is no more telling.
        return name in _TIMES | _NUMBERS | _FLAGS
    return name in _NUMBERS and isinstance(value, int)


def _may_be_seen(resource: Mapping[str, Any], today: date) -> bool:
    kind, attributes = resource.get("type"), resource.get("attributes")
    if kind in _IMPERSONAL:
        return True
    return kind == "Person" and isinstance(attributes, dict) and is_adult(attributes, today)


def is_adult(attributes: Mapping[str, Any], today: date) -> bool:
    """Whether a person's attributes tell that they are an adult: not marked as a child, and not born too late.

    Without a birthdate, or with one without a year, they must be marked as no child.
    """
    if attributes.get("child") not in (False, None):
        return False
    born = _birthday(attributes.get("birthdate"))
    if born is None:
        return attributes.get("child") is False
    return (today.year - born.year) - ((today.month, today.day) < (born.month, born.day)) >= _ADULT_YEARS


def _birthday(value: Any) -> date | None:
    try:
        born = date.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return None if born.year == _NO_YEAR else born
