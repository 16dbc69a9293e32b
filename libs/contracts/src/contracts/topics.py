"""The registry of topics, read by provisioning, documents and wiring tests.

Names are `<context>.<entity>.v<major>`. A breaking change is a new topic beside the old one. `partitions` bounds the
replicas of every consumer (`partitions >= replicas`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType

from contracts.base import Event
from contracts.events import (
    auth_connection_v1,
    calendar_event_v1,
    calendar_sync_run_v1,
    conflicts_conflict_v1,
    conflicts_resolution_v1,
    people_conflict_v1,
    people_record_v1,
    people_sync_run_v1,
    webhooks_care_v1,
    webhooks_delivery_v1,
    webhooks_outcome_v1,
    webhooks_subscription_v1,
)
from contracts.values import (
    AUTH_SERVICE,
    CALENDAR_SYNC,
    CONFLICT_SERVICE,
    PEOPLE_SYNC,
    PLATFORM,
    WEBHOOK_GATEWAY,
)

DAY_HOURS = 24
DEAD_LETTER_RETENTION_HOURS = 30 * DAY_HOURS


@dataclass(frozen=True, slots=True)
class Compaction:
    """Compaction of a topic, in hours. The next write to a partition closes its segment, not a clock."""

    max_lag_hours: int = DAY_HOURS
    """A message replaced by a later one or a tombstone is gone after this."""
    segment_hours: int = 6
    """A segment is closed after this, since only closed segments are compacted."""
    tombstone_hours: int = 14 * DAY_HOURS
    """A consumer that was away longer has missed tombstones and keeps deleted records: it must rebuild."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic and its agreed settings."""

    name: str
    key: str
    """Description of the key."""
    events: tuple[type[Event], ...]
    producers: tuple[str, ...]
    consumers: tuple[str, ...] = ()
    """Services that consume with a shared group from earliest, each with a dead-letter topic."""
    broadcast: tuple[str, ...] = ()
    """Services of which every process must see every fact: a group per process, from latest, no dead letters."""
    partitions: int = 12
    retention_hours: int | None = 14 * DAY_HOURS
    """None for a compacted topic, which keeps the last message of every key."""
    compaction: Compaction = Compaction()
    """Compaction settings, used if the topic is compacted."""
    _types: dict[str, type[Event]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._types.update({event.__name__: event for event in self.events})

    @property
    def compacted(self) -> bool:
        """Whether the topic keeps the last message of every key instead of a window of time."""
        return self.retention_hours is None

    def dead_letter(self, consumer: str) -> str:
        """The dead-letter topic of `consumer`."""
        return f"{self.name}.{consumer}.dlq"

    def event_type(self, name: str) -> type[Event] | None:
        """The message class of a CloudEvents type, None if unknown to this topic."""
        return self._types.get(name)


def _events(module: ModuleType, *names: str) -> tuple[type[Event], ...]:
    return tuple(getattr(module, name) for name in names)


TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic(
            "auth.connection.v1",
            key="organization",
            events=_events(
                auth_connection_v1,
                "ConnectionAuthorized",
                "ConnectionClosing",
                "ConnectionRevoked",
                "ReconnectRequired",
            ),
            producers=(AUTH_SERVICE,),
            consumers=(PEOPLE_SYNC, CALENDAR_SYNC, WEBHOOK_GATEWAY),
            broadcast=(WEBHOOK_GATEWAY,),
        ),
        Topic(
            "webhooks.subscription.v1",
            key="organization",
            events=_events(webhooks_subscription_v1, "SubscriptionsActive", "SubscriptionsRemoved", "DeliveryGapFound"),
            producers=(WEBHOOK_GATEWAY,),
            consumers=(AUTH_SERVICE, PEOPLE_SYNC, CALENDAR_SYNC),
            broadcast=(WEBHOOK_GATEWAY,),
        ),
        Topic(
            "webhooks.delivery.v1",
            key="organization + resource",
            events=_events(webhooks_delivery_v1, "WebhookReceived"),
            producers=(WEBHOOK_GATEWAY,),
            consumers=(PEOPLE_SYNC, CALENDAR_SYNC),
        ),
        Topic(
            "webhooks.outcome.v1",
            key="delivery",
            events=_events(webhooks_outcome_v1, "WebhookApplied"),
            producers=(PEOPLE_SYNC, CALENDAR_SYNC),
            consumers=(WEBHOOK_GATEWAY,),
            broadcast=(WEBHOOK_GATEWAY,),
        ),
        Topic(
            "webhooks.care.v1",
            key="organization",
            events=_events(webhooks_care_v1, "GapReconciled", "PersonErased"),
            producers=(PEOPLE_SYNC, CALENDAR_SYNC),
            consumers=(WEBHOOK_GATEWAY,),
        ),
        Topic(
            "people.record.v1",
            key="record",
            events=_events(people_record_v1, "MemberChanged", "MemberRemoved", "FamilyChanged", "FamilyRemoved"),
            producers=(PEOPLE_SYNC,),
            consumers=(PLATFORM,),
            broadcast=(WEBHOOK_GATEWAY,),
            retention_hours=None,
        ),
        Topic(
            "people.sync-run.v1",
            key="organization",
            events=_events(
                people_sync_run_v1, "SyncRunStarted", "SyncRunProgressed", "SyncRunFinished", "HeldMatchesAnswered"
            ),
            producers=(PEOPLE_SYNC,),
            broadcast=(WEBHOOK_GATEWAY,),
        ),
        Topic(
            "people.conflict.v1",
            key="record",
            events=_events(
                people_conflict_v1,
                "ConflictDetected",
                "ConflictConverged",
                "ConflictWithdrawn",
                "ResolutionApplied",
                "ResolutionOvertaken",
                "RecordErased",
            ),
            producers=(PEOPLE_SYNC,),
            consumers=(CONFLICT_SERVICE,),
        ),
        Topic(
            "conflicts.resolution.v1",
            key="record",
            events=_events(conflicts_resolution_v1, "ConflictResolved", "ConflictsErased"),
            producers=(CONFLICT_SERVICE,),
            consumers=(PEOPLE_SYNC,),
        ),
        Topic(
            "conflicts.conflict.v1",
            key="conflict",
            events=_events(conflicts_conflict_v1, "ConflictOpened", "ConflictClosed"),
            producers=(CONFLICT_SERVICE,),
            broadcast=(WEBHOOK_GATEWAY,),
            retention_hours=None,
        ),
        Topic(
            "calendar.event.v1",
            key="event",
            events=_events(calendar_event_v1, "EventChanged", "EventLinked", "EventUnlinked", "EventRemoved"),
            producers=(CALENDAR_SYNC,),
            consumers=(PLATFORM,),
            broadcast=(WEBHOOK_GATEWAY,),
            retention_hours=None,
        ),
        Topic(
            "calendar.sync-run.v1",
            key="organization",
            events=_events(calendar_sync_run_v1, "SyncRunStarted", "SyncRunProgressed", "SyncRunFinished"),
            producers=(CALENDAR_SYNC,),
            broadcast=(WEBHOOK_GATEWAY,),
        ),
    )
}

_TOPIC_OF = {event: topic for topic in TOPICS.values() for event in topic.events}


def topic_of(event_type: type[Event]) -> Topic:
    """The topic of a message. KeyError if no topic has it, which is a defect, not an input error."""
    return _TOPIC_OF[event_type]


@dataclass(frozen=True, slots=True)
class Provision:
    """Broker settings of a topic."""

    name: str
    partitions: int
    retention_hours: int | None
    """None for a compacted topic."""
    compaction: Compaction = Compaction()


def provisions() -> Iterator[Provision]:
    """Every topic and dead-letter topic to provision."""
    for topic in TOPICS.values():
        yield Provision(topic.name, topic.partitions, topic.retention_hours, topic.compaction)
        for consumer in topic.consumers:
            if consumer != PLATFORM:
                yield Provision(topic.dead_letter(consumer), 1, DEAD_LETTER_RETENTION_HOURS)
