"""A first import at the vendor's speed: people without candidates here, with their households, in bulk statements.

Decisions equal those of `record.decide_people` for a person without a candidate, and rows those of
`record.people_here` and `record.families_here`. The engine handles all other cases: a person with a candidate, a
household with a known person, a batch with a person linked meanwhile.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import accumulate
from typing import Any, Final, TypeAlias

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.base import Event
from contracts.events.people_record_v1 import FamilyChanged, MemberChanged
from contracts.http.people import LARGEST_FAMILY
from contracts.values import FAMILY, MEMBER
from people_sync.domain.canonical import email_key, name_key
from people_sync.domain.planning_center import RemoteHousehold, household_from_snapshot, person_from_snapshot
from people_sync.domain.plans import Fields, allows, family_created
from people_sync.domain.sentences import CREATED_HERE
from people_sync.domain.values import ACTIVE
from people_sync.storage import newcomers
from people_sync.storage.candidates import anybody_free
from people_sync.storage.effects import insert_effects
from people_sync.storage.erased import erased_there
from people_sync.storage.newcomers import Newcomer
from people_sync.storage.remote import Owner
from people_sync.usecases.held import no_longer_held
from people_sync.usecases.history import MEMBERS
from people_sync.usecases.record.effects import noted
from people_sync.usecases.record.matching import may_be_here
from people_sync.usecases.record.people_here import newcomer
from people_sync.usecases.record.planned import approved_fields
from people_sync.usecases.run.context import RunContext, plan_found
from servicekit.kafka.outbox import append_all
from synckit.staleness import CREATED

_PEOPLE: Final = LARGEST_FAMILY
"""People in one transaction. Each person and each family is a fact, and `append_all` takes 2,000."""
_FAMILIES: Final = 250

_People: TypeAlias = Mapping[str, Newcomer]
"""Newcomers by Planning Center's id."""
_Households: TypeAlias = Sequence[tuple[Newcomer, RemoteHousehold]]


