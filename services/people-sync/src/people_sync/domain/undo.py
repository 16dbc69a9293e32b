"""Decides, from a record's effects, the values that an undo puts back and those it leaves.

Each field gets back the first value that the scope replaced, unless an effect outside the scope has touched the field
since on either side, an administrator keeps both sides' values, or our side no longer has the scope's value. A record
that the scope added or deleted here is undone as a whole or left as a whole.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from people_sync.domain.sentences import FIELD_NAMES
from people_sync.domain.values import ACTIVE, FIELDS

CREATED: Final = "created"
DELETED: Final = "deleted"
KEPT_OUT: Final = "kept_out"
PLANNING_CENTER_ID: Final = "planning_center_id"
MEMBERS: Final = "members"
PRIMARY_CONTACT: Final = "primary_contact"
MEMBER: Final = "member:"
"""Prefix of a membership's key, followed by the member's id; the value says whether they are in the family."""
_OURS: Final = frozenset({*FIELDS, "name", PRIMARY_CONTACT})
_NEVER_EMPTY: Final = frozenset({"first_name", "last_name", "name", PRIMARY_CONTACT})
"""Fields that every sync fills on an empty side, so they cannot be put back to empty."""
_DOUBLED: Final = "doubled"
_KEPT: Final = frozenset({"kept_different", "decide_again"})

Whole: Final = frozenset({CREATED, DELETED})
"""Fields of effects on the record as a whole."""


@dataclass(frozen=True, slots=True)
class Was:
    """One effect on a record, as in `storage.tables.Effect`. Values are JSON."""

    id: int
    side: str
    field: str
    before: Any
    after: Any
    of_scope: bool
    cause: str = ""
    rule: str | None = None

    @property
    def moves(self) -> bool:
        """Whether the effect changed a value."""
        return self.before != self.after and self.rule != _DOUBLED


@dataclass(frozen=True, slots=True)
class Standing:
    """The present state of a record on our side."""

    values: Mapping[str, Any]
    """JSON by key: fields; for a family also `member:` and the id, True for each member."""
    deleted: bool = False
    linked_to: str | None = None
    """Planning Center's id of the counterpart; None without one."""
    supplied: bool = False
    """Whether the platform has an id of its own for the record."""
    homes_stay: bool = False
    """For a member: whether they are in a family that the undo does not delete."""
    absent: frozenset[str] = frozenset()
    """For a family: ids of members deleted here whom this undo does not restore."""
    kept_out: frozenset[str] = frozenset()
    """Ids of the record and its members that an administrator keeps out of the sync."""


@dataclass(frozen=True, slots=True)
class Back:
    """A value to put back, as JSON."""

    key: str
    here: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Undo:
    """The undo of one record."""

    whole: Literal["delete", "restore"] | None = None
    """Deletes or restores the record itself here."""
    backs: tuple[Back, ...] = ()
    made_there: bool = False
    """Whether the scope added the person in Planning Center, where people are never deleted."""
    left: Mapping[str, str] = field(default_factory=dict)
    """Reasons, by key, for values that stay."""

    @property
    def anything(self) -> bool:
        """Whether our side changes."""
        return bool(self.whole or self.backs)


def undo_of(kind: str, effects: Iterable[Was], now: Standing, record_id: str = "") -> Undo:
    """Decide the undo of one record. `effects`: all its effects since the scope began."""
    if record_id in now.kept_out:
        return Undo(left={KEPT_OUT: "Kept out of the sync, so it stays as it is."})
    known = sorted((_keyed(one) for one in effects), key=lambda one: one.id)
    mine = [one for one in known if one.of_scope]
    left = _not_undone(mine)
    whole = [one for one in mine if one.side == "here" and one.field in Whole and one.moves]
    if whole:
        return _whole(kind, whole[0], known, now, left)
    if now.deleted:
        return Undo(left={**left, DELETED: "Deleted here since, so it stays as it is."} if mine else left)
    made = [one for one in mine if one.side == "there" and one.field == CREATED and one.moves]
    made_there = False
    if made and kind == "member" and now.linked_to == made[-1].after:
        made_there = True
    elif made:
        left[CREATED] = _MADE_THERE[kind]
    backs = _fields(known, now, left, frozenset(one.cause for one in made))
    if made_there and backs:
        left[CREATED] = _MADE_THERE[kind]
    return Undo(backs=backs, made_there=made_there and not backs, left=left)


def same_as_shown(shown: Iterable[Back], found: Undo) -> tuple[list[Back], list[str]]:
    """The part of the shown undo that is still possible unchanged, and the keys of changed values."""
    there = {one.key: one for one in found.backs}
    still = [one for one in shown if there.get(one.key) == one]
    return still, [one.key for one in shown if there.get(one.key) != one]


def in_words(left: Mapping[str, str]) -> str | None:
    """The sentence about the values that stay; None if none do."""
    return " ".join(dict.fromkeys(left.values())) or None


def moved_since(key: str) -> str:
    """The sentence that a value is no longer the one to be replaced."""
    if key.startswith(MEMBER):
        return "The members of this family were edited since and stay as they are."
    return f"The {_name(key)} was edited since and stays as it is."


def _keyed(one: Was) -> Was:
    """The effect with a membership's key that is the same on both sides."""
    if one.side == "here" and one.field == MEMBERS:
        member = one.before if one.after is None else one.after
        return Was(
            one.id,
            one.side,
            f"{MEMBER}{member}",
            one.before is not None,
            one.after is not None,
            one.of_scope,
            one.cause,
            one.rule,
        )
    return one


