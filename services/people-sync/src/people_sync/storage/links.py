"""Links: tying two records, and the merge's view of them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Exists,
    Select,
    Text,
    cast,
    delete,
    exists,
    literal,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from contracts.values import FAMILY, MEMBER
from people_sync.domain.canonical import same
from people_sync.domain.merge import FamilyValues
from people_sync.domain.values import ACTIVE, PersonValues, as_dict, partial_from_json, to_json, value_from_json
from people_sync.domain.writes import confirmed, confirmed_family
from people_sync.storage.sync_tables import Alias
from people_sync.storage.tables import Effect, Family, FamilyMember, Link, LinkWrite, Member
from synckit.among import among
from synckit.staleness import Write

AT_ONCE: Final = "*"
"""Key in `Link.agreed_at` for the time of all fields not named."""

_ENDED: Final = ("gone", "missing")
_GONE: Final[ColumnElement[str]] = literal_column("'gone'")
_MISSING: Final[ColumnElement[str]] = literal_column("'missing'")
"""Literals instead of parameters, so that a generic plan uses `ix_link_ended`."""

NOTHING_AGREED: Final[Mapping[str, Any]] = {
    "state": "linked",
    "agreed": {},
    "agreed_at": {},
    "kept_different": {},
    "decided": {},
    "contacts": {},
    "remote_hash": None,
    "compared_version": 0,
    "missing_since": None,
    "gone_at": None,
    "merged_into": None,
    "kept_two": False,
    "create_again": False,
}
"""A link of two records that were never compared."""


async def tie(
    session: AsyncSession, owner: Mapping[str, str], kind: str, record_id: UUID | None, pco_id: str | None
) -> Link | None:
    """Link a record without a link, or with a counterpart that is gone.

    None if the record or the counterpart was linked to another meanwhile. `owner`: `organization_id` and
    `pco_organization_id`. For a member the caller also calls `in_no_household`.
    """
    made: Link | None = await session.scalar(
        insert(Link)
        .values(**owner, kind=kind, record_id=record_id, pco_id=pco_id, **NOTHING_AGREED)
        .on_conflict_do_nothing()
        .returning(Link)
    )
    return (
        made
        or await tie_again(session, owner, kind, record_id, pco_id)
        or await _tie_instead(session, owner, kind, record_id, pco_id)
    )


async def _forget_writes(session: AsyncSession, link: Link | None) -> Link | None:
    """Delete the noted writes to the former counterpart, which do not concern the new one."""
    if link is not None:
        await session.execute(delete(LinkWrite).where(LinkWrite.link_id == link.id))
    return link


async def tie_again(
    session: AsyncSession, owner: Mapping[str, str], kind: str, record_id: UUID | None, pco_id: str | None
) -> Link | None:
    """`tie` for a record with a link."""
    other = aliased(Link)
    taken = exists().where(
        other.organization_id == owner["organization_id"],
        other.pco_organization_id == owner["pco_organization_id"],
        other.kind == kind,
        other.pco_id == pco_id,
    )
    made: Link | None = await session.scalar(
        update(Link)
        .filter_by(**owner, kind=kind, record_id=record_id)
        .where(ended(Link), ~taken)
        .values(pco_id=pco_id, **NOTHING_AGREED)
        .returning(Link),
        execution_options={"populate_existing": True, "synchronize_session": False},
    )
    return await _forget_writes(session, made)


async def _tie_instead(
    session: AsyncSession, owner: Mapping[str, str], kind: str, record_id: UUID | None, pco_id: str | None
) -> Link | None:
    """`tie` for a counterpart whose record was deleted here: the record added again takes over the link.

    An ended link of the record added again is deleted.
    """
    rows = await session.scalars(
        select(Link)
        .filter_by(**owner, kind=kind)
        .where(or_(Link.pco_id == pco_id, Link.record_id == record_id))
        .order_by(Link.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    links = rows.all()
    theirs = next((link for link in links if link.pco_id == pco_id), None)
    ours = next((link for link in links if link.record_id == record_id), None)
    if theirs is None or not await deleted_here(session, theirs) or (ours is not None and not has_ended(ours)):
        return None
    if ours is not None:
        await session.delete(ours)
        await session.flush()
    for name, value in {**NOTHING_AGREED, "record_id": record_id}.items():
        setattr(theirs, name, value)
    await session.flush()
    return await _forget_writes(session, theirs)


async def deleted_here(session: AsyncSession, link: Link) -> bool:
    """Whether the link's member or family was deleted here."""
    record: type[Member] | type[Family] = Member if link.kind == MEMBER else Family
    found = select(record.id).where(record.id == link.record_id, record.deleted_at.is_not(None))
    return await session.scalar(found) is not None


