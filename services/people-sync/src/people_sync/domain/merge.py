"""The three-way merge: values for each side to take over, conflicts, and agreed values.

    both equal                          agreed
    no last agreed value, one empty     the empty side is filled
    no last agreed value, both differ   the organization's choice (`first_match`): one side's value, or a conflict
    changed on one side                 applied to the other; a clear is a change too
    changed on both sides               a conflict of the whole record: every differing field joins it and nothing is
                                        overwritten on either side. With `merge_different_fields` only the fields
                                        changed on both sides conflict, the others are applied.

A birthdate without a year (1885) contradicts none with one: the two agree and no side is written. A year typed since is
a change; a year that disappeared is none and replaces no value.

An empty name never clears one: the empty side is always filled from the other. A difference that an administrator
decided to keep stays until either value changes or the decision is ended, and then becomes a conflict.
"""

from collections.abc import Callable, Hashable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

from people_sync.domain.canonical import canonical, nothing_new, same_day, text_key, year_known
from people_sync.domain.values import ACTIVE, FIELDS, PersonValues, Value, as_dict

FirstMatch: TypeAlias = Literal["planning_center", "ask", "ours"]
Reason: TypeAlias = Literal["changed", "filled", "first_match"]
"""Why a value is written: a change on the other side, an empty side, or the organization's choice."""


@dataclass(frozen=True, slots=True)
class MergePolicy:
    """The organization's choices."""

    first_match: FirstMatch = "planning_center"
    merge_different_fields: bool = False
    country: str = "US"
    """The church's own country, ISO 3166-1 alpha-2."""


@dataclass(frozen=True, slots=True)
class ConflictValues:
    """One field of a conflict. `base` is also None without an agreed value (see `base_known`)."""

    base: Any
    ours: Any
    theirs: Any
    base_known: bool = True


@dataclass(frozen=True, slots=True)
class Merge:
    """The merge of one record. Every field is in at most one of to_ours, to_theirs, conflicts and agreed."""

    to_ours: Mapping[str, Any] = field(default_factory=dict)
    """Field to the value that our side takes over."""
    to_theirs: Mapping[str, Any] = field(default_factory=dict)
    """Field to the value that Planning Center takes over."""
    conflicts: Mapping[str, ConflictValues] = field(default_factory=dict)
    agreed: Mapping[str, Any] = field(default_factory=dict)
    """Last agreed values to store without a write: equal on both sides and new or changed since."""
    reasons: Mapping[str, Reason] = field(default_factory=dict)
    """The reason for each field of to_ours and to_theirs."""
    replaced: Mapping[str, Any] = field(default_factory=dict)
    """The overwritten value of each field of to_ours and to_theirs, for the history."""
    first_match: tuple[str, ...] = ()
    """Fields decided by the organization's choice: both sides had a value and none was ever agreed."""

    @property
    def writes(self) -> bool:
        """Whether a side changes."""
        return bool(self.to_ours or self.to_theirs)


NOTHING: Final = Merge()
"""Both sides and the last agreed values are equal."""

_NAMES: Final = frozenset({"first_name", "last_name"})
_NO_BASE: Final[Mapping[str, Any]] = {}


def merge(
    base: Mapping[str, Value] | None,
    ours: PersonValues,
    theirs: PersonValues,
    policy: MergePolicy,
    kept_different: Mapping[str, tuple[Value, Value] | None] = _NO_BASE,
) -> Merge:
    """Merge a person.

    `base`: last agreed values, without fields never agreed. `kept_different`: field to the (ours, theirs) that an
    administrator decided to keep, or None if that decision was ended. After each write the engine stores the written
    value as agreed.
    """
    if ours == theirs and base is not None and len(base) == len(FIELDS) and as_dict(ours) == base:
        return NOTHING
    country = policy.country
    return merge_fields(
        base or _NO_BASE,
        as_dict(ours),
        as_dict(theirs),
        policy,
        kept_different,
        comparable=lambda name, value: canonical(name, value, country),
        never_cleared=_NAMES,
    )


