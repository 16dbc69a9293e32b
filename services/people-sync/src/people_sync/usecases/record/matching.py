"""Matching of people from rows: candidates, and administrators' answers."""

import asyncio
from collections.abc import Collection, Sequence
from functools import partial
from typing import Final
from uuid import UUID

from sqlalchemy import exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import MEMBER
from people_sync.domain.matching import UNMATCHED, LeftAlone, Local, Outcome, left_alone, match_people, still_matches
from people_sync.domain.planning_center import RemotePerson, person_from_snapshot, to_match
from people_sync.domain.sentences import (
    GONE,
    KEPT_OUT,
    LATER,
    MAY_BE_LEFT_ALONE,
    MERGED,
    UNDECIDED,
    may_be_kept_out,
    may_be_unread,
)
from people_sync.storage import remote
from people_sync.storage.candidates import free_members, locals_of, sharers_of, theirs_of, with_candidates
from people_sync.storage.kept_out import anybody_kept_out, kept_out_among
from people_sync.storage.links import deleted_namesakes
from people_sync.storage.records import full_name
from people_sync.storage.strays import is_stray
from people_sync.storage.sync_tables import Change, HeldMatch, Remote
from people_sync.storage.tables import Member
from people_sync.usecases.record.writer import Writer
from synckit.among import among

LARGEST_LOOK: Final = 100
"""Maximum people checked before one is created; an email shared by more proves nothing anyway."""
LARGE: Final = 2_000
"""Number of rows above which matching runs in a thread."""


async def candidates_of(
    session: AsyncSession,
    writer: Writer,
    people: Sequence[RemotePerson],
    taken: Collection[UUID | None] = (),
    *,
    deleted_here: Collection[str] = (),
) -> dict[str, Outcome]:
    """The present matching outcomes of unlinked people.

    `taken`: members already assigned to others. `deleted_here`: the people who are linked to members deleted here.
    People who may be a member kept out of the sync get `LeftAlone`.
    """
    if not people:
        return {}
    refused = await said_different(session, writer, [person.pco_id for person in people])
    different = [(pco_id, member) for pco_id, members in refused.items() for member in members]
    outcomes: dict[str, Outcome] = {person.pco_id: UNMATCHED for person in people}
    near = await may_be_here(session, writer, people)
    if not near:
        return outcomes
    theirs = await theirs_of(session, writer.owner, [one for one in people if one.pco_id in near], deleted_here)
    emails = await sharers_of(session, writer.owner, theirs)
    planned = exists().where(
        # Members that this run would create there are still free: the person may be the same.
        Change.run_id == writer.cause.id,
        Change.kind == MEMBER,
        Change.record_id == Member.id,
        Change.pco_id.is_not(None),
        # A member whose counterpart is gone, or was merged with another, stays a candidate.
        Change.outcome.not_in((GONE, MERGED, KEPT_OUT)),
    )
    elsewhere = or_(planned, among(Member.id, [one for one in taken if one]))
    some_out = await anybody_kept_out(session, writer.organization_id)
    members = await free_members(
        session,
        writer.owner,
        theirs,
        emails,
        taken=elsewhere,
        refused=max(map(len, refused.values()), default=0),
        kept_out=some_out,
    )
    match = partial(match_people, theirs, members, emails, different=different)
    large = len(members) + len(theirs) >= LARGE
    outcomes |= await asyncio.to_thread(match) if large else match()
    if some_out:
        found = {UUID(one) for outcome in outcomes.values() for one in outcome.member_ids}
        out = await kept_out_among(session, writer.organization_id, MEMBER, found)
        outcomes = left_alone(outcomes, set(map(str, out)))
    return outcomes


async def why_left_alone(session: AsyncSession, outcome: LeftAlone) -> str:
    """The sentence why a person is left alone, with the names of the members kept out."""
    ids = [UUID(one) for one in outcome.kept_out]
    members = await session.scalars(select(Member).where(among(Member.id, ids)).order_by(Member.id))
    return may_be_kept_out(full_name(member) for member in members)


async def may_be_here(session: AsyncSession, writer: Writer, people: Sequence[RemotePerson]) -> set[str]:
    """The people with possible candidates; all others certainly match no member."""
    near = await with_candidates(session, writer.owner, [to_match(person) for person in people])
    return {person.pco_id for person in near}


async def local_of(session: AsyncSession, writer: Writer, member: Member) -> Local:
    """A member as input of matching."""
    return (await locals_of(session, writer.owner, [member]))[0]


async def still_the_same(
    session: AsyncSession, writer: Writer, person: RemotePerson, member: Member, different: Collection[str]
) -> bool:
    """Whether an earlier match of these two still holds."""
    (theirs,) = await theirs_of(session, writer.owner, [person])
    return still_matches(theirs, await local_of(session, writer, member), different)


async def may_be_there(session: AsyncSession, writer: Writer, member: Member) -> str | None:
    """Why this member is not created in Planning Center: an unlinked person there may be the same.

    People with an incomplete or outdated read are compared as far as the last answer went.
    """
    emails = [member.email_key] if member.email_key else []
    rows = await session.scalars(
        select(Remote)
        .filter_by(**writer.owner, kind=MEMBER)
        .where(
            or_(
                remote.has_key(writer.owner, "email", emails),
                remote.has_key(writer.owner, "name", [member.name_key]),
            ),
            ~is_stray(),
            ~exists().where(remote.ITS_LINK),
        )
        .limit(LARGEST_LOOK)
    )
    if await deleted_namesakes(session, writer.owner, member):
        return UNDECIDED
    strangers = {row.pco_id: row for row in rows}
    whole = [row.snapshot for row in strangers.values() if row.snapshot]
    parts = [person for row in strangers.values() if row.unread and (person := row.unread.get("person"))]
    for known in (whole, parts):
        outcomes = await candidates_of(session, writer, [person_from_snapshot(one) for one in known])
        for pco_id, outcome in outcomes.items():
            if str(member.id) in outcome.member_ids:
                if isinstance(outcome, LeftAlone):
                    return MAY_BE_LEFT_ALONE
                unread = strangers[pco_id].unread
                return may_be_unread(unread["name"], unread["sentence"]) if unread else UNDECIDED
    return None


async def said_different(session: AsyncSession, writer: Writer, pco_ids: list[str]) -> dict[str, list[str]]:
    """Ids of members that an administrator ruled out for these people, by Planning Center's id."""
    rows = await session.execute(
        select(HeldMatch.pco_id, HeldMatch.different_from)
        .filter_by(**writer.owner)
        .where(HeldMatch.pco_id.in_(pco_ids))
    )
    return {row.pco_id: row.different_from for row in rows}


async def not_created_yet(session: AsyncSession, writer: Writer, kind: str, record_ids: Collection[UUID]) -> None:
    """Postpone creations in Planning Center to the next run, because the records may already be there."""
    if not record_ids:
        return
    await session.execute(
        update(Change)
        .where(
            Change.run_id == writer.cause.id,
            Change.kind == kind,
            Change.pco_id.is_(None),
            Change.there == "planned",
            among(Change.record_id, record_ids),
        )
        .values(there="later", outcome=LATER, sentence=UNDECIDED),
        execution_options={"synchronize_session": False},
    )
