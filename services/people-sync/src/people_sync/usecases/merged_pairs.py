"""Pairs of members who are one person in Planning Center, and the administrators' answers.

`join.py` has *Join*. *Keep two* is stored in the ended link until it is taken back.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.common import Page
from contracts.http.merged import AnswerMerged, MergedAnswer, MergedFamily, MergedMember, MergedPair, MergedQuery
from contracts.identity import UserIdentity
from contracts.values import MEMBER
from people_sync.domain.joining import differing, filling
from people_sync.domain.values import as_dict
from people_sync.planning_center import DEFAULT_COUNTRY
from people_sync.storage.joined import ENDED, OLDEST, Pair, joined_into, of_member, pair, pairs
from people_sync.storage.locks import locked
from people_sync.storage.records import full_name, render_members, values_of
from people_sync.storage.sync_tables import Creation, Joined, Remote
from people_sync.storage.tables import Effect, Family, FamilyMember, Link, Member
from people_sync.usecases import history, refreshes
from people_sync.usecases.directory import country_of
from people_sync.usecases.history import KEPT_TWO
from people_sync.usecases.join import join
from people_sync.usecases.publishing import publish, touch_members
from people_sync.usecases.record.claims import is_being_written
from servicekit.errors import Conflict, NotFound
from servicekit.http import paging
from synckit.among import among
from synckit.history import Actor, Noted
from synckit.records import parse_id
from synckit.standstill import one_at_a_time


async def merged(session: AsyncSession, organization_id: str, query: MergedQuery) -> Page[MergedPair]:
    """A page of pairs; without filters only unanswered ones. NotFound (404) for an unknown member's id.

    Ordered by the age of the member who would be joined, oldest first. The total comes with the first page.
    """
    statement = pairs(organization_id)
    if query.member_id is not None:
        statement = statement.where(of_member(parse_id(query.member_id, "member")))
    if query.state is not None or query.member_id is None:
        statement = statement.where(ENDED.kept_two.is_(query.state == "kept_two"))
    total = None
    if query.after:
        statement = statement.where(tuple_(*OLDEST) > tuple_(*paging.decode(query.after, paging.instant, UUID)))
    else:
        total = await session.scalar(select(func.count()).select_from(statement.with_only_columns(ENDED.id).subquery()))
    rows = [pair(row) for row in await session.execute(statement.order_by(*OLDEST).limit(query.limit + 1))]
    shown = rows[: query.limit]
    return Page[MergedPair](
        items=tuple(await _render(session, organization_id, shown)),
        next=_place(shown[-1].joins) if len(rows) > query.limit else None,
        total=total,
    )


def _place(joins: Member) -> str:
    return paging.encode(joins.created_at.isoformat(), str(joins.id))


async def answer(
    session: AsyncSession, organization_id: str, member_id: str, body: AnswerMerged, user: UserIdentity, now: datetime
) -> MergedAnswer:
    """Act on an answer at once.

    Conflict (409): `version-conflict`, with the present `pair`, if one of the two changed since they were shown;
    `pair-over` if they are no longer a pair (`joined_into` if they are one member); `answered` if another answer
    stands; `busy`. Invalid (422) for fields that do not differ. NotFound (404).
    """
    joins_id = parse_id(member_id, "member")
    # Bulk calls with the platform's ids of the two run either before or after this.
    await one_at_a_time(session, organization_id)
    owner = await refreshes.awake(session, organization_id)
    found = await _locked(session, organization_id, joins_id, body)
    if body.answer == "join":
        if found.ended.kept_two:
            await _refuse(
                session, found, "answered", "Somebody said meanwhile that they are two people. Ask again first."
            )
        member = await join(session, found, body.take, owner, Actor.person(user), now)
        return MergedAnswer(member=member)
    if body.answer == "keep_two":
        await _keep_two(session, found, Actor.person(user), now)
    else:
        await _ask_again(session, found, Actor.person(user), now)
    [shown] = await _render(session, organization_id, [found])
    return MergedAnswer(member=shown.stays.member, pair=shown)


async def _locked(session: AsyncSession, organization_id: str, joins_id: UUID, body: AnswerMerged) -> Pair:
    """The pair as shown, with its members, families and links locked in the order of ids."""
    ids = {joins_id, _id_of(body.with_id) or joins_id}
    members = await locked(session, Member, organization_id, ids)
    if (joins := members.get(joins_id)) is None:
        raise NotFound("There is no such member.")
    if joins.deleted_at is not None:
        into = await joined_into(session, organization_id, joins.id)
        if into is None:
            raise NotFound("There is no such member.")
        by = await session.scalar(select(Joined.by_name).filter_by(organization_id=organization_id, member_id=joins.id))
        raise Conflict(
            f"{by or 'Somebody'} joined {full_name(joins)} to the other one already. Read the list again.",
            slug="pair-over",
            joined_into=str(into),
        )
    of_families = select(FamilyMember.family_id).where(FamilyMember.member_id == joins.id)
    families = await session.scalars(
        select(Family.id).where(Family.id.in_(of_families)).order_by(Family.id).with_for_update()
    )
    concerned = [*ids, *families]
    await session.execute(
        select(Link.id)
        .where(Link.organization_id == organization_id, among(Link.record_id, concerned))
        .order_by(Link.id)
        .with_for_update()
    )
    row = (
        await session.execute(
            pairs(organization_id).where(ENDED.record_id == joins.id), execution_options={"populate_existing": True}
        )
    ).one_or_none()
    found = None if row is None else pair(row)
    if found is None or str(found.stays.id) != body.with_id:
        raise Conflict(
            f"{full_name(joins)} is no longer merged with that member in Planning Center, or one of the two was "
            "deleted. Nothing was changed. Read the list again.",
            slug="pair-over",
        )
    if (found.joins.version, found.stays.version) != (body.version, body.with_version):
        await _refuse(session, found, "version-conflict", "Somebody changed one of the two since you read them.")
    return found


async def _refuse(session: AsyncSession, found: Pair, slug: str, why: str) -> None:
    [shown] = await _render(session, found.ended.organization_id, [found])
    raise Conflict(
        f"{why} Nothing was joined. Look at the two as they are now, and answer again.",
        slug=slug,
        pair=shown.model_dump(mode="json"),
    )


async def _keep_two(session: AsyncSession, found: Pair, actor: Actor, now: datetime) -> None:
    if found.ended.kept_two:
        await _refuse(session, found, "answered", "Somebody said so already.")
    found.ended.kept_two = True
    said = Noted(MEMBER, found.joins.id, KEPT_TWO, None, str(found.stays.id))
    await history.note(session, found.ended.organization_id, actor, [said], now)


async def _ask_again(session: AsyncSession, found: Pair, actor: Actor, now: datetime) -> None:
    """Take *keep two* back, and the request to create the second member there, unless that is under way."""
    link, member = found.ended, found.joins
    if not link.kept_two:
        await _refuse(session, found, "answered", "Somebody has asked again already.")
    sent = select(Creation.id).filter_by(
        organization_id=link.organization_id,
        pco_organization_id=link.pco_organization_id,
        kind=MEMBER,
        record_id=member.id,
        state="sent",
    )
    if link.create_again and (
        await is_being_written(session, link.organization_id, member.id) or await session.scalar(sent) is not None
    ):
        raise Conflict(
            f"{full_name(member)} is just being added in Planning Center, so this cannot be taken back. If the two are "
            "one person, merge them there: then they are asked about again.",
            slug="busy",
        )
    asked, link.create_again, link.kept_two = link.create_again, False, False
    said = Noted(MEMBER, member.id, KEPT_TWO, str(found.stays.id), None)
    await history.note(session, link.organization_id, actor, [said], now)
    if asked:
        await touch_members(session, [member], now)
        await publish(session, link.organization_id, now, [member], [])


def _id_of(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


async def _render(session: AsyncSession, organization_id: str, found: Sequence[Pair]) -> list[MergedPair]:
    """The API's form of these pairs, in the given order, by a fixed number of queries."""
    if not found:
        return []
    country = await country_of(session, organization_id) or DEFAULT_COUNTRY
    rows = {member.id: member for one in found for member in (one.stays, one.joins)}
    members = {member.id: member for member in await render_members(session, list(rows.values()))}
    families: dict[UUID, list[MergedFamily]] = {}
    for member_id, family in await session.execute(
        select(FamilyMember.member_id, Family)
        .join(Family, Family.id == FamilyMember.family_id)
        .where(among(FamilyMember.member_id, rows), Family.deleted_at.is_(None))
        .order_by(Family.name_key, Family.id)
    ):
        shown = MergedFamily(
            id=str(family.id), name=family.name, primary_contact=family.primary_contact_id == member_id
        )
        families.setdefault(member_id, []).append(shown)
    joined = select(Joined.member_id, Joined.into_id).filter_by(organization_id=organization_id)
    into = dict((await session.execute(joined.where(among(Joined.into_id, rows)))).all())
    changes: dict[UUID, int] = {}
    counted = (
        select(Effect.record_id, func.count())
        .where(among(Effect.record_id, [*rows, *into]), Effect.kind == MEMBER)
        .group_by(Effect.record_id)
    )
    for record_id, count in await session.execute(counted):
        of = into.get(record_id, record_id)
        changes[of] = changes.get(of, 0) + count

    mailed = select(Remote.pco_id).filter_by(
        organization_id=organization_id, pco_organization_id=found[0].ended.pco_organization_id, kind=MEMBER
    )
    of_these = among(Remote.pco_id, [one.pco_id for one in found])
    signs_in = set(await session.scalars(mailed.where(of_these, Remote.login.is_(True))))

    def side(member: Member) -> MergedMember:
        return MergedMember(
            member=members[str(member.id)],
            families=tuple(families.get(member.id, ())),
            history=changes.get(member.id, 0),
        )

    def shown_pair(one: Pair) -> MergedPair:
        stays, joins = as_dict(values_of(one.stays)), as_dict(values_of(one.joins))
        fills, differs = filling(stays, joins), differing(stays, joins, country)
        return MergedPair(
            pco_id=one.pco_id,
            stays=side(one.stays),
            joins=side(one.joins),
            fills=fills,
            differs=differs,
            may_be_mailed=one.pco_id in signs_in and not {"email", "phone"}.isdisjoint([*fills, *differs]),
            state="kept_two" if one.ended.kept_two else "open",
            merged_at=one.ended.gone_at,
        )

    return [shown_pair(one) for one in found]
