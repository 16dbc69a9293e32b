"""conflict-service: rules that decide conflicts automatically, previewed before they are turned on."""

from typing import Literal

from pydantic import Field

from contracts.base import Model, Timestamp
from contracts.conflicts import Choice, ConflictField, ConflictRecord
from contracts.http.common import Intent
from contracts.http.conflicts import BulkSample

RuleField = Literal[
    "first_name",
    "last_name",
    "birthdate",
    "gender",
    "child",
    "email",
    "phone",
    "address",
    "active",
    "name",
    "primary_contact",
]
RuleSide = Literal["ours", "theirs"]


class RuleCondition(Intent):
    """A rule decides conflicts about exactly these fields, each of them edited on both sides.

    `active` is decided even without an agreed value. A null condition is not applied.
    """

    fields: tuple[RuleField, ...] = Field(min_length=1, max_length=11)
    """The colliding fields, all of them."""
    answer: RuleSide = Field(description="The side whose values both sides get.")
    older_than_days: int | None = Field(
        default=None,
        ge=1,
        le=36_500,
        description="Our values were changed more than this many days before the conflict is found.",
    )
    empty: RuleSide | None = Field(default=None, description="This side has no value while the other one has.")
    child: bool | None = Field(default=None, description="Whether the member is a child.")


class TurnOnRule(RuleCondition):
    """Turn a rule on, and decide the open conflicts that were shown."""

    digest: str = Field(max_length=100, description="Digest of the shown preview.")


class Rule(Model):
    """A rule, and the number of conflicts it decided, by outcome."""

    id: str
    """Id of the rule."""
    name: str = Field(description="The rule's full effect in words, generated from its condition.")
    condition: RuleCondition
    """Condition and choice of the rule."""
    on: bool
    """Whether the rule is turned on."""
    made_by_name: str | None
    """Name of the person who turned the rule on last."""
    made_at: Timestamp
    """When the rule was made."""
    changed_at: Timestamp = Field(description="When the rule was turned on or off last.")
    waiting: int = Field(description="Number of decisions being carried out.")
    applied: int = Field(description="Number of decisions carried out.")
    not_needed: int = Field(description="Number of decided conflicts that ended before their decision was carried out.")
    overtaken: int = Field(description="Decided and not carried out: a value moved. A person decides these.")
    bulk_id: str | None = Field(
        default=None, description="The answer to the conflicts that were open when the rule was turned on last."
    )


class RuleOffer(Model):
    """A rule that would have given the answers that people gave to one kind of conflict, several times in a row."""

    name: str
    """The rule's full effect in words, generated from its condition."""
    condition: RuleCondition
    """Condition and choice of the rule."""
    times: int = Field(description="Number of times in a row that people gave this answer.")


class DeclineOffer(Intent):
    """Stop offering a rule for conflicts about exactly these fields until people have answered as many alike again."""

    fields: tuple[RuleField, ...] = Field(min_length=1, max_length=11)
    """The fields of the offer."""


class RulePastSample(Model):
    """A conflict decided by people that the rule would have decided as well."""

    conflict_id: str
    """Id of the conflict."""
    record: ConflictRecord
    """The member or family that the conflict was about."""
    fields: tuple[ConflictField, ...] = Field(description="The values on both sides when the decision was made.")
    choices: dict[str, Choice] = Field(description="The people's choice.")
    decided_by_name: str | None
    """Name of the person who decided."""
    decided_at: Timestamp
    """When the conflict was decided."""


class RulePast(Model):
    """The rule applied to people's newest decisions about these fields."""

    looked_at: int = Field(description="Number of decisions by people compared, at most the newest 1,000.")
    same: int = Field(description="Number of decisions equal to the rule's.")
    different: int = Field(description="Number of decisions different from the rule's.")
    same_samples: tuple[RulePastSample, ...] = Field(description="The newest ten equal decisions.")
    different_samples: tuple[RulePastSample, ...] = Field(description="The newest ten different decisions.")


class RulePreview(Model):
    """The effect that a rule would have. No conflict is decided and no rule turned on."""

    name: str
    """The rule's full effect in words, generated from its condition."""
    condition: RuleCondition
    """Condition and choice of the rule."""
    digest: str = Field(description="Digest of the condition and the open conflicts that the rule would decide.")
    past: RulePast
    """The rule compared with earlier decisions."""
    count: int = Field(description="Number of open conflicts that the rule would decide now.")
    left_out: int = Field(
        description="How many more fit and stay open: another rule answers differently, a decision about them could "
        "not be carried out before, or more than 10,000 fit."
    )
    samples: tuple[BulkSample, ...] = Field(description="The first ten conflicts.")