def with_status(result: Merge, ours: bool, theirs: bool, policy: MergePolicy) -> Merge:
    """Add the active status, never agreed yet, to the merge as a first match, like a field.

    `to_ours` and `to_theirs` never hold the status, since no sync writes it to Planning Center: `takes_status` decides
    for our side.
    """
    if ours == theirs:
        return result
    conflicts = dict(result.conflicts)
    if policy.first_match == "ask":
        conflicts[ACTIVE] = ConflictValues(None, ours, theirs, base_known=False)
    return replace(result, conflicts=conflicts, first_match=(*result.first_match, ACTIVE))


def takes_status(result: Merge, before: bool | None, ours: bool, theirs: bool, policy: MergePolicy) -> bool:
    """Whether our side takes the status over from Planning Center. `before`: the last agreed status."""
    if ours == theirs or result.conflicts:
        return False
    return policy.first_match == "planning_center" if ACTIVE in result.first_match else before is not theirs


def merge_fields(
    base: Mapping[str, Any],
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    policy: MergePolicy,
    kept_different: Mapping[str, tuple[Any, Any] | None],
    *,
    comparable: Callable[[str, Any], Hashable],
    never_cleared: frozenset[str],
) -> Merge:
    """The rules above over plain fields. `comparable` is None for an empty value."""
    agreed: dict[str, Any] = {}
    filled: dict[str, Literal["ours", "theirs"]] = {}
    changed: dict[str, Literal["ours", "theirs", "both"]] = {}
    first: list[str] = []
    for name, our_value in ours.items():
        their_value = theirs[name]
        known = name in base
        if our_value == their_value:
            if not known or (base[name] != our_value and comparable(name, base[name]) != comparable(name, our_value)):
                agreed[name] = our_value
            continue
        here, there = comparable(name, our_value), comparable(name, their_value)
        was = comparable(name, base[name]) if known else None
        if here == there or (same_day(here, there) and not (known and _typed_a_year(here, there, was))):
            fuller = their_value if year_known(there) and not year_known(here) else our_value
            if not known or was != comparable(name, fuller):
                agreed[name] = fuller
        elif name in kept_different:
            kept = kept_different[name]
            if kept is None or (comparable(name, kept[0]), comparable(name, kept[1])) != (here, there):
                changed[name] = "both"
        elif (here is None or there is None) and (name in never_cleared or not known):
            filled[name] = "ours" if here is None else "theirs"
        elif not known:
            first.append(name)
        else:
            changed[name] = "theirs" if nothing_new(here, was) else "ours" if nothing_new(there, was) else "both"
    return _decide(base, ours, theirs, policy, agreed, filled, changed, first)


def _typed_a_year(here: Hashable, there: Hashable, was: Hashable) -> bool:
    """Of two birthdates, one without a year: whether the full one is new and the other adds nothing."""
    fuller, other = (here, there) if year_known(here) else (there, here)
    return not nothing_new(fuller, was) and nothing_new(other, was)


def _decide(
    base: Mapping[str, Any],
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    policy: MergePolicy,
    agreed: Mapping[str, Any],
    filled: Mapping[str, Literal["ours", "theirs"]],
    changed: Mapping[str, Literal["ours", "theirs", "both"]],
    first: list[str],
) -> Merge:
    takes: dict[str, tuple[Literal["ours", "theirs"], Reason]] = {
        name: (side, "filled") for name, side in filled.items()
    }
    sides = set(changed.values())
    collides = "both" in sides or len(sides) > 1
    whole_record = collides and not policy.merge_different_fields
    conflicting = [name for name, side in changed.items() if whole_record or side == "both"]
    if whole_record or policy.first_match == "ask":
        conflicting += first
    else:
        side: Literal["ours", "theirs"] = "ours" if policy.first_match == "planning_center" else "theirs"
        takes |= dict.fromkeys(first, (side, "first_match"))
    if not whole_record:
        # Each side takes over the other side's changes.
        takes |= {
            name: ("ours" if side == "theirs" else "theirs", "changed")
            for name, side in changed.items()
            if side != "both"
        }
    return Merge(
        to_ours={name: theirs[name] for name, (side, _) in takes.items() if side == "ours"},
        to_theirs={name: ours[name] for name, (side, _) in takes.items() if side == "theirs"},
        conflicts={
            name: ConflictValues(base.get(name), ours[name], theirs[name], name in base) for name in conflicting
        },
        agreed=agreed,
        reasons={name: reason for name, (_, reason) in takes.items()},
        replaced={name: (ours if side == "ours" else theirs)[name] for name, (side, _) in takes.items()},
        first_match=tuple(first),
    )


