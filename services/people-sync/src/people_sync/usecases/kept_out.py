"""Keeps records out of the sync: begin, show, end.

Meanwhile no worker claims the record (`record.claims`), no batch takes changes over, and no run plans any. The last
agreed values stay stored, so the comparison continues from them at the end.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import exists, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http import kept_out
from contracts.values import FAMILY, MEMBER
from people_sync.domain.sentences import KEPT_OUT_MEANWHILE
from people_sync.storage import remote
from people_sync.storage.kept_out import families_with, links_of
from people_sync.storage.locks import locked
from people_sync.storage.sync_tables import HeldMatch, KeptOut, Remote
from people_sync.storage.tables import Connection, Family, FamilyMember, Member
from people_sync.usecases import conflicts, history
from people_sync.usecases.directory import existing
from people_sync.usecases.held import no_longer_asked
from people_sync.usecases.history import KEPT_OUT, WITH_FAMILY
from people_sync.usecases.publishing import publish, touch_families, touch_members
from people_sync.usecases.record.claims import any_is_being_written
from people_sync.usecases.refreshes import REFRESHES, awake
from servicekit.errors import Conflict, NotFound
from servicekit.kafka.outbox import append_all
from synckit import refreshes
from synckit.among import among
from synckit.history import Actor, Noted

Kind = Literal["member", "family"]
ENDED: Final = "synced again"
"""Reason of a refresh."""
_STRANGERS: Final = 100
"""Maximum people that the next sync reads again; further ones wait for the next full sync."""


@dataclass(frozen=True, slots=True)
class _Locked:
    """Locked records: members, then families, each in the order of ids."""

    record: Member | Family
    members: Mapping[UUID, Member]
    """The member, or the family's members of the call."""
    families: Mapping[UUID, Family]
    """All families that have one of the members, or had one at their last comparison."""

    @property
    def changed(self) -> list[Family]:
        """The family of the call, if any."""
        return [self.record] if isinstance(self.record, Family) else []


async def of_record(session: AsyncSession, organization_id: str, kind: Kind, record_id: str) -> kept_out.KeptOut:
    """Whether a record is kept out, by whom and since when. NotFound (404)."""
    return await _shown(session, organization_id, kind, await existing(session, organization_id, kind, record_id))


async def begin(
    session: AsyncSession, organization_id: str, kind: Kind, record_id: str, actor: Actor, now: datetime
) -> kept_out.KeptOut:
    """Keep out a member, or a family with all its members; idempotent. NotFound (404).

    Conflict (409) while a worker writes one of them. After a success no write of them begins.
    """
    id_ = await existing(session, organization_id, kind, record_id)
    found = await _locked(session, organization_id, kind, id_)
    out = await _rows(session, organization_id, found)
    if (own := out.get((kind, id_))) is not None:
        # A member kept out with a family is kept out separately from now on.
        own.family_id = None
        await session.flush()
        return await _shown(session, organization_id, kind, id_)
    if await any_is_being_written(session, organization_id, [*found.members, *found.families]):
        raise Conflict(
            "This record is being synced at the moment. Nothing was changed: try again in a few seconds.", slug="busy"
        )
    members = [member for member in found.members.values() if (MEMBER, member.id) not in out]
    with_family = id_ if kind == FAMILY else None
    who = {"organization_id": organization_id, "by_user_id": actor.user_id or "", "by_name": actor.name, "at": now}
    rows: list[dict[str, Any]] = [
        who | {"kind": MEMBER, "record_id": member.id, "family_id": with_family} for member in members
    ]
    rows += [who | {"kind": FAMILY, "record_id": family.id, "family_id": None} for family in found.changed]
    await session.execute(insert(KeptOut), rows)
    # Batches lock the links while they decide, so this waits for them.
    await links_of(session, organization_id, found.members.keys(), found.families.keys())
    of_members = HeldMatch.candidate_ids.overlap([str(member.id) for member in members])
    await no_longer_asked(session, HeldMatch.organization_id == organization_id, of_members)
    await _withdraw(session, organization_id, [row["record_id"] for row in rows], now)
    await _tell(session, organization_id, members, found.changed, actor, now, kept=True)
    return await _shown(session, organization_id, kind, id_)


