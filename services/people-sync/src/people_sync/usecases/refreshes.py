"""Refreshes of single records: requested at a screen, or after a record was postponed."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.people import RecordSync
from contracts.values import FAMILY, MEMBER, PEOPLE_SYNC
from people_sync.domain.hints import OUTCOMES
from people_sync.domain.sentences import LATER, LEFT_OUT, LOOKS_AGAIN
from people_sync.storage import remote
from people_sync.storage.kept_out import kept_out_among
from people_sync.storage.strays import STRAY, record_kind, unsettled
from people_sync.storage.sync_tables import Change, Creation, Hint, Refresh, Remote
from people_sync.storage.tables import Connection, Family, Link, Member
from servicekit.errors import Conflict, NotFound
from synckit import refreshes
from synckit.hints import Hints
from synckit.records import parse_id
from synckit.refreshes import KEPT, RefreshColumns, Refreshes, request, wake

INCOMPLETE: Final = "incomplete"
UNANSWERED: Final = "unanswered"
HINTED: Final = "hinted"
"""Reasons."""
MOST_OF_A_RUN: Final = 500
"""Maximum records of each reason that one run leaves to refreshes; further ones wait for the next run."""


async def _linked(session: AsyncSession, owner: Mapping[str, str], kind: str, pco_id: str) -> UUID | None:
    found: UUID | None = await session.scalar(select(Link.record_id).filter_by(**owner, kind=kind, pco_id=pco_id))
    return found


HINTS: Final = Hints(rows=Hint, by=PEOPLE_SYNC, outcomes=OUTCOMES)
REFRESHES: Final = Refreshes(
    rows=Refresh,
    job="people.refresh",
    connections=Connection,
    record_of=_linked,
    looks_again=LOOKS_AGAIN,
    hints=HINTS,
)


async def sync_now(session: AsyncSession, organization_id: str, kind: str, record_id: str, now: datetime) -> RecordSync:
    """*Sync this person now*, or this family. Conflict (409) while that is impossible, NotFound (404)."""
    record: type[Member] | type[Family] = Member if kind == MEMBER else Family
    word = "member" if kind == MEMBER else "family"
    id_ = parse_id(record_id, word)
    found = await session.scalar(
        select(record.id).where(
            record.organization_id == organization_id, record.id == id_, record.deleted_at.is_(None)
        )
    )
    if found is None:
        raise NotFound(f"There is no such {word}.")
    if await kept_out_among(session, organization_id, kind, [id_]):
        raise Conflict(
            f"This {'person' if kind == MEMBER else 'family'} is kept out of the sync, so nothing was synced. Choose "
            "Sync again first.",
            slug="kept-out",
        )
    connection = await session.get(Connection, organization_id)
    if connection is None or connection.state != "connected":
        raise Conflict(
            "Planning Center People is not connected, so nothing can be synced. Connect it under Integrations first.",
            slug="not-connected",
        )
    if not connection.mirrored:
        raise Conflict(
            "Sync everybody once first: until then it is not known who is in Planning Center already, and somebody "
            "could be added there twice.",
            slug="sync-first",
        )
    owner = {"organization_id": organization_id, "pco_organization_id": connection.pco_organization_id}
    row = await request(session, REFRESHES, owner, kind, record_id=id_, reason="asked", urgent=True, now=now)
    return render(row)


async def soon(
    session: AsyncSession,
    organization_id: str,
    now: datetime,
    *,
    record_id: UUID | None = None,
    pco_id: str | None = None,
    reason: str,
    urgent: bool = True,
    not_before: datetime | None = None,
) -> None:
    """Queue a sync that acts on an administrator's answer about a person; while not connected, the next sync does it.

    `urgent`: somebody waits at a screen for it. `not_before`: None for at once.
    """
    if (owner := await awake(session, organization_id, urgent=urgent)) is not None:
        await request(
            session,
            REFRESHES,
            owner,
            MEMBER,
            record_id=record_id,
            pco_id=pco_id,
            reason=reason,
            urgent=urgent,
            not_before=not_before,
            now=now,
            woken=True,
        )


async def awake(session: AsyncSession, organization_id: str, *, urgent: bool = True) -> dict[str, str] | None:
    """Wake the organization's worker, before locking rows that it locks. Returns the refreshes' owner.

    None while nothing can be synced: not connected, or before the first full read.
    """
    connection = await session.get(Connection, organization_id)
    if connection is None or connection.state != "connected" or not connection.mirrored:
        return None
    await wake(session, REFRESHES, organization_id, urgent=urgent)
    return {"organization_id": organization_id, "pco_organization_id": connection.pco_organization_id}


async def after_a_run(
    session: AsyncSession, owner: Mapping[str, str], now: datetime, horizon: timedelta, *, approved: UUID | None = None
) -> None:
    """Queue what a run postponed: incomplete reads, requests without an answer, and unsettled strays.

    Each gets the earliest time at which it can be decided, so that it need not wait for the next run. `approved`: a run
    limited to an approved plan. Records that it postponed wait for the next run, since single syncs were not approved.
    """
    left_out = exists().where(
        Change.run_id == approved,
        Change.kind == Remote.kind,
        Change.pco_id == Remote.pco_id,
        Change.outcome.in_([LATER, LEFT_OUT]),
    )
    unread = await session.execute(
        select(Remote.kind, Remote.pco_id, Remote.read_at, Link.record_id)
        .outerjoin(Link, remote.ITS_LINK)
        .where(
            Remote.organization_id == owner["organization_id"],
            Remote.pco_organization_id == owner["pco_organization_id"],
            Remote.again,
            # An impossible value stays until somebody corrects it there.
            or_(Remote.unread.is_(None), Remote.unread["why"].astext != "unreadable"),
            # A household without a link is not read by itself: it comes with its people.
            or_(Remote.kind == MEMBER, Link.record_id.is_not(None)),
            *((~left_out,) if approved else ()),
        )
        .order_by(Remote.kind, Remote.pco_id)
        .limit(MOST_OF_A_RUN)
    )
    left: list[tuple[str, UUID | None, str | None, str, datetime]] = [
        (kind, record_id, pco_id, INCOMPLETE, read_at + horizon) for kind, pco_id, read_at, record_id in unread
    ]
    lost = await session.execute(
        select(Creation.kind, Creation.of_record, Creation.record_id, Creation.look_after)
        .filter_by(**owner, state="sent")
        # Older intents were already looked for, and nothing was found.
        .where(Creation.look_after > now - KEPT)
        .order_by(Creation.id)
        .limit(MOST_OF_A_RUN)
    )
    left += [
        (record_kind(kind), of_record or record_id, None, UNANSWERED, look_after or now)
        for kind, of_record, record_id, look_after in lost
    ]
    left += [(kind, record_id, None, STRAY, now) for kind, record_id in await unsettled(session, owner, MOST_OF_A_RUN)]
    if left:
        # The job comes before the rows, as in `synckit.refreshes.request`.
        await wake(session, REFRESHES, owner["organization_id"])
    for kind, record_id, pco_id, reason, earliest in left:
        await request(
            session,
            REFRESHES,
            owner,
            kind,
            record_id=record_id,
            pco_id=pco_id,
            reason=reason,
            urgent=False,
            not_before=max(now, earliest),
            now=now,
            woken=True,
        )


async def get(session: AsyncSession, organization_id: str, sync_id: str) -> RecordSync:
    """The state of one refresh. NotFound (404)."""
    return render(await refreshes.find(session, REFRESHES, organization_id, sync_id))


def render(row: RefreshColumns) -> RecordSync:
    """The API's form of a refresh."""
    return RecordSync(
        record_kind="family" if row.kind == FAMILY else "member",
        record_id=str(row.record_id),
        reasons=tuple(sorted(row.reasons)),
        **refreshes.shown(REFRESHES, row),
    )
