"""Adds, changes, deletes and lists members and children.

A change increments the record's version, writes its history and publishes the record, all in the caller's transaction.
A deletion is not pushed to Planning Center. The row stays, marked as deleted, so that no pull adds the person again.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Select, except_, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts import people
from contracts.http.common import Page
from contracts.http.people import MemberInput, MemberPatch, MemberQuery
from contracts.people import Address
from contracts.values import MEMBER
from people_sync.domain.inputs import NAMES, is_empty, problems
from people_sync.domain.search import terms
from people_sync.domain.sentences import UNDONE
from people_sync.domain.values import FIELDS, as_dict
from people_sync.storage import by_name, counts
from people_sync.storage.erased import is_erased
from people_sync.storage.held import members_asked_about
from people_sync.storage.joined import joined_into, led_by_external_id
from people_sync.storage.kept_out import kept_out_among
from people_sync.storage.links import has_state, linked_ids, look_for_deleted
from people_sync.storage.records import render_members, values_of
from people_sync.storage.sync_tables import KeptOut
from people_sync.storage.tables import Connection, Family, FamilyMember, Link, Member
from people_sync.usecases import conflicts, history
from people_sync.usecases.history import CREATE_AGAIN
from people_sync.usecases.publishing import member_removed, publish, touch_families, touch_members
from people_sync.usecases.record.effects import take_over
from servicekit.errors import Conflict, Invalid, NotFound
from servicekit.kafka.outbox import append
from synckit import by_key
from synckit.history import DELETED, Actor, Noted
from synckit.records import check_version, parse_id


async def create(session: AsyncSession, organization_id: str, body: MemberInput, now: datetime) -> people.Member:
    """Add a member. Conflict (409) if the platform's id is taken, Invalid (422) with the fields that are wrong."""
    values = input_values({name: getattr(body, name) for name in FIELDS})
    await check(session, organization_id, values, now)
    if body.external_id is not None:
        taken = select(Member.id).where(
            Member.organization_id == organization_id, Member.external_id == body.external_id
        )
        led = await led_by_external_id(session, organization_id, [body.external_id])
        if led or await session.scalar(taken):
            raise Conflict(
                "There is, or was, a member with this external_id: change that one, or send it to /people/bulk.",
                slug="external-id-taken",
            )
    member = new_member(organization_id, values, body.external_id, now)
    session.add(member)
    await look_for_deleted(session, [member])
    await publish(session, organization_id, now, [member], [])
    return (await render_members(session, [member]))[0]


async def change(
    session: AsyncSession, organization_id: str, member_id: str, body: MemberPatch, actor: Actor, now: datetime
) -> people.Member:
    """Change the sent fields. Conflict (409) if the member changed since the version that the person saw."""
    member = await locked(session, organization_id, member_id)
    check_version(body.version, member.version, "member")
    values = input_values({name: getattr(body, name) for name in body.model_fields_set & set(FIELDS)})
    renamed = values.keys() & set(NAMES)
    empty = {name: "" for name in NAMES if renamed and not getattr(member, name)}
    await check(session, organization_id, empty | values, now)
    return await _set(session, member, values, actor, now)


async def undo(
    session: AsyncSession, organization_id: str, member_id: str, entry_id: str, actor: Actor, now: datetime
) -> people.Member:
    """Put a former value back, as a new change."""
    member = await locked(session, organization_id, member_id)
    return await _set(session, member, await history.former_value(session, member, entry_id), actor, now, rule=UNDONE)


async def remove(session: AsyncSession, organization_id: str, member_id: str, actor: Actor, now: datetime) -> None:
    """Delete here. Planning Center stays unchanged, unless the settings say to make the person inactive there.

    The rows of memberships stay, hidden, because removing the person from families would be pushed as a change.
    """
    member = await locked(session, organization_id, member_id)
    member.deleted_at = member.updated_at = now
    member.version += 1
    await history.note(session, organization_id, actor, [Noted(MEMBER, member.id, DELETED, False, True)], now)
    families = (
        await session.scalars(
            select(Family)
            .join(FamilyMember, FamilyMember.family_id == Family.id)
            .where(FamilyMember.member_id == member.id, Family.deleted_at.is_(None))
            .order_by(Family.id)
            .with_for_update(of=Family)
        )
    ).all()
    await touch_families(session, families, now)
    await publish(session, organization_id, now, [], families)
    await conflicts.record_removed(session, organization_id, member.id, now)
    await append(session, member_removed(member, now), tombstone=True)


