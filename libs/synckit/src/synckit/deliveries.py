"""Planning Center's notices, and the gaps between them, from webhook-gateway's facts, for every service that reads what
they name.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.base import Event
from contracts.events.webhooks_delivery_v1 import WebhookReceived
from contracts.events.webhooks_subscription_v1 import DeliveryGapFound, SubscriptionsActive
from servicekit.kafka.outbox import Outgoing, append, append_outgoing, outgoing
from servicekit.kafka.subscriptions import Fact, Subscription, Together, subscribe
from synckit import gaps, hints
from synckit.connections import C
from synckit.gaps import Gaps
from synckit.hints import Hints
from synckit.refreshes import Refreshes, wake
from synckit.resources import SyncResources

Facts: TypeAlias = Sequence[Fact[WebhookReceived]]
Take: TypeAlias = Callable[[AsyncSession, Facts, datetime], Awaitable[None]]
"""Takes notices of one product in one transaction."""
OfOrganization: TypeAlias = Callable[[AsyncSession, str, Facts, datetime], Awaitable[list[Outgoing]]]
"""Takes notices of one organization. Gives the answers to those that need no read."""


def subscribe_deliveries(service: str, product: str, known: Hints, take: Take, *, after_loss: str) -> Subscription:
    """`webhooks.delivery.v1` in the service's group `<service>.webhooks`: the product's notices are taken together, and
    those that are rejected are answered.
    """

    async def on_received(facts: Facts, session: AsyncSession, resources: SyncResources) -> None:
        await take(session, [fact for fact in facts if fact.event.product == product], resources.clock.now())

    async def on_rejected(event: Event | None, cause: str, session: AsyncSession, resources: SyncResources) -> None:
        if isinstance(event, WebhookReceived) and event.product == product:
            await append(session, hints.failed(known, event, cause, resources.clock.now()))

    return subscribe(
        "webhooks.delivery.v1",
        group=f"{service}.webhooks",
        handlers={WebhookReceived: Together(on_received)},
        on_rejected=on_rejected,
        after_loss=after_loss,
    )


def subscribe_gaps(service: str, known: Gaps, *, after_loss: str) -> Subscription:
    """`webhooks.subscription.v1` in the service's group `<service>.subscriptions`: windows to read again are noted."""

    async def on_gap(event: DeliveryGapFound, session: AsyncSession, resources: SyncResources) -> None:
        await gaps.found(session, known, event, resources.clock.now())

    async def on_active(event: SubscriptionsActive, session: AsyncSession, resources: SyncResources) -> None:
        await gaps.subscribed(session, known, event, resources.clock.now())

    return subscribe(
        "webhooks.subscription.v1",
        group=f"{service}.subscriptions",
        handlers={DeliveryGapFound: on_gap, SubscriptionsActive: on_active},
        after_loss=after_loss,
    )


async def take_by_organization(session: AsyncSession, facts: Facts, now: datetime, take: OfOrganization) -> None:
    """Take notices organization by organization, in one order everywhere, and publish the answers at the end."""
    by_organization: dict[str, list[Fact[WebhookReceived]]] = {}
    for fact in facts:
        by_organization.setdefault(fact.event.organization_id, []).append(fact)
    answers: list[Outgoing] = []
    for organization_id in sorted(by_organization):
        answers += await take(session, organization_id, by_organization[organization_id], now)
    await append_outgoing(session, answers)


async def held_connection(
    session: AsyncSession,
    refreshes: Refreshes,
    connections: type[C],
    organization_id: str,
    asks: Callable[[C | None], bool],
) -> C | None:
    """The organization's connection. If something is to be read (`asks`), its job is woken, and the connection cannot
    end before this transaction does, because its end ends all queued refreshes.
    """
    connection = await session.get(connections, organization_id)
    if not asks(connection):
        return connection
    if connection is not None and connection.state == "connected":
        await wake(session, refreshes, organization_id)
    query = select(connections).where(connections.organization_id == organization_id)
    held = query.with_for_update(read=True).execution_options(populate_existing=True)
    found: C | None = await session.scalar(held)
    return found


def ignored(
    session: AsyncSession, known: Hints, answers: Iterable[tuple[Fact[WebhookReceived], str]], now: datetime
) -> list[Outgoing]:
    """The answers to notices that need no read, each with its sentence, in the flow of its notice."""
    told: list[Outgoing] = []
    for fact, sentence in answers:
        with fact.flow():
            told += outgoing(session, hints.ignored(known, fact.event, sentence, now))
    return told
