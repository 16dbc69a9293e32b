"""A first import at the vendor's speed: people whom nobody here can be, with their households, many in a statement.

What is decided is what `record.decide_people` decides of somebody without a candidate, and what is written is what
`record.people_here` and `record.families_here` write. Whoever needs more than that is left to them: somebody with a
candidate, a household with somebody who is here already, a batch of which somebody was linked meanwhile.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession

from contracts import people
from contracts.base import Event
from contracts.events.people_record_v1 import FamilyChanged, MemberChanged
from contracts.values import FAMILY, MEMBER
from people_sync.domain.canonical import email_key, name_key
from people_sync.domain.planning_center import (
    RemoteHousehold,
    RemotePerson,
    household_from_snapshot,
    person_from_snapshot,
)
from people_sync.domain.sentences import CREATED_HERE
from people_sync.domain.values import as_dict, to_json
from people_sync.domain.writes import CREATED
from people_sync.storage import newcomers
from people_sync.storage.candidates import anybody_free
from people_sync.storage.effects import insert_effects
from people_sync.storage.links import ACTIVE
from people_sync.storage.newcomers import Newcomer
from people_sync.usecases.held import no_longer_held
from people_sync.usecases.history import MEMBERS
from people_sync.usecases.record.effects import noted
from people_sync.usecases.record.matching import may_be_here
from people_sync.usecases.run.context import RunContext, plan_found
from servicekit.outbox import append_all

_PEOPLE: Final = 1_000
"""In one transaction. Each is a fact, as is each family: `append_all` takes 2,000."""
_FAMILIES: Final = 250


class _Linked(Exception):
    """Somebody of the batch was linked meanwhile, by another job."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """People whom nobody here can be, by Planning Center's id, and households of which everybody is among them."""

    people: Mapping[str, tuple[Newcomer, RemotePerson]]
    households: Sequence[tuple[Newcomer, RemoteHousehold]]
    families: Sequence[dict[str, Any]]
    """Rows of the households' families, in the same order."""


async def plan_newcomers(context: RunContext) -> None:
    """Plan who is new here without looking at each, where that is certain: nobody here is to be had."""
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
    """Plan the households as new of which everybody is, once all people are planned."""
    if "their_households" in context.checkpoint.compared.parts:
        return
    async with context.step() as session:
        context.checkpoint.compared.parts.append("their_households")
        if not await newcomers.any_unanswered(session, context.owner, FAMILY):
            found = newcomers.households_of_newcomers(context.owner, context.run_id)
            await plan_found(session, context, FAMILY, found, CREATED_HERE, here="planned", there="none")


async def take_newcomers_over(context: RunContext) -> None:
    """Households with all their people first, so that each person is published once, then who is in none."""
    analyzed = False
    for kind, size, take_over in ((FAMILY, _FAMILIES, _households), (MEMBER, _PEOPLE, _people)):
        last, more = 0, True
        while more:
            async with context.step() as session:
                planned = await newcomers.next_planned(session, context.owner, context.run_id, kind, last, size)
                last, done = await take_over(session, context, planned) if planned else (last, 0)
                await context.advance(session, done)
            if done and not analyzed:
                # The planner took the tables for empty, and keeps the plans that it made then.
                await context.analyze("link, member, family, family_member")
                analyzed = True
            more = bool(planned)


async def _households(session: AsyncSession, context: RunContext, planned: Sequence[Newcomer]) -> tuple[int, int]:
    """The first of these households, up to `_PEOPLE` people. Gives the last one looked at, and how many were done.

    A first household with more people than that is left to the engine.
    """
    read = [(one, household_from_snapshot(one.snapshot)) for one in planned]
    fitting = sum(total <= _PEOPLE for total in accumulate(len(household.person_ids) for _, household in read))
    if fitting == 0:
        return planned[0].change_id, 0
    read = read[:fitting]
    pco_ids = {pco_id for _, household in read for pco_id in household.person_ids}
    everybody = await newcomers.planned_people(session, context.owner, context.run_id, pco_ids)
    new = await _without_candidates(session, context, everybody.values())
    whole = [(one, household) for one, household in read if new.keys() >= set(household.person_ids)]
    members = {pco_id for _, household in whole for pco_id in household.person_ids}
    batch = _batch({pco_id: new[pco_id] for pco_id in sorted(members)}, whole)
    return read[-1][0].change_id, await _attempt(session, context, batch)


