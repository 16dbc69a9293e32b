"""The source of the church's country, with a fake client of Planning Center."""

from typing import Any, cast

import pytest

from pco_client.client import PlanningCenter
from pco_client.jsonapi import Document, document, page
from people_sync.planning_center import organization_of

ORGANIZATION = {"type": "Organization", "id": "1", "attributes": {"country_code": "CA"}}
PERSON = {
    "type": "Person",
    "id": "2",
    "attributes": {},
    "relationships": {"organization": {"data": {"type": "Organization", "id": "1"}}},
}


class Asked:
    """Counts the calls for the organization itself."""

    calls = 0

    async def get(self, path: str) -> Document:
        assert path == "/people/v2"
        self.calls += 1
        return document({"data": ORGANIZATION | {"attributes": {"country_code": "NZ"}}})


@pytest.mark.parametrize(
    ("body", "country", "calls"),
    [
        ({"data": [PERSON], "included": [ORGANIZATION]}, "CA", 0),
        ({"data": [PERSON], "included": [ORGANIZATION | {"attributes": {}}]}, "NZ", 1),
        ({"data": [PERSON], "included": []}, "NZ", 1),
        ({"data": [], "included": []}, "NZ", 1),
    ],
    ids=["included", "included without it", "not included", "an empty church"],
)
async def test_the_organization_is_read_only_without_a_country(body: dict[str, Any], country: str, calls: int) -> None:
    asked = Asked()
    found = await organization_of(
        cast("PlanningCenter", asked), page({"meta": {"total_count": len(body["data"])}} | body)
    )
    assert (found.attributes["country_code"], asked.calls) == (country, calls)
