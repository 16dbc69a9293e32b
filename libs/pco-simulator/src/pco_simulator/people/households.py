"""Households and their memberships."""

from typing import Any

from pco_simulator.jsonapi import Source
from pco_simulator.kind import Context, Kind, fixed, ref
from pco_simulator.people.contacts import person_ref
from pco_simulator.people.person import person_name
from pco_simulator.rows import Row, View


def members(view: View, household: Row) -> list[Row]:
    """The people of a household in the order they joined."""
    rows = view.children("HouseholdMembership", "household_id", household.id)
    return [person for row in rows if (person := view.get("Person", row.attrs["person_id"])) is not None]


def households_of(view: View, person: Row) -> list[Row]:
    """The households of a person in the order they were joined."""
    rows = view.children("HouseholdMembership", "person_id", person.id)
    return [found for row in rows if (found := view.get("Household", row.attrs["household_id"])) is not None]


def contact_name(view: View, household: Row) -> str | None:
    """Name of the primary contact, else of the last one: an emptied household kept a name while
    `primary_contact_id` was null (planningcenter/developers#1258)."""
    id_ = household.attrs.get("primary_contact_id")
    person = view.get("Person", id_)
    if person is not None:
        return person_name(view, person)
    return household.attrs.get("last_contact_name") if id_ is None else None


def _household_attributes(context: Context, row: Row) -> dict[str, Any]:
    get = row.attrs.get
    contact = get("primary_contact_id")
    return {
        "avatar": get("avatar"),
        "created_at": get("created_at"),
        "member_count": len(members(context.view, row)),
        "name": get("name"),
        "primary_contact_id": None if contact is None else str(contact),
        "primary_contact_name": contact_name(context.view, row),
        "updated_at": get("updated_at"),
    }


def _household_relationships(context: Context, row: Row) -> dict[str, Any]:
    people = [{"type": "Person", "id": str(person.id)} for person in members(context.view, row)]
    return {
        "primary_contact": ref("Person", row.attrs.get("primary_contact_id")),
        "people": {"data": people},
    }


def _household_links(context: Context, row: Row) -> dict[str, Any]:
    url = f"{context.root}/households/{row.id}"
    return {"household_memberships": f"{url}/household_memberships", "people": f"{url}/people"}


HOUSEHOLD = Kind(
    type="Household",
    source=Source(
        "Household",
        {
            "created_at": "date_time",
            "member_count": "integer",
            "name": "string",
            "primary_contact_name": "string",
            "updated_at": "date_time",
        },
        derived={
            "member_count": lambda view, row: len(members(view, row)),
            "primary_contact_name": contact_name,
        },
    ),
    attributes=_household_attributes,
    relationships=_household_relationships,
    self_path=lambda row: f"/households/{row.id}",
    can_order=fixed("name", "member_count", "primary_contact_name", "created_at", "updated_at"),
    can_query=fixed("name", "member_count", "primary_contact_name", "created_at", "updated_at"),
    links=_household_links,
    can_include=("people",),
    extended=frozenset({"people"}),
    parents=("primary_contact_id",),
    depends_on_others=True,
)


def _member_name(view: View, row: Row) -> str | None:
    person = view.get("Person", row.attrs["person_id"])
    return None if person is None else person_name(view, person)


def _membership_attributes(context: Context, row: Row) -> dict[str, Any]:
    attributes = {
        "pending": row.attrs.get("pending", False),
        "person_name": _member_name(context.view, row),
    }
    role = row.attrs.get("household_role")
    return attributes if role is None else {"household_role": role, **attributes}


def _membership_path(row: Row) -> str:
    return f"/households/{row.attrs['household_id']}/household_memberships/{row.id}"


def _membership_links(context: Context, row: Row) -> dict[str, Any]:
    return {
        "household": f"{context.root}/households/{row.attrs['household_id']}",
        "person": f"{context.root}/people/{row.attrs['person_id']}",
    }


HOUSEHOLD_MEMBERSHIP = Kind(
    type="HouseholdMembership",
    source=Source(
        "HouseholdMembership",
        {"pending": "boolean", "person_name": "string"},
        derived={"person_name": _member_name},
    ),
    attributes=_membership_attributes,
    relationships=person_ref,
    self_path=_membership_path,
    can_order=fixed("person_name", "pending"),
    can_query=fixed("person_name", "pending"),
    links=_membership_links,
    can_include=("household", "person"),
    extended=frozenset({"person"}),
    parents=("household_id", "person_id"),
    depends_on_others=True,
)