class _Linked(Exception):
    """Another job linked a person of the batch meanwhile."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """People without candidates, households of only such people, and the rows to write."""

    people: _People
    households: _Households
    now: datetime
    members: Sequence[dict[str, Any]]
    families: Sequence[dict[str, Any]]
    """Family rows in the order of the households."""
    effects: Sequence[dict[str, Any]]
    facts: Sequence[Event]


async def plan_newcomers(context: RunContext) -> None:
    """Plan people as new by one statement, if no member here is free."""
    if "newcomers" in context.checkpoint.compared.parts:
        return
    async with context.step() as session:
        context.checkpoint.compared.parts.append("newcomers")
        certain = not (
            await anybody_free(session, context.owner) or await newcomers.any_unanswered(session, context.owner, MEMBER)
        )
        if certain:
            found = newcomers.unlinked_people(context.owner, context.run_id)
            await context.advance(
                session, await plan_found(session, context, MEMBER, found, CREATED_HERE, here="planned", there="none")
            )


async def plan_their_households(context: RunContext) -> None:
    """Plan households of only new people as new, once all people are planned."""
    if "their_households" in context.checkpoint.compared.parts:
        return
    async with context.step() as session:
        context.checkpoint.compared.parts.append("their_households")
        if not await newcomers.any_unanswered(session, context.owner, FAMILY):
            found = newcomers.households_of_newcomers(context.owner, context.run_id)
            await plan_found(session, context, FAMILY, found, CREATED_HERE, here="planned", there="none")


async def take_newcomers_over(context: RunContext) -> None:
    """Add households with all their people first, so that each person is published once, then people without one."""
    analyzed = False
    async with aclosing(_batches(context)) as batches, aclosing(_ahead(batches)) as ready:
        async for batch in ready:
            async with context.step() as session:
                done = await _attempt(session, context, batch)
                await context.advance(session, done)
            if done and not analyzed:
                # The planner assumed empty tables, and caches the plans made then.
                await context.analyze("link, member, family, family_member")
                analyzed = True


async def _ahead(batches: AsyncIterator[_Batch]) -> AsyncGenerator[_Batch, None]:
    """Yield each batch while the next one is prepared, so that PostgreSQL writes while Python builds."""
    coming = asyncio.ensure_future(anext(batches, None))
    try:
        while (batch := await coming) is not None:
            coming = asyncio.ensure_future(anext(batches, None))
            yield batch
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


async def _batches(context: RunContext) -> AsyncGenerator[_Batch, None]:
    """All planned newcomers in batches. A batch excludes people of the one before, which is being written."""
    before: Collection[str] = ()
    for kind, size, read in ((FAMILY, _FAMILIES, _households), (MEMBER, _PEOPLE, _people)):
        last = 0
        while True:
            async with context.job.sessions() as session:
                planned = await newcomers.next_planned(session, context.owner, context.run_id, kind, last, size)
                if not planned:
                    break
                last, people, households = await read(session, context, planned)
            free = {
                pco_id: one
                for pco_id, one in people.items()
                if pco_id not in before and _as_approved(context, one, partial(_person_fields, one))
            }
            as_approved = [
                (one, household)
                for one, household in households
                if _as_approved(context, one, partial(_household_fields, household, people))
            ]
            batch = _prepared(context, free, as_approved)
            before = batch.people.keys()
            yield batch


def _as_approved(context: RunContext, one: Newcomer, now: Callable[[], Fields]) -> bool:
    """Whether a newcomer is still as approved. The engine leaves out, and lists, the others."""
    approved = approved_fields(one.plan)
    return approved is None or allows(approved, now(), context.country)


def _person_fields(one: Newcomer) -> Fields:
    return newcomer(person_from_snapshot(one.snapshot))


def _household_fields(household: RemoteHousehold, people: _People) -> Fields:
    """Plan fields of adding a household whose people are all in the batch."""
    known = {
        pco_id: {"id": str(people[pco_id].record_id), "pco_id": pco_id, "name": ""}
        for pco_id in household.person_ids
        if pco_id in people
    }
    primary = household.primary_contact_id if household.primary_contact_id in known else None
    return family_created(household.name, known, primary, "here", known)


async def _households(
    session: AsyncSession, context: RunContext, planned: Sequence[Newcomer]
) -> tuple[int, _People, _Households]:
    """Read the first of these households, up to `_PEOPLE` people. Gives the last plan's id, people and households."""
    read = [(one, household_from_snapshot(one.snapshot)) for one in planned]
    fitting = sum(total <= _PEOPLE for total in accumulate(len(one.person_ids) for _, one in read))
    # An earlier version also stored households above the limit.
    read = read[: max(1, fitting)]
    pco_ids = {pco_id for _, household in read for pco_id in household.person_ids}
    everybody = await newcomers.planned_people(session, context.owner, context.run_id, pco_ids)
    return read[-1][0].change_id, everybody, read


async def _people(_: AsyncSession, __: RunContext, planned: Sequence[Newcomer]) -> tuple[int, _People, _Households]:
    return planned[-1].change_id, {one.pco_id: one for one in planned}, []


def _prepared(context: RunContext, people: _People, households: _Households) -> _Batch:
    """Build the rows. A household with a left out person is left out with all its people."""
    if households:
        households = [(one, household) for one, household in households if people.keys() >= set(household.person_ids)]
        members = sorted({pco_id for _, household in households for pco_id in household.person_ids})
        people = {pco_id: people[pco_id] for pco_id in members}
    record_ids = {pco_id: str(one.record_id) for pco_id, one in people.items()}
    families = [_family(one, household, record_ids) for one, household in households]
    now = context.now()
    return _Batch(
        people,
        households,
        now,
        [_member(one) for one in people.values()],
        families,
        _effects(context, people, households, families),
        _facts(context.organization_id, people, households, families, now),
    )


