"""webhook-gateway: the delivery log."""

from typing import Any, Literal

from pydantic import AwareDatetime, Field

from contracts.base import Model, Timestamp
from contracts.http.common import Intent, ListQuery, Page, PageQuery

DeliveryState = Literal["waiting", "applied", "failed", "archived"]
"""waiting ──owner acted──▶ applied        failed ──archived by an administrator──▶ archived
  │ └──unreadable, or given up──▶ failed    └──sent again──▶ waiting"""
StepName = Literal["received", "verified", "stored", "published", "applied"]
MOST_COUNTED = 10_000
"""Lists are counted up to here."""


class ActivityHour(Model):
    """Deliveries that arrived within one hour, by their present state."""

    hour: Timestamp
    """When the hour begins."""
    received: int
    """Deliveries accepted."""
    applied: int
    """Received deliveries on which the owner has acted."""
    waiting: int
    """Received deliveries on which the owner has not acted yet."""
    failed: int
    """Received deliveries on which nobody could act, archived ones included."""
    refused: int
    """Calls that were refused and not stored."""
    more: bool = Field(description="The hour has more deliveries than were counted.")


class RefusedReason(Model):
    """Calls of the last 24 hours that were refused for one reason."""

    reason: str = Field(description="`not signed`, `too large` ...")
    count: int
    """How many."""
    last: Timestamp
    """When the newest one came."""


class Activity(Model):
    """The last 24 hours, hour by hour."""

    hours: tuple[ActivityHour, ...] = Field(description="25 hours, the oldest first: the first and last are parts.")
    refusals: tuple[RefusedReason, ...]
    """Why calls were refused."""
    failed: int = Field(description="Failed deliveries of any age that nobody archived.")
    failed_more: bool
    """There are more than that."""


class Delivery(Model):
    """One delivery in the log."""

    number: int
    """Its number in the log."""
    product: str
    """`people` or `calendar`."""
    name: str = Field(description="The vendor's event name; empty if the message cannot be read.")
    resource_type: str | None = None
    """The vendor's type of the resource that it is about."""
    resource_id: str | None = None
    """Id of that resource in Planning Center."""
    person_id: str | None = Field(default=None, description="Id in Planning Center of the person whose contact it is.")
    state: DeliveryState
    """Whether its owner has acted on it."""
    outcome: str | None = Field(
        default=None,
        description="`changed`, `unchanged`, `conflict`, `held`, `ignored`, `failed`, `unreadable` ...; null while it "
        "waits.",
    )
    sentence: str | None = None
    """The outcome in words; of a failure its cause."""
    record_kind: str | None = Field(default=None, description="`member`, `family` or `event`: the record here.")
    record_id: str | None = None
    """Id of the record here that it touched."""
    event_time: Timestamp | None = None
    """When the change happened at Planning Center, if the vendor says so."""
    received_at: Timestamp
    """When it arrived here."""
    applied_at: Timestamp | None = None
    """When the owner had acted; null while it waits."""
    replays: int
    """How often it was sent again."""


class DeliveryPage(Page[Delivery]):
    """One page of the log, the newest first."""

    more: bool = Field(description="There are more deliveries than `total`, which is counted up to 10,000.")


class DeliveryStep(Model):
    """One of the five steps of a delivery."""

    step: StepName
    """The name of the step."""
    at: Timestamp | None = None
    """When it was done; null if it is not."""
    sentence: str
    """Its outcome in words."""


class PayloadLook(Model):
    """An administrator's look at the values of a delivery."""

    user_name: str
    """Who looked."""
    reason: str
    """Why, in their words."""
    seen_at: Timestamp
    """When."""


class DeliveryDetails(Delivery):
    """One delivery with its steps."""

    delivery_id: str
    """The vendor's id of the delivery."""
    generation: int
    """The connection's generation that it was sent to."""
    merged_person_id: str | None = None
    """Of a merge: id in Planning Center of the person removed."""
    steps: tuple[DeliveryStep, ...]
    """The five steps, in order."""
    can_replay: bool
    """Whether it can be sent again; one that cannot be read cannot."""
    archived_by: str | None = None
    """Who archived it."""
    archived_note: str | None = None
    """Their note."""
    looks: tuple[PayloadLook, ...] = Field(description="Who saw the values in it, the newest first; 100 at most.")


