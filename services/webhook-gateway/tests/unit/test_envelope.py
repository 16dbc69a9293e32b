"""Whatever is in a signed body becomes hints that can be stored, or a sentence."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook_gateway.domain import envelope
from webhook_gateway.domain.envelope import Hint, read
from webhook_gateway.domain.signature import sign, signer

ID = "3f0c7c1e-0d55-4b3e-9a50-0c2f7f1d9a11"
PERSON = {"data": {"type": "Person", "id": "8"}}


def delivery(payload: Any, **more: Any) -> dict[str, Any]:
    text = payload if isinstance(payload, str) else json.dumps(payload)
    return {"id": ID, "attributes": {"name": "people.v2.events.x.updated", "payload": text}, **more}


def one(document: dict[str, Any]) -> Hint:
    (hint,) = read(json.dumps({"data": [document]}).encode(), "9")
    return hint


def about(kind: str, **data: Any) -> Hint:
    return one(delivery({"data": {"type": kind, "id": "5", **data}}))


def test_a_body_with_too_many_deliveries_is_one_unreadable_one() -> None:
    most = b'{"data":[%b]}'
    assert len(read(most % b",".join([b"0"] * 5_000), "9")) == 5_000
    assert read(most % b",".join([b"0"] * 5_001), "9") == [Hint(0, unreadable=envelope.TOO_MANY)]


def test_a_contact_leads_to_its_person() -> None:
    assert about("Email", relationships={"person": PERSON}).person_id == "8"
    assert about("FieldDatum", relationships={"customizable": PERSON}).person_id == "8"
    assert about("Household", relationships={"people": {"data": [{"type": "Person", "id": "8"}]}}).person_id is None
    assert about("Email", relationships={"person": {"data": None}}).person_id is None


def test_a_merger_names_both_people_by_number_or_by_text() -> None:
    by_number = about("PersonMerger", attributes={"person_to_keep_id": 9004, "person_to_remove_id": 9003})
    related = {"person_to_keep": {"data": {"type": "Person", "id": "9004"}}}
    related["person_to_remove"] = {"data": {"type": "Person", "id": "9003"}}
    by_text = about("PersonMerger", relationships=related)
    assert (by_number.person_id, by_number.merged_person_id) == (by_text.person_id, by_text.merged_person_id)
    assert by_number.merged_person_id == "9003"
    assert about("PersonMerger", attributes={"person_to_keep_id": 9004}).unreadable == envelope.NO_MERGED_PEOPLE


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"id": ID}, envelope.NOT_A_CHANGE),
        (delivery({}, id=7), envelope.NO_ID),
        (delivery({}, id="a\x00b"), envelope.NO_ID),
        (delivery({}, id="x" * 201), envelope.NO_ID),
        (delivery({}, attributes={"name": "\ud800", "payload": "{}"}), envelope.NO_NAME),
        (delivery("{"), envelope.NO_CONTENTS),
        (delivery("[" * 200_000), envelope.NO_CONTENTS),
        (delivery("[]"), envelope.NO_CONTENTS),
        (delivery({"data": {"type": "Person"}}), envelope.NO_RECORD),
        (delivery({"data": {"type": "Person", "id": "../1"}}), envelope.NO_RECORD),
        (delivery({"data": {"type": "Person", "id": 10**30}}), envelope.NO_RECORD),
        (delivery({"data": {"type": "Person", "id": True}}), envelope.NO_RECORD),
        (
            delivery({"data": {"type": "Person", "id": "1"}}, relationships={"organization": {"data": {"id": "10"}}}),
            envelope.ANOTHER_ORGANIZATION,
        ),
        (
            delivery({"data": {"type": "Person", "id": "1"}}, relationships={"organization": {"data": {"id": [9]}}}),
            envelope.ANOTHER_ORGANIZATION,
        ),
    ],
)
def test_what_cannot_be_used_has_a_sentence(document: dict[str, Any], sentence: str) -> None:
    assert one(document).unreadable == sentence


def test_impossible_text_beside_the_ids_costs_no_hint() -> None:
    hint = about("Person", attributes={"first_name": "\ud800\x00", "big": 1e400})
    assert (hint.resource_id, hint.unreadable) == ("5", None)


@pytest.mark.parametrize("organization", ["9", "0", 9])
def test_an_organization_that_fits(organization: Any) -> None:
    whose = {"organization": {"data": {"type": "Organization", "id": organization}}}
    assert one(delivery({"data": {"type": "Person", "id": "1"}}, relationships=whose)).unreadable is None


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-02T00:00:00Z", datetime(2026, 1, 2, tzinfo=UTC)),
        ("2026-01-02T01:00:00+01:00", datetime(2026, 1, 2, tzinfo=UTC)),
        ("2026-01-02T00:00:00", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("yesterday", None),
        (5, None),
    ],
)
def test_the_time_of_a_change(text: Any, moment: datetime | None) -> None:
    assert one(delivery({"data": {"type": "Person", "id": "1"}, "meta": {"event_time": text}})).event_time == moment


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["id", "type", "data", "attributes", "relationships", "organization", "person", "meta", "x"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
DELIVERIES = st.fixed_dictionaries(
    {},
    optional={
        "id": st.just(ID) | JSON,
        "attributes": st.fixed_dictionaries(
            {}, optional={"name": st.just("people.v2.events.x.updated") | JSON, "payload": JSON | JSON.map(json.dumps)}
        )
        | JSON,
        "relationships": JSON,
    },
)


@given(
    st.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.lists(DELIVERIES | JSON, max_size=3).map(lambda found: json.dumps({"data": found}).encode())
)
def test_no_body_raises_and_every_text_can_be_stored(body: bytes) -> None:
    hints = read(body, "9")
    assert [hint.position for hint in hints] == list(range(len(hints)))
    assert hints
    for hint in hints:
        texts = (hint.delivery_id, hint.name, hint.resource_type, hint.resource_id, hint.person_id)
        assert all(text is None or re.fullmatch(r"[!-~]{0,200}", text) for text in texts)
        if hint.unreadable is None:
            assert hint.delivery_id
            assert hint.name
            assert hint.resource_type
            assert hint.resource_id


@given(st.binary(max_size=200), st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.binary(max_size=70))
def test_only_the_secret_signs(body: bytes, secret: str, other: bytes) -> None:
    secrets = [("first", "no"), ("second", secret)]
    assert signer(body, sign(body, secret), secrets) in {"first", "second"}
    assert signer(body, other, secrets) is None or other in {sign(body, "no"), sign(body, secret)}
    assert signer(body, sign(body, secret).upper(), [("x", secret)]) is None or not re.search(
        rb"[a-f]", sign(body, secret)
    )
