"""Joins two members who are one person in Planning Center: the member with the current link stays.

One transaction moves to them what the other member has: missing or chosen values, families, the history, the platform's
id, held matches and strays. The engine then sends the changes like any edit. A join cannot be undone.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from contracts import people
from contracts.values import FAMILY, MEMBER
from people_sync.domain.held import BUSY_JOINING
from people_sync.domain.joining import differing, filling
from people_sync.domain.sentences import JOINED_MEANWHILE, NOT_DONE
from people_sync.domain.values import as_dict
from people_sync.planning_center import DEFAULT_COUNTRY
from people_sync.storage.held import WAITING
from people_sync.storage.joined import Pair
from people_sync.storage.records import full_name, render_members, values_of
from people_sync.storage.sync_tables import HeldMatch, Joined, KeptOut, Refresh, Stray
from people_sync.storage.tables import Family, FamilyMember, Link, Member
from people_sync.usecases import conflicts, history
from people_sync.usecases.directory import country_of
from people_sync.usecases.families import family_notes, membership_notes, set_values
from people_sync.usecases.families import join as join_families
from people_sync.usecases.families import leave as leave_families
from people_sync.usecases.history import JOINED
from people_sync.usecases.publishing import member_removed, publish, touch_members
from people_sync.usecases.record.claims import is_being_written
from people_sync.usecases.record.effects import take_over
from people_sync.usecases.refreshes import REFRESHES
from servicekit.errors import Conflict, Invalid
from servicekit.kafka.outbox import append
from synckit import refreshes
from synckit.among import among
from synckit.history import Actor, Noted


async def join(
    session: AsyncSession,
    pair: Pair,
    take: Collection[str],
    owner: Mapping[str, str] | None,
    actor: Actor,
    now: datetime,
) -> people.Member:
    """Join two members; the caller has locked both, their families and links. `owner`: owner of the refreshes, None
    while nothing can be synced.

    Invalid (422) if a field of `take` does not differ, Conflict (409) while the joined member is being written.
    """
    stays, joins = pair.stays, pair.joins
    organization_id = stays.organization_id
    values = await _values(session, pair, take)
    if await is_being_written(session, organization_id, joins.id):
        raise Conflict(BUSY_JOINING, slug="busy")
    notes = [
        replace(change, rule=JOINED)
        for change in history.changed_fields(MEMBER, stays.id, as_dict(values_of(stays)), values)
    ]
    await _lead_external_id(session, stays, joins, actor, now)
    families, family_changes = await _families(session, stays, joins, now)
    if values:
        take_over(stays, values)
        stays.version += 1
        stays.updated_at = now
    else:
        await touch_members(session, [stays], now)
    joins.deleted_at = joins.updated_at = now
    joins.version += 1
    await session.delete(pair.ended)
    await session.flush()
    await _move_strays(session, organization_id, stays, joins)
    asked = await _no_candidate(session, pair)
    await session.execute(delete(KeptOut).filter_by(organization_id=organization_id, kind=MEMBER, record_id=joins.id))
    await conflicts.record_removed(session, organization_id, joins.id, now)
    await _sync(session, owner, pair, families, asked, now)
    said = Noted(MEMBER, stays.id, JOINED, None, str(joins.id))
    await history.note(session, organization_id, actor, [*notes, *family_changes, said], now)
    await publish(session, organization_id, now, [stays], families)
    await append(session, member_removed(joins, now, joined_into=stays.id), tombstone=True)
    return (await render_members(session, [stays]))[0]


async def _values(session: AsyncSession, pair: Pair, take: Collection[str]) -> dict[str, Any]:
    """The values that the staying member gets from the joined one."""
    here, there = as_dict(values_of(pair.stays)), as_dict(values_of(pair.joins))
    country = await country_of(session, pair.stays.organization_id) or DEFAULT_COUNTRY
    possible = differing(here, there, country)
    if wrong := [position for position, name in enumerate(take) if name not in possible]:
        raise Invalid(
            "Choose only among fields of which the two have different values. Nothing was joined.",
            errors=[{"field": f"take.{position}", "message": "is no field that differs"} for position in wrong],
        )
    return {name: there[name] for name in (*filling(here, there), *dict.fromkeys(take))}


async def _lead_external_id(session: AsyncSession, stays: Member, joins: Member, actor: Actor, now: datetime) -> None:
    """Make the platform's ids of the joined member, and of members joined to them before, lead to the staying one."""
    external_id, joins.external_id = joins.external_id, None
    await session.flush()
    if stays.external_id is None:
        stays.external_id, external_id = external_id, None
    await session.execute(
        update(Joined)
        .filter_by(organization_id=stays.organization_id, into_id=joins.id)
        .values(into_id=stays.id)
        .execution_options(synchronize_session=False)
    )
    session.add(
        Joined(
            organization_id=stays.organization_id,
            member_id=joins.id,
            into_id=stays.id,
            external_id=external_id,
            by_user_id=actor.user_id or "",
            by_name=actor.name,
            at=now,
        )
    )


