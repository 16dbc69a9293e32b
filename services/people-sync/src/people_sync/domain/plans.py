"""Plans of writes, field by field: shown for approval, and compared with each write later."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Final, Literal, TypeAlias

from contracts.http.plans import Does, PlanField
from people_sync.domain.canonical import canonical, text_key
from people_sync.domain.merge import FamilyMerge, FamilyValues, Merge
from people_sync.domain.values import ACTIVE, FIELDS, PersonValues, as_dict, value_from_json, value_to_json

Fields: TypeAlias = tuple[PlanField, ...]
Side: TypeAlias = Literal["here", "there"]
Person: TypeAlias = Mapping[str, Any]
"""A person of a family in a plan: our `id`, `pco_id` and `name`."""

NAME: Final = "name"
MEMBERS: Final = "members"
PRIMARY_CONTACT: Final = "primary_contact"


@dataclass(frozen=True, slots=True)
class Status:
    """The active status: last agreed (None if unknown), here, there; and whether our side takes it over."""

    agreed: bool | None
    ours: bool
    theirs: bool
    taken: bool


def of_person(
    base: Mapping[str, Any], ours: PersonValues, theirs: PersonValues, result: Merge, status: Status
) -> Fields:
    """The fields of a person on both sides that the merge writes or finds in conflict."""
    if status.taken:
        result = replace(result, to_ours={**result.to_ours, ACTIVE: status.theirs})
    agreed = {**base, **({} if status.agreed is None else {ACTIVE: status.agreed})}
    return _of_merge(agreed, as_dict(ours) | {ACTIVE: status.ours}, as_dict(theirs) | {ACTIVE: status.theirs}, result)


def created(values: Mapping[str, Any], side: Side) -> Fields:
    """Every filled field of a record that would be created on a side. Values are plain or JSON."""
    fields: list[PlanField] = []
    for name, value in values.items():
        # Child and inactive are worth a line; their defaults are not.
        if value in (None, "", (), []) or (name == "child" and not value) or (name == ACTIVE and value):
            continue
        one = value_to_json(value)
        sides = {"there": one} if side == "here" else {"here": one}
        fields.append(PlanField(field=name, agreed_known=False, after=one, does=side, **sides))
    return tuple(fields)


def inactivated(agreed: bool | None) -> Fields:
    """The field of a person deleted here who would become inactive in Planning Center."""
    known = agreed is not None
    return (PlanField(field=ACTIVE, agreed=agreed, agreed_known=known, there=True, after=False, does="there"),)


def of_family(
    base: Mapping[str, Any],
    ours: FamilyValues,
    theirs: FamilyValues,
    result: FamilyMerge,
    people: Mapping[str, Person] | None = None,
) -> Fields:
    """The fields of a linked family. `people`: display by our id; None shows the ids."""

    def shown(member: Any) -> Any:
        if people is None or member is None:
            return member
        return people.get(member) or {"id": None, "pco_id": None, "name": "Somebody who is not here"}

    def all_of(members: Iterable[str]) -> list[Any]:
        return sorted(map(shown, members), key=_order)

    fields = [
        one.model_copy(update={side: shown(getattr(one, side)) for side in ("agreed", "here", "there", "after")})
        if one.field == PRIMARY_CONTACT
        else one
        for one in _of_merge(
            base,
            {NAME: ours.name, PRIMARY_CONTACT: ours.primary_contact},
            {NAME: theirs.name, PRIMARY_CONTACT: theirs.primary_contact},
            result.fields,
        )
    ]
    here, there = result.add_to_ours | result.remove_from_ours, result.add_to_theirs | result.remove_from_theirs
    if here or there:
        does: Does = "both" if here and there else "here" if here else "there"
        after = (ours.members | result.add_to_ours) - result.remove_from_ours
        fields.append(
            PlanField(
                field=MEMBERS,
                agreed=all_of(base.get(MEMBERS, ())),
                agreed_known=MEMBERS in base,
                here=all_of(ours.members),
                there=all_of(theirs.members),
                after=all_of(after),
                does=does,
            )
        )
    return tuple(fields)


def family_created(
    name: str, members: Iterable[str], primary: str | None, side: Side, people: Mapping[str, Person]
) -> Fields:
    """The fields of a family that would be created on a side; `members` and `primary` by our ids."""
    everybody = sorted((people[one] for one in members), key=_order)
    contact = people.get(primary) if primary else None
    return created({NAME: name, MEMBERS: everybody, PRIMARY_CONTACT: contact}, side)


def allows(approved: Sequence[PlanField], now: Sequence[PlanField], country: str) -> bool:
    """Whether every write due now was approved: the same new value in place of the same old one.

    Fewer writes than approved are allowed: a part may already be done, before a process died.
    """
    plan = {one.field: one for one in approved}
    return all(one.field in plan and _covers(plan[one.field], one, country) for one in now)


def digest(kind: str, key: str, outcome: str, fields: Sequence[PlanField], country: str) -> str:
    """The digest that an approval of one change is bound to: record, outcome, and the values before and after.

    Formatting does not count, and the agreed value only through its effect on `does`.
    """
    said = [
        (
            one.field,
            one.does,
            *(_known_by(one.field, getattr(one, side), country) for side in ("here", "there", "after")),
        )
        for one in fields
    ]
    return blake2b(repr((kind, key, outcome, said)).encode(), digest_size=16).hexdigest()


def _of_merge(base: Mapping[str, Any], ours: Mapping[str, Any], theirs: Mapping[str, Any], result: Merge) -> Fields:
    fields: list[PlanField] = []
    for name in ours:
        does: Does
        after: Any = None
        if name in result.conflicts:
            does = "conflict"
        elif name in result.to_ours:
            does, after = "here", result.to_ours[name]
        elif name in result.to_theirs:
            does, after = "there", result.to_theirs[name]
        else:
            continue
        fields.append(
            PlanField(
                field=name,
                agreed=value_to_json(base.get(name)),
                agreed_known=name in base,
                here=value_to_json(ours[name]),
                there=value_to_json(theirs[name]),
                after=value_to_json(after),
                does=does,
            )
        )
    return tuple(fields)


def _covers(plan: PlanField, now: PlanField, country: str) -> bool:
    if now.field == MEMBERS:
        moves = zip(_moves(plan), _moves(now), strict=True)
        return all(mine <= approved for approved, mine in moves)
    same = (
        _comparable(plan.field, getattr(plan, side), country) == _comparable(now.field, getattr(now, side), country)
        for side in ("here", "there", "after")
    )
    return plan.does == now.does and all(same)


def _moves(field: PlanField) -> tuple[frozenset[str], ...]:
    """Members who join and leave, here and there, by our ids."""
    here, there, after = (
        frozenset(one["id"] if isinstance(one, Mapping) else one for one in side or ())
        for side in (field.here, field.there, field.after)
    )
    return after - here, here - after, after - there, there - after


def _comparable(field: str, value: Any, country: str) -> Hashable:
    if isinstance(value, Mapping) and "pco_id" in value:
        return value["id"]  # type: ignore[no-any-return]
    if field in FIELDS:
        return canonical(field, value_from_json(field, value), country)
    return text_key(value) if field == NAME and value else value


def _known_by(field: str, value: Any, country: str) -> Any:
    """A person's stable id: Planning Center's first, since ours of a planned member changes with each comparison."""
    if isinstance(value, Mapping) and "pco_id" in value:
        return value["pco_id"] or value["id"]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return sorted(str(_known_by(field, one, country)) for one in value)
    return _comparable(field, value, country)


def _order(person: Any) -> tuple[str, str]:
    return (str(person["name"]), str(person["id"])) if isinstance(person, Mapping) else ("", str(person))
