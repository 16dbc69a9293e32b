"""The rules of writing to People. Raises `jsonapi.Refused` before any row changes.

The API and the simulator's pages for humans share them.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from pco_simulator.jsonapi import (
    bad_request,
    forbidden,
    forbidden_attribute,
    invalid,
    parse_date,
    parse_time,
    resource_not_found,
    stamp,
    without_surrogates,
)
from pco_simulator.people.catalog import KINDS
from pco_simulator.people.contacts import COUNTRIES, has_street_lines
from pco_simulator.people.households import contact_name, households_of
from pco_simulator.people.kind import VERSIONS
from pco_simulator.people.person import GENDER_IDS, TO_MANY, TO_ONE
from pco_simulator.rows import Row
from pco_simulator.world import Change

NEWEST = VERSIONS[-1]

_FALSE = (False, 0, "0", "f", "F", "false", "FALSE", "off", "OFF")

PERSON_STRINGS = (
    "first_name", "last_name", "given_name", "middle_name", "nickname", "membership", "medical_notes",
    "people_permissions", "stripe_customer_identifier",
)  # fmt: skip
PERSON_BOOLEANS = ("accounting_administrator", "child", "site_administrator")
PERSON_ASSIGNABLE = frozenset(
    {
        *PERSON_STRINGS, *PERSON_BOOLEANS, "anniversary", "avatar", "birthdate", "gender", "grade",
        "graduation_year", "inactivated_at", "primary_campus_id", "remote_id", "status",
    }
)  # fmt: skip
CONTACT_ASSIGNABLE = {
    "Email": frozenset({"address", "location", "primary"}),
    "PhoneNumber": frozenset({"number", "carrier", "location", "primary"}),
    "Address": frozenset(
        {"city", "state", "zip", "country_code", "location", "primary", "street_line_1", "street_line_2"}
    ),
}
HOUSEHOLD_ASSIGNABLE = frozenset({"name", "member_count", "avatar", "primary_contact_id"})
FIELD_DATUM_ASSIGNABLE = frozenset({"value", "field_definition_id"})
MEMBERSHIP_ASSIGNABLE = frozenset({"person_id", "pending"})

FIRST_BIRTHDATE = "1885-01-01"
"""The year that stands for an unknown one (vendor's help 220345848, 204263114); stored and read as it is."""

PHONE_LOCATIONS = ("Mobile", "Home", "Work", "Other", "Pager", "Fax", "Skype")
ROLES = ("adult", "child_or_dependent", "other_adult", "parent_guardian")

_PERMISSIONS = (None, "Manager", "Editor", "Viewer", "Contributor", "no access")


def _text(value: Any) -> str | None:
    """A boolean becomes `t` or `f`, as Rails has it (unconfirmed)."""
    if isinstance(value, bool):
        return "t" if value else "f"
    return None if value is None else str(value)


def _boolean(value: Any) -> bool | None:
    if value is None or value == "":
        return None
    return value not in _FALSE


def _integer(value: Any) -> int | None:
    """A non-number becomes null with 200 (recorded for `grade`; for other integers unconfirmed)."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"\s*[-+]?[0-9]{1,30}(\.[0-9]+)?\s*", value):
        return int(float(value)) if "." in value else int(value)
    return None


def _date(value: Any) -> str | None:
    """An invalid date is accepted and stored as null (recorded)."""
    return parse_date(value[:10]) if isinstance(value, str) else None


def _refuse_early_birthdate(change: Change) -> None:
    """Refuse dates before 1885-01-01 with 'invalid data' (planningcenter/developers#454; the form of the answer is
    unconfirmed). With the setting `null` they are stored as null, like other invalid dates (recorded)."""
    if change.world.early_birthdates == "refused":
        raise bad_request("invalid_data")


def _only(attributes: Mapping[str, Any], allowed: frozenset[str]) -> None:
    for name in attributes:
        if name not in allowed:
            raise forbidden_attribute(name)


def _relation_name(name: str, value: Any) -> str:
    """A relationship's name in a refusal: `people` becomes `people_ids` (planningcenter/developers#280), and `emails`
    becomes `emails_ids` even when its data is one object (#351)."""
    many = name in TO_MANY or (isinstance(value, Mapping) and isinstance(value.get("data"), list))
    return f"{name}_ids" if many else f"{name}_id"


def _linked_id(value: Any) -> str | None:
    data = value.get("data") if isinstance(value, Mapping) else None
    return str(data["id"]) if isinstance(data, Mapping) and data.get("id") is not None else None


def _person_by(change: Change, parameter: str, id_: Any) -> Row:
    known = _integer(id_)
    row = None if known is None else change.view.get("Person", known)
    if row is None:
        raise resource_not_found(parameter, id_)
    return row


def _now(change: Change) -> str:
    return stamp(change.at)


def _changed(row: Row, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if row.get(name) != value}


# -- people ----------------------------------------------------------------------------------------------------


def _person_values(
    change: Change,
    attributes: Mapping[str, Any],
    relationships: Mapping[str, Any],
    version: str,
    before: Row | None,
) -> dict[str, Any]:
    allowed = PERSON_ASSIGNABLE
    if before is None:
        allowed = allowed | {"created_by_id"}
    if "2025-03-20" <= version < "2025-11-10":
        allowed = allowed | {"gender_id"}
    _only(attributes, allowed)
    values: dict[str, Any] = {}
    for name, value in attributes.items():
        if name in PERSON_STRINGS:
            values[name] = _text(value)
        elif name in PERSON_BOOLEANS:
            values[name] = bool(_boolean(value))
        elif name in ("anniversary", "birthdate"):
            values[name] = _date(value)
    if (values.get("birthdate") or FIRST_BIRTHDATE) < FIRST_BIRTHDATE:
        _refuse_early_birthdate(change)
        values["birthdate"] = None
    named = "first_name" in values or before is None
    if named and not (values.get("first_name") or "").strip():
        # That a first name is required is unconfirmed; refusing is the harsher reading.
        raise invalid("Person", "first_name", "can't be blank")
    if values.get("people_permissions") not in _PERMISSIONS:
        raise invalid("Person", "people_permissions", "is not included in the list")
    values.update(_person_numbers(change, attributes))
    values.update(_gender(attributes, version))
    values.update(_status(change, attributes, before))
    values.update(_references(change, attributes, relationships))
    if "avatar" in attributes:
        values["avatar"] = _avatar(attributes["avatar"])
    return values


def _person_numbers(change: Change, attributes: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if "grade" in attributes:
        grade = values["grade"] = _integer(attributes["grade"])
        if grade is not None and not -1 <= grade <= 12:
            raise invalid("Person", "grade", "must be between -1 and 12")
    for name in ("graduation_year", "remote_id"):
        if name in attributes:
            number = values[name] = _integer(attributes[name])
            if number is not None and abs(number) > change.world.remote_id_maximum:
                raise bad_request("integer_out_of_range")
    return values


def _gender(attributes: Mapping[str, Any], version: str) -> dict[str, Any]:
    """`M`/`F` before 2022-07-14, then `Male`/`Female`; refusing other values is unconfirmed."""
    if "gender_id" in attributes:
        wanted = _integer(attributes["gender_id"])
        return {"gender": next((name for name, id_ in GENDER_IDS.items() if id_ == wanted), None)}
    if "gender" not in attributes:
        return {}
    value = attributes["gender"]
    known = {None: None, "": None, "Male": "Male", "Female": "Female"}
    if version < "2022-07-14":
        known.update({"M": "Male", "F": "Female"})
    if not isinstance(value, str | None) or value not in known:
        raise invalid("Person", "gender", "is not included in the list")
    return {"gender": known[value]}


def _status(change: Change, attributes: Mapping[str, Any], before: Row | None) -> dict[str, Any]:
    """`inactive` stamps `inactivated_at`, any other status clears it; a time inactivates, null reactivates."""
    inactive_since = before.get("inactivated_at") if before is not None else None
    if "inactivated_at" in attributes:
        value = attributes["inactivated_at"]
        at = parse_time(value, change.church.organization.zone) if isinstance(value, str) else None
        inactive_since = None if at is None else stamp(at)
    if "status" in attributes:
        inactive_since = (inactive_since or _now(change)) if attributes["status"] == "inactive" else None
    if not {"inactivated_at", "status"} & attributes.keys():
        return {}
    return {"inactivated_at": inactive_since, "status": "inactive" if inactive_since else "active"}


def _references(change: Change, attributes: Mapping[str, Any], relationships: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    wanted = {name: _linked_id(value) for name, value in relationships.items()}
    for name, value in relationships.items():
        if name not in TO_ONE:
            raise forbidden_attribute(_relation_name(name, value))
    if "primary_campus_id" in attributes:
        wanted["primary_campus"] = _text(attributes["primary_campus_id"])
    for name, id_ in wanted.items():
        type_, _ = TO_ONE[name]
        known = None if id_ is None else _integer(id_)
        if id_ is not None and change.view.get(type_, known) is None:
            raise resource_not_found(f"{name}_id", id_)
        values[f"{name}_id"] = known
    return values


def _avatar(value: Any) -> str | None:
    """Written as the UUID an upload gave, read as a URL."""
    if value is None or value == "":
        return None
    if not (isinstance(value, str) and value.startswith("us3-")):
        raise invalid("Person", "avatar", "is invalid")
    return value


def create_person(
    change: Change,
    attributes: Mapping[str, Any],
    relationships: Mapping[str, Any],
    version: str = NEWEST,
) -> Row:
    """A new person without contacts: children in the request's `included` are ignored (their format is
    unconfirmed)."""
    values = _person_values(change, attributes, relationships, version, None)
    now = _now(change)
    return change.create("Person", {**values, "created_at": now, "updated_at": now})


def update_person(
    change: Change, row: Row, attributes: Mapping[str, Any], relationships: Mapping[str, Any], version: str
) -> Row:
    """Write attributes; `updated_at` moves when a value changes, except for `medical_notes`, which are stored apart
    (planningcenter/developers#604)."""
    values = _changed(row, _person_values(change, attributes, relationships, version, row))
    if not values:
        return row
    if values.keys() != {"medical_notes"}:
        values["updated_at"] = _now(change)
    return change.update("Person", row, values)


def delete_person(change: Change, row: Row) -> None:
    """Delete a person immediately and permanently, with contacts and memberships."""
    view = change.view
    for type_ in ("Email", "PhoneNumber", "Address", "FieldDatum"):
        for child in view.children(type_, "person_id", row.id):
            change.destroy(type_, child)
    for membership in view.children("HouseholdMembership", "person_id", row.id):
        delete_membership(change, membership)
    change.destroy("Person", row)


def merge(change: Change, keep: Row, remove: Row) -> Row:
    """Merge two people. Children move with their ids and keep their own `primary`; memberships move, so that the
    keeper is once in each household of either (planningcenter/developers#1224); single-valued fields stay the keeper's,
    except a login that only the other has (vendor's help 138581). No `updated_at` moves (unconfirmed). The removed
    person is deleted and the log of mergers gets a row."""
    if keep.id == remove.id:
        raise invalid("PersonMerger", "person_to_remove_id", "must be another person")
    view = change.view
    for type_ in ("Email", "PhoneNumber", "Address", "FieldDatum"):
        for child in view.children(type_, "person_id", remove.id):
            change.update(type_, child, {"person_id": keep.id})
    kept_in = {household.id for household in households_of(view, keep)}
    for membership in view.children("HouseholdMembership", "person_id", remove.id):
        household = view.get("Household", membership.attrs["household_id"])
        if membership.attrs["household_id"] in kept_in:
            change.destroy("HouseholdMembership", membership)
        else:
            change.update("HouseholdMembership", membership, {"person_id": keep.id})
        if household is not None and household.attrs.get("primary_contact_id") == remove.id:
            change.update("Household", household, {"primary_contact_id": keep.id}, quiet=True)
    if remove.get("login_identifier") and not keep.get("login_identifier"):
        change.update("Person", keep, {"login_identifier": remove.get("login_identifier")})
    change.destroy("Person", remove)
    return change.create(
        "PersonMerger",
        {"created_at": _now(change), "person_to_keep_id": keep.id, "person_to_remove_id": remove.id},
    )


# -- contacts --------------------------------------------------------------------------------------------------


def _email_values(_change: Change, attributes: Mapping[str, Any], before: Row | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if "address" in attributes or before is None:
        address = (_text(attributes.get("address")) or "").strip()
        if not address:
            raise invalid("Email", "address", "can't be blank")
        if not re.fullmatch(r"[^@\s]+@[^@\s]+", address):
            raise invalid("Email", "address", "is invalid")
        values["address"] = address
    return values


def phone_forms(number: str, country: str | None) -> dict[str, str | None]:
    """Fields that the vendor derives from a number as typed; all null for a number invalid in that country."""
    # Imported late: the metadata of all countries loads slowly, and seeding does not need it.
    import phonenumbers  # noqa: PLC0415

    blank = dict.fromkeys(("e164", "international", "national", "country_code"))
    try:
        known = phonenumbers.parse(number, country or "US")
    except phonenumbers.NumberParseException:
        return blank
    if not phonenumbers.is_valid_number(known):
        return blank
    forms = phonenumbers.PhoneNumberFormat
    return {
        "e164": phonenumbers.format_number(known, forms.E164),
        "international": phonenumbers.format_number(known, forms.INTERNATIONAL),
        "national": phonenumbers.format_number(known, forms.NATIONAL),
        "country_code": phonenumbers.region_code_for_number(known),
    }


def _phone_values(change: Change, attributes: Mapping[str, Any], before: Row | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if "number" in attributes or before is None:
        number = (_text(attributes.get("number")) or "").strip()
        if not number:
            raise invalid("PhoneNumber", "number", "can't be blank")
        values.update({"number": number, **phone_forms(number, change.church.organization.country_code)})
    if "carrier" in attributes:
        values["carrier"] = _text(attributes["carrier"])
    if "location" in attributes or before is None:
        # planningcenter/developers#493: without a location the vendor refuses, with a vague message.
        if not attributes.get("location"):
            raise invalid("PhoneNumber", "location", "can't be blank")
        if attributes["location"] not in PHONE_LOCATIONS:
            raise invalid("PhoneNumber", "location", "is not included in the list")
    return values


def _address_values(change: Change, attributes: Mapping[str, Any], before: Row | None) -> dict[str, Any]:
    names = ("city", "state", "zip", "street_line_1", "street_line_2")
    values: dict[str, Any] = {name: _text(attributes[name]) for name in names if name in attributes}
    if "country_code" in attributes or before is None:
        code = _text(attributes.get("country_code")) or change.church.organization.country_code or "US"
        if code.upper() not in COUNTRIES:
            raise invalid("Address", "country_code", "is not included in the list")
        values["country_code"] = code.upper()
    return values


_CONTACT_VALUES: dict[str, Callable[[Change, Mapping[str, Any], Row | None], dict[str, Any]]] = {
    "Email": _email_values,
    "PhoneNumber": _phone_values,
    "Address": _address_values,
}


def _contact_values(
    change: Change,
    type_: str,
    attributes: Mapping[str, Any],
    relationships: Mapping[str, Any],
    version: str,
    before: Row | None,
) -> dict[str, Any]:
    given = dict(attributes)
    if type_ == "Address" and not has_street_lines(version):
        if lines := {"street_line_1", "street_line_2"} & given.keys():
            raise forbidden_attribute(min(lines))
        if "street" in given:
            first, _, second = (_text(given.pop("street")) or "").partition("\n")
            given.update({"street_line_1": first or None, "street_line_2": second or None})
    _only(given, CONTACT_ASSIGNABLE[type_])
    for name, value in relationships.items():
        raise forbidden_attribute(_relation_name(name, value))
    values = _CONTACT_VALUES[type_](change, given, before)
    if "location" in given or before is None:
        # Only phones are known to require a location; the default `Home` for others is unconfirmed.
        values["location"] = _text(given.get("location")) or "Home"
    if "primary" in given:
        values["primary"] = bool(_boolean(given["primary"]))
    return values


def _demote_others(change: Change, type_: str, person_id: int, keep: int | None) -> None:
    """Demote the former primary silently: its `updated_at` does not move (recorded 2026-07)."""
    for other in change.view.children(type_, "person_id", person_id):
        if other.id != keep and other.get("primary"):
            change.update(type_, other, {"primary": False}, quiet=True)


def _touch_person(change: Change, person_id: int) -> None:
    if change.world.contacts_touch_person:
        person = change.view.get("Person", person_id)
        if person is not None:
            change.update("Person", person, {"updated_at": _now(change)})


def create_contact(
    change: Change,
    type_: str,
    person: Row,
    attributes: Mapping[str, Any],
    relationships: Mapping[str, Any],
    version: str = NEWEST,
) -> Row:
    """Create an Email, PhoneNumber or Address. The first of its type becomes the person's primary one, even when
    sent as not primary (planningcenter/developers#1181: a later GET shows it)."""
    values = _contact_values(change, type_, attributes, relationships, version, None)
    others = change.view.children(type_, "person_id", person.id)
    if values.get("primary"):
        _demote_others(change, type_, person.id, None)
    elif not others:
        values["primary"] = True
    now = _now(change)
    row = change.create(type_, {**values, "person_id": person.id, "created_at": now, "updated_at": now})
    _touch_person(change, person.id)
    return row


def update_contact(
    change: Change,
    type_: str,
    row: Row,
    attributes: Mapping[str, Any],
    relationships: Mapping[str, Any],
    version: str,
) -> Row:
    """Update a contact; a new primary demotes the former one."""
    values = _changed(row, _contact_values(change, type_, attributes, relationships, version, row))
    if not values:
        return row
    if values.get("primary"):
        _demote_others(change, type_, row.attrs["person_id"], row.id)
    new = change.update(type_, row, {**values, "updated_at": _now(change)})
    _touch_person(change, row.attrs["person_id"])
    return new


def delete_contact(change: Change, type_: str, row: Row) -> None:
    """Delete a contact; no other one becomes primary (unconfirmed)."""
    change.destroy(type_, row)
    _touch_person(change, row.attrs["person_id"])


# -- households ------------------------------------------------------------------------------------------------


def _household_people(change: Change, relationships: Mapping[str, Any]) -> list[Row] | None:
    if "people" not in relationships:
        return None
    value = relationships["people"]
    data = value.get("data") if isinstance(value, Mapping) else None
    if not isinstance(data, list):
        raise invalid("Household", "people", "is invalid")
    found = [_person_by(change, "people", ref.get("id") if isinstance(ref, Mapping) else ref) for ref in data]
    return list({person.id: person for person in found}.values())


def _household_values(
    change: Change, attributes: Mapping[str, Any], relationships: Mapping[str, Any]
) -> dict[str, Any]:
    _only(attributes, HOUSEHOLD_ASSIGNABLE)
    for name, value in relationships.items():
        if name not in ("people", "primary_contact"):
            raise forbidden_attribute(_relation_name(name, value))
    # The vendor lists member_count as assignable but counts it itself.
    values: dict[str, Any] = {}
    if "name" in attributes:
        values["name"] = _text(attributes["name"])
        if not (values["name"] or "").strip():
            raise invalid("Household", "name", "can't be blank")
    if "avatar" in attributes:
        values["avatar"] = _text(attributes["avatar"])
    contact = attributes.get("primary_contact_id")
    if "primary_contact" in relationships:
        contact = _linked_id(relationships["primary_contact"])
    if contact is not None:
        values["primary_contact_id"] = _person_by(change, "primary_contact_id", contact).id
        values["last_contact_name"] = None
    return values


def create_household(change: Change, attributes: Mapping[str, Any], relationships: Mapping[str, Any]) -> Row:
    """Create a household; both relationships are required, beside the attributes (planningcenter/developers#463)."""
    values = _household_values(change, attributes, relationships)
    people = _household_people(change, relationships)
    if not people:
        raise invalid("Household", "people", "can't be blank")
    if "primary_contact_id" not in values:
        raise invalid("Household", "primary_contact", "can't be blank")
    if values["primary_contact_id"] not in {person.id for person in people}:
        raise invalid("Household", "primary_contact", "must be a member of the household")
    if "name" not in values:
        contact = _person_by(change, "primary_contact_id", values["primary_contact_id"])
        values["name"] = f"{contact.get('last_name') or contact.get('first_name')} Household"
    now = _now(change)
    household = change.create("Household", {**values, "created_at": now, "updated_at": now})
    for person in people:
        change.create(
            "HouseholdMembership",
            {"household_id": household.id, "person_id": person.id, "pending": False},
        )
    return household


def update_household(change: Change, row: Row, attributes: Mapping[str, Any], relationships: Mapping[str, Any]) -> Row:
    """Update a household; `people` replaces all members (unconfirmed beyond a page of memberships), and neither joining
    nor leaving moves the household's `updated_at`."""
    values = _changed(row, _household_values(change, attributes, relationships))
    people = _household_people(change, relationships)
    memberships = change.view.children("HouseholdMembership", "household_id", row.id)
    present = {membership.attrs["person_id"] for membership in memberships}
    wanted = present if people is None else {person.id for person in people}
    contact = values.get("primary_contact_id")
    if contact is not None and contact not in wanted:
        raise invalid("Household", "primary_contact_id", "must be a member of the household")
    for person in people or ():
        if person.id not in present:
            change.create(
                "HouseholdMembership",
                {"household_id": row.id, "person_id": person.id, "pending": False},
            )
    if values:
        row = change.update("Household", row, {**values, "updated_at": _now(change)})
    for membership in memberships:
        if membership.attrs["person_id"] not in wanted:
            delete_membership(change, membership)
    return change.view.get("Household", row.id) or row


def delete_household(change: Change, row: Row) -> None:
    """Delete a household and its memberships; the people stay."""
    for membership in change.view.children("HouseholdMembership", "household_id", row.id):
        change.destroy("HouseholdMembership", membership)
    change.destroy("Household", row)


def _membership_values(
    change: Change, household_id: int, attributes: Mapping[str, Any], relationships: Mapping[str, Any]
) -> dict[str, Any]:
    allowed = MEMBERSHIP_ASSIGNABLE
    if change.world.household_roles:
        allowed = allowed | {"household_role"}
    _only(attributes, allowed)
    for name, value in relationships.items():
        if name != "person":
            raise forbidden_attribute(_relation_name(name, value))
    values: dict[str, Any] = {}
    if "pending" in attributes:
        values["pending"] = bool(_boolean(attributes["pending"]))
    if "household_role" in attributes:
        if attributes["household_role"] not in (None, *ROLES):
            raise invalid("HouseholdMembership", "household_role", "is not included in the list")
        values["household_role"] = attributes["household_role"]
    id_ = attributes.get("person_id")
    if "person" in relationships:
        id_ = _linked_id(relationships["person"])
    if id_ is not None:
        person = _person_by(change, "person_id", id_)
        members = change.view.children("HouseholdMembership", "household_id", household_id)
        if any(membership.attrs["person_id"] == person.id for membership in members):
            raise invalid("HouseholdMembership", "person_id", "has already been taken")
        values["person_id"] = person.id
    return values


def create_membership(
    change: Change, household: Row, attributes: Mapping[str, Any], relationships: Mapping[str, Any]
) -> Row:
    """Add a member; `pending` defaults to true (unconfirmed), and no `updated_at` moves."""
    values = _membership_values(change, household.id, attributes, relationships)
    if "person_id" not in values:
        raise invalid("HouseholdMembership", "person", "can't be blank")
    return change.create("HouseholdMembership", {"pending": True, **values, "household_id": household.id})


def update_membership(change: Change, row: Row, attributes: Mapping[str, Any], relationships: Mapping[str, Any]) -> Row:
    """Update a membership, usually its `pending`."""
    household_id = row.attrs["household_id"]
    if str(attributes.get("person_id", "")) == str(row.attrs["person_id"]):
        attributes = {name: value for name, value in attributes.items() if name != "person_id"}
    if _linked_id(relationships.get("person")) == str(row.attrs["person_id"]):
        relationships = {name: value for name, value in relationships.items() if name != "person"}
    values = _changed(row, _membership_values(change, household_id, attributes, relationships))
    if not values:
        return row
    if "person_id" in values:
        _contact_leaves(change, row)
    return change.update("HouseholdMembership", row, values)


def delete_membership(change: Change, row: Row) -> None:
    """Delete a membership; no `updated_at` moves. A household whose primary contact leaves has none and keeps the name
    (seen in an emptied one, planningcenter/developers#1258; unconfirmed while others remain)."""
    _contact_leaves(change, row)
    change.destroy("HouseholdMembership", row)


def move_person(change: Change, person: Row, household: Row | None, left: Any = None) -> None:
    """Move a person into one household, out of one or of all others; emptied households stay."""
    memberships = change.view.children("HouseholdMembership", "person_id", person.id)
    target = None if household is None else household.id
    for membership in memberships:
        id_ = membership.attrs["household_id"]
        if id_ != target and (left is None or str(left) == str(id_)):
            delete_membership(change, membership)
    if household is not None and all(membership.attrs["household_id"] != target for membership in memberships):
        create_membership(change, household, {"person_id": person.id, "pending": False}, {})


def _contact_leaves(change: Change, membership: Row) -> None:
    household = change.view.get("Household", membership.attrs["household_id"])
    if household and household.attrs.get("primary_contact_id") == membership.attrs["person_id"]:
        left = {"primary_contact_id": None, "last_contact_name": contact_name(change.view, household)}
        change.update("Household", household, left, quiet=True)


# -- custom fields ---------------------------------------------------------------------------------------------


def _field_option(change: Change, definition: Row, value: str | None) -> int | None:
    """An unknown value of checkboxes becomes an option (vendor documentation graph); refusing an unknown one of a
    `select` is unconfirmed."""
    kind = definition.get("data_type")
    if kind not in ("select", "checkboxes") or value is None:
        return None
    options = change.view.children("FieldOption", "field_definition_id", definition.id)
    known = next((option.id for option in options if option.get("value") == value), None)
    if known is None and kind == "select":
        raise invalid("FieldDatum", "value", "is not included in the list")
    if known is None:
        place = max((option.get("sequence") or 0 for option in options), default=0) + 1
        attrs = {"field_definition_id": definition.id, "value": value, "sequence": place}
        known = change.create("FieldOption", attrs).id
    return known


def _datum_values(
    change: Change, attributes: Mapping[str, Any], relationships: Mapping[str, Any], before: Row | None
) -> dict[str, Any]:
    _only(attributes, FIELD_DATUM_ASSIGNABLE)
    for name, value in relationships.items():
        if name != "field_definition":
            raise forbidden_attribute(_relation_name(name, value))
    id_ = attributes.get("field_definition_id")
    if "field_definition" in relationships:
        id_ = _linked_id(relationships["field_definition"])
    if id_ is None and before is not None:
        id_ = before.attrs["field_definition_id"]
    if id_ is None:
        raise invalid("FieldDatum", "field_definition", "can't be blank")
    definition = change.view.get("FieldDefinition", _integer(id_))
    if definition is None or definition.get("deleted_at") is not None:
        raise resource_not_found("field_definition_id", id_)
    given = attributes["value"] if "value" in attributes else before and before.get("value")
    text = _text({True: "true", False: "false"}[given] if isinstance(given, bool) else given)
    return {
        "field_definition_id": definition.id,
        "value": text,
        "field_option_id": _field_option(change, definition, text),
    }


def create_field_datum(
    change: Change, person: Row, attributes: Mapping[str, Any], relationships: Mapping[str, Any]
) -> Row:
    """Create a value of a custom field. A person may have several values of one field (recorded 2026), so a repeated
    call creates a duplicate."""
    values = _datum_values(change, attributes, relationships, None)
    now = _now(change)
    return change.create("FieldDatum", {**values, "person_id": person.id, "created_at": now, "updated_at": now})


def update_field_datum(
    change: Change, row: Row, attributes: Mapping[str, Any], relationships: Mapping[str, Any]
) -> Row:
    """Replace the value of a custom field."""
    values = _changed(row, _datum_values(change, attributes, relationships, row))
    return change.update("FieldDatum", row, {**values, "updated_at": _now(change)}) if values else row


# -- all kinds -------------------------------------------------------------------------------------------------


def update(
    change: Change,
    type_: str,
    row: Row,
    attributes: Mapping[str, Any],
    relationships: Mapping[str, Any],
    version: str = NEWEST,
) -> Row:
    """PATCH of any writable row."""
    if type_ == "Person":
        return update_person(change, row, attributes, relationships, version)
    if type_ in CONTACT_ASSIGNABLE:
        return update_contact(change, type_, row, attributes, relationships, version)
    if type_ == "Household":
        return update_household(change, row, attributes, relationships)
    if type_ == "HouseholdMembership":
        return update_membership(change, row, attributes, relationships)
    if type_ == "FieldDatum":
        return update_field_datum(change, row, attributes, relationships)
    raise forbidden()


_RAW_KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "date": (str,),
    "date_time": (str,),
    "integer": (int,),
    "primary_key": (int,),
    "boolean": (bool,),
}
_RAW_STRINGS = frozenset(
    {"avatar", "country_code", "e164", "household_role", "international", "login_identifier", "national"}
)
"""Stored attributes missing from `Source.kinds`, which lists those to query or sort by."""
_RAW_BY_VALUE = {name: type_ for name, (type_, _) in TO_ONE.items() if type_ not in ("Campus", "SchoolOption")}


def set_raw(change: Change, type_: str, row: Row, attributes: Mapping[str, Any]) -> Row:
    """Store values as given, bypassing every rule above; the simulator checks only what its own indexes need.

    Relationships to a list of values take the value: `name_suffix="Jr."`.
    """
    kinds = KINDS[type_].source.kinds
    values: dict[str, Any] = {}
    for name, value in attributes.items():
        if name in _RAW_BY_VALUE and type_ == "Person":
            values[f"{name}_id"] = None if value is None else _value_id(change, _RAW_BY_VALUE[name], str(value))
            continue
        kind = "string" if name in _RAW_STRINGS else kinds.get(name)
        if kind is None or name == "id":
            raise invalid(type_, name, "is nothing that is stored")
        if value is not None and type(value) not in _RAW_KINDS[kind]:
            raise invalid(type_, name, f"must be a {kind} or null")
        if value is not None and kind in ("date", "date_time") and not re.fullmatch(r"[0-9][0-9TZ:-]*", value):
            raise invalid(type_, name, "must look like a date")
        values[name] = without_surrogates(value) if isinstance(value, str) else value
    if "updated_at" in kinds:
        values.setdefault("updated_at", _now(change))
    return change.update(type_, row, values)


def _value_id(change: Change, type_: str, value: str) -> int:
    rows = change.view.all(type_)
    known = next((row.id for row in rows if row.get("value") == value), None)
    return known or change.create(type_, {"value": value, "sequence": len(list(change.view.all(type_))) + 1}).id


def delete(change: Change, type_: str, row: Row) -> None:
    """DELETE of any writable row."""
    if type_ == "Person":
        delete_person(change, row)
    elif type_ in CONTACT_ASSIGNABLE:
        delete_contact(change, type_, row)
    elif type_ == "Household":
        delete_household(change, row)
    elif type_ == "HouseholdMembership":
        delete_membership(change, row)
    elif type_ == "FieldDatum":
        change.destroy("FieldDatum", row)
    else:
        raise forbidden()
