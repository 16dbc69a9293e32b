"""Adds, changes, deletes and lists families.

A member's record names its families, so members who join or leave are published too.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Select, delete, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from contracts import people
from contracts.http.common import Page
from contracts.http.people import FamilyInput, FamilyPatch, FamilyQuery
from contracts.values import FAMILY
from people_sync.domain.canonical import name_key
from people_sync.domain.search import terms
from people_sync.storage import by_name
from people_sync.storage.locks import locked
from people_sync.storage.records import render_families
from people_sync.storage.tables import Family, FamilyMember, Member
from people_sync.usecases import conflicts, history
from people_sync.usecases.history import MEMBERS
from people_sync.usecases.publishing import family_removed, publish, touch_members
from servicekit.errors import Conflict, Invalid, NotFound
from servicekit.kafka.outbox import append
from synckit import by_key
from synckit.history import DELETED, Actor, Noted
from synckit.records import check_version, parse_id


async def create(session: AsyncSession, organization_id: str, body: FamilyInput, now: datetime) -> people.Family:
    """Add a family. Conflict (409) if the platform's id is taken, Invalid (422) for unknown members."""
    if body.external_id is not None:
        taken = select(Family.id).where(
            Family.organization_id == organization_id, Family.external_id == body.external_id
        )
        if await session.scalar(taken):
            raise Conflict(
                "There is, or was, a family with this external_id: change that one, or send it to /people/bulk.",
                slug="external-id-taken",
            )
    members = await _members(session, organization_id, body.member_ids)
    family = new_family(organization_id, body.name, body.external_id, now)
    family.primary_contact_id = _primary(body.primary_contact_id, {member.id for member in members})
    session.add(family)
    await session.flush()
    await join(session, organization_id, [(family.id, member.id) for member in members])
    await touch_members(session, members, now)
    await publish(session, organization_id, now, members, [family])
    return (await render_families(session, [family]))[0]


async def change(
    session: AsyncSession, organization_id: str, family_id: str, body: FamilyPatch, actor: Actor, now: datetime
) -> people.Family:
    """Change the sent fields. Conflict (409) if the family changed since, Invalid (422) for unacceptable values."""
    sent = body.model_fields_set
    wanted = [*(body.member_ids or ()), *body.add_member_ids]
    family, people = await _locked(session, organization_id, family_id, wanted)
    check_version(body.version, family.version, "family")
    before = await _present(session, family.id)
    after = await _members_after(session, organization_id, body, before)
    moved = [people[member] for member in sorted(before ^ after)]
    values: dict[str, Any] = {}
    if body.name is not None:
        values["name"] = body.name
    if "primary_contact_id" in sent:
        values["primary_contact_id"] = _primary(body.primary_contact_id, after)
    elif family.primary_contact_id in before - after:
        values["primary_contact_id"] = None
    notes = family_notes(family, values) + membership_notes(family.id, before, after)
    if notes:
        set_values(family, values, now)
        await leave(session, [(family.id, member) for member in before - after])
        await join(session, organization_id, [(family.id, member) for member in after - before])
        await touch_members(session, moved, now)
        await history.note(session, organization_id, actor, notes, now)
        await publish(session, organization_id, now, moved, [family])
    return (await render_families(session, [family]))[0]


async def _members_after(
    session: AsyncSession, organization_id: str, body: FamilyPatch, before: frozenset[UUID]
) -> frozenset[UUID]:
    """The family's members after the change; named ones are locked."""
    if body.member_ids is not None:
        if body.add_member_ids or body.remove_member_ids:
            raise _invalid("member_ids", "is the whole list: leave it out to add or remove members")
        return frozenset(member.id for member in await _members(session, organization_id, body.member_ids))
    both = set(body.add_member_ids) & set(body.remove_member_ids)
    if both:
        position = next(at for at, one in enumerate(body.remove_member_ids) if one in both)
        raise _invalid(f"remove_member_ids.{position}", "is in add_member_ids too: name each member in one of them")
    add = await _members(session, organization_id, body.add_member_ids, "add_member_ids")
    # A member deleted from the directory is in no visible family already.
    leaving = {id_ for text in body.remove_member_ids if (id_ := _id_of(text))}
    return (before | {member.id for member in add}) - leaving


async def remove(session: AsyncSession, organization_id: str, family_id: str, actor: Actor, now: datetime) -> None:
    """Delete here; the members stay, and Planning Center is unchanged."""
    family, people = await _locked(session, organization_id, family_id)
    members = [people[member] for member in sorted(await _present(session, family.id))]
    await session.execute(delete(FamilyMember).where(FamilyMember.family_id == family.id))
    family.deleted_at = family.updated_at = now
    family.version += 1
    await touch_members(session, members, now)
    await history.note(session, organization_id, actor, [Noted(FAMILY, family.id, DELETED, False, True)], now)
    await publish(session, organization_id, now, members, [])
    await conflicts.record_removed(session, organization_id, family.id, now)
    await append(session, family_removed(family, now), tombstone=True)


async def get(session: AsyncSession, organization_id: str, family_id: str) -> people.Family:
    """One family. NotFound (404)."""
    family = await session.scalar(_by_id(organization_id, family_id))
    if family is None:
        raise NotFound("There is no such family.")
    return (await render_families(session, [family]))[0]


async def find(session: AsyncSession, organization_id: str, family_id: str) -> Family:
    """A family's row, also of a deleted one. NotFound (404), also for a malformed id and for another organization's."""
    statement = select(Family).where(
        Family.organization_id == organization_id, Family.id == parse_id(family_id, "family")
    )
    family = await session.scalar(statement)
    if family is None:
        raise NotFound("There is no such family.")
    return family


