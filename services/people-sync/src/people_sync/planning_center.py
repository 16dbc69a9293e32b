"""Planning Center People as this service reads it: which fields and includes, and what makes an answer whole."""

from collections.abc import Iterable, Sequence
from typing import Final

from pco_client.client import PlanningCenter
from pco_client.jsonapi import Included, Page, Resource
from pco_client.query import Query
from people_sync.domain.planning_center import (
    ADDRESS_PARTS,
    Contact,
    RemoteHousehold,
    RemotePerson,
    remote_person,
)

PEOPLE: Final = "/people/v2/people"
DEFAULT_COUNTRY: Final = "US"
"""Of a church whose organization does not say."""
HOUSEHOLDS: Final = "/people/v2/households"
MERGERS: Final = "/people/v2/person_mergers"
INCLUDE: Final = ("emails", "phone_numbers", "addresses", "households")
FIELDS: Final = {
    "Person": (
        *("first_name", "last_name", "given_name", "nickname", "birthdate", "gender", "child", "status", "remote_id"),
        *("created_at", "updated_at", *INCLUDE),
    ),
    "Email": ("address", "primary"),
    "PhoneNumber": ("number", "primary"),
    "Address": (*ADDRESS_PARTS, "primary"),
    "Household": ("name", "people", "primary_contact"),
}
"""What is read of a record, relationships included: the rest is most of an answer, and somebody's private data."""
REQUIRED: Final = frozenset(FIELDS["Person"]) - {*INCLUDE, "nickname", "given_name", "created_at", "updated_at"}
"""Attributes without which an answer says nothing about a person."""


def person_of(row: Resource, included: Included) -> RemotePerson | None:
    """The person with contacts; None when the answer names contacts or households that it does not carry."""
    # What is not there says nothing; taken for empty it would clear a value here.
    if not row.attributes.keys() >= REQUIRED:
        return None
    found = {name: included.whole(row, name) for name in INCLUDE}
    if None in found.values():
        return None
    return remote_person(
        row.id,
        row.attributes,
        emails=_contacts(found["emails"]),
        phones=_contacts(found["phone_numbers"]),
        addresses=_contacts(found["addresses"]),
        household_ids=[household.id for household in found["households"] or ()],
    )


def household_of(row: Resource) -> RemoteHousehold:
    """The household with its people, whom the relationship always names."""
    primary = row.to_one("primary_contact")
    return RemoteHousehold(
        pco_id=row.id,
        name=row.attributes.get("name") or "",
        person_ids=tuple(sorted({person.id for person in row.to_many("people")}, key=int)),
        primary_contact_id=primary.id if primary else None,
    )


def _contacts(rows: Iterable[Resource] | None) -> list[Contact]:
    return [Contact(row.id, row.attributes.get("primary") is True, row.attributes) for row in rows or ()]


async def newest_person(pco: PlanningCenter, *include: str) -> Page:
    """Who was changed last there; nobody in an empty church."""
    fields = {"Person": ("updated_at", *include)}
    return await pco.list(PEOPLE, Query(order="-updated_at", per_page=1, include=include, fields=fields))


def latest(rows: Sequence[Resource], before: str | None = None) -> str | None:
    """The newest `updated_at`, by Planning Center's clock: the cursor of the next incremental run."""
    seen = [row.attributes["updated_at"] for row in rows if row.attributes.get("updated_at")]
    return max([*seen, *([before] if before else [])], default=None)


async def organization_of(pco: PlanningCenter, page: Page) -> Resource:
    """As it came with a person, else asked for: an empty church shows nobody."""
    included = next((page.included.one(person, "organization") for person in page.data), None)
    if included is not None and "country_code" in included.attributes:
        return included
    return (await pco.get("/people/v2")).data
