"""Proof of sync: what a nightly comparison of everybody found, and why one record differs."""

from pydantic import Field

from contracts.base import Model, Timestamp


class Statement(Model):
    """One comparison of everybody that wrote nothing."""

    run_id: str = Field(description="The lists behind the numbers are this run's.")
    at: Timestamp
    """When it was made."""
    sentence: str = Field(description="The result, about people.")
    people: int = Field(description="Everybody on either side, without those who are kept out of the sync.")
    people_identical: int
    """People who are the same on both sides."""
    families: int
    """Families on either side, likewise."""
    families_identical: int
    """Families that are the same on both sides."""
    apart: dict[str, int] = Field(description="Of people and families that differ, how many by reason.")
    kept_out: int
    """People and families that are kept out of the sync."""
    changed: int = Field(description="Records that syncs of everybody changed since the statement before.")


class WhyDifferent(Model):
    """Why one record is not the same on both sides."""

    reason: str | None = Field(
        default=None, description="As in a statement's numbers; null if both sides are the same as far as known."
    )
    sentence: str
    """The same in words."""
    as_of: Timestamp | None = Field(default=None, description="When Planning Center's side was read last.")
