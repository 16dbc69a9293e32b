"""What an undo puts back of one record, and what it leaves, from the effects on it.

By field the first value that the scope replaced comes back, if nothing outside of the scope has touched the field
since, on either side, nobody decided to keep both sides' values, and our side still has what the scope left. A record
that the scope added or deleted here is taken back as a whole, or left as it is as a whole.
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
"""Begins the key of a membership: whether the member with the id behind it is in the family."""
_OURS: Final = frozenset({*FIELDS, "name", PRIMARY_CONTACT})
_NEVER_EMPTY: Final = frozenset({"first_name", "last_name", "name", PRIMARY_CONTACT})
"""No sync leaves these empty on one side, so an empty one would be filled again."""
_DOUBLED: Final = "doubled"
_KEPT: Final = frozenset({"kept_different", "decide_again"})

Whole: Final = frozenset({CREATED, DELETED})
"""Fields of effects that concern the record as a whole."""


@dataclass(frozen=True, slots=True)
class Was:
    """One effect on a record, as `storage.tables.Effect` has it. Values are JSON."""

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
        """Whether it changed anything."""
        return self.before != self.after and self.rule != _DOUBLED


@dataclass(frozen=True, slots=True)
class Standing:
    """How a record stands on our side."""

    values: Mapping[str, Any]
    """JSON by key: fields; of a family also `member:` and the id, True for each who is in it."""
    deleted: bool = False
    linked_to: str | None = None
    """Planning Center's id of the counterpart; None without one."""
    supplied: bool = False
    """Whether the platform has an id of its own for it."""
    homes_stay: bool = False
    """Of a member: whether a family that they are in is not taken back with them."""
    absent: frozenset[str] = frozenset()
    """Of a family: members, by id, who are deleted here and do not come back with this undo."""
    kept_out: frozenset[str] = frozenset()
    """Ids of those, of the record and its members, whom an administrator keeps out of the sync."""


@dataclass(frozen=True, slots=True)
class Back:
    """A value that comes back, JSON."""

    key: str
    here: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Undo:
    """What is done about one record."""

    whole: Literal["delete", "restore"] | None = None
    """Whether the record itself goes, or comes back, here."""
    backs: tuple[Back, ...] = ()
    made_there: bool = False
    """Whether the scope added the person in Planning Center, where nobody is deleted."""
    left: Mapping[str, str] = field(default_factory=dict)
    """By key, what stays as it is and why, in words."""

    @property
    def anything(self) -> bool:
        """Whether our side changes."""
        return bool(self.whole or self.backs)


def undo_of(kind: str, effects: Iterable[Was], now: Standing, record_id: str = "") -> Undo:
    """Decide about one record. `effects`: all on it since the scope began."""
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
    """Of what was shown, what can still be done exactly so, and the keys of what has moved."""
    there = {one.key: one for one in found.backs}
    still = [one for one in shown if there.get(one.key) == one]
    return still, [one.key for one in shown if there.get(one.key) != one]


def in_words(left: Mapping[str, str]) -> str | None:
    """What stays as it is; None for nothing."""
    return " ".join(dict.fromkeys(left.values())) or None


def moved_since(key: str) -> str:
    """Say that a value is another than the one that was to be replaced."""
    if key.startswith(MEMBER):
        return "Who belongs to this family was edited since: that stays as it is."
    return f"The {_name(key)} was edited since and stays as it is."


def _keyed(one: Was) -> Was:
    """Name a membership by its member, on both sides alike."""
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
            left[PLANNING_CENTER_ID] = "Which record in Planning Center it belongs to stays as it is."
        elif one.field == ACTIVE and one.moves:
            left[ACTIVE] = "Who is active stays as it is: change it in Planning Center."
        elif one.rule in _KEPT:
            left[one.field] = f"The {_name(one.field)} is kept different: end that on the record's page."
    return left


def _whole(kind: str, first: Was, known: Sequence[Was], now: Standing, left: dict[str, str]) -> Undo:
    """The scope added the record here, deleted it, or brought it back."""
    present_before = first.field == DELETED and not first.before
    if present_before is not now.deleted:
        left[DELETED] = "Already as it was before."
    elif any(not one.of_scope and one.id > first.id for one in known):
        left[DELETED] = "Edited since, so it stays as it is."
    elif present_before:
        if now.linked_to is None:
            left[DELETED] = "Somebody else has its place in Planning Center by now, so it stays deleted here."
        else:
            return Undo("restore", _fields(known, now, left, frozenset()) if kind == "family" else (), left=left)
    elif now.supplied:
        left[DELETED] = "The platform has an id for it by now, so it stays here."
    elif PLANNING_CENTER_ID in left:
        left[DELETED] = "It belongs to another record in Planning Center by now, so it stays here."
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
    """`creations`: causes that added the record in Planning Center, where everything was empty."""
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
            left[key] = f"The {_name(key)} stays as it is: it was empty before, and cannot be."
        elif key.startswith(MEMBER) and key.removeprefix(MEMBER) in now.absent:
            left[key] = "Somebody who was in this family is not here any more."
        elif key.startswith(MEMBER) and key.removeprefix(MEMBER) in now.kept_out:
            left[key] = "Somebody who came or went is kept out of the sync, and stays where they are."
        else:
            backs[key] = Back(key, here, before)
    _contact_belongs(backs, now, left)
    return tuple(backs.values())


def _is_empty(one: Was) -> bool:
    """Whether there was nothing before, or nobody."""
    return one.before in (None, "") or (one.field.startswith(MEMBER) and not one.before)


def _fills(one: Was, of_key: Sequence[Was], *, linked: bool) -> bool:
    """Whether an empty side got what the other side had: to empty it again would take it from that one, too.

    `linked`: the two were linked by the scope. Else what was sent was typed here before, where it was no filling.
    """
    if not _is_empty(one):
        return False
    typed = any(other.side == "here" and other.id < one.id for other in of_key)
    return linked or one.rule == "filled" or (one.side == "there" and not typed)


def _filled(key: str) -> str:
    if key.startswith(MEMBER):
        return "Who belongs to this family stays as it is: the other side had them before."
    return f"The {_name(key)} stays as it is: one side had none, and emptying it would take it from the other one too."


def _contact_belongs(backs: dict[str, Back], now: Standing, left: dict[str, str]) -> None:
    """A primary contact comes back only if they are in the family then."""
    contact = backs.get(PRIMARY_CONTACT)
    if contact is None:
        return
    key = f"{MEMBER}{contact.after}"
    if not (backs[key].after if key in backs else now.values.get(key, False)):
        del backs[PRIMARY_CONTACT]
        left[PRIMARY_CONTACT] = "The primary contact stays as it is: the former one is not in the family any more."


def _already(key: str) -> str:
    if key.startswith(MEMBER):
        return "Who belongs to this family is already as it was before."
    return f"The {_name(key)} is already as it was before."


def _name(key: str) -> str:
    return FIELD_NAMES["home" if key == "address" else key] if key != ACTIVE else "status"


_MADE_THERE: Final = {
    "member": "Added in Planning Center by the sync, and stays there.",
    "family": "Its household was added in Planning Center by the sync, and stays there.",
}