async def left_by_deleted(session: AsyncSession, owner: Mapping[str, str]) -> list[tuple[str, str]]:
    """Mergers of two members of whom the linked one was deleted here since.

    Planning Center's ids of the removed and the finally kept person.
    """
    first = aliased(Link)
    led = (
        select(first.pco_id.label("removed"), first.merged_into.label("kept"))
        .filter_by(**owner, kind=MEMBER, state="gone")
        .where(
            first.merged_into.is_not(None),
            ~first.kept_two,
            exists().where(Member.id == first.record_id, Member.deleted_at.is_(None)),
        )
        .cte("led", recursive=True)
    )
    later = select(led.c.removed, Alias.kept_id).where(
        Alias.organization_id == owner["organization_id"],
        Alias.pco_organization_id == owner["pco_organization_id"],
        Alias.removed_id == led.c.kept,
    )
    led = led.union(later)
    rows = await session.execute(
        select(led.c.removed, led.c.kept)
        .join(Link, Link.pco_id == led.c.kept)
        .where(
            Link.organization_id == owner["organization_id"],
            Link.pco_organization_id == owner["pco_organization_id"],
            Link.kind == MEMBER,
            exists().where(Member.id == Link.record_id, Member.deleted_at.is_not(None)),
        )
        .order_by(led.c.removed)
    )
    return list(rows)


async def deleted_namesakes(session: AsyncSession, owner: Mapping[str, str], member: Member) -> bool:
    """Whether the counterpart of a deleted member, who may be this member, has still to be read."""
    same = Member.name_key == member.name_key
    if member.email_key:
        same |= Member.email_key == member.email_key
    found = (
        select(Link.id)
        .filter_by(**owner, kind=MEMBER, remote_hash=None)
        .join(Member, Member.id == Link.record_id)
        .where(
            ~ended(Link),
            Member.organization_id == owner["organization_id"],
            Member.deleted_at.is_not(None),
            same,
        )
        .limit(1)
    )
    return await session.scalar(found) is not None


async def look_for_deleted(session: AsyncSession, members: Sequence[Member]) -> None:
    """Make the next run read the counterparts of deleted members who may have been added again as these."""
    if not members:
        return
    emails = [member.email_key for member in members if member.email_key]
    names = [member.name_key for member in members]
    deleted = select(Member.id).where(
        Member.organization_id == members[0].organization_id,
        Member.deleted_at.is_not(None),
        or_(among(Member.email_key, emails), among(Member.name_key, names)),
    )
    found = select(Link.id).where(
        Link.organization_id == members[0].organization_id,
        Link.kind == MEMBER,
        Link.state != "gone",
        Link.record_id.in_(deleted),
    )
    # Locked in order first, because an update locks rows in arbitrary order.
    ids = (await session.scalars(found.order_by(Link.id).with_for_update())).all()
    if ids:
        await session.execute(
            update(Link)
            .where(among(Link.id, ids))
            .values(remote_hash=None)
            .execution_options(synchronize_session=False)
        )


async def was_supplied(session: AsyncSession, link: Link) -> bool:
    """Whether the platform supplied the counterpart's id."""
    said = select(Effect.id).where(
        Effect.record_id == link.record_id,
        Effect.field == "planning_center_id",
        Effect.after == literal(link.pco_id, JSONB),
        Effect.by == "platform",
    )
    return await session.scalar(said.limit(1)) is not None


def ended(link: type[Link]) -> ColumnElement[bool]:
    """Whether the link's counterpart is gone, or missing without a merger in the log."""
    return link.state.in_([_GONE, _MISSING])


def has_ended(link: Link) -> bool:
    """`ended` for a loaded link."""
    return link.state in _ENDED


def links_to(owner: Mapping[str, str], kind: str, record: type[Member] | type[Family]) -> Select[Any]:
    """Links of one kind with their records, as (link, record)."""
    statement: Select[Any] = select(Link).add_columns(record)
    return statement.join(record, record.id == Link.record_id).where(
        Link.organization_id == owner["organization_id"],
        Link.pco_organization_id == owner["pco_organization_id"],
        Link.kind == kind,
    )


def has_link(
    owner: Mapping[str, str],
    kind: str,
    record: type[Member] | type[Family],
    *where: ColumnElement[bool],
    link: type[Link] = Link,
) -> Exists:
    """Whether a record of the enclosing statement has a link to this Planning Center organization."""
    return exists().where(
        link.record_id == record.id,
        link.kind == kind,
        link.organization_id == owner["organization_id"],
        link.pco_organization_id == owner["pco_organization_id"],
        *where,
    )


def has_state(
    owner: Mapping[str, str], kind: str, record: Any, state: Literal["linked", "local", "gone"]
) -> ColumnElement[bool]:
    """Whether a record of the enclosing statement, or of an alias, is linked, has no link, or is gone there.

    A scalar subquery per row, for statements that end after a few rows; a join would begin with all links.
    """
    found = (
        select(Link.state)
        .filter_by(**owner, kind=kind)
        .where(Link.record_id == record.id)
        .correlate(record)
        .scalar_subquery()
    )
    if state == "local":
        return found.is_(None)
    return found == _GONE if state == "gone" else found != _GONE


def linked_ids(owner: Mapping[str, str], kind: str, *, gone: bool = False) -> Select[UUID]:
    """Select the ids of linked records, with `gone` only of those gone there."""
    ids = select(Link.record_id).filter_by(**owner, kind=kind)
    return ids.where(Link.state == _GONE) if gone else ids


