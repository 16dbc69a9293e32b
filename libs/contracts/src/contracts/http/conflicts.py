"""conflict-service: conflicts counted, listed and decided, one or many at once."""

from typing import Literal

from pydantic import Field

from contracts.base import Model, Timestamp
from contracts.conflicts import Choice, ConflictField, ConflictRecord
from contracts.http.common import Intent, ListQuery, PageQuery

ConflictState = Literal["open", "resolving", "resolved", "agreed_elsewhere", "withdrawn"]
"""`resolving`: a decision was made and is being carried out on both sides."""


class Decision(Model):
    """Choices for one conflict, by a person or a rule that a person made, and their outcome."""

    id: str
    """Id of the decision."""
    choices: dict[str, Choice] = Field(description="Side chosen, by field.")
    fields: tuple[ConflictField, ...] = Field(description="The values on both sides when the decision was made.")
    decided_by_name: str | None = Field(description="The person's name, or the rule's.")
    rule_id: str | None = Field(default=None, description="The rule that decided; null for a person.")
    decided_at: Timestamp
    """When it was decided."""
    outcome: Literal["waiting", "applied", "overtaken", "not_needed"] = Field(
        description="`overtaken`: a value had moved, or it could not be carried out: `sentence` says what stays. "
        "`not_needed`: the conflict was over before."
    )
    sentence: str | None = Field(default=None, description="Why the decision was not applied.")
    refused: tuple[str, ...] = Field(
        default=(), description="In words, the values that Planning Center refused; the next sync sends them again."
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
    """State of the conflict."""
    version: int
    """Grows with every state of the conflict."""
    values_version: int = Field(
        default=1,
        description="Grows when a value of `fields` changes, and with nothing else: a decision is bound to it.",
    )
    decision: Decision | None = Field(default=None, description="The newest decision.")
    opened_at: Timestamp
    """When it was found."""
    updated_at: Timestamp
    """When it was changed last."""


class Decide(Intent):
    """An answer to one conflict: a choice for each of its fields."""

    values_version: int = Field(ge=1, description="`values_version` of the conflict as shown.")
    choices: dict[str, Choice] = Field(min_length=1, max_length=100)
    """For each field of the conflict, the side whose value both sides get."""


class ConflictFilter(Intent):
    """Filters of conflicts; a null filter is not applied."""

    family_id: str | None = Field(default=None, max_length=60)
    """Conflicts of this family and its members."""
    record_id: str | None = Field(default=None, max_length=60, description="Id of the member or family in conflict.")
    field: str | None = Field(default=None, max_length=60, description="The conflict includes this field.")
    child: bool | None = Field(default=None, description="Whether the member is a child.")
    one_side_empty: bool | None = Field(default=None, description="Whether a side has no value in one of the fields.")
    older_than_days: int | None = Field(
        default=None, ge=0, le=36_500, description="The conflict is older than this many days."
    )
    newer: Literal["ours", "theirs"] | None = Field(
        default=None,
        description="The side with the newest edit of the fields that both sides have edited. A conflict without a "
        "certain newest edit fits neither.",
    )


class ConflictListFilter(ConflictFilter, ListQuery):
    """Filters of the conflicts' list."""

    state: ConflictState = "open"
    """Conflicts in this state."""
    bulk_id: str | None = Field(
        default=None, max_length=60, description="The newest decision belongs to this bulk answer."
    )
    rule_id: str | None = Field(default=None, max_length=60, description="The newest decision was made by this rule.")


class ConflictQuery(ConflictListFilter, PageQuery):
    """A page of them."""


BulkAnswer = Literal["ours", "theirs", "both", "filled"]
"""`filled`: the side that has a value while the other side is empty."""


class BulkInput(ConflictFilter):
    """One answer for every open conflict that fits the filters.

    An edit on one side alone is kept. With `field` the answer applies to that field alone: conflicts with other
    colliding fields are left out. So are conflicts that cannot have the answer.
    """

    answer: BulkAnswer
    """The answer to all matching conflicts."""


class BulkSample(Model):
    """One of the conflicts shown, with the choice for each of its fields."""

    conflict: Conflict
    """The conflict as it is shown."""
    choices: dict[str, Choice]
    """Side that would be chosen, by field."""


class Bulk(Model):
    """A bulk answer to conflicts, its counts and its progress."""

    id: str
    """Id of this bulk answer."""
    answer: BulkAnswer
    """The answer."""
    field: str | None = None
    """The field that the answer is for; null for all."""
    digest: str = Field(description="Digest of the shown conflicts, their values and the answer.")
    count: int = Field(description="Number of conflicts that would be decided.")
    left_out: int = Field(description="Number of conflicts that fit the filters but would stay open.")
    state: Literal["shown", "working", "done"]
    """`shown` until a person agrees, `working` while the answer is carried out."""
    done: int = Field(description="Number of conflicts processed: decided or skipped.")
    skipped: int = Field(description="Number of conflicts left open because they changed after being shown.")
    waiting: int = Field(description="Number of decisions being carried out.")
    applied: int = Field(description="Number of decisions carried out.")
    not_needed: int = Field(description="Number of decided conflicts that ended before their decision was carried out.")
    overtaken: int = Field(description="Decided and not carried out: a value moved. These conflicts are open again.")
    refused: int = Field(description="Number of carried out decisions of which Planning Center refused a part.")
    created_at: Timestamp
    """When it was made."""
    finished_at: Timestamp | None = None
    """When it was done; null until then."""


class BulkPreview(Bulk):
    """The effect that a bulk answer to conflicts would have. No conflict is decided yet."""

    samples: tuple[BulkSample, ...] = Field(description="The first ten conflicts.")


class AnswerBulk(Intent):
    """Decide the conflicts that were shown."""

    digest: str = Field(max_length=100, description="Digest of the shown preview.")


class BulkSkipped(Model):
    """A conflict left open because it changed after being shown."""

    conflict_id: str
    """Id of the conflict."""
    name: str
    """Name of the person or family."""
    sentence: str
    """Why the conflict was left open, in words."""


class ConflictCount(Model):
    """Number of conflicts that wait for a person."""

    open: int
    """Conflicts that wait for a person."""