async def end(
    session: AsyncSession, organization_id: str, kind: Kind, record_id: str, actor: Actor, now: datetime
) -> kept_out.KeptOut:
    """Sync a record again, and with a family all members kept out with it; idempotent. NotFound (404).

    Both sides are compared at once; while that is impossible, by the next sync.
    """
    id_ = await existing(session, organization_id, kind, record_id)
    owner = await awake(session, organization_id)
    await _read_strangers_again(session, organization_id, kind, id_)
    found = await _locked(session, organization_id, kind, id_, of_call=_with_family(organization_id, id_))
    out = await _rows(session, organization_id, found)
    if (kind, id_) not in out:
        return await _shown(session, organization_id, kind, id_)
    elsewhere = await _in_other_families(session, organization_id, found, id_)
    ended: list[Member] = []
    for member in found.members.values():
        row = out.get((MEMBER, member.id))
        if kind == FAMILY and member.id in elsewhere and row is not None:
            row.family_id = elsewhere[member.id]
        elif row is not None:
            await session.delete(row)
            ended.append(member)
    for family in found.changed:
        await session.delete(out[FAMILY, family.id])
    await session.flush()
    families = [one for one in found.families.values() if one.deleted_at is None]
    for link in await links_of(session, organization_id, [one.id for one in ended], [one.id for one in families]):
        link.remote_hash = None
    await _tell(session, organization_id, ended, found.changed, actor, now, kept=False)
    if owner is not None:
        await _look(session, owner, found, ended, now)
    return await _shown(session, organization_id, kind, id_)


def _with_family(organization_id: str, family_id: UUID) -> Any:
    """Select the members kept out with a family."""
    return select(KeptOut.record_id).where(
        KeptOut.organization_id == organization_id, KeptOut.kind == MEMBER, KeptOut.family_id == family_id
    )


def _in_family(family_id: UUID) -> Any:
    """Select the members of a family, except deleted ones."""
    return (
        select(FamilyMember.member_id)
        .join(Member, Member.id == FamilyMember.member_id)
        .where(FamilyMember.family_id == family_id, Member.deleted_at.is_(None))
    )


async def _locked(
    session: AsyncSession, organization_id: str, kind: Kind, id_: UUID, *, of_call: Any = None
) -> _Locked:
    """Lock a member, or a family with its people, and all their families. NotFound (404) if it was just deleted.

    `of_call`: selects a family's members of the call; by default all its members.
    """
    people = _in_family(id_) if of_call is None else of_call
    while True:
        async with session.begin_nested() as attempt:
            ids = {id_} if kind == MEMBER else set(await session.scalars(people))
            by_id = await locked(session, Member, organization_id, ids)
            concerned = await families_with(session, organization_id, ids) | ({id_} if kind == FAMILY else set())
            found = await locked(session, Family, organization_id, concerned)
            record: Member | Family | None = by_id.get(id_) if kind == MEMBER else found.get(id_)
            if record is None or record.deleted_at is not None:
                raise NotFound(f"There is no such {kind}.")
            if kind == MEMBER or set(await session.scalars(people)) <= ids:
                return _Locked(record, by_id, found)
            # A member joined before the family was locked.
            await attempt.rollback()


async def _rows(session: AsyncSession, organization_id: str, found: _Locked) -> dict[tuple[str, UUID], KeptOut]:
    rows = await session.scalars(
        select(KeptOut).where(
            KeptOut.organization_id == organization_id,
            or_(
                (KeptOut.kind == MEMBER) & among(KeptOut.record_id, found.members),
                (KeptOut.kind == FAMILY) & among(KeptOut.record_id, found.families),
            ),
        )
    )
    return {(row.kind, row.record_id): row for row in rows}


async def _in_other_families(
    session: AsyncSession, organization_id: str, found: _Locked, but: UUID
) -> dict[UUID, UUID]:
    """Another kept out family of each member who has one."""
    rows = await session.execute(
        select(FamilyMember.member_id, FamilyMember.family_id)
        .join(KeptOut, KeptOut.record_id == FamilyMember.family_id)
        .where(
            KeptOut.organization_id == organization_id,
            KeptOut.kind == FAMILY,
            FamilyMember.family_id != but,
            among(FamilyMember.member_id, found.members),
        )
    )
    return {row.member_id: row.family_id for row in rows}