async def _families(
    session: AsyncSession, stays: Member, joins: Member, now: datetime
) -> tuple[list[Family], list[Noted]]:
    """Replace the joined member by the staying one in each family. Returns the families, and the history rows."""
    rows = await session.scalars(
        select(Family)
        .join(FamilyMember, FamilyMember.family_id == Family.id)
        .where(FamilyMember.member_id == joins.id, Family.deleted_at.is_(None))
        .order_by(Family.id)
        .execution_options(populate_existing=True)
    )
    families = list(rows)
    ids = [family.id for family in families]
    both = select(FamilyMember.family_id).where(among(FamilyMember.family_id, ids), FamilyMember.member_id == stays.id)
    already = set(await session.scalars(both))
    notes: list[Noted] = []
    for family in families:
        before = frozenset({joins.id} | ({stays.id} if family.id in already else set()))
        values = {"primary_contact_id": stays.id} if family.primary_contact_id == joins.id else {}
        changes = [*family_notes(family, values), *membership_notes(family.id, before, frozenset({stays.id}))]
        notes += [replace(change, rule=JOINED) for change in changes]
        set_values(family, values, now)
    await leave_families(session, [(id_, joins.id) for id_ in ids])
    await join_families(session, stays.organization_id, [(id_, stays.id) for id_ in ids if id_ not in already])
    await _agreed_of(session, ids, stays, joins)
    return families, notes


async def _agreed_of(session: AsyncSession, families: Collection[UUID], stays: Member, joins: Member) -> None:
    """Replace the joined member in agreed primary contacts, because both are the same person there.

    The membership is removed from the agreed ones, so that no family that Planning Center does not show is lost.
    """
    links = await session.scalars(
        select(Link).where(Link.kind == FAMILY, among(Link.record_id, families)).order_by(Link.id).with_for_update()
    )
    for link in links:
        agreed = dict(link.agreed)
        if "members" in agreed:
            agreed["members"] = [one for one in agreed["members"] if one != str(joins.id)]
        if agreed.get("primary_contact") == str(joins.id):
            agreed["primary_contact"] = str(stays.id)
        link.agreed, link.remote_hash = agreed, None


async def _move_strays(session: AsyncSession, organization_id: str, stays: Member, joins: Member) -> None:
    """Move the joined member's strays to the staying one, whose next writer settles them."""
    await session.execute(
        update(Stray)
        .filter_by(organization_id=organization_id, record_id=joins.id, settled_at=None)
        .values(record_id=stays.id)
        .execution_options(synchronize_session=False)
    )


async def _no_candidate(session: AsyncSession, pair: Pair) -> list[str]:
    """Remove the joined member as a candidate. Returns Planning Center's ids of the people to sync again.

    A person declared different from the joined member is different from the staying one, too.
    """
    link, gone, stays = pair.ended, str(pair.joins.id), str(pair.stays.id)
    rows = await session.scalars(
        select(HeldMatch)
        .filter_by(organization_id=link.organization_id, pco_organization_id=link.pco_organization_id)
        .where(HeldMatch.candidate_ids.contains([gone]) | HeldMatch.different_from.contains([gone]))
        .order_by(HeldMatch.id)
        .with_for_update()
    )
    again: list[str] = []
    for held in rows:
        if gone in held.different_from:
            held.different_from = sorted({*held.different_from, stays})
        if gone in held.candidate_ids and held.state in WAITING:
            held.candidates = [one for one in held.candidates if one["member_id"] != gone]
            held.candidate_ids = [one for one in held.candidate_ids if one != gone]
            held.version += 1
            again.append(held.pco_id)
    return again


async def _sync(
    session: AsyncSession,
    owner: Mapping[str, str] | None,
    pair: Pair,
    families: Collection[Family],
    asked: Collection[str],
    now: datetime,
) -> None:
    """Queue syncs of all concerned records; while that is impossible, the next sync handles them."""
    await session.execute(
        update(Refresh)
        .filter_by(organization_id=pair.stays.organization_id, record_id=pair.joins.id, state="queued")
        .values(
            state="done",
            outcome=NOT_DONE,
            sentence=JOINED_MEANWHILE.format(full_name(pair.joins), full_name(pair.stays)),
            finished_at=now,
        )
        .execution_options(synchronize_session=False)
    )
    if owner is None:
        return

    async def look(kind: str, *, record_id: UUID | None = None, pco_id: str | None = None, urgent: bool = True) -> None:
        await refreshes.request(
            session,
            REFRESHES,
            owner,
            kind,
            record_id=record_id,
            pco_id=pco_id,
            reason=JOINED,
            urgent=urgent,
            now=now,
            woken=True,
        )

    await look(MEMBER, record_id=pair.stays.id)
    for family in families:
        await look(FAMILY, record_id=family.id)
    for person in asked:
        await look(MEMBER, pco_id=person, urgent=False)
