"""Members and families that an administrator keeps out of the sync."""

from typing import Literal

from pydantic import Field

from contracts.base import Model, Timestamp


class KeptOut(Model):
    """Whether a record is kept out of the sync, and by whom. Meanwhile no sync changes it on either side."""

    record_kind: Literal["member", "family"]
    """Whether it is a member or a family."""
    record_id: str
    """Id of the member or family."""
    kept_out: bool
    """Whether the record is kept out."""
    by_name: str | None = Field(default=None, description="Name of the administrator who keeps it out.")
    at: Timestamp | None = Field(default=None, description="Since when the record is kept out.")
    family_id: str | None = Field(default=None, description="For a member: the family with which they are kept out.")
    family_name: str | None = None
    """Name of that family."""
    people: int = Field(default=0, ge=0, description="For a family: number of people kept out with it.")
