"""The broadcast topics: every process hands every fact to its own live clients."""

from contracts.base import Event
from contracts.topics import TOPICS
from contracts.values import WEBHOOK_GATEWAY
from servicekit.kafka.subscriptions import EventHeaders, Subscription, subscribe_broadcast
from webhook_gateway.resources import Resources


async def on_fact(fact: Event, headers: EventHeaders, resources: Resources) -> None:  # noqa: ARG001
    """To the browsers of this fact's organization."""
    resources.live.publish(fact)


def on_gap(resources: Resources) -> None:
    """Facts may have been missed by this process: its clients read again."""
    resources.live.reread()


def subscriptions() -> tuple[Subscription, ...]:
    """One for each topic that the registry marks as broadcast to the gateway; groups are new in every process."""
    return tuple(
        subscribe_broadcast(
            topic.name, service=WEBHOOK_GATEWAY, handlers=dict.fromkeys(topic.events, on_fact), on_gap=on_gap
        )
        for topic in TOPICS.values()
        if WEBHOOK_GATEWAY in topic.broadcast
    )
