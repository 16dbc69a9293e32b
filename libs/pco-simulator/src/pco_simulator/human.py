"""A human at Planning Center, bound by the rules of the API."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pco_simulator.calendar import catalog as calendars
from pco_simulator.calendar import rules as calendar
from pco_simulator.jsonapi import Refused
from pco_simulator.people import rules
from pco_simulator.rows import Row, parse_id
from pco_simulator.world import Change, World


class Human:
    """Changes churches as their staff do, without a client of the API."""

    def __init__(self, world: World) -> None:
        self._world = world

    def create_person(
        self,
        organization_id: str,
        attributes: Mapping[str, Any],
        *,
        emails: Sequence[Mapping[str, Any]] = (),
        phone_numbers: Sequence[Mapping[str, Any]] = (),
        addresses: Sequence[Mapping[str, Any]] = (),
        household_id: str | None = None,
    ) -> str:
        """A human creates a person with contacts, in a household; gives the id.

        `ValueError` says what is wrong with the input.
        """
        contacts = (("Email", emails), ("PhoneNumber", phone_numbers), ("Address", addresses))
        with self._by_hand(organization_id) as change:
            household = None if household_id is None else _row(change, "Household", household_id)
            row = rules.create_person(change, attributes, {})
            try:
                for type_, given in contacts:
                    for contact in given:
                        rules.create_contact(change, type_, row, contact, {})
            except Refused:
                rules.delete(change, "Person", row)
                raise
            if household is not None:
                rules.create_membership(change, household, {"person_id": row.id, "pending": False}, {})
        return str(row.id)

    def create(self, organization_id: str, type_: str, attributes: Mapping[str, Any], *, person_id: str) -> str:
        """A human gives a person an `Email`, `PhoneNumber` or `Address`, or (type `HouseholdMembership`, with
        `household_id` among the attributes) makes them a member of a household; gives the new id."""
        with self._by_hand(organization_id) as change:
            person = _row(change, "Person", person_id)
            if type_ == "HouseholdMembership":
                given = dict(attributes)
                household = _row(change, "Household", str(given.pop("household_id")))
                given = {"pending": False, **given, "person_id": person.id}
                return str(rules.create_membership(change, household, given, {}).id)
            return str(rules.create_contact(change, type_, person, attributes, {}).id)

    def edit_person(self, organization_id: str, person_id: str, attributes: Mapping[str, Any]) -> None:
        """A human edits a person. `KeyError` when unknown, `ValueError` when refused."""
        self.edit(organization_id, "Person", person_id, attributes)

    def edit(self, organization_id: str, type_: str, id_: str, attributes: Mapping[str, Any]) -> None:
        """A human edits a row of any type. `KeyError` when unknown, `ValueError` when refused."""
        with self._by_hand(organization_id) as change:
            if type_ in calendars.KINDS:
                calendar.update(change, type_, _row(change, type_, id_), attributes)
            else:
                rules.update(change, type_, _row(change, type_, id_), attributes, {})

    def create_household(self, organization_id: str, attributes: Mapping[str, Any]) -> str:
        """A human makes a household of `name` and `person_ids`; the first is its primary contact; gives the id."""
        given = dict(attributes)
        people = [{"type": "Person", "id": str(id_)} for id_ in given.pop("person_ids", [])]
        links = {"people": {"data": people}, "primary_contact": {"data": people[0] if people else None}}
        with self._by_hand(organization_id) as change:
            return str(rules.create_household(change, given, links).id)

    def move_person(self, organization_id: str, person_id: str, attributes: Mapping[str, Any]) -> None:
        """A human moves a person to `household_id` (null: to none), out of `from_household_id` or else of all others.

        Nobody's `updated_at` moves, and a household left empty stays (planningcenter/developers#708, #1258, #124).
        """
        with self._by_hand(organization_id) as change:
            person = _row(change, "Person", person_id)
            target = attributes.get("household_id")
            household = None if target is None else _row(change, "Household", str(target))
            rules.move_person(change, person, household, attributes.get("from_household_id"))

    def set_raw(self, organization_id: str, type_: str, id_: str, attributes: Mapping[str, Any]) -> None:
        """Store attributes as given, bypassing every rule; `updated_at` moves unless it is given.

        `KeyError` when the row is unknown, `ValueError` for an unknown attribute or a value that no index can sort.
        """
        with self._by_hand(organization_id) as change:
            raw = calendar.set_raw if type_ in calendars.KINDS else rules.set_raw
            raw(change, type_, _row(change, type_, id_), attributes)

    def delete(self, organization_id: str, type_: str, id_: str) -> None:
        """A human deletes a row (a person with all contacts and memberships, an event with all its instances).
        `KeyError` when unknown."""
        with self._by_hand(organization_id) as change:
            delete = calendar.delete if type_ in calendars.KINDS else rules.delete
            delete(change, type_, _row(change, type_, id_))

    def merge_people(self, organization_id: str, keep_id: str, remove_id: str) -> str:
        """A human merges two people: children and memberships move with their ids, the removed person is gone,
        the log gets a row; gives the merger's id. `KeyError` when one is unknown."""
        with self._by_hand(organization_id, by="merge") as change:
            merger = rules.merge(change, _row(change, "Person", keep_id), _row(change, "Person", remove_id))
        return str(merger.id)

    # -- calendar --------------------------------------------------------------------------------------------

    def create_event(self, organization_id: str, attributes: Mapping[str, Any]) -> str:
        """A human creates an event with its instance, or (`repeats` and `count` or `until`) with those of a series;
        gives the event's id. See `calendar.rules` for attributes; `ValueError` says what is wrong with them."""
        owner = int(self._world.administrator(organization_id).person_id)
        with self._by_hand(organization_id) as change:
            return str(calendar.schedule(change, attributes, owner).id)

    def create_instance(self, organization_id: str, event_id: str, attributes: Mapping[str, Any]) -> str:
        """A human adds an occurrence to an event; gives its id."""
        with self._by_hand(organization_id) as change:
            return str(calendar.create_instance(change, _row(change, "Event", event_id), attributes).id)

    def request_event(self, organization_id: str, attributes: Mapping[str, Any], person_id: str | None) -> str:
        """Somebody asks for an event by a form; gives the pending event's id."""
        with self._by_hand(organization_id) as change:
            person = None if person_id is None else _row(change, "Person", person_id).id
            return str(calendar.request_event(change, attributes, person).id)

    def set_calendar_role(self, organization_id: str, person_id: str, role: str) -> None:
        """An administrator gives a person a role in Calendar, one of `world.CALENDAR_ROLES`."""
        with self._by_hand(organization_id) as change:
            calendar.set_role(change, _row(change, "Person", person_id), role)

    @contextmanager
    def _by_hand(self, organization_id: str, by: str = "person") -> Iterator[Change]:
        try:
            with self._world.change(organization_id, by) as change:
                yield change
        except Refused as refused:
            raise ValueError(str(refused)) from refused


def _row(change: Change, type_: str, id_: str) -> Row:
    known = parse_id(id_)
    row = None if known is None else change.view.get(type_, known)
    if row is None:
        raise KeyError(f"{type_} {id_}")
    return row
