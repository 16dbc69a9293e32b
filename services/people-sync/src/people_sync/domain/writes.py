"""Our own writes to Planning Center, field by field, and the interpretation of reads that may not show them yet.

`synckit.staleness` has the rule; here are the fields of people and households. A write whose answer was lost may have
been carried out: if its value is found there, it is agreed and no edit of the church.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from people_sync.domain.canonical import identical, text_key
from people_sync.domain.merge import FamilyValues
from people_sync.domain.values import ACTIVE, PersonValues, as_dict, value_from_json
from synckit.staleness import Reading, Same, Write, believable_at

_MEMBER: Final = "member:"


def person_believable_at(
    writes: Sequence[Write], seen: PersonValues, reading: Reading, country: str, *, active: bool
) -> datetime | None:
    """When reads of this person become conclusive; None if this one is.

    `writes` in the order of announcement. `active`: the status read.
    """
    return believable_at(writes, {**as_dict(seen), ACTIVE: active}, reading, _same_in(country))


def family_believable_at(writes: Sequence[Write], seen: FamilyValues, reading: Reading) -> datetime | None:
    """When reads of this household become conclusive; a stale one may also lack joined or show left members."""
    return believable_at(writes, _shown(writes, seen), reading, _same_of_family)


def membership(member_id: str) -> str:
    """The field of a write that moves a member into the household (`after` true) or out of it (false)."""
    return f"{_MEMBER}{member_id}"


def _shown(writes: Iterable[Write], seen: FamilyValues) -> dict[str, Any]:
    moved = {write.field for write in writes if write.field.startswith(_MEMBER)}
    members = {name: name.removeprefix(_MEMBER) in seen.members for name in moved}
    return {"name": seen.name, "primary_contact": seen.primary_contact, **members}


def taken_since(writes: Iterable[Write], read_at: datetime) -> dict[str, Any]:
    """Values that Planning Center accepted since a read that does not show them, JSON by field."""
    return {write.field: write.after for write in writes if write.answered_at and write.answered_at >= read_at}


def family_since(seen: FamilyValues, writes: Iterable[Write], read_at: datetime) -> FamilyValues:
    """A household with the writes that Planning Center accepted since its read."""
    taken = taken_since(writes, read_at)
    moved = {name.removeprefix(_MEMBER): there for name, there in taken.items() if name.startswith(_MEMBER)}
    members = (seen.members | {one for one, there in moved.items() if there}) - {
        one for one, there in moved.items() if not there
    }
    return FamilyValues(taken.get("name", seen.name), members, taken.get("primary_contact", seen.primary_contact))


def confirmed(writes: Iterable[Write], seen: PersonValues, country: str) -> dict[str, Any]:
    """Values of unanswered writes that the read shows: agreed, not edits of the church.

    Without this, a return to the former value here would look like an untouched side, and our own write there like an
    edit that wins over it.
    """
    values, same = as_dict(seen), _same_in(country)
    return {
        write.field: value_from_json(write.field, write.after)
        for write in writes
        if write.answered_at is None and write.field in values and same(write.field, values[write.field], write.after)
    }


def confirmed_of_family(writes: Sequence[Write], seen: FamilyValues) -> dict[str, Any]:
    """Values of unanswered writes that the household shows, memberships included."""
    unanswered = [write for write in writes if write.answered_at is None]
    shown = _shown(unanswered, seen)
    return {
        write.field: write.after
        for write in unanswered
        if write.field in shown and _same_of_family(write.field, shown[write.field], write.after)
    }


def confirmed_family(agreed: Mapping[str, Any], writes: Sequence[Write], seen: FamilyValues) -> dict[str, Any]:
    """Last agreed values of a family, with the effects of unanswered writes that its household shows."""
    return with_written(agreed, confirmed_of_family(writes, seen))


def with_written(agreed: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """Last agreed values of a family after these writes, memberships included."""
    if not written:
        return dict(agreed)
    moves = {name.removeprefix(_MEMBER): joined for name, joined in written.items() if name.startswith(_MEMBER)}
    members = {*agreed.get("members", ()), *(one for one, joined in moves.items() if joined)}
    members -= {one for one, joined in moves.items() if not joined}
    scalars = {name: value for name, value in written.items() if not name.startswith(_MEMBER)}
    return {**agreed, **scalars, "members": sorted(members)}


def _same_in(country: str) -> Same:
    def same(name: str, seen: Any, written: Any) -> bool:
        return identical(name, seen, value_from_json(name, written), country)

    return same


def _same_of_family(name: str, seen: Any, written: Any) -> bool:
    if name == "name":
        return text_key(seen or "") == text_key(written or "")
    if name.startswith(_MEMBER):
        return bool(seen) is bool(written)
    return bool((seen or None) == (written or None))
