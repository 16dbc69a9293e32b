"""The three-way merge: what each side must take over, what collides, and what is agreed.

    both equal                          agreed
    no last agreed value, one empty     the empty side is filled
    no last agreed value, both differ   the organization's choice (`first_match`): one side's value, or a conflict
    changed on one side                 applied to the other; a clear is a change too
    changed on both sides               a conflict of the whole record: every differing field joins it and nothing is
                                        overwritten on either side. With `merge_different_fields` only the fields
                                        changed on both sides conflict, the others are applied.

A birthdate without a year (1885) contradicts none with one: the two agree and nothing is written. A year that somebody
typed since is a change; one that is no longer shown is none, and replaces nothing.

A name is never cleared by an empty one: an empty side is filled from the other, always. A difference that an
administrator decided to keep is left alone until either value changes, or until that is ended, and is a conflict then.
"""

from collections.abc import Callable, Hashable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

from people_sync.domain.canonical import canonical, nothing_new, same_day, text_key, year_known
from people_sync.domain.values import ACTIVE, FIELDS, PersonValues, Value, as_dict

FirstMatch: TypeAlias = Literal["planning_center", "ask", "ours"]
Reason: TypeAlias = Literal["changed", "filled", "first_match"]
"""Why a value is written: the other side changed, this side was empty, or the organization's choice."""


@dataclass(frozen=True, slots=True)
class MergePolicy:
    """What the organization chose."""

    first_match: FirstMatch = "planning_center"
    merge_different_fields: bool = False
    country: str = "US"
    """The church's own, ISO 3166-1 alpha-2."""


@dataclass(frozen=True, slots=True)
class ConflictValues:
    """One field of a conflict. `base` is None too when nothing was ever agreed (`base_known` tells)."""

    base: Any
    ours: Any
    theirs: Any
    base_known: bool = True


@dataclass(frozen=True, slots=True)
class Merge:
    """What to do about one record. Every field is in at most one of to_ours, to_theirs, conflicts and agreed."""

    to_ours: Mapping[str, Any] = field(default_factory=dict)
    """Field to the value that our side takes over."""
    to_theirs: Mapping[str, Any] = field(default_factory=dict)
    """Field to the value that Planning Center takes over."""
    conflicts: Mapping[str, ConflictValues] = field(default_factory=dict)
    agreed: Mapping[str, Any] = field(default_factory=dict)
    """Last agreed values to store at once, without a write: equal on both sides and new or moved since."""
    reasons: Mapping[str, Reason] = field(default_factory=dict)
    """Why, for each field of to_ours and to_theirs."""
    replaced: Mapping[str, Any] = field(default_factory=dict)
    """The value that each field of to_ours and to_theirs overwrites, for the history."""
    first_match: tuple[str, ...] = ()
    """Fields where both sides had a value, nothing was ever agreed, and so the organization's choice was asked."""

    @property
    def writes(self) -> bool:
        """Whether either side changes."""
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

    `base`: last agreed values; a missing field was never agreed. `kept_different`: field to the (ours, theirs) that
    an administrator decided to keep both, or None where that was ended. After each write the engine stores the written
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
    """Add the status to the merge of two whose status was never agreed: it is a first match, as a field is.

    `to_ours` and `to_theirs` never hold it, since no sync writes it there: `takes_status` says what our side does.
    """
    if ours == theirs:
        return result
    conflicts = dict(result.conflicts)
    if policy.first_match == "ask":
        conflicts[ACTIVE] = ConflictValues(None, ours, theirs, base_known=False)
    return replace(result, conflicts=conflicts, first_match=(*result.first_match, ACTIVE))


def takes_status(result: Merge, before: bool | None, ours: bool, theirs: bool, policy: MergePolicy) -> bool:
    """Whether our side takes the status over from Planning Center. `before`: the status that was agreed last."""
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
    """Of two birthdates of which one has no year: whether the other is new, and the one without says nothing new."""
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
        # A change made there is taken over here, and the other way round.
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
    """One side's values of a family. Members are ids that both sides know, a primary contact is anybody in it."""

    name: str
    members: frozenset[str] = frozenset()
    primary_contact: str | None = None


@dataclass(frozen=True, slots=True)
class FamilyMerge:
    """What to do about one family: `fields` for name and primary contact, the sets for its members."""

    fields: Merge
    """Over `name` and `primary_contact`."""
    add_to_ours: frozenset[str] = frozenset()
    remove_from_ours: frozenset[str] = frozenset()
    add_to_theirs: frozenset[str] = frozenset()
    remove_from_theirs: frozenset[str] = frozenset()
    waiting: frozenset[str] = frozenset()
    """Members who are left alone, and whom the other side alone has and nobody agreed on: to be compared again."""
    agreed_members: frozenset[str] = frozenset()
    """Members to store as agreed at once: on both sides, or on one and agreed on before.

    Those written come on top after each write, those removed go.
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
    """Merge a family. A person may be in several; nothing here assumes otherwise.

    Who has no counterpart on the other side yet (not created there, held, unlinked) is left out of all three sets by
    the caller: nobody is added, or removed, because the other side cannot know them. `base`: `name`,
    `primary_contact` and `members` as far as they were ever agreed. Each membership is a fact of its own: added or
    removed on one side since the last agreement, it is so on the other; without one, both sides keep what they have
    and take what the other has. A primary contact who leaves counts as none; one whom the other side cannot know is
    no reason to write another one there, or here: nothing is decided about it, and what was agreed stays.
    `may_be_gone`: members whom the other side lacks, perhaps since they are gone there. They stay in the family here.
    `left_alone`: members who are kept out of the sync, in whichever of the sets: neither side moves for them, and what
    was agreed about them stays agreed.
    """
    base = base or _NO_BASE
    agreed: frozenset[str] = frozenset(base.get("members", ()))
    before = agreed - left_alone
    waiting = (theirs.members & left_alone) - ours.members - agreed
    ours, theirs = (replace(side, members=side.members - left_alone) for side in (ours, theirs))
    both = ours.members & theirs.members
    # Of an id on one side alone: agreed before means that the other side removed it, else this side added it.
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
