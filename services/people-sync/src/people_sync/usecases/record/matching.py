"""Who in Planning Center is whom here, as rows: the candidates, and what an administrator said."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import Uuid, any_, exists, literal, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import MEMBER
from people_sync.domain.matching import Local, Outcome, Peer, match_all
from people_sync.domain.planning_center import RemotePerson, person_from_snapshot, to_match
from people_sync.domain.sentences import LATER, UNDECIDED
from people_sync.storage import remote
from people_sync.storage.links import ended, has_link
from people_sync.storage.tables import Change, HeldMatch, Link, Member, Remote
from people_sync.usecases.record.writer import Writer


async def candidates_of(
    session: AsyncSession, writer: Writer, people: Sequence[RemotePerson], taken: Collection[UUID | None] = ()
) -> dict[str, Outcome]:
    """The matching outcomes of people who are not linked, as they stand now. `taken`: members who are others."""
    if not people:
        return {}
    by_email, by_name, peers = await _candidates(session, writer, people, taken)
    refused = await said_different(session, writer, [person.pco_id for person in people])
    return match_all(
        [to_match(person) for person in people],
        by_email,
        by_name,
        peers=peers,
        different=[(pco_id, member) for pco_id, members in refused.items() for member in members],
    )


async def _candidates(
    session: AsyncSession, writer: Writer, people: Sequence[RemotePerson], others: Collection[UUID | None]
) -> tuple[dict[str, list[Local]], dict[str, list[Local]], list[Peer]]:
    """Members by e-mail (all) and by name (not linked), and everybody in Planning Center with one of the e-mails."""
    asked = [to_match(person) for person in people]
    emails = sorted({key for person in asked for key in person.email_keys()})
    names = sorted({key for person in asked for key in person.name_keys()})
    taken = or_(
        # A member whose counterpart is gone stays a candidate: somebody may have added them there again.
        has_link(writer.owner, MEMBER, Member, ~ended(Link)),
        # Whom this run would create there is still to be had: the person there may be the same.
        exists().where(
            Change.run_id == writer.cause.id,
            Change.kind == MEMBER,
            Change.record_id == Member.id,
            Change.pco_id.is_not(None),
        ),
    )
    statement = select(Member, taken.label("taken")).where(
        Member.organization_id == writer.organization_id,
        Member.deleted_at.is_(None),
        or_(Member.email_key.in_(emails), Member.name_key.in_(names)),
    )
    by_email: dict[str, list[Local]] = {}
    by_name: dict[str, list[Local]] = {}
    for member, has_counterpart in await session.execute(statement):
        linked = has_counterpart or member.id in others
        local = local_of(member, linked=linked)
        if member.email_key:
            by_email.setdefault(member.email_key, []).append(local)
        if not linked:
            by_name.setdefault(member.name_key, []).append(local)
    return by_email, by_name, await remote.peers(session, writer.owner, emails)


def local_of(member: Member, *, linked: bool = False) -> Local:
    """A member as matching looks at one."""
    return Local(
        str(member.id), member.first_name, member.last_name, member.birthdate, member.child, member.email, linked
    )


async def may_be_there(session: AsyncSession, writer: Writer, member: Member) -> bool:
    """Whether somebody in Planning Center who is nobody here yet may be this member, as far as is known now."""
    emails = [member.email_key] if member.email_key else []
    rows = await session.scalars(
        select(Remote)
        .filter_by(**writer.owner, kind=MEMBER)
        .where(
            or_(
                remote.has_key(writer.owner, "email", emails),
                remote.has_key(writer.owner, "name", [member.name_key]),
            ),
            Remote.snapshot.is_not(None),
            ~exists().where(
                Link.organization_id == Remote.organization_id,
                Link.pco_organization_id == Remote.pco_organization_id,
                Link.kind == Remote.kind,
                Link.pco_id == Remote.pco_id,
            ),
        )
    )
    strangers = [person_from_snapshot(row.snapshot) for row in rows if row.snapshot]
    outcomes = await candidates_of(session, writer, strangers)
    return any(str(member.id) in outcome.member_ids for outcome in outcomes.values())


async def said_different(session: AsyncSession, writer: Writer, pco_ids: list[str]) -> dict[str, list[str]]:
    """Ids of members whom an administrator called somebody else than these people, by Planning Center's id."""
    rows = await session.execute(
        select(HeldMatch.pco_id, HeldMatch.different_from)
        .filter_by(**writer.owner)
        .where(HeldMatch.pco_id.in_(pco_ids))
    )
    return {row.pco_id: row.different_from for row in rows}


async def not_created_yet(session: AsyncSession, writer: Writer, kind: str, record_ids: Collection[UUID]) -> None:
    """Leave records that this run would create in Planning Center to the next one: they may be there already."""
    if not record_ids:
        return
    await session.execute(
        update(Change)
        .where(
            Change.run_id == writer.cause.id,
            Change.kind == kind,
            Change.pco_id.is_(None),
            Change.there == "planned",
            Change.record_id == any_(literal(list(record_ids), ARRAY(Uuid))),
        )
        .values(there="later", outcome=LATER, sentence=UNDECIDED),
        execution_options={"synchronize_session": False},
    )
