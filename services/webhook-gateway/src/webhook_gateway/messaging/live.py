"""Subscriptions to the broadcast topics: every process hands every fact to its own live clients."""

from contracts.base import Event
from contracts.topics import TOPICS
from contracts.values import WEBHOOK_GATEWAY
from servicekit.kafka.subscriptions import EventHeaders, Subscription, subscribe_broadcast
from webhook_gateway.resources import Resources


async def on_fact(fact: Event, headers: EventHeaders, resources: Resources) -> None:  # noqa: ARG001
    """Send a fact to the browsers of its organization."""
    resources.live.publish(fact)


def on_gap(resources: Resources) -> None:
    """Make all clients read again, since this process may have missed facts."""
    resources.live.reread()


def subscriptions() -> tuple[Subscription, ...]:
    """One subscription for each topic broadcast to the gateway by the registry; each process has its own groups."""
    return tuple(
        subscribe_broadcast(
            topic.name, service=WEBHOOK_GATEWAY, handlers=dict.fromkeys(topic.events, on_fact), on_gap=on_gap
        )
        for topic in TOPICS.values()
        if WEBHOOK_GATEWAY in topic.broadcast
    )