async def _attempt(session: AsyncSession, context: RunContext, batch: _Batch) -> int:
    """Write a batch; gives the number of plans carried out, which are all or none.

    People with candidates are left to the engine, since members may have been added since the comparison.
    """
    if gone := (await erased_there(session, context.owner)).people & batch.people.keys():
        batch = _prepared(context, {id_: one for id_, one in batch.people.items() if id_ not in gone}, batch.households)
    # For a whole batch one query about all members costs less than one per person.
    new = batch.people.values() if await anybody_free(session, context.owner) else ()
    if near := await may_be_here(session, context, [person_from_snapshot(one.snapshot) for one in new]):
        free = {pco_id: one for pco_id, one in batch.people.items() if pco_id not in near}
        batch = _prepared(context, free, batch.households)
    if not batch.people:
        return 0
    try:
        async with session.begin_nested():
            await _write(session, context.owner, batch)
    except _Linked:
        return 0
    return len(batch.people) + len(batch.households)


async def _write(session: AsyncSession, owner: Owner, batch: _Batch) -> None:
    new = batch.people.values()
    await newcomers.insert_members(session, owner, batch.members, batch.now)
    await newcomers.insert_families(session, owner, batch.families, batch.now)
    people_agreed = [(one, one.snapshot["values"] | {ACTIVE: one.snapshot["active"]}) for one in new]
    families_agreed = [
        (
            one,
            {
                "name": family["name"],
                "primary_contact": family["primary_contact_id"],
                "members": sorted(family["members"]),
            },
        )
        for (one, _), family in zip(batch.households, batch.families, strict=True)
    ]
    for kind, agreed in ((MEMBER, people_agreed), (FAMILY, families_agreed)):
        if not await newcomers.insert_links(session, owner, kind, agreed, batch.now):
            raise _Linked
    plans = [*new, *(one for one, _ in batch.households)]
    await no_longer_held(session, owner, list(batch.people))
    await newcomers.note_done(session, [one.change_id for one in plans])
    await insert_effects(session, batch.effects)
    await append_all(session, batch.facts)


def _member(one: Newcomer) -> dict[str, Any]:
    values = one.snapshot["values"]
    return {
        **values,
        "id": str(one.record_id),
        "name_key": name_key(values["first_name"], values["last_name"]),
        "email_key": email_key(values["email"]),
        "active": one.snapshot["active"],
    }


def _family(one: Newcomer, household: RemoteHousehold, members: dict[str, str]) -> dict[str, Any]:
    primary = household.primary_contact_id
    return {
        "id": str(one.record_id),
        "name": household.name,
        "name_key": name_key(household.name, ""),
        "primary_contact_id": members[primary] if primary in household.person_ids else None,
        "members": [members[pco_id] for pco_id in household.person_ids],
    }


def _effects(
    context: RunContext, people: _People, households: _Households, families: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    rows = [noted(context, MEMBER, one.record_id, CREATED, None, one.pco_id) for one in people.values()]
    for (one, _), family in zip(households, families, strict=True):
        rows.append(noted(context, FAMILY, one.record_id, CREATED, None, one.pco_id))
        rows += [
            noted(context, FAMILY, one.record_id, MEMBERS, None, member, rule="changed") for member in family["members"]
        ]
    return rows


def _facts(
    organization_id: str,
    people: _People,
    households: _Households,
    families: Sequence[dict[str, Any]],
    now: datetime,
) -> list[Event]:
    of_member = dict[str, list[str]]()
    for family in families:
        for member in family["members"]:
            of_member.setdefault(member, []).append(family["id"])
    times = {"version": 1, "created_at": now, "updated_at": now}
    of_all = {"organization_id": organization_id, "version": 1, "changed_at": now}
    facts: list[Event] = []
    for one in people.values():
        record_id = str(one.record_id)
        member = {
            **one.snapshot["values"],
            "id": record_id,
            "active": one.snapshot["active"],
            "family_ids": sorted(of_member.get(record_id, ())),
            "link": {"pco_id": one.pco_id, "state": "linked"},
            **times,
        }
        facts.append(MemberChanged.model_validate({**of_all, "member": member}))
    for (one, household), row in zip(households, families, strict=True):
        family = {
            "id": row["id"],
            "name": household.name,
            "member_ids": sorted(row["members"]),
            "primary_contact_id": row["primary_contact_id"],
            "link": {"pco_id": one.pco_id, "state": "linked"},
            **times,
        }
        facts.append(FamilyChanged.model_validate({**of_all, "family": family}))
    return facts
