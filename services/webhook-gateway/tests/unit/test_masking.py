"""Personal values in messages are hidden, whatever they are and whether there is one; structure, ids, types and times
are not.
"""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook_gateway.domain.masking import HIDDEN, is_adult, show

TODAY = date(2026, 6, 1)
WEBHOOKS = Path(__file__).parents[4].parent / "shared" / "pco-data" / "webhooks"
SHOWN = {"created_at", "updated_at", "inactivated_at", "primary"}
"""Fields of real messages whose values say nothing personal."""
INNER = ("attributes", "links")

# Marked, so that none is part of what is shown anyway.
secrets = st.text(min_size=1).map(lambda text: f"§{text}§")
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | secrets
names = st.sampled_from(["first_name", "medical_notes", "created_at", "id", "type", "birthdate", "person_to_keep_id"])
values = st.recursive(
    leaves, lambda below: st.lists(below, max_size=3) | st.dictionaries(names, below, max_size=3), max_leaves=12
)
resources = st.fixed_dictionaries(
    {"type": st.sampled_from(["Person", "Email", "Household", "FieldDatum"]), "id": st.just("5001")},
    optional={
        "attributes": st.dictionaries(names, values),
        "relationships": st.dictionaries(names, values),
        "links": values,
        "name": values,
    },
)


def message(payload: Any) -> bytes:
    return around(json.dumps(payload))


def around(payload: Any) -> bytes:
    known = {"name": "people.v2.events.person.updated", "attempt": 1, "payload": payload}
    return json.dumps({"data": [{"id": "e0c7", "type": "EventDelivery", "attributes": known}]}).encode()


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for below in value.values() for text in texts(below)]
    if isinstance(value, list):
        return [text for below in value for text in texts(below)]
    return [value] if isinstance(value, str) else []


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: shape(below) for name, below in value.items()}
    if isinstance(value, list):
        return [shape(below) for below in value]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def structure(resource: Any) -> Any:
    """A resource without the values in it."""
    inner = {name: sorted(resource[name]) for name in INNER if isinstance(resource.get(name), dict)}
    return shape({name: below for name, below in resource.items() if name not in INNER}) | inner


def attributes_of(attributes: Any, kind: str = "Person") -> Any:
    """The attributes of a resource as staff see them."""
    shown = show(message({"data": {"type": kind, "id": "1", "attributes": attributes}}), 0, revealed=False, today=TODAY)
    assert shown is not None
    return shown["attributes"]["payload"]["data"]["attributes"]


@given(st.fixed_dictionaries({"data": resources, "included": st.lists(resources, max_size=2), "meta": values}))
def test_no_personal_text_survives_and_the_structure_stays(payload: Any) -> None:
    shown = show(message(payload), 0, revealed=False, today=TODAY)
    assert shown is not None
    assert not [text for text in texts(shown) if "§" in text]
    document = shown["attributes"]["payload"]
    assert document.keys() == payload.keys()
    assert shape(document["meta"]) == shape(payload["meta"])
    those = [payload["data"], *payload["included"]]
    for seen, sent in zip([document["data"], *document["included"]], those, strict=True):
        assert structure(seen) == structure(sent)
        assert (seen["type"], seen["id"]) == (sent["type"], "5001")


@given(st.sampled_from(["child", "passed_background_check", "medical_notes", "blocked", "value"]), values, values)
def test_a_hidden_value_looks_like_any_other_and_like_none(name: str, one: Any, another: Any) -> None:
    assert attributes_of({name: one}) == attributes_of({name: another}) == {name: HIDDEN}


@pytest.mark.skipif(not WEBHOOKS.is_dir(), reason="no fields of captured messages here")
@pytest.mark.parametrize(
    "kind", ["Address", "Email", "EventRequest", "FieldDatum", "FieldDefinition", "Household", "Person"]
)
def test_no_field_of_real_messages_tells_whether_it_is_filled(kind: str) -> None:
    captured = json.loads((WEBHOOKS / "observed-schema-2026-07-02.json").read_text())["attributes"][kind]
    fields = {field.partition("(")[0] for field in captured}
    told = set()
    for value in (None, True, False, "", "§", 0, 7, [], ["§"], {}, {"primary": True, "created_at": None}):
        shown = attributes_of(dict.fromkeys(fields, value), kind)
        assert shown.keys() == fields
        told |= {field for field in fields if shown[field] != HIDDEN}
    assert told == SHOWN & fields


@given(resources, st.dictionaries(names, values))
def test_children_and_people_of_unknown_age_stay_hidden(resource: Any, attributes: Any) -> None:
    attributes.pop("birthdate", None)
    for child in (True, None, "no"):
        person = {**resource, "attributes": attributes | {"child": child}}
        shown = show(message({"data": person}), 0, revealed=True, today=TODAY)
        assert not [text for text in texts(shown) if "§" in text]


