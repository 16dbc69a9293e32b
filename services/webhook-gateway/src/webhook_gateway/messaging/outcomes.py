"""What the owners of the records report about deliveries: their outcomes, closed gaps, and erased people."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.webhooks_care_v1 import GapReconciled, PersonErased
from contracts.events.webhooks_outcome_v1 import WebhookApplied
from servicekit.kafka.subscriptions import Fact, Together, subscribe
from webhook_gateway.resources import Resources
from webhook_gateway.usecases.gaps import close
from webhook_gateway.usecases.outcomes import note
from webhook_gateway.usecases.payloads import erase


async def on_applied(facts: Sequence[Fact[WebhookApplied]], session: AsyncSession, _: Resources) -> None:
    """Note the outcomes in the delivery log."""
    await note(session, [fact.event for fact in facts])


async def on_reconciled(fact: GapReconciled, session: AsyncSession, _: Resources) -> None:
    """Close the gap."""
    await close(session, fact)


async def on_erased(fact: PersonErased, session: AsyncSession, _: Resources) -> None:
    """Delete what deliveries say of the person."""
    await erase(session, fact)


outcomes = subscribe(
    "webhooks.outcome.v1",
    group="webhook-gateway.outcomes",
    handlers={WebhookApplied: Together(on_applied)},
    after_loss="nothing to do: whatever was applied stays applied; send deliveries that stay waiting again on Activity",
)
care = subscribe(
    "webhooks.care.v1",
    group="webhook-gateway.care",
    handlers={GapReconciled: on_reconciled, PersonErased: on_erased},
    after_loss="nothing to do for gaps, which stay open and are shown; contents of deliveries go with their retention",
)