class DeliveryPayload(Model):
    """The contents of a delivery."""

    number: int
    """The delivery's number in the log."""
    document: Any = Field(description="The message as JSON; null if there is none to show, or none that can be read.")
    masked: bool
    """Whether all values are hidden; otherwise those of children and of people of unknown age are."""
    sentence: str
    """What is shown, in words."""


class LookAtPayload(Intent):
    """See the values in a delivery. Who looked, when and why is shown beside it."""

    reason: str = Field(min_length=3, max_length=500, description="Why you need to see them.")


class DeliveryFilter(Intent):
    """Filters of deliveries; a null filter is not applied."""

    product: Literal["people", "calendar"] | None = None
    """Deliveries of this product."""
    name: str | None = Field(default=None, max_length=200, description="The vendor's event name.")
    state: DeliveryState | None = None
    """Deliveries in this state."""
    outcome: str | None = Field(default=None, max_length=60, description="Deliveries with this outcome.")
    cause: str | None = Field(default=None, max_length=2_000, description="The cause of a failure, word for word.")
    resource_type: str | None = Field(default=None, max_length=100, description="The vendor's type of the resource.")
    resource_id: str | None = Field(default=None, max_length=100, description="The resource's id in Planning Center.")
    record_id: str | None = Field(default=None, max_length=100, description="Id of the record here.")
    number: int | None = Field(default=None, ge=1, lt=2**63, description="The one delivery with this number.")
    since: AwareDatetime | None = None
    """Received at this time or later."""
    until: AwareDatetime | None = None
    """Received before this time."""


class DeliveryQuery(DeliveryFilter, PageQuery):
    """A page of the log."""


class ReplayPreview(Model):
    """The deliveries that would be sent again. Nothing was sent yet."""

    count: int
    """How many would be sent again."""
    newest: int = Field(description="Number of the newest delivery that was counted; 0 without any.")
    left_out: int = Field(description="Deliveries that fit the filters and cannot be read, so cannot be sent again.")
    digest: str
    """Digest of the filters and these numbers."""


class StartReplay(DeliveryFilter):
    """Send the deliveries again that were counted, with the same filters."""

    newest: int = Field(ge=0, lt=2**63, description="`newest` of the preview.")
    digest: str = Field(max_length=100, description="`digest` of the preview.")


class Replay(Model):
    """Deliveries that are sent again."""

    id: str
    """Id of this replay."""
    state: Literal["queued", "running", "done", "stopped"]
    """`stopped`: it could not be finished, and what is left was not sent again."""
    total: int
    """How many were counted."""
    done: int
    """How many were sent again so far."""
    waiting: int = Field(description="Of those: how many the owner has yet to act on; counted up to 10,000.")
    asked_by_name: str
    """Who asked for it."""
    asked_at: Timestamp
    """When."""
    finished_at: Timestamp | None = None
    """When it was done; null until then."""


class DeadLetters(Model):
    """Failed deliveries with the same cause."""

    cause: str
    """The cause in words."""
    count: int
    """How many."""
    newest: int = Field(description="Number of the newest one, which is an example too.")
    newest_at: Timestamp
    """When the newest one arrived."""
    oldest_at: Timestamp
    """When the oldest one arrived."""
    name: str
    """The vendor's event name of the newest one."""
    can_replay: bool
    """Whether they can be sent again; those that cannot be read cannot."""


class DeadLetterPage(Page[DeadLetters]):
    """Failed deliveries by cause, the most frequent cause first; 100 causes at most."""

    more: bool = Field(description="There are more than 10,000 failed deliveries; the newest 10,000 were grouped.")


class DeadLetterQuery(ListQuery):
    """Filters of failed deliveries."""

    product: Literal["people", "calendar"] | None = None
    """Those of this product."""


class ArchiveDeadLetters(Intent):
    """Archive the failed deliveries of one cause, up to the newest that was shown."""

    cause: str = Field(max_length=2_000, description="The cause, as it was shown.")
    newest: int = Field(ge=1, lt=2**63, description="`newest` of the group, as it was shown.")
    note: str = Field(min_length=3, max_length=500, description="Why nothing more is to be done about them.")


class Archived(Model):
    """Failed deliveries were archived."""

    archived: int
    """How many."""
    left: bool
    """There are more: archive again."""


class LogSettings(Model):
    """Settings of the delivery log."""

    kept_days: int
    """Days for which deliveries are kept."""


class LogSettingsInput(Intent):
    """Replace the settings of the delivery log."""

    kept_days: int = Field(ge=7, le=365, description="Days for which deliveries are kept.")
