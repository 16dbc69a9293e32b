"""Conflicts as messages and answers carry them."""

from typing import Any, Final, Literal

from pydantic import Field

from contracts.base import Model, Timestamp

Choice = Literal["ours", "theirs", "both"]
"""`both`: keep the two values different until one of them changes again."""

STATUS: Final = "active"
"""The field of a member's active status. No sync changes it in Planning Center, so a decision can't be `ours`."""


class ConflictField(Model):
    """One field whose two sides have different values. Values are unformatted JSON."""

    field: str
    """Name of the field."""
    base: Any = Field(default=None, description="The last agreed value; null if there was none.")
    base_known: bool = Field(
        default=True,
        description="False if nothing was ever agreed: the two sides differed when the records were matched.",
    )
    ours: Any = None
    """The value here."""
    theirs: Any = None
    """The value in Planning Center."""
    ours_changed_at: Timestamp | None = Field(default=None, description="When `ours` was edited; null if not known.")
    theirs_changed_at: Timestamp | None = Field(
        default=None,
        description="When `theirs` was edited, in whole seconds. Known of an email, phone or address alone: Planning "
        "Center tells when a person or family was edited, not which field.",
    )
    theirs_changed_before: Timestamp | None = Field(
        default=None,
        description="If `theirs_changed_at` is not known: `theirs` was edited then or before, by the time of the "
        "person or family in Planning Center, or of the first read that showed it. Null if `theirs` was not edited.",
    )
    agreed_at: Timestamp | None = Field(default=None, description="When both sides last had `base`; null if not known.")


class ConflictRecord(Model):
    """Which record the conflict is about."""

    kind: str = Field(description="`member` or `family`.")
    id: str
    """Id of the member or family here."""
    name: str
    """Name of the person or family here."""
    pco_id: str
    """Id of the person or household in Planning Center."""
    family_ids: tuple[str, ...] = ()
    """Families of the member, or the family itself."""
    child: bool | None = Field(default=None, description="Whether the member is a child; null for a family.")