async def create_again(
    session: AsyncSession, organization_id: str, member_id: str, actor: Actor, now: datetime
) -> people.Member:
    """Let the next run create a member in Planning Center again. Conflict (409) if the member is not gone there."""
    member = await locked(session, organization_id, member_id)
    if await kept_out_among(session, organization_id, MEMBER, [member.id]):
        raise Conflict(
            "This person is kept out of the sync, so they are not created in Planning Center. Choose Sync again first.",
            slug="kept-out",
        )
    link = await session.scalar(
        current_link(organization_id).where(Link.record_id == member.id).with_for_update(of=Link)
    )
    if link is None or link.state != "gone":
        raise Conflict("Only a member who is gone in Planning Center can be created there again.", slug="not-gone")
    if link.merged_into is not None and not link.kept_two and await _is_linked(session, link, link.merged_into):
        raise Conflict(
            "This member was merged with somebody else in Planning Center, and would be there twice. Answer in Held "
            "matches whether the two are one person; if the other one was deleted here, the next sync links this one.",
            slug="merged",
        )
    if not link.create_again:
        link.create_again = True
        asked = Noted(MEMBER, member.id, CREATE_AGAIN, False, True)
        await history.note(session, organization_id, actor, [asked], now)
        await touch_members(session, [member], now)
        await publish(session, organization_id, now, [member], [])
    return (await render_members(session, [member]))[0]


async def _is_linked(session: AsyncSession, link: Link, pco_id: str) -> bool:
    """Whether a member here is linked to this person of the same Planning Center organization."""
    of_organization = {"organization_id": link.organization_id, "pco_organization_id": link.pco_organization_id}
    found = select(Link.id).filter_by(**of_organization, kind=MEMBER, pco_id=pco_id).where(Link.state != "gone")
    return await session.scalar(found) is not None


async def get(session: AsyncSession, organization_id: str, member_id: str) -> people.Member:
    """One member. NotFound (404)."""
    return (await render_members(session, [await find(session, organization_id, member_id)]))[0]


async def members(session: AsyncSession, organization_id: str, query: MemberQuery) -> Page[people.Member]:
    """A page of members by name; the total comes with the first page, unless a search finds very many."""
    found = await wanted(session, organization_id, query)
    rows, total = await by_key.page_of(session, Member, organization_id, "name_key", found, query)
    if total is None and not query.after:
        total = await _total(session, organization_id, query, found)
    shown = rows[: query.limit]
    return Page[people.Member](
        items=tuple(await render_members(session, shown)), next=by_key.behind(rows, "name_key", query), total=total
    )


async def wanted(session: AsyncSession, organization_id: str, query: MemberQuery) -> by_key.Found | None:
    """The condition for the members of a list; None if it shows all."""
    narrowed = await _narrowed(session, organization_id, query)
    if narrowed is None and query.state not in {"linked", "local", "gone"}:
        return None
    fits = narrowed or (lambda _: [])
    every: Any = select(Member.id).where(*by_key.here(Member, organization_id), *fits(Member))
    few = query.family_id is not None or query.state in {"held", "kept_out", "gone"}
    if query.state not in {"linked", "local", "gone"}:
        return by_key.Found(fits, every, few)
    owner = {"organization_id": organization_id, "pco_organization_id": await _connected(session, organization_id)}
    links = linked_ids(owner, MEMBER)
    sets = {
        "linked": except_(every.intersect(links), linked_ids(owner, MEMBER, gone=True)),
        "local": every.except_(links),
        "gone": every.intersect(linked_ids(owner, MEMBER, gone=True)),
    }
    state = query.state
    return by_key.Found(lambda member: [*fits(member), has_state(owner, MEMBER, member, state)], sets[state], few)


async def _narrowed(session: AsyncSession, organization_id: str, query: MemberQuery) -> by_key.Fits | None:
    """The filters besides the state of the link; None without any."""
    conditions: list[by_key.Fits] = []
    if query.q:
        conditions.append(await _typed(session, organization_id, query.q))
    if query.child is not None:
        conditions.append(lambda member: [member.child.is_(query.child)])
    if query.family_id is not None:
        of_family = FamilyMember.family_id == parse_id(query.family_id, "family")
        conditions.append(lambda member: [member.id.in_(select(FamilyMember.member_id).where(of_family))])
    if query.state == "inactive":
        conditions.append(lambda member: [member.active.is_(False)])
    if query.state == "kept_out":
        of_organization = (KeptOut.organization_id == organization_id, KeptOut.kind == MEMBER)
        conditions.append(lambda member: [member.id.in_(select(KeptOut.record_id).where(*of_organization))])
    if query.state == "held":
        asked = members_asked_about(organization_id, await _connected(session, organization_id))
        conditions.append(lambda member: [member.id.in_(asked)])
    return (lambda member: [one for condition in conditions for one in condition(member)]) if conditions else None


async def _typed(session: AsyncSession, organization_id: str, typed: str) -> by_key.Fits:
    return by_name.member_has(terms(typed, await country_of(session, organization_id)))


async def _total(
    session: AsyncSession, organization_id: str, query: MemberQuery, found: by_key.Found | None
) -> int | None:
    if found is None:
        return await by_key.count(session, Member, organization_id)
    if query.q:
        typed = await _typed(session, organization_id, query.q)
        of_search = select(Member.id).where(*by_key.here(Member, organization_id), *typed(Member))
        return await by_key.count_searched(session, of_search, found.every)
    if query.state in {"linked", "local"} and query.child is None and query.family_id is None:
        owner = {"organization_id": organization_id, "pco_organization_id": await _connected(session, organization_id)}
        links = (await counts.links(session, owner)).get(MEMBER, counts.Links())
        if query.state == "linked":
            return links.all - links.gone
        return await by_key.count(session, Member, organization_id) - links.all
    return await by_key.count_found(session, found.every)


