"""conflict-service: conflicts counted, listed and decided, one or many at once."""

from typing import Literal

from pydantic import Field

from contracts.base import Model, Timestamp
from contracts.conflicts import Choice, ConflictField, ConflictRecord
from contracts.http.common import Intent, PageQuery

ConflictState = Literal["open", "resolving", "resolved", "agreed_elsewhere", "withdrawn"]
"""`resolving`: somebody decided, and the decision is carried out on both sides."""


class Decision(Model):
    """Choices for one conflict, by a person or a rule that a person made, and their outcome."""

    id: str
    """Id of the decision."""
    choices: dict[str, Choice] = Field(description="By field.")
    fields: tuple[ConflictField, ...] = Field(description="The values that were chosen from.")
    decided_by_name: str | None = Field(description="The person's name, or the rule's.")
    rule_id: str | None = Field(default=None, description="Of the rule that decided; null for a person.")
    decided_at: Timestamp
    """When it was decided."""
    outcome: Literal["waiting", "applied", "overtaken", "not_needed"] = Field(
        description="`overtaken`: a value had moved, or it could not be carried out: `sentence` says what stays. "
        "`not_needed`: the conflict was over before."
    )
    sentence: str | None = Field(default=None, description="Why it was not applied.")
    refused: tuple[str, ...] = Field(
        default=(), description="What Planning Center did not take, in words; the next sync sends it again."
    )
    settled_at: Timestamp | None = None
    """When its outcome was known."""


class Conflict(Model):
    """One conflict with its differing fields."""

    id: str
    """Id of the conflict."""
    record: ConflictRecord
    """The member or family that the conflict is about."""
    fields: tuple[ConflictField, ...]
    """The fields that collide."""
    state: ConflictState
    """Where the conflict stands."""
    version: int
    """Grows with every state of the conflict."""
    values_version: int = Field(
        default=1,
        description="Grows when a value of `fields` changes, and with nothing else: a decision is bound to it.",
    )
    decision: Decision | None = Field(default=None, description="The newest one.")
    opened_at: Timestamp
    """When it was found."""
    updated_at: Timestamp
    """When it was changed last."""


class Decide(Intent):
    """An answer to one conflict: a choice for each of its fields."""

    values_version: int = Field(ge=1, description="Of the conflict as it was shown.")
    choices: dict[str, Choice] = Field(min_length=1, max_length=100)
    """For each field of the conflict, the side whose value both get."""


class ConflictFilter(Intent):
    """Filters of conflicts; one that is None filters nothing."""

    family_id: str | None = Field(default=None, max_length=60)
    """Conflicts of this family and its members."""
    record_id: str | None = Field(default=None, max_length=60, description="Of the member or family in conflict.")
    field: str | None = Field(default=None, max_length=60, description="The conflict is about this field, too.")
    child: bool | None = Field(default=None, description="Whether the member is a child.")
    one_side_empty: bool | None = Field(default=None, description="Whether a side has no value in one of the fields.")
    older_than_days: int | None = Field(default=None, ge=0, le=36_500, description="The conflict is older.")
    newer: Literal["ours", "theirs"] | None = Field(
        default=None,
        description="The side with the newest edit of the fields that both sides have edited. A conflict of which that "
        "is not certain fits neither.",
    )


class ConflictQuery(ConflictFilter, PageQuery):
    """Filters of the conflicts' list."""

    state: ConflictState = "open"
    """Conflicts in this state."""
    bulk_id: str | None = Field(default=None, max_length=60, description="Decided last by this answer to many.")
    rule_id: str | None = Field(default=None, max_length=60, description="Decided last by this rule.")


BulkAnswer = Literal["ours", "theirs", "both", "filled"]
"""`filled`: the side that has a value, where the other one is empty."""


class BulkInput(ConflictFilter):
    """One answer for every open conflict that fits the filters.

    An edit that collides with nothing is kept, whichever side made it. With `field` the answer is for that field alone:
    a conflict in which other fields collide too is left out. So is one that cannot have the answer.
    """

    answer: BulkAnswer
    """The answer to all of them."""


class BulkSample(Model):
    """One of the conflicts shown, and what would be chosen for each of its fields."""

    conflict: Conflict
    """The conflict as it is shown."""
    choices: dict[str, Choice]
    """By field."""


class Bulk(Model):
    """One answer to many conflicts: what was shown, and how far it is carried out."""

    id: str
    """Id of this answer to many."""
    answer: BulkAnswer
    """The answer."""
    field: str | None = None
    """The field that the answer is for; null for all."""
    digest: str = Field(description="Of exactly the conflicts shown, their values and the answer.")
    count: int = Field(description="How many would be decided.")
    left_out: int = Field(description="How many fit the filters and are left as they are.")
    state: Literal["shown", "working", "done"]
    """`shown` until somebody agrees, `working` while it is carried out."""
    done: int = Field(description="How many were looked at: decided or skipped.")
    skipped: int = Field(description="How many moved since they were shown, and were left as they are.")
    waiting: int = Field(description="Decided, and being carried out.")
    applied: int = Field(description="Carried out.")
    not_needed: int = Field(description="Decided, and over before that was carried out.")
    overtaken: int = Field(description="Decided and not carried out: a value moved. These conflicts are open again.")
    refused: int = Field(description="Of those carried out: Planning Center did not take a part.")
    created_at: Timestamp
    """When it was made."""
    finished_at: Timestamp | None = None
    """When it was done; null until then."""


class BulkPreview(Bulk):
    """The effect that one answer to many conflicts would have. Nothing was decided yet."""

    samples: tuple[BulkSample, ...] = Field(description="The first ten.")


class AnswerBulk(Intent):
    """Decide what was shown."""

    digest: str = Field(max_length=100, description="As shown.")


class BulkSkipped(Model):
    """A conflict that moved since it was shown, and was left as it is."""

    conflict_id: str
    """Id of the conflict."""
    name: str
    """Name of the person or family."""
    sentence: str
    """Why it was left, in words."""


class ConflictCount(Model):
    """How many conflicts wait for a person."""

    open: int
    """Conflicts that wait for a person."""