async def in_no_household(session: AsyncSession, owner: Mapping[str, str], member_ids: Collection[UUID]) -> None:
    """Remove these members from the agreed members of their families, because their counterpart is new or gone.

    A new counterpart is in no household yet, which must not make the member leave the family here.
    """
    if not member_ids:
        return
    concerned = {str(one) for one in member_ids}
    families = select(FamilyMember.family_id).where(among(FamilyMember.member_id, member_ids))
    links = await session.scalars(
        select(Link)
        .filter_by(**owner, kind=FAMILY)
        .where(Link.record_id.in_(families), Link.agreed["members"].has_any(cast(sorted(concerned), ARRAY(Text))))
        .order_by(Link.id)
        .with_for_update()
    )
    for link in links:
        members = [one for one in link.agreed["members"] if one not in concerned]
        link.agreed, link.remote_hash = {**link.agreed, "members": members}, None


def base_of(link: Link, writes: Sequence[Write], theirs: PersonValues, country: str) -> dict[str, Any]:
    """Last agreed values of a member, with the effects of unanswered writes that the read shows."""
    return partial_from_json(link.agreed) | confirmed(writes, theirs, country)


def family_base_of(link: Link, writes: Sequence[Write], theirs: FamilyValues) -> dict[str, Any]:
    """Last agreed values of a family, with the effects of unanswered writes that the read shows."""
    return confirmed_family(link.agreed, writes, theirs)


def agree(link: Link, agreed: Mapping[str, Any], now: datetime) -> None:
    """Store all last agreed values of a link, JSON by field, with the time of new or changed ones."""
    before = link.agreed or {}
    moved = [name for name, value in agreed.items() if name not in before or before[name] != value]
    if not before:
        link.agreed_at = {AT_ONCE: now.isoformat()}
    elif moved:
        link.agreed_at = {**(link.agreed_at or {}), **dict.fromkeys(moved, now.isoformat())}
    if any(name in link.decided for name in moved):
        # Both sides have the same value now, so no difference remains.
        link.decided = {name: kept for name, kept in link.decided.items() if name not in moved}
    status = {ACTIVE: before[ACTIVE]} if ACTIVE in before else {}
    if link.kind == MEMBER and agreed and not before:
        status = {ACTIVE: None}
    link.agreed = {**status, **agreed}


def forget_equal(link: Link, equal: Callable[[str], bool]) -> None:
    """Drop kept differences of fields that are equal by now. `equal`: whether a field is."""
    if over := [name for name in link.decided if equal(name)]:
        link.decided = {name: kept for name, kept in link.decided.items() if name not in over}


def status_agreed(link: Link) -> bool:
    """Whether the active status was ever agreed; `Link.agreed` of a member holds it beside the fields.

    The stored status is Planning Center's at the last comparison; None while only fields were agreed on.
    """
    return without_status(link) or link.agreed.get(ACTIVE) is not None


def without_status(link: Link) -> bool:
    """Whether this link is older than stored statuses: a different status there then counts as a change."""
    return bool(link.agreed) and ACTIVE not in link.agreed


def agreed_since(link: Link, seen: PersonValues, read_at: datetime, country: str) -> bool:
    """Whether both sides have agreed on another value since this read, which is then outdated.

    An agreement at the same instant counts, since a read is as old as its request and an agreement follows the answer.
    """
    at = {name: datetime.fromisoformat(value) for name, value in (link.agreed_at or {}).items()}
    since = {name for name, agreed_at in at.items() if agreed_at >= read_at}
    if not since:
        return False
    values = as_dict(seen)
    return any(
        (name if name in at else AT_ONCE) in since and not same(name, values[name], value, country)
        for name, value in partial_from_json(link.agreed).items()
    )


def agreed_at(link: Link, name: str) -> datetime | None:
    """When the field was last agreed on; None if never or unknown."""
    known = link.agreed_at or {}
    text = known.get(name, known.get(AT_ONCE))
    return datetime.fromisoformat(text) if text else None


def decided_differences(link: Link) -> Mapping[str, tuple[Any, Any] | None]:
    """Differences that a person decided to keep, JSON by field; None for an ended one."""
    return {name: None if "ended" in kept else (kept["ours"], kept["theirs"]) for name, kept in link.decided.items()}


def member_differences(link: Link, seen: PersonValues) -> Mapping[str, tuple[Any, Any] | None]:
    """All kept differences of a member, by field; None for an ended one."""
    pairs = {name: (ours, theirs) for name, (ours, theirs) in still_kept(link, seen).items()}
    return {
        name: pair and (value_from_json(name, pair[0]), value_from_json(name, pair[1]))
        for name, pair in {**pairs, **decided_differences(link)}.items()
    }


def still_kept(link: Link, seen: PersonValues) -> dict[str, list[Any]]:
    """Differences left by cleared contacts of a member, by field, `[ours, theirs]` as JSON.

    An announced one counts only if Planning Center shows its value, because the write may not have arrived.
    """
    shown = to_json(seen)
    return {name: pair[:2] for name, pair in link.kept_different.items() if len(pair) == 2 or shown[name] == pair[1]}
