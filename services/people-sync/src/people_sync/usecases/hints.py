"""Notices of Planning Center: each asks for a refresh of the records that it names, and is answered when that ends."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.webhooks_care_v1 import PersonErased
from contracts.events.webhooks_delivery_v1 import WebhookReceived
from contracts.values import FAMILY, MEMBER
from people_sync.domain.hints import (
    CONTACTS,
    ERASED,
    FIRST_SYNC_READS,
    PERSON,
    Concerned,
    Known,
    concerned,
    tells_of_an_end,
    why_ignored,
)
from people_sync.storage.erased import erased_there
from people_sync.storage.tables import Connection, Link
from people_sync.usecases.gaps import GAPS
from people_sync.usecases.refreshes import HINTED, HINTS, REFRESHES
from servicekit.kafka.outbox import Outgoing, outgoing
from servicekit.kafka.subscriptions import Fact
from synckit import gaps, hints
from synckit.among import among
from synckit.deliveries import Facts, held_connection, ignored, take_by_organization
from synckit.refreshes import Target, request_all


async def take(session: AsyncSession, facts: Facts, now: datetime) -> None:
    """Queue refreshes for these notices, and answer those that need none."""
    await take_by_organization(session, facts, now, _of_organization)


async def _of_organization(session: AsyncSession, organization_id: str, facts: Facts, now: datetime) -> list[Outgoing]:
    def asks(known: Connection | None) -> bool:
        return any(why_ignored(fact.event, _known(known)) is None for fact in facts)

    connection = await held_connection(session, REFRESHES, Connection, organization_id, asks)
    known = _known(connection)
    said = {fact.headers.id: why_ignored(fact.event, known) for fact in facts}
    of_first_sync = [fact.event for fact in facts if said[fact.headers.id] == FIRST_SYNC_READS]
    for gone in {tells_of_an_end(event) for event in of_first_sync}:
        assert known is not None
        await gaps.during_first_sync(session, GAPS, organization_id, known.generation, now, gone=gone)
    answers = [(fact, sentence) for fact in facts if (sentence := said[fact.headers.id])]
    left = [fact for fact in facts if not said[fact.headers.id]]
    if left:
        assert connection is not None
        owner = {"organization_id": organization_id, "pco_organization_id": connection.pco_organization_id}
        answers += await _request(session, owner, left, now)
    told = ignored(session, HINTS, answers, now)
    for fact, sentence in answers:
        if sentence == ERASED:
            with fact.flow():
                told += outgoing(session, _erased_before(fact.event, now))
    return told


def _erased_before(event: WebhookReceived, now: datetime) -> PersonErased:
    """What the delivery log has stored of an erased person since goes, too: of this notice alone, because the erasure
    itself was about all before it, and the log is searched whole for those.
    """
    own = event.resource_id if event.resource_type == PERSON else None
    people = [one for one in (own, event.person_id, event.merged_person_id) if one]
    return PersonErased(
        organization_id=event.organization_id,
        version=event.version,
        pco_person_ids=people,
        erased_at=now,
        delivery_number=event.version,
    )


def _known(connection: Connection | None) -> Known | None:
    return None if connection is None else Known(connection.state, connection.generation, connection.mirrored)


async def _request(
    session: AsyncSession, owner: Mapping[str, str], facts: Facts, now: datetime
) -> list[tuple[Fact[WebhookReceived], str]]:
    """Request refreshes. Gives the notices that need none, with the reason."""
    owners = await _owners(session, owner, facts)
    erased = (await erased_there(session, owner)).people
    asking: list[tuple[Concerned, Fact[WebhookReceived]]] = []
    answers: list[tuple[Fact[WebhookReceived], str]] = []
    for fact in facts:
        found = concerned(fact.event, owners.get((fact.event.resource_type, fact.event.resource_id), ()))
        if isinstance(found, str):
            answers.append((fact, found))
            continue
        left = [one for one in found if one.kind == FAMILY or one.pco_id not in erased]
        asking += [(one, fact) for one in left]
        if not left:
            answers.append((fact, ERASED))
    records = await _records(session, owner, {one for one, _ in asking})
    targets = {one: Target(one.kind, records.get(one), one.pco_id) for one, _ in asking}
    rows = await request_all(session, REFRESHES, owner, targets.values(), reason=HINTED, now=now)
    await hints.note(
        session,
        HINTS,
        [
            hints.columns_of(fact.event, rows[targets[one]]) | {"removed_id": fact.event.merged_person_id}
            for one, fact in asking
        ],
    )
    return answers


async def _owners(session: AsyncSession, owner: Mapping[str, str], facts: Facts) -> dict[tuple[str, str], list[str]]:
    """People, by contact, of notices that do not say whose contact it was."""
    unsaid = {
        (fact.event.resource_type, fact.event.resource_id)
        for fact in facts
        if fact.event.resource_type in CONTACTS and not fact.event.person_id
    }
    if not unsaid:
        return {}
    ids: dict[str, set[str]] = {}
    for type_, id_ in unsaid:
        ids.setdefault(type_, set()).add(id_)
    known = [among(Link.contacts[CONTACTS[type_]].astext, those) for type_, those in ids.items()]
    found: dict[tuple[str, str], list[str]] = {}
    for link in await session.scalars(select(Link).filter_by(**owner, kind=MEMBER).where(or_(*known))):
        for type_, name in CONTACTS.items():
            if (key := (type_, str(link.contacts.get(name)))) in unsaid:
                found.setdefault(key, []).append(link.pco_id)
    return found


async def _records(session: AsyncSession, owner: Mapping[str, str], those: set[Concerned]) -> dict[Concerned, UUID]:
    """Our records of these."""
    found = select(Link.kind, Link.pco_id, Link.record_id).filter_by(**owner)
    found = found.where(Link.kind.in_([MEMBER, FAMILY]), among(Link.pco_id, {one.pco_id for one in those}))
    return {Concerned(kind, pco_id): record_id for kind, pco_id, record_id in await session.execute(found)}
