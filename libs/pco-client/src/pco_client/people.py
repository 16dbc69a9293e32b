"""The People product: the calls a sync needs, by name.

Attributes are the vendor's, as plain mappings: an absent key is left alone, `None` clears. Options (priority, timeout,
deadline, guard) are those of the client: `People(client.using(priority=Priority.INTERACTIVE))`.

Records are written through their own id, never through the person's (404: planningcenter/developers#994). There is no
upsert and no idempotency key; an `Unavailable` with `outcome_unknown` from a create means: look before repeating.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pco_client.client import PlanningCenter
from pco_client.errors import UnexpectedAnswer
from pco_client.jsonapi import Document, Identifier, Page, Resource, write_body
from pco_client.query import Query, Where
from pco_client.walk import list_all

_ROOT: Final = "/people/v2"

NEVER_WRITTEN: Final = frozenset({"people_permissions", "site_administrator", "accounting_administrator"})
"""Writable at the vendor, but they make somebody an administrator: refused here."""

Attributes = Mapping[str, Any]


def _id(value: str) -> str:
    """A record id for a path; ids are digits, and anything else would reach another route."""
    if not (value.isascii() and value.isdigit()):
        raise ValueError("a Planning Center id is a string of digits")
    return value


def _person(person_id: str) -> Identifier:
    return Identifier("Person", _id(person_id))


def _person_attributes(attributes: Attributes) -> Attributes:
    refused = NEVER_WRITTEN & attributes.keys()
    if refused:
        raise ValueError(f"never written by a sync: {', '.join(sorted(refused))}")
    return attributes


@dataclass(frozen=True, slots=True)
class People:
    """Planning Center People."""

    client: PlanningCenter

    async def organization(self) -> Document:
        """The Organization: `name, time_zone, country_code, date_format` and more."""
        return await self.client.get(_ROOT)

    async def me(self, include: Sequence[str] = ()) -> Document:
        """The connected Person; `people_permissions` says Viewer, Editor or Manager."""
        return await self.client.get(f"{_ROOT}/me", Query(include=tuple(include)))

    # --- people

    async def person(self, person_id: str, include: Sequence[str] = ()) -> Document:
        return await self.client.get(f"{_ROOT}/people/{_id(person_id)}", Query(include=tuple(include)))

    async def create_person(self, attributes: Attributes) -> Document:
        """POST. `remote_id` (an integer) is the natural place for a marker to find the person by again."""
        return await self.client.create(f"{_ROOT}/people", write_body("Person", _person_attributes(attributes)))

    async def update_person(self, person_id: str, attributes: Attributes) -> Document:
        """PATCH. An impossible birthdate is accepted with 200 and stored as null: validate first."""
        return await self.client.patch(
            f"{_ROOT}/people/{_id(person_id)}",
            write_body("Person", _person_attributes(attributes), identity=person_id),
        )

    async def people_by_remote_id(self, marker: int, include: Sequence[str] = ()) -> list[Resource]:
        """The people whose `remote_id` is exactly this. Searches lag a minute or so behind a create."""
        page = await list_all(
            self.client,
            f"{_ROOT}/people",
            Query(where=(Where("remote_id", marker),), include=tuple(include)),
        )
        # A value it cannot read is no match to the vendor, and one that it ignores must not become one here.
        return [row for row in page.data if str(row.attributes.get("remote_id")) == str(marker)]

    async def person_mergers(self, since: datetime) -> list[Resource]:
        """The merger log from an instant on, oldest first: `person_to_keep_id`, `person_to_remove_id`, `created_at`.

        Append-only. Ids may be numbers or strings. The removed person is 404, its children have moved with their ids.
        """
        page = await list_all(
            self.client,
            f"{_ROOT}/person_mergers",
            Query(where=(Where("created_at", since, "gte"),), order="created_at"),
        )
        return page.data

    # --- contacts

    async def emails(self, person_id: str) -> list[Resource]:
        return await self._children(person_id, "emails")

    async def email(self, email_id: str) -> Document:
        return await self.client.get(f"{_ROOT}/emails/{_id(email_id)}")

    async def create_email(self, person_id: str, attributes: Attributes) -> Document:
        """`address`, `location` (`Home`, `Work`, ...), `primary`."""
        return await self._create_child(person_id, "emails", "Email", attributes)

    async def update_email(self, email_id: str, attributes: Attributes) -> Document:
        """Setting `primary` demotes the previous one silently; the demoted row's `updated_at` does not move."""
        return await self._update("emails", "Email", email_id, attributes)

    async def emails_by_address(self, address: str) -> list[Resource]:
        """All emails with exactly this address (case-insensitive); families share one, so there may be many.

        Each has the fixed relationship `person`. Raises `ValueError` for an address that begins or ends with `%`,
        which would be a partial match to the vendor.
        """
        if not address or address.startswith("%") or address.endswith("%"):
            raise ValueError("not an address that can be searched for")
        page = await list_all(self.client, f"{_ROOT}/emails", Query(where=(Where("address", address),)))
        wanted = address.casefold()
        return [row for row in page.data if str(row.attributes.get("address", "")).casefold() == wanted]

    async def phone_numbers(self, person_id: str) -> list[Resource]:
        return await self._children(person_id, "phone_numbers")

    async def phone_number(self, phone_number_id: str) -> Document:
        return await self.client.get(f"{_ROOT}/phone_numbers/{_id(phone_number_id)}")

    async def create_phone_number(self, person_id: str, attributes: Attributes) -> Document:
        """`number`, `location` (`Mobile`, `Home`, `Work`, `Other`; required: planningcenter/developers#493),
        `primary`."""
        return await self._create_child(person_id, "phone_numbers", "PhoneNumber", attributes)

    async def update_phone_number(self, phone_number_id: str, attributes: Attributes) -> Document:
        return await self._update("phone_numbers", "PhoneNumber", phone_number_id, attributes)

    async def addresses(self, person_id: str) -> list[Resource]:
        return await self._children(person_id, "addresses")

    async def address(self, address_id: str) -> Document:
        return await self.client.get(f"{_ROOT}/addresses/{_id(address_id)}")

    async def create_address(self, person_id: str, attributes: Attributes) -> Document:
        """`street_line_1`, `street_line_2`, `city`, `state`, `zip`, `country_code`, `location`, `primary`."""
        return await self._create_child(person_id, "addresses", "Address", attributes)

    async def update_address(self, address_id: str, attributes: Attributes) -> Document:
        return await self._update("addresses", "Address", address_id, attributes)

    # --- households

    async def households(
        self, *, updated_since: datetime | None = None, name: str | None = None, include: Sequence[str] = ()
    ) -> list[Resource]:
        """Households, all or narrowed. Joining one does not reliably move its `updated_at`: sweep them all at times
        (`walk_all` with `/people/v2/households`)."""
        where = []
        if updated_since is not None:
            where.append(Where("updated_at", updated_since, "gte"))
        if name is not None:
            where.append(Where("name", name))
        page = await list_all(self.client, f"{_ROOT}/households", Query(where=tuple(where), include=tuple(include)))
        return page.data

    async def households_of(self, person_id: str) -> list[Resource]:
        """The households of a person (there may be several), each with its `people` and `primary_contact`."""
        return await self._children(person_id, "households")

    async def household(self, household_id: str, include: Sequence[str] = ()) -> Document:
        """Relationships `people` and `primary_contact` are there without include."""
        return await self.client.get(f"{_ROOT}/households/{_id(household_id)}", Query(include=tuple(include)))

    async def create_household(
        self, name: str, *, people: Sequence[str], primary_contact: str, attributes: Attributes | None = None
    ) -> Document:
        """Both relationships are required, beside the attributes (planningcenter/developers#463)."""
        if primary_contact not in people:
            raise ValueError("the primary contact must be one of the household's people")
        body = write_body(
            "Household",
            {**(attributes or {}), "name": name},
            relationships={
                "people": [_person(person_id) for person_id in people],
                "primary_contact": _person(primary_contact),
            },
        )
        return await self.client.create(f"{_ROOT}/households", body)

    async def update_household(
        self, household_id: str, attributes: Attributes, *, primary_contact: str | None = None
    ) -> Document:
        relationships = {"primary_contact": _person(primary_contact)} if primary_contact is not None else None
        body = write_body("Household", attributes, identity=household_id, relationships=relationships)
        return await self.client.patch(f"{_ROOT}/households/{_id(household_id)}", body)

    async def household_memberships(self, household_id: str, include: Sequence[str] = ()) -> Page:
        """The memberships of a household; they have no timestamps and name their person."""
        return await list_all(
            self.client,
            f"{_ROOT}/households/{_id(household_id)}/household_memberships",
            Query(include=tuple(include)),
        )

    async def household_memberships_of(self, person_id: str) -> list[Resource]:
        """A person's memberships. They carry no household relationship: use `household_id_of`."""
        return await self._children(person_id, "household_memberships")

    async def add_household_member(
        self, household_id: str, person_id: str, attributes: Attributes | None = None
    ) -> Document:
        """POST a membership, not pending: `pending: true` may mail the person (planningcenter/developers#371)."""
        body = write_body(
            "HouseholdMembership",
            {"pending": False, **(attributes or {})},
            relationships={"person": _person(person_id)},
        )
        return await self.client.create(f"{_ROOT}/households/{_id(household_id)}/household_memberships", body)

    async def update_household_member(self, household_id: str, membership_id: str, attributes: Attributes) -> Document:
        body = write_body("HouseholdMembership", attributes, identity=membership_id)
        return await self.client.patch(self._membership(household_id, membership_id), body)

    async def remove_household_member(self, household_id: str, membership_id: str) -> None:
        await self.client.delete(self._membership(household_id, membership_id))

    # --- shared

    @staticmethod
    def _membership(household_id: str, membership_id: str) -> str:
        return f"{_ROOT}/households/{_id(household_id)}/household_memberships/{_id(membership_id)}"

    async def _children(self, person_id: str, kind: str) -> list[Resource]:
        return (await list_all(self.client, f"{_ROOT}/people/{_id(person_id)}/{kind}")).data

    async def _create_child(self, person_id: str, kind: str, name: str, attributes: Attributes) -> Document:
        return await self.client.create(f"{_ROOT}/people/{_id(person_id)}/{kind}", write_body(name, attributes))

    async def _update(self, kind: str, name: str, identity: str, attributes: Attributes) -> Document:
        path = f"{_ROOT}/{kind}/{_id(identity)}"
        return await self.client.patch(path, write_body(name, attributes, identity=identity))


def household_id_of(membership: Resource) -> str:
    """The household of a membership, from `links.self`, the only place that names it."""
    segments = str(membership.links.get("self") or "").split("/")
    if "households" in segments[:-1]:
        return segments[segments.index("households") + 1]
    raise UnexpectedAnswer("a household membership without a link to its household")