async def _withdraw(session: AsyncSession, organization_id: str, records: Collection[UUID], now: datetime) -> None:
    """Withdraw their conflicts, after answering pending decisions."""
    found = (await conflicts.open_conflicts_of(session, organization_id, records)).values()
    decided = [conflict for conflict in found if conflict.decision is not None]
    told = [conflicts.overtaken(conflict, KEPT_OUT_MEANWHILE, now) for conflict in decided]
    facts = await conflicts.facts(session, told, now)
    closed = [conflicts.close(conflict, "withdrawn", now) for conflict in found]
    await append_all(session, facts)
    await append_all(session, await conflicts.facts(session, closed, now))


async def _tell(
    session: AsyncSession,
    organization_id: str,
    members: list[Member],
    families: list[Family],
    actor: Actor,
    now: datetime,
    *,
    kept: bool,
) -> None:
    """Write their history, and publish them."""
    rule = WITH_FAMILY if families else None
    notes = [Noted(MEMBER, member.id, KEPT_OUT, not kept, kept, rule) for member in members]
    notes += [Noted(FAMILY, family.id, KEPT_OUT, not kept, kept) for family in families]
    await history.note(session, organization_id, actor, notes, now)
    await touch_members(session, members, now)
    await touch_families(session, families, now)
    await publish(session, organization_id, now, [one for one in members if one.deleted_at is None], families)


async def _read_strangers_again(session: AsyncSession, organization_id: str, kind: Kind, id_: UUID) -> None:
    """Make the next sync read unlinked people who may be one of these members, since they were left alone meanwhile.

    Not at once, because it must first be known whether a member's own counterpart is gone. The mirror's rows are locked
    before the members, in the global order.
    """
    connection = await session.get(Connection, organization_id)
    if connection is None:
        return
    owner = {"organization_id": organization_id, "pco_organization_id": connection.pco_organization_id}
    ids = [id_] if kind == MEMBER else list(await session.scalars(_with_family(organization_id, id_)))
    of_members = select(Member.name_key, Member.email_key).where(among(Member.id, ids))
    keys = (await session.execute(of_members)).all()
    names, emails = [row.name_key for row in keys], [row.email_key for row in keys if row.email_key]
    rows = await session.scalars(
        select(Remote.pco_id)
        .filter_by(**owner, kind=MEMBER)
        .where(
            or_(remote.has_key(owner, "name", names), remote.has_key(owner, "email", emails)),
            ~exists().where(remote.ITS_LINK),
        )
        .order_by(Remote.pco_id)
        .limit(_STRANGERS)
        .with_for_update()
    )
    await remote.look_again(session, owner, MEMBER, list(rows))


async def _look(
    session: AsyncSession,
    owner: Mapping[str, str],
    found: _Locked,
    ended: list[Member],
    now: datetime,
) -> None:
    """Queue a sync of each record, the call's record first. The caller has woken the worker."""

    async def queue(kind: str, record_id: UUID, *, urgent: bool) -> None:
        await refreshes.request(
            session, REFRESHES, owner, kind, record_id=record_id, reason=ENDED, urgent=urgent, now=now, woken=True
        )

    whole = {family.id for family in found.changed}
    in_family = set[UUID]()
    for family_id in whole:
        await queue(FAMILY, family_id, urgent=True)
        in_family |= set(await session.scalars(_in_family(family_id)))
    for member in ended:
        if member.id not in in_family and member.deleted_at is None:
            await queue(MEMBER, member.id, urgent=True)
    for family in found.families.values():
        if family.id not in whole and family.deleted_at is None:
            await queue(FAMILY, family.id, urgent=False)


async def _shown(session: AsyncSession, organization_id: str, kind: Kind, id_: UUID) -> kept_out.KeptOut:
    row = await session.get(KeptOut, (organization_id, kind, id_))
    if row is None:
        return kept_out.KeptOut(record_kind=kind, record_id=str(id_), kept_out=False)
    family = await session.get(Family, row.family_id) if row.family_id else None
    people = _with_family(organization_id, id_).subquery()
    alive = select(func.count()).select_from(people).join(Member, Member.id == people.c.record_id)
    return kept_out.KeptOut(
        record_kind=kind,
        record_id=str(id_),
        kept_out=True,
        by_name=row.by_name,
        at=row.at,
        family_id=str(family.id) if family and family.deleted_at is None else None,
        family_name=family.name if family else None,
        people=await session.scalar(alive.where(Member.deleted_at.is_(None))) or 0 if kind == FAMILY else 0,
    )
