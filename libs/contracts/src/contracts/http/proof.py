"""Proof of sync: the result of a nightly comparison of all records, and why one record differs."""

from pydantic import Field

from contracts.base import Model, Timestamp


class Statement(Model):
    """The result of one read-only comparison of all records."""

    run_id: str = Field(description="The run whose lists are behind the numbers.")
    at: Timestamp
    """When the comparison was made."""
    sentence: str = Field(description="The result for people.")
    people: int = Field(description="Number of people on either side, without those kept out of the sync.")
    people_identical: int
    """Number of people with equal values on both sides."""
    families: int
    """Number of families on either side, without those kept out of the sync."""
    families_identical: int
    """Number of families with equal values on both sides."""
    apart: dict[str, int] = Field(description="Number of differing people and families by reason.")
    kept_out: int
    """Number of people and families kept out of the sync."""
    changed: int = Field(description="Number of records that full syncs have changed since the previous statement.")


class WhyDifferent(Model):
    """Why one record differs between the sides."""

    reason: str | None = Field(
        default=None,
        description="Reason, named as in a statement's numbers; null if both sides are equal as far as known.",
    )
    sentence: str
    """The reason in words."""
    as_of: Timestamp | None = Field(default=None, description="When Planning Center's side was read last.")