async def _people(session: AsyncSession, context: RunContext, planned: Sequence[Newcomer]) -> tuple[int, int]:
    batch = _batch(await _without_candidates(session, context, planned), [])
    return planned[-1].change_id, await _attempt(session, context, batch)


async def _without_candidates(
    session: AsyncSession, context: RunContext, planned: Collection[Newcomer]
) -> dict[str, tuple[Newcomer, RemotePerson]]:
    """Members can have been added since the comparison, and a candidate's counterpart can have gone."""
    read = {one.pco_id: (one, person_from_snapshot(one.snapshot)) for one in planned}
    # For a whole batch one look at everybody costs less than one at each.
    free = await anybody_free(session, context.owner)
    near = await may_be_here(session, context, [person for _, person in read.values()]) if free else set()
    return {pco_id: found for pco_id, found in read.items() if pco_id not in near}


def _batch(
    people: Mapping[str, tuple[Newcomer, RemotePerson]], households: Sequence[tuple[Newcomer, RemoteHousehold]]
) -> _Batch:
    members = {pco_id: str(one.record_id) for pco_id, (one, _) in people.items()}
    return _Batch(people, households, [_family(one, household, members) for one, household in households])


async def _attempt(session: AsyncSession, context: RunContext, batch: _Batch) -> int:
    """Gives how many plans were carried out: all, or none."""
    if not batch.people:
        return 0
    try:
        async with session.begin_nested():
            await _write(session, context, batch)
    except _Linked:
        return 0
    return len(batch.people) + len(batch.households)


async def _write(session: AsyncSession, context: RunContext, batch: _Batch) -> None:
    now, owner, new = context.now(), context.owner, batch.people.values()
    await newcomers.insert_members(session, owner, [_member(one, person) for one, person in new], now)
    await newcomers.insert_families(session, owner, batch.families, now)
    people_agreed = [(one, one.snapshot["values"] | {ACTIVE: person.active}) for one, person in new]
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
    linked = await newcomers.insert_links(session, owner, MEMBER, people_agreed, now) and await newcomers.insert_links(
        session, owner, FAMILY, families_agreed, now
    )
    if not linked:
        raise _Linked
    plans = [*(one for one, _ in new), *(one for one, _ in batch.households)]
    await no_longer_held(session, owner, list(batch.people))
    await newcomers.note_done(session, [one.change_id for one in plans])
    await insert_effects(session, _effects(context, batch))
    await append_all(session, _facts(context, batch))


def _member(one: Newcomer, person: RemotePerson) -> dict[str, Any]:
    values = person.values
    return {
        "id": str(one.record_id),
        **to_json(values),
        "name_key": name_key(values.first_name, values.last_name),
        "email_key": email_key(values.email),
        "active": person.active,
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


def _effects(context: RunContext, batch: _Batch) -> list[dict[str, Any]]:
    rows = [noted(context, MEMBER, one.record_id, CREATED, None, one.pco_id) for one, _ in batch.people.values()]
    for (one, _), family in zip(batch.households, batch.families, strict=True):
        rows.append(noted(context, FAMILY, one.record_id, CREATED, None, one.pco_id))
        rows += [
            noted(context, FAMILY, one.record_id, MEMBERS, None, member, rule="changed") for member in family["members"]
        ]
    return rows


def _facts(context: RunContext, batch: _Batch) -> list[Event]:
    now, of_member = context.now(), dict[str, list[str]]()
    for family in batch.families:
        for member in family["members"]:
            of_member.setdefault(member, []).append(family["id"])
    times: dict[str, Any] = {"version": 1, "created_at": now, "updated_at": now}
    facts: list[Event] = []
    for one, person in batch.people.values():
        member = people.Member(
            id=str(one.record_id),
            **as_dict(person.values),
            active=person.active,
            family_ids=tuple(sorted(of_member.get(str(one.record_id), ()))),
            link=people.PlanningCenterLink(pco_id=one.pco_id, state="linked"),
            **times,
        )
        facts.append(MemberChanged(organization_id=context.organization_id, version=1, member=member, changed_at=now))
    for (one, household), row in zip(batch.households, batch.families, strict=True):
        family_ = people.Family(
            id=row["id"],
            name=household.name,
            member_ids=tuple(sorted(row["members"])),
            primary_contact_id=row["primary_contact_id"],
            link=people.PlanningCenterLink(pco_id=one.pco_id, state="linked"),
            **times,
        )
        facts.append(FamilyChanged(organization_id=context.organization_id, version=1, family=family_, changed_at=now))
    return facts