def _not_undone(mine: Sequence[Was]) -> dict[str, str]:
    left: dict[str, str] = {}
    for one in mine:
        if one.field == PLANNING_CENTER_ID and one.moves:
            left[PLANNING_CENTER_ID] = "The link to Planning Center stays as it is."
        elif one.field == ACTIVE and one.moves:
            left[ACTIVE] = "Active or inactive stays as it is: change it in Planning Center."
        elif one.rule in _KEPT:
            left[one.field] = f"The {_name(one.field)} is kept different: end that on the record's page."
    return left


def _whole(kind: str, first: Was, known: Sequence[Was], now: Standing, left: dict[str, str]) -> Undo:
    """The undo of a record that the scope added, deleted or restored here."""
    present_before = first.field == DELETED and not first.before
    if present_before is not now.deleted:
        left[DELETED] = "Already as it was before."
    elif any(not one.of_scope and one.id > first.id for one in known):
        left[DELETED] = "Edited since, so it stays as it is."
    elif present_before:
        if now.linked_to is None:
            left[DELETED] = "Its record in Planning Center is linked to somebody else here by now, so it stays deleted."
        else:
            return Undo("restore", _fields(known, now, left, frozenset()) if kind == "family" else (), left=left)
    elif now.supplied:
        left[DELETED] = "The platform has given it an ID since, so it stays here."
    elif PLANNING_CENTER_ID in left:
        left[DELETED] = "It is linked to another record in Planning Center by now, so it stays here."
    elif now.homes_stay:
        left[DELETED] = "In a family that stays, so this person stays here too."
    else:
        return Undo("delete")
    later = [one for one in known if one.id > first.id and one.cause != first.cause]
    if not now.deleted and (backs := _fields(later, now, left, frozenset())):
        left[DELETED] = "A sync added the record here, and it stays."
        return Undo(backs=backs, left=left)
    return Undo(left=left)


def _fields(known: Sequence[Was], now: Standing, left: dict[str, str], creations: frozenset[str]) -> tuple[Back, ...]:
    """The values to put back. `creations`: causes that added the record in Planning Center, with all fields empty."""
    backs: dict[str, Back] = {}
    linked = any(one.of_scope and one.field == PLANNING_CENTER_ID and one.before is None for one in known)
    for key in dict.fromkeys(one.field for one in known if one.of_scope and one.moves):
        if key not in _OURS and not key.startswith(MEMBER):
            continue
        of_key = [one for one in known if one.field == key and one.moves]
        mine = [one for one in of_key if one.of_scope and not (_is_empty(one) and one.cause in creations)]
        fills = [one for one in mine if _fills(one, of_key, linked=linked)]
        mine = [one for one in mine if one not in fills]
        if not mine:
            left |= {key: _filled(key)} if fills else {}
            continue
        here = now.values.get(key, False if key.startswith(MEMBER) else None)
        before, after = mine[0].before, mine[-1].after
        if here == before:
            left[key] = _already(key)
        elif here != after or any(not one.of_scope and one.id > mine[0].id for one in of_key):
            left[key] = moved_since(key)
        elif any(one.field == key and one.rule in _KEPT and one.id > mine[0].id for one in known):
            left.setdefault(key, f"The {_name(key)} was decided about since and stays as it is.")
        elif key in _NEVER_EMPTY and not before:
            left[key] = f"The {_name(key)} stays as it is: it was empty before, and may not be empty."
        elif key.startswith(MEMBER) and key.removeprefix(MEMBER) in now.absent:
            left[key] = "Somebody who was in this family is not here any more."
        elif key.startswith(MEMBER) and key.removeprefix(MEMBER) in now.kept_out:
            left[key] = "Somebody who came or went is kept out of the sync, and stays where they are."
        else:
            backs[key] = Back(key, here, before)
    _contact_belongs(backs, now, left)
    return tuple(backs.values())


def _is_empty(one: Was) -> bool:
    """Whether the value before was empty."""
    return one.before in (None, "") or (one.field.startswith(MEMBER) and not one.before)


def _fills(one: Was, of_key: Sequence[Was], *, linked: bool) -> bool:
    """Whether an empty side was filled from the other: emptying it again would empty the other side as well.

    `linked`: the scope linked the two. Otherwise a sent value was typed here before, which is no filling.
    """
    if not _is_empty(one):
        return False
    typed = any(other.side == "here" and other.id < one.id for other in of_key)
    return linked or one.rule == "filled" or (one.side == "there" and not typed)


def _filled(key: str) -> str:
    if key.startswith(MEMBER):
        return "The members of this family stay as they are: the other side had them before."
    return f"The {_name(key)} stays as it is: one side had none, and emptying it would take it from the other one too."


def _contact_belongs(backs: dict[str, Back], now: Standing, left: dict[str, str]) -> None:
    """Whether a primary contact can come back: they must be in the family afterwards."""
    contact = backs.get(PRIMARY_CONTACT)
    if contact is None:
        return
    key = f"{MEMBER}{contact.after}"
    if not (backs[key].after if key in backs else now.values.get(key, False)):
        del backs[PRIMARY_CONTACT]
        left[PRIMARY_CONTACT] = "The primary contact stays as it is: the former one is not in the family any more."


def _already(key: str) -> str:
    if key.startswith(MEMBER):
        return "The members of this family are already as they were before."
    return f"The {_name(key)} is already as it was before."


def _name(key: str) -> str:
    return FIELD_NAMES["home" if key == "address" else key] if key != ACTIVE else "status"


_MADE_THERE: Final = {
    "member": "Added in Planning Center by the sync, and stays there.",
    "family": "Its household was added in Planning Center by the sync, and stays there.",
}
