"""conflict-service: rules that decide conflicts by themselves, shown before they are on."""

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

    `active` is decided also where it was never agreed on. A condition that is None asks nothing.
    """

    fields: tuple[RuleField, ...] = Field(min_length=1, max_length=11)
    """Exactly these fields collide."""
    answer: RuleSide = Field(description="The side whose values both get.")
    older_than_days: int | None = Field(
        default=None, ge=1, le=36_500, description="Our values were changed longer ago, when the conflict is found."
    )
    empty: RuleSide | None = Field(default=None, description="This side has no value, and the other one has.")
    child: bool | None = Field(default=None, description="Whether the member is a child.")


class TurnOnRule(RuleCondition):
    """Turn a rule on, and decide the open conflicts that were shown."""

    digest: str = Field(max_length=100, description="As shown.")


class Rule(Model):
    """A rule, and the number of conflicts that it decided, by outcome."""

    id: str
    """Id of the rule."""
    name: str = Field(description="Made from the condition: all that the rule does, in words.")
    condition: RuleCondition
    """What the rule decides, and how."""
    on: bool
    """Whether it decides."""
    made_by_name: str | None
    """Name of who turned it on last."""
    made_at: Timestamp
    """When it was made."""
    changed_at: Timestamp = Field(description="When it was turned on or off last.")
    waiting: int = Field(description="Decided, and being carried out.")
    applied: int = Field(description="Carried out.")
    not_needed: int = Field(description="Decided, and over before that was carried out.")
    overtaken: int = Field(description="Decided and not carried out: a value moved. A person decides these.")
    bulk_id: str | None = Field(
        default=None, description="Of the answer to the conflicts that were open when it was turned on last."
    )


class RuleOffer(Model):
    """A rule that would have given the answers that people gave to one kind of conflict, several times in a row."""

    name: str
    """Made from the condition: all that the rule would do, in words."""
    condition: RuleCondition
    """What the rule decides, and how."""
    times: int = Field(description="How often in a row the answer was given.")


class DeclineOffer(Intent):
    """Do not offer a rule for conflicts about exactly these fields, until they were answered alike as often again."""

    fields: tuple[RuleField, ...] = Field(min_length=1, max_length=11)
    """The fields of the offer."""


class RulePastSample(Model):
    """A conflict that people decided, and that the rule would have decided too."""

    conflict_id: str
    """Id of the conflict."""
    record: ConflictRecord
    """The member or family that the conflict was about."""
    fields: tuple[ConflictField, ...] = Field(description="The values that were chosen from.")
    choices: dict[str, Choice] = Field(description="What people chose.")
    decided_by_name: str | None
    """Name of who decided it."""
    decided_at: Timestamp
    """When it was decided."""


class RulePast(Model):
    """The past of a rule tells what it would have decided of the newest decisions about these fields."""

    looked_at: int = Field(description="Decisions by people, the newest 1,000 at most.")
    same: int = Field(description="The rule would have decided the same.")
    different: int = Field(description="The rule would have decided otherwise.")
    same_samples: tuple[RulePastSample, ...] = Field(description="The newest ten.")
    different_samples: tuple[RulePastSample, ...] = Field(description="The newest ten.")


class RulePreview(Model):
    """The effect that a rule would have. Nothing was decided, and no rule is on."""

    name: str
    """Made from the condition: all that the rule would do, in words."""
    condition: RuleCondition
    """What the rule decides, and how."""
    digest: str = Field(description="Of the condition and exactly the open conflicts that it would decide.")
    past: RulePast
    """What it would have decided before."""
    count: int = Field(description="How many open conflicts it would decide now.")
    left_out: int = Field(
        description="How many more fit and stay open: another rule answers differently, a decision about them could "
        "not be carried out before, or more than 10,000 fit."
    )
    samples: tuple[BulkSample, ...] = Field(description="The first ten.")
