"""JSON:API documents, queries and what the package exports."""

from datetime import UTC, datetime
from typing import Any

import pytest

import pco_client
from pco_client import Identifier, Query, UnexpectedAnswer, Where, jsonapi
from pco_client.versions import VERSIONS, product_of

DOCUMENT: dict[str, Any] = {
    "data": [
        {
            "type": "Person",
            "id": "1",
            "attributes": {"updated_at": "2026-01-25T17:29:26Z", "name": "Tim"},
            "relationships": {
                "emails": {"data": [{"type": "Email", "id": "7"}, {"type": "Email", "id": "8"}]},
                "primary_campus": {"data": None},
            },
            "links": {"self": None},
        }
    ],
    "included": [{"type": "Email", "id": "7", "attributes": {"address": "tim@example.org"}}],
    "links": {"self": "x"},
    "meta": {"total_count": 1, "count": 1},
}


def test_a_page_and_its_includes() -> None:
    page = jsonapi.page(DOCUMENT)
    person = page.data[0]
    assert person.updated_at == datetime(2026, 1, 25, 17, 29, 26, tzinfo=UTC)
    assert person.created_at is None
    assert [email.attributes["address"] for email in page.included.many(person, "emails")] == ["tim@example.org"]
    assert page.included.missing(person, "emails") == (Identifier("Email", "8"),)
    assert person.to_one("primary_campus") is None
    assert person.has_relationship("primary_campus")
    assert not person.has_relationship("households")
    assert page.included.one(person, "primary_campus") is None
    assert not page.has_next


@pytest.mark.parametrize("included", [{}, {"included": []}, {"included": None}])
def test_included_may_be_absent_or_empty(included: dict[str, Any]) -> None:
    assert len(jsonapi.document({"data": {"type": "Person", "id": 1}, **included}).included) == 0


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"data": {}},
        {"data": [{"id": "1"}], "meta": {"total_count": 1}},
        {"data": [1], "meta": {"total_count": 1}},
        {"data": []},
        {"data": [], "meta": {"total_count": 1, "count": 1}},
        {"data": [{"type": "A", "id": "1", "attributes": []}], "meta": {"total_count": 1}},
    ],
)
def test_a_malformed_collection_is_not_taken_for_an_empty_one(body: Any) -> None:
    with pytest.raises(UnexpectedAnswer):
        jsonapi.page(body)


@pytest.mark.parametrize("value", ["2026-01-25", "yesterday", 5, "2026-13-01T00:00:00Z"])
def test_an_instant_is_a_full_utc_one(value: Any) -> None:
    with pytest.raises(UnexpectedAnswer):
        jsonapi.parse_instant(value)


def test_queries_are_sent_in_the_vendors_notation() -> None:
    query = Query(
        where=(Where("updated_at", datetime(2026, 1, 2, 3, 4, 5, 999, tzinfo=UTC), "gte"), Where("child", value=True)),
        order="-updated_at",
        include=("emails", "households.people"),
        fields={"Person": ("created_at",)},
        per_page=100,
        offset=0,
    )
    assert query.parameters() == [
        ("where[updated_at][gte]", "2026-01-02T03:04:05Z"),
        ("where[child]", "true"),
        ("order", "-updated_at"),
        ("include", "emails,households.people"),
        ("fields[Person]", "created_at"),
        ("per_page", "100"),
        ("offset", "0"),
    ]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Where("emails][address", "a"),
        lambda: Where("", "a"),
        lambda: Query(per_page=0),
        lambda: Query(per_page=101),
        lambda: Query(offset=-1),
        lambda: Query(order="a,b"),
        lambda: Query(include=("a.b.c",)),
    ],
)
def test_invalid_queries_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        make()


def test_a_naive_instant_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        Where("updated_at", datetime(2026, 1, 1)).parameter()  # noqa: DTZ001


def test_products_and_exports() -> None:
    assert {product_of(f"/{product}/v2/x") for product in VERSIONS} == set(VERSIONS)
    assert sorted(set(pco_client.__all__)) == sorted(pco_client.__all__)
    assert all(hasattr(pco_client, name) for name in pco_client.__all__)
