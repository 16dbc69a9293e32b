"""The history of fields: who changed what, and putting a former value back."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.common import HistoryEntry, Page, PageQuery
from contracts.values import FAMILY, MEMBER
from people_sync.domain.erasure import ERASED_PERSON
from people_sync.domain.values import FIELDS, as_dict, value_from_json, value_to_json
from people_sync.storage.effects import insert_effects
from people_sync.storage.joined import joined_to
from people_sync.storage.records import full_name, values_of
from people_sync.storage.tables import Effect, Family, Link, Member
from servicekit.errors import Conflict, NotFound
from synckit.among import among
from synckit.history import THERE, Actor, Noted, edits, effects_of, entry_of

CREATE_AGAIN: Final = "create_again"
"""Field of an effect: an administrator asked to create the member in Planning Center again."""
KEPT: Final = "kept_different"
"""Rule of an effect without a change of values: the two sides stay different from then on."""
DECIDE_AGAIN: Final = "decide_again"
"""Rule of an effect without a change of values: the two sides no longer stay different."""
KEPT_OUT: Final = "kept_out"
"""Field of an effect: the record is kept out of the sync from then on (`after` is true), or synced again."""
WITH_FAMILY: Final = "with_family"
"""Rule of such an effect of a member that was kept out with a family."""
JOINED: Final = "joined"
"""A member was joined to this one, by id; also the rule of every effect of that, and the reason of a refresh."""
KEPT_TWO: Final = "kept_two"
"""The member who was merged with this one in Planning Center, by id: an administrator said that they are two people."""
ERASED: Final = "erased"
"""Field of an effect without values: a person was erased, this member or one of this family. The rule is on whose
request (`contracts.http.erasures.Requester`)."""
MEMBERS: Final = "members"
"""A family's history has a row for each member who came (`new`) or went (`old`)."""
_MEMBERSHIP: Final = "member:"
"""Begins the field of an effect that says whether a member came (`after` is true) or went in Planning Center."""


def changed_fields(kind: str, record_id: UUID, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Noted]:
    """A row for each field of `new` that differs from `old`."""
    return [
        Noted(kind, record_id, name, value_to_json(old[name]), value_to_json(value))
        for name, value in new.items()
        if old[name] != value
    ]


async def note(
    session: AsyncSession, organization_id: str, actor: Actor, changes: Iterable[Noted], now: datetime
) -> None:
    """Write history rows by one statement."""
    await insert_effects(session, edits(organization_id, actor, changes, now))


async def creator_there(session: AsyncSession, owner: Mapping[str, str], member_id: UUID) -> Actor:
    """Whose wish creates a member in Planning Center: that of a person who asked to create them again, otherwise the
    platform's. The link must not be renewed yet.
    """
    again = select(Link.create_again).filter_by(**owner, kind=MEMBER, record_id=member_id)
    if not await session.scalar(again):
        return Actor("platform")
    asked = select(Effect).where(Effect.record_id == member_id, Effect.field == CREATE_AGAIN)
    row = await session.scalar(asked.order_by(Effect.id.desc()).limit(1))
    return Actor("platform") if row is None else Actor(row.by, row.by_user_id, row.by_name)


async def of_member(session: AsyncSession, member: Member, query: PageQuery) -> Page[HistoryEntry]:
    """A member's history on both sides, newest first, including members joined to this one.

    A deleted member's history stays readable.
    """
    joined = await joined_to(session, member.organization_id, member.id)
    rows, following = await effects_of(session, Effect, member.organization_id, MEMBER, [member.id, *joined], query)
    named = {id_ for row in rows if row.field in {JOINED, KEPT_TWO} for id_ in (row.before, row.after) if _is_id(id_)}
    names = await _names(session, member.organization_id, named | {str(id_) for id_ in joined})
    return Page[HistoryEntry](items=tuple(_of_member(row, member, names) for row in rows), next=following)


async def of_family(session: AsyncSession, family: Family, query: PageQuery) -> Page[HistoryEntry]:
    """A family's history, as `of_member`. `new` is the name of a member who joined, `old` of one who left."""
    rows, following = await effects_of(session, Effect, family.organization_id, FAMILY, [family.id], query)
    ids = {id_ for row in rows for id_ in (row.before, row.after, row.field.removeprefix(_MEMBERSHIP)) if _is_id(id_)}
    names = await _names(session, family.organization_id, ids)
    return Page[HistoryEntry](items=tuple(_of_family(row, names) for row in rows), next=following)


async def _names(session: AsyncSession, organization_id: str, ids: Collection[str]) -> dict[str, str]:
    """The names of members, by id."""
    of_these = (Member.organization_id == organization_id, among(Member.id, [UUID(one) for one in ids]))
    return {
        str(member.id): full_name(member) or ERASED_PERSON
        for member in await session.scalars(select(Member).where(*of_these))
    }


def _is_id(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(UUID(value))
    except ValueError:
        return False


def _of_member(row: Effect, member: Member, names: Mapping[str, str]) -> HistoryEntry:
    own = row.record_id == member.id
    # Former values of joined members cannot be put back, since their record is deleted.
    entry = entry_of(row, can_undo=own and _can_undo(row, member))
    more: dict[str, Any] = {} if own else {"joined_name": names.get(str(row.record_id))}
    if entry.field in {JOINED, KEPT_TWO}:
        more |= {"old": names.get(entry.old, entry.old), "new": names.get(entry.new, entry.new)}
    return entry.model_copy(update=more)


def _of_family(row: Effect, names: Mapping[str, str]) -> HistoryEntry:
    entry = entry_of(row, can_undo=False)
    if row.field.startswith(_MEMBERSHIP):
        member = row.field.removeprefix(_MEMBERSHIP)
        came = {"old": None, "new": member} if row.after else {"old": member, "new": None}
        entry = entry.model_copy(update={"field": MEMBERS, **came})
    if entry.field not in {MEMBERS, "primary_contact"}:
        return entry
    return entry.model_copy(update={"old": names.get(entry.old, entry.old), "new": names.get(entry.new, entry.new)})


async def former_value(session: AsyncSession, member: Member, entry_id: str) -> dict[str, Any]:
    """The value to put back, by field. NotFound (404), or Conflict (409) if the field has changed since."""
    named = select(Effect).where(
        Effect.organization_id == member.organization_id,
        Effect.kind == MEMBER,
        Effect.record_id == member.id,
        Effect.entry_id == (UUID(entry_id) if _is_id(entry_id) else None),
    )
    row = await session.scalar(named)
    if row is None:
        raise NotFound("There is no such entry in this member's history.")
    if not _can_undo(row, member):
        raise Conflict(
            "This change cannot be undone: the field has been changed again since, or is no value that can be put "
            "back. Edit the member instead.",
            slug="cannot-undo",
        )
    return {row.field: value_from_json(row.field, row.before)}


def _can_undo(row: Effect, member: Member) -> bool:
    """Whether the field still has this change's value; a later change must be undone itself."""
    if member.deleted_at is not None or row.field not in FIELDS or row.before == row.after:
        return False
    if row.side == THERE and row.by != "rule":
        return False  # undo the change here that caused it instead
    return bool(value_to_json(as_dict(values_of(member))[row.field]) == row.after)