async def families(session: AsyncSession, organization_id: str, query: FamilyQuery) -> Page[people.Family]:
    """A page of families by name; the total comes with the first page, unless a search finds very many."""
    found = None
    if query.q:
        fits = by_name.family_has(terms(query.q, None))
        every = select(Family.id).where(*by_key.here(Family, organization_id), *fits(Family))
        found = by_key.Found(fits, every)
    rows, total = await by_key.list_of(session, Family, organization_id, "name_key", found, query)
    shown = rows[: query.limit]
    return Page[people.Family](
        items=tuple(await render_families(session, shown)), next=by_key.behind(rows, "name_key", query), total=total
    )


def new_family(organization_id: str, name: str, external_id: str | None, now: datetime) -> Family:
    """A new row, not yet added to the session."""
    return Family(
        id=uuid4(),
        organization_id=organization_id,
        external_id=external_id,
        name=name,
        name_key=name_key(name, ""),
        primary_contact_id=None,
        version=1,
        created_at=now,
        updated_at=now,
    )


def set_values(family: Family, values: Mapping[str, Any], now: datetime) -> None:
    """Set `name` and `primary_contact_id`, and increment the version."""
    for name, value in values.items():
        setattr(family, name, value)
    family.name_key = name_key(family.name, "")
    family.version += 1
    family.updated_at = now


async def join(session: AsyncSession, organization_id: str, pairs: Collection[tuple[UUID, UUID]]) -> None:
    """Add members to families: (family, member)."""
    if pairs:
        await session.execute(
            insert(FamilyMember),
            [
                {"family_id": family, "member_id": member, "organization_id": organization_id}
                for family, member in sorted(pairs)
            ],
        )


async def leave(session: AsyncSession, pairs: Iterable[tuple[UUID, UUID]]) -> None:
    """Remove members from families: (family, member)."""
    ids = sorted(pairs)
    if ids:
        await session.execute(
            delete(FamilyMember).where(tuple_(FamilyMember.family_id, FamilyMember.member_id).in_(ids))
        )


def membership_notes(family_id: UUID, before: frozenset[UUID], after: frozenset[UUID]) -> list[Noted]:
    """A history row for each member who came or went."""
    return [Noted(FAMILY, family_id, MEMBERS, None, str(member)) for member in sorted(after - before)] + [
        Noted(FAMILY, family_id, MEMBERS, str(member), None) for member in sorted(before - after)
    ]


def family_notes(family: Family, values: Mapping[str, Any]) -> list[Noted]:
    """A history row for each changed one of `name` and `primary_contact_id`."""
    return [
        Noted(FAMILY, family.id, name.removesuffix("_id"), _text(getattr(family, name)), _text(value))
        for name, value in values.items()
        if getattr(family, name) != value
    ]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _by_id(organization_id: str, family_id: str) -> Select[Family]:
    return select(Family).where(
        Family.organization_id == organization_id,
        Family.id == parse_id(family_id, "family"),
        Family.deleted_at.is_(None),
    )


async def _locked(
    session: AsyncSession, organization_id: str, family_id: str, wanted: Sequence[str] = ()
) -> tuple[Family, dict[UUID, Member]]:
    """The family, its people and the `wanted` members, locked in the global order: members before families."""
    more = {id_ for text in wanted if (id_ := _id_of(text)) is not None}
    while True:
        async with session.begin_nested() as attempt:
            found = await session.scalar(_by_id(organization_id, family_id).with_only_columns(Family.id))
            ids = more | await _present(session, found) if found else more
            people = await locked(session, Member, organization_id, ids)
            family = await session.scalar(_by_id(organization_id, family_id).with_for_update())
            if family is None:
                raise NotFound("There is no such family.")
            if await _present(session, family.id) <= people.keys():
                return family, people
            # A member joined before the family was locked.
            await attempt.rollback()


async def _present(session: AsyncSession, family_id: UUID) -> frozenset[UUID]:
    """The members visible to callers. Memberships of deleted members stay unchanged."""
    return frozenset(
        await session.scalars(
            select(FamilyMember.member_id)
            .join(Member, Member.id == FamilyMember.member_id)
            .where(FamilyMember.family_id == family_id, Member.deleted_at.is_(None))
        )
    )


async def _members(
    session: AsyncSession, organization_id: str, ids: Sequence[str], field: str = "member_ids"
) -> list[Member]:
    """The named members, locked, without duplicates. Invalid (422) with the position of each unknown id."""
    known = {text: id_ for text in ids if (id_ := _id_of(text)) is not None}
    rows = await session.scalars(
        select(Member)
        .where(Member.organization_id == organization_id, Member.id.in_(known.values()), Member.deleted_at.is_(None))
        .order_by(Member.id)
        .with_for_update()
    )
    found = {member.id: member for member in rows}
    errors = [
        {"field": f"{field}.{position}", "message": "is no member of this directory"}
        for position, text in enumerate(ids)
        if known.get(text) not in found
    ]
    if errors:
        raise Invalid("Leave out the members named in `errors`, or add them first. Nothing was changed.", errors=errors)
    return list(found.values())


def _id_of(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _primary(text: str | None, members: Collection[UUID]) -> UUID | None:
    if text is None:
        return None
    primary = _id_of(text)
    if primary is None:
        raise _invalid("primary_contact_id", "is no member of this directory")
    if primary not in members:
        raise _invalid("primary_contact_id", "must be one of the family's members: add the member first")
    return primary


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(
        "Correct the fields named in `errors` and send it again. Nothing was changed.",
        errors=[{"field": field, "message": message}],
    )