@dataclass(frozen=True, slots=True)
class FamilyValues:
    """One side's values of a family. Members are ids known to both sides; the primary contact may be any member."""

    name: str
    members: frozenset[str] = frozenset()
    primary_contact: str | None = None


@dataclass(frozen=True, slots=True)
class FamilyMerge:
    """The merge of one family: `fields` for name and primary contact, the sets for its members."""

    fields: Merge
    """The merge of `name` and `primary_contact`."""
    add_to_ours: frozenset[str] = frozenset()
    remove_from_ours: frozenset[str] = frozenset()
    add_to_theirs: frozenset[str] = frozenset()
    remove_from_theirs: frozenset[str] = frozenset()
    waiting: frozenset[str] = frozenset()
    """Kept out members in the household alone, never agreed on: the family is compared again later."""
    agreed_members: frozenset[str] = frozenset()
    """Members to store as agreed without a write: on both sides, or on one and agreed before.

    Each write then adds or removes its member.
    """

    @property
    def writes(self) -> bool:
        """Whether either side changes."""
        return bool(
            self.fields.writes
            or self.add_to_ours
            or self.remove_from_ours
            or self.add_to_theirs
            or self.remove_from_theirs
        )


_FAMILY_REQUIRED: Final = frozenset({"name", "primary_contact"})


def merge_family(
    base: Mapping[str, Any] | None,
    ours: FamilyValues,
    theirs: FamilyValues,
    policy: MergePolicy,
    kept_different: Mapping[str, tuple[Any, Any] | None] = _NO_BASE,
    may_be_gone: Set[str] = frozenset(),
    left_alone: Set[str] = frozenset(),
) -> FamilyMerge:
    """Merge a family. A person may be in several families.

    The caller leaves members without a counterpart (not created there, held, unlinked) out of all three sets, so that
    no person is added or removed only because the other side cannot know them. `base`: `name`, `primary_contact` and
    `members` as far as they were ever agreed. Each membership is merged separately: a join or leave on one side since
    the last agreement is applied to the other; without an agreement both sides keep their members and add the other
    side's. A primary contact who leaves counts as none; if the other side cannot know the primary contact, neither
    side is written and the agreed one stays.
    `may_be_gone`: members whom the household lacks perhaps because they are gone there; they stay in the family here.
    `left_alone`: members kept out of the sync, in any of the sets: no side changes for them, and their agreements
    stay.
    """
    base = base or _NO_BASE
    agreed: frozenset[str] = frozenset(base.get("members", ()))
    before = agreed - left_alone
    waiting = (theirs.members & left_alone) - ours.members - agreed
    ours, theirs = (replace(side, members=side.members - left_alone) for side in (ours, theirs))
    both = ours.members & theirs.members
    # An id on one side alone: if agreed before, the other side removed it; else this side added it.
    add_to_theirs = ours.members - theirs.members - before
    remove_from_ours = ((ours.members - theirs.members) & before) - may_be_gone
    add_to_ours = theirs.members - ours.members - before
    remove_from_theirs = (theirs.members - ours.members) & before
    members = both | add_to_ours | add_to_theirs
    knowable = {None, *members, *remove_from_ours, *remove_from_theirs}

    def scalars(values: FamilyValues) -> dict[str, Any]:
        if not knowable.issuperset((ours.primary_contact, theirs.primary_contact)):
            return {"name": values.name}
        primary = values.primary_contact if values.primary_contact in members else None
        return {"name": values.name, "primary_contact": primary}

    fields = merge_fields(
        {name: base[name] for name in ("name", "primary_contact") if name in base},
        scalars(ours),
        scalars(theirs),
        policy,
        kept_different,
        comparable=lambda name, value: text_key(value) if name == "name" and value else value or None,
        never_cleared=_FAMILY_REQUIRED,
    )
    return FamilyMerge(
        fields=fields,
        add_to_ours=add_to_ours,
        remove_from_ours=remove_from_ours,
        add_to_theirs=add_to_theirs,
        remove_from_theirs=remove_from_theirs,
        waiting=waiting,
        agreed_members=both | ((ours.members ^ theirs.members) & before) | (agreed & left_alone),
    )
