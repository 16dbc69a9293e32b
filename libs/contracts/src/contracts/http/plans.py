"""Plans of runs: every write, field by field, before it happens; an undo is a plan as well."""

from typing import Any, Literal

from pydantic import Field

from contracts.base import Model
from contracts.http.common import Intent, PageQuery

Does = Literal["here", "there", "both", "conflict", "nothing"]
"""The side that would be written; `conflict`: both values stay, and a person decides."""


class PlanField(Model):
    """One field of a record in a plan. Values are JSON."""

    field: str
    """Name of the field."""
    agreed: Any = Field(default=None, description="The last agreed value.")
    agreed_known: bool = Field(default=True, description="False if nothing was ever agreed.")
    here: Any = None
    """The value here."""
    there: Any = None
    """The value in Planning Center."""
    after: Any = Field(default=None, description="The value on both sides afterwards; null in a conflict.")
    does: Does
    """The side that would be written."""


class PlanItem(Model):
    """One record of a plan."""

    record_kind: Literal["member", "family"]
    """Whether it is a member or a family."""
    record_id: str | None = Field(default=None, description="Id here; null for a person who is not here yet.")
    pco_id: str | None = None
    """Id in Planning Center, where it is known."""
    name: str
    """Name of the person or family."""
    outcome: str = Field(description="The expected outcome, named as in a run's numbers.")
    sentence: str | None = None
    """The expected effect in words."""
    may_be_mailed: bool = Field(
        default=False,
        description="Planning Center may mail the person: they sign in there, and email or phone would change.",
    )
    fields: tuple[PlanField, ...] = ()
    """The fields that would change or are in conflict."""


class PlanQuery(PageQuery):
    """Filters of a plan."""

    outcome: str | None = Field(default=None, max_length=60)
    """Records with this outcome."""


class UndoInput(Intent):
    """Exactly one field selects the changes to undo. An undo covers changes that the sync made in the last 30 days."""

    run_id: str | None = Field(default=None, max_length=40, description="Undo a whole run.")
    decision_id: str | None = Field(default=None, max_length=40, description="Undo one decision about a conflict.")
    rule_id: str | None = Field(default=None, max_length=40, description="Undo all decisions of a rule.")
    member_id: str | None = Field(default=None, max_length=40, description="Undo the sync's changes of this person.")
    family_id: str | None = Field(
        default=None, max_length=40, description="Undo the sync's changes of this family and its people."
    )