async def _connected(session: AsyncSession, organization_id: str) -> str:
    """The Planning Center organization that is, or was last, connected. It is read first, so that PostgreSQL can
    estimate its number of links.
    """
    current: str | None = await session.scalar(
        select(Connection.pco_organization_id).where(Connection.organization_id == organization_id)
    )
    return current or ""


def current_link(organization_id: str, kind: str = MEMBER) -> Select[Link]:
    """Select the links to the Planning Center organization that is, or was last, connected."""
    return (
        select(Link)
        .join(
            Connection,
            (Connection.organization_id == Link.organization_id)
            & (Connection.pco_organization_id == Link.pco_organization_id),
        )
        .where(Link.organization_id == organization_id, Link.kind == kind)
    )


async def find(session: AsyncSession, organization_id: str, member_id: str, *, deleted: bool = False) -> Member:
    """A member's row. NotFound (404), also for a malformed id and for another organization's."""
    member = await session.scalar(_by_id(organization_id, member_id))
    if member is None or (member.deleted_at is not None and not deleted):
        raise await _missing(session, member)
    return member


async def locked(session: AsyncSession, organization_id: str, member_id: str) -> Member:
    """As `find`, locked until the end of the transaction."""
    member = await session.scalar(_by_id(organization_id, member_id).with_for_update())
    if member is None or member.deleted_at is not None:
        raise await _missing(session, member)
    return member


async def _missing(session: AsyncSession, member: Member | None) -> NotFound:
    """The 404 of a member; `joined_into` names the member they were joined to."""
    if member is None:
        return NotFound("There is no such member.")
    if await is_erased(session, member.organization_id, member.id):
        return NotFound("This person was erased here.", erased=True)
    if (into := await joined_into(session, member.organization_id, member.id)) is None:
        return NotFound("There is no such member.")
    return NotFound("This member was joined to another one, who has everything of both now.", joined_into=str(into))


def _by_id(organization_id: str, member_id: str) -> Select[Member]:
    return select(Member).where(Member.organization_id == organization_id, Member.id == parse_id(member_id, "member"))


async def existing(session: AsyncSession, organization_id: str, kind: str, record_id: str) -> UUID:
    """The id of a member or family of the organization that is not deleted. NotFound (404).

    The row is not loaded, so that a later lock reads it fresh.
    """
    table: type[Member] | type[Family] = Member if kind == MEMBER else Family
    found: UUID | None = await session.scalar(
        select(table.id).where(
            table.organization_id == organization_id, table.id == parse_id(record_id, kind), table.deleted_at.is_(None)
        )
    )
    if found is None:
        raise NotFound(f"There is no such {kind}.")
    return found


async def country_of(session: AsyncSession, organization_id: str) -> str | None:
    """The church's own country (ISO 3166-1 alpha-2), once a run has read it."""
    country: str | None = await session.scalar(
        select(Connection.country_code).where(Connection.organization_id == organization_id)
    )
    return country


async def check(session: AsyncSession, organization_id: str, values: Mapping[str, Any], now: datetime) -> None:
    """Invalid (422) with all unacceptable fields."""
    country = await country_of(session, organization_id) if values.get("phone") else None
    found = problems(values, country, now.date())
    if found:
        raise Invalid(
            "Correct the fields named in `errors` and send it again. Nothing was changed.",
            errors=[{"field": field, "message": message} for field, message in found],
        )


def input_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Input in the directory's form: None for an empty text, `contracts.people.Address` for an address."""
    held = dict(values)
    for name in held.keys() & set(NAMES):
        held[name] = "" if is_empty(held[name]) else held[name]
    if "phone" in held:
        held["phone"] = held["phone"] or None
    if held.get("address") is not None:
        address = Address(**held["address"].model_dump())
        parts = (address.street_line_1, address.street_line_2, address.city, address.state, address.zip)
        held["address"] = address if any(parts) else None
    return held


def new_member(organization_id: str, values: Mapping[str, Any], external_id: str | None, now: datetime) -> Member:
    """A new row, not yet added to the session."""
    member = Member(
        id=uuid4(),
        organization_id=organization_id,
        external_id=external_id,
        birthdate=None,
        gender=None,
        child=False,
        email=None,
        phone=None,
        address=None,
        active=True,
        version=1,
        created_at=now,
        updated_at=now,
    )
    take_over(member, values)
    return member


async def _set(
    session: AsyncSession,
    member: Member,
    values: Mapping[str, Any],
    actor: Actor,
    now: datetime,
    *,
    rule: str | None = None,
) -> people.Member:
    found = history.changed_fields(MEMBER, member.id, as_dict(values_of(member)), values)
    changes = [replace(one, rule=rule) for one in found]
    if changes:
        take_over(member, values)
        member.version += 1
        member.updated_at = now
        await history.note(session, member.organization_id, actor, changes, now)
        await publish(session, member.organization_id, now, [member], [])
    return (await render_members(session, [member]))[0]
