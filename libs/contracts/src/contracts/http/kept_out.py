"""Members and families that an administrator keeps out of the sync."""

from typing import Literal

from pydantic import Field

from contracts.base import Model, Timestamp


class KeptOut(Model):
    """Whether a record is kept out of the sync, and who said so. It stays as it is on both sides meanwhile."""

    record_kind: Literal["member", "family"]
    """Whether it is a member or a family."""
    record_id: str
    """Id of the member or family."""
    kept_out: bool
    """Whether it is kept out."""
    by_name: str | None = Field(default=None, description="Who keeps it out.")
    at: Timestamp | None = Field(default=None, description="Since when.")
    family_id: str | None = Field(default=None, description="Of a member: the family with which they are kept out.")
    family_name: str | None = None
    """Name of that family."""
    people: int = Field(default=0, ge=0, description="Of a family: how many people are kept out with it.")
