"""people-sync: two members here whose counterparts were merged into one person in Planning Center."""

from typing import Annotated, Literal

from pydantic import Field

from contracts.base import Model, Timestamp
from contracts.http.common import Intent, ListQuery, PageQuery
from contracts.http.inputs import Text
from contracts.people import Member

MergedState = Literal["open", "kept_two"]
"""`open`: waits for an answer. `kept_two`: an administrator answered that they are two people."""


class MergedFamily(Model):
    """A family of one of the two members."""

    id: str
    """Id of the family."""
    name: str
    """Name of the family."""
    primary_contact: bool = Field(description="Whether this member is its primary contact.")


class MergedMember(Model):
    """One of the two members, with the rows that joining would move."""

    member: Member
    """The member."""
    families: tuple[MergedFamily, ...]
    """Families of the member."""
    history: int = Field(description="Number of changes in the member's history.")


class MergedPair(Model):
    """Two members who share one person in Planning Center."""

    pco_id: str = Field(description="The person in Planning Center.")
    stays: MergedMember = Field(description="The member who is linked to the person.")
    joins: MergedMember = Field(description="The member whose own person was merged away; its id names the question.")
    fills: tuple[str, ...] = Field(description="Fields that only the member who would be joined has a value of.")
    differs: tuple[str, ...] = Field(description="Fields of which both members have different values.")
    may_be_mailed: bool = Field(
        description="Planning Center may mail the person: they sign in there, and email or phone could change."
    )
    state: MergedState
    """Whether the pair waits for an answer."""
    merged_at: Timestamp | None = Field(description="When the sync learnt of the merger.")


class MergedFilter(ListQuery):
    """Filters of the pairs."""

    state: MergedState | None = Field(
        default=None, description="State of the pairs; by default those that wait for an answer."
    )
    member_id: str | None = Field(default=None, max_length=40, description="Pairs of this member, in any state.")


class MergedQuery(MergedFilter, PageQuery):
    """A page of them."""


class AnswerMerged(Intent):
    """An administrator's answer whether the two members, as shown, are one person."""

    answer: Literal["join", "keep_two", "ask_again"] = Field(
        description="`ask_again` takes `keep_two` back, as long as it has created no person in Planning Center."
    )
    with_id: Annotated[Text, Field(max_length=40, description="The member who stays.")]
    version: int = Field(ge=1, description="Version of the member who would be joined, as shown.")
    with_version: int = Field(ge=1, description="Version of the member who stays, as shown.")
    take: tuple[Annotated[Text, Field(max_length=40)], ...] = Field(
        default=(),
        max_length=20,
        description="Fields of `differs` whose value is taken from the member who is joined.",
    )


class MergedAnswer(Model):
    """The pair after the answer."""

    member: Member = Field(description="The member who stays.")
    pair: MergedPair | None = Field(default=None, description="The other member; null once the two are one.")
