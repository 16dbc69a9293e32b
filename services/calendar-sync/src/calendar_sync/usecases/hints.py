"""Notices of Planning Center: each asks for a refresh of its event, and is answered when that ends."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from calendar_sync.domain.hints import Known, pco_id_of, why_ignored
from calendar_sync.storage.links import Owner
from calendar_sync.storage.tables import CalendarConnection
from calendar_sync.usecases.refreshes import HINTS, REFRESHES, may_have_changed
from contracts.events.webhooks_delivery_v1 import WebhookReceived
from servicekit.kafka.outbox import Outgoing, append_outgoing, outgoing
from servicekit.kafka.subscriptions import Fact
from synckit import hints
from synckit.refreshes import wake

_Facts = Sequence[Fact[WebhookReceived]]


async def take(session: AsyncSession, facts: _Facts, now: datetime) -> None:
    """Queue refreshes for these notices, and answer those that need none."""
    by_organization: dict[str, list[Fact[WebhookReceived]]] = {}
    for fact in facts:
        by_organization.setdefault(fact.event.organization_id, []).append(fact)
    answers: list[Outgoing] = []
    for organization_id in sorted(by_organization):
        answers += await _of_organization(session, organization_id, by_organization[organization_id], now)
    await append_outgoing(session, answers)


async def _of_organization(session: AsyncSession, organization_id: str, facts: _Facts, now: datetime) -> list[Outgoing]:
    connection = await session.get(CalendarConnection, organization_id)
    if any(why_ignored(fact.event, _known(connection)) is None for fact in facts):
        assert connection is not None
        if connection.state == "connected":
            await wake(session, REFRESHES, organization_id)
        # The connection cannot end before this transaction does: its end ends all queued refreshes.
        query = select(CalendarConnection).where(CalendarConnection.organization_id == organization_id)
        query = query.with_for_update(read=True).execution_options(populate_existing=True)
        connection = await session.scalar(query)
    known = _known(connection)
    said = [(fact, why_ignored(fact.event, known)) for fact in facts]
    asking = [fact for fact, sentence in said if sentence is None]
    if asking:
        assert connection is not None
        owner = Owner(organization_id, connection.pco_organization_id)
        rows: dict[str, UUID] = {}
        # In one order, because another transaction may request the same events.
        for pco_id in sorted({pco_id_of(fact.event) for fact in asking}):
            rows[pco_id] = (await may_have_changed(session, owner, pco_id, now, woken=True)).id
        await hints.note(session, HINTS, [hints.columns_of(fact.event, rows[pco_id_of(fact.event)]) for fact in asking])
    told: list[Outgoing] = []
    for fact, sentence in said:
        if sentence is not None:
            with fact.flow():
                told += outgoing(session, hints.ignored(HINTS, fact.event, sentence, now))
    return told


def _known(connection: CalendarConnection | None) -> Known | None:
    return None if connection is None else Known(connection.state, connection.generation)