def test_an_adult_is_shown_to_who_asks() -> None:
    person = {"type": "Person", "id": "1", "attributes": {"first_name": "Mira", "child": False, "grade": None}}
    child = {"type": "Person", "id": "2", "attributes": {"first_name": "Tom", "child": True}}
    email = {"type": "Email", "id": "3", "attributes": {"address": "mira@example.org"}}
    event = {"type": "EventRequest", "id": "4", "attributes": {"name": "Choir"}}
    shown = show(message({"data": person, "included": [child, email, event]}), 0, revealed=True, today=TODAY)
    assert shown is not None
    payload = shown["attributes"]["payload"]
    assert payload["data"] == person
    assert [one["attributes"] for one in payload["included"]] == [
        {"first_name": HIDDEN, "child": HIDDEN},
        {"address": HIDDEN},
        {"name": "Choir"},
    ]


@pytest.mark.parametrize(
    ("attributes", "adult"),
    [
        ({"child": False}, True),
        ({"child": False, "birthdate": "2008-06-01"}, True),
        ({"child": False, "birthdate": "2008-06-02"}, False),
        ({"child": None, "birthdate": "1980-01-01"}, True),
        ({"birthdate": "1980-01-01"}, True),
        ({"birthdate": "1885-01-01"}, False),  # no year
        ({"child": False, "birthdate": "1885-01-01"}, True),
        ({"child": True, "birthdate": "1980-01-01"}, False),
        ({"child": "no", "birthdate": "1980-01-01"}, False),
        ({"birthdate": "soon"}, False),
        ({}, False),
    ],
)
def test_who_can_be_told_to_be_an_adult(attributes: dict[str, Any], adult: bool) -> None:
    assert is_adult(attributes, TODAY) is adult


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"data": 7}',
        b'{"data": []}',
        b'{"data": [{"attributes": null}]}',
        around("nonsense"),
        around("[" * 100_000),
        b"[" * 100_000,
        message([]),
        around(7),
    ],
)
def test_what_cannot_be_read_is_not_shown(body: bytes) -> None:
    assert show(body, 0, revealed=True, today=TODAY) is None


def test_what_no_answer_can_hold_is_left_out() -> None:
    attributes = r'{"child": false, "\ud800": "a\udfffb", "number": NaN, "large": 1e999, "grade": 3.5}'
    body = around(f'{{"\\ud800": 1, "data": {{"type": "Person", "id": "1", "attributes": {attributes}}}}}')
    shown = show(body, 0, revealed=True, today=TODAY)
    assert shown is not None
    assert json.dumps(shown, ensure_ascii=False, allow_nan=False).encode()
    assert shown["attributes"]["payload"]["data"]["attributes"] == {
        "child": False,
        "?": "a?b",
        "number": 0,
        "large": 0,
        "grade": 3.5,
    }


def test_deep_documents_end() -> None:
    deep = "[" * 900 + "]" * 900
    event = f'{{"type": "Event", "id": "1", "attributes": {{"a": {deep}}}}}'
    for document in (f'{{"data": {event}}}', f'{{"meta": {deep}}}'):
        assert HIDDEN in texts(show(around(document), 0, revealed=True, today=TODAY))


def test_a_payload_that_came_as_an_object_is_shown_like_text() -> None:
    payload = {"data": {"type": "Person", "id": "1", "attributes": {"first_name": "§"}}, "meta": {"event_time": None}}
    shown = show(around(payload), 0, revealed=False, today=TODAY)
    assert shown is not None
    assert shown == show(message(payload), 0, revealed=False, today=TODAY)


@pytest.mark.skipif(not WEBHOOKS.is_dir(), reason="no recorded messages here")
@pytest.mark.parametrize("name", ["recorded-email-created", "shape-person_merger-created", "shape-person-destroyed"])
def test_recorded_messages_keep_their_ids_and_times(name: str) -> None:
    body = json.loads((WEBHOOKS / f"{name}.json").read_text())["body"]
    shown = show(json.dumps(body).encode(), 0, revealed=False, today=TODAY)
    assert shown is not None
    sent = json.loads(body["data"][0]["attributes"]["payload"])
    data = shown["attributes"]["payload"]["data"]
    assert (data["type"], data["id"]) == (sent["data"]["type"], sent["data"]["id"])
    assert data["relationships"] == sent["data"]["relationships"]
    for field in ("created_at", "person_to_keep_id", "primary"):
        if field in sent["data"].get("attributes", {}):
            assert data["attributes"][field] == sent["data"]["attributes"][field]
    assert "testing123" not in json.dumps(shown)
