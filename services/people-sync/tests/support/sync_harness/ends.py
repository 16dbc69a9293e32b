"""The state of both sides without ids and times, which must be equal in two runs of the same story."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from difflib import unified_diff
from typing import Any, Final

import orjson

from servicekit.testing.databases import Database

_CONTACTS = {
    "Email": ("address",),
    "PhoneNumber": ("e164",),
    "Address": ("street_line_1", "street_line_2", "city", "state", "zip", "country_code"),
}
_COLLIDES: Final = ("field", "base", "base_known", "ours", "theirs")
State = list[str]


def _line(*parts: Any) -> str:
    return orjson.dumps(parts, option=orjson.OPT_SORT_KEYS, default=str).decode()


def there(dump: Iterable[Mapping[str, Any]]) -> State:
    """Planning Center: one line per person, contact, household and membership."""
    rows = list(dump)
    names = {int(row["id"]): _name(row["attributes"]) for row in rows if row["type"] == "Person"}
    households = {int(row["id"]): row["attributes"] for row in rows if row["type"] == "Household"}
    lines = []
    for row in rows:
        type_, values = row["type"], row["attributes"]
        if type_ == "Person":
            kept = {name: values.get(name) for name in ("gender", "child", "birthdate", "status")}
            lines.append(_line("person", names[int(row["id"])], kept, values.get("remote_id") is not None))
        elif type_ in _CONTACTS:
            kept = {name: values.get(name) for name in (*_CONTACTS[type_], "primary", "location")}
            lines.append(_line(type_, names.get(values["person_id"]), kept))
        elif type_ == "Household":
            lines.append(_line("household", values["name"], names.get(values.get("primary_contact_id") or 0)))
        elif type_ == "HouseholdMembership":
            household = households[values["household_id"]]["name"]
            lines.append(_line("membership", household, names.get(values["person_id"]), values.get("pending", False)))
    return sorted(lines)


async def here(database: Database, dump: Iterable[Mapping[str, Any]], organization_id: str) -> State:
    """Our side: one line per member, family, membership, link, open conflict, held match and change of a value."""
    rows = list(dump)
    people = {row["id"]: _name(row["attributes"]) for row in rows if row["type"] == "Person"}
    households = {row["id"]: row["attributes"]["name"] for row in rows if row["type"] == "Household"}

    async def all_of(table: str) -> list[dict[str, Any]]:
        return await database.fetch(f"SELECT * FROM {table} WHERE organization_id = $1", organization_id)

    members, families = await all_of("member"), await all_of("family")
    names = {str(row["id"]): _name(row) for row in members} | {str(row["id"]): row["name"] for row in families}

    def named(value: Any) -> Any:
        if isinstance(value, list):
            return sorted(map(named, value))
        return names.get(value, value) if isinstance(value, str) else value

    lines = [_member(row) for row in members]
    lines += [
        _line("family", row["name"], named(str(row["primary_contact_id"])), row["deleted_at"] is not None)
        for row in families
    ]
    lines += [
        _line("joined", names[str(row["family_id"])], names[str(row["member_id"])])
        for row in await all_of("family_member")
    ]
    for link in await all_of("link"):
        other = people if link["kind"] == "member" else households
        lines.append(_link(link, names, other, named))
    conflicts = await all_of("conflict")
    lines += [
        _line(
            "conflict", names[str(row["record_id"])], [{name: one[name] for name in _COLLIDES} for one in row["fields"]]
        )
        for row in conflicts
        if row["state"] == "open"
    ]
    lines += [
        _line("decided", names[str(row["record_id"])], row["state"], [sorted(told) for told in answers])
        for row in conflicts
        if (answers := row["answered"].values())
    ]
    lines += [
        _line("held", people.get(row["pco_id"]), named(row["candidate_ids"]), row["state"])
        for row in await all_of("held_match")
    ]
    # An intent for a contact or household stays open if a read met the record before the answer; a later creation looks
    # for it first.
    lines += [_line("intent", row["state"]) for row in await all_of("creation") if row["kind"] == "member"]
    lines += _history(await all_of("effect"), names, named)
    return sorted(lines)


def _member(row: Mapping[str, Any]) -> str:
    fields = ("birthdate", "gender", "child", "email", "phone", "address", "active", "external_id")
    return _line("member", _name(row), {name: row[name] for name in fields}, row["deleted_at"] is not None)


def _link(
    link: Mapping[str, Any], names: Mapping[str, str], other: Mapping[str, str], named: Callable[[Any], Any]
) -> str:
    agreed = {name: named(value) for name, value in link["agreed"].items()}
    name = names[str(link["record_id"])]
    return _line("link", name, other.get(link["pco_id"]), link["state"], agreed, sorted(link["contacts"]))


_IDS: Final = frozenset({"planning_center_id", "created"})
"""Fields whose values are Planning Center's ids: others in every copy."""


def _history(rows: list[dict[str, Any]], names: Mapping[str, str], named: Callable[[Any], Any]) -> State:
    lines = []
    made_there = {row["record_id"] for row in rows if (row["side"], row["field"]) == ("there", "created")}
    for row in rows:
        joins = row["side"] == "there" and row["field"].startswith("member:") and row["after"]
        if joins and row["record_id"] in made_there:
            # A member unknown at the household's creation joins later; otherwise the household is created with them.
            continue
        values = [] if row["field"] in _IDS else [named(row["before"]), named(row["after"])]
        lines.append(
            _line(
                "effect",
                names[str(row["record_id"])],
                row["side"],
                ": ".join(map(str, map(named, row["field"].split(":")))),
                *values,
                row["by"],
                row["rule"],
            )
        )
    return lines


def _name(row: Mapping[str, Any]) -> str:
    return f"{row.get('first_name') or ''} {row.get('last_name') or ''}".strip()


def differences(expected: State, found: State) -> str:
    """The differences of two ends; empty if they are equal."""
    return "\n".join(unified_diff(expected, found, "undisturbed", "found", lineterm="", n=0))


def doubled(state: State) -> list[str]:
    """People, contacts, households and memberships that exist more than once there."""
    return [line for line, count in Counter(state).items() if count > 1 and not line.startswith('["intent"')]
