"""people-sync: two members here who are one person in Planning Center since their people were merged there."""

from typing import Annotated, Literal

from pydantic import Field

from contracts.base import Model, Timestamp
from contracts.http.common import Intent, PageQuery
from contracts.http.people import Text
from contracts.people import Member

MergedState = Literal["open", "kept_two"]
"""`open`: waits for an answer. `kept_two`: an administrator said that they are two people."""


class MergedFamily(Model):
    """A family of one of the two."""

    id: str
    """Id of the family."""
    name: str
    """Name of the family."""
    primary_contact: bool = Field(description="Whether this member is its primary contact.")


class MergedMember(Model):
    """One of the two, with what would move."""

    member: Member
    """The member."""
    families: tuple[MergedFamily, ...]
    """Families of the member."""
    history: int = Field(description="How many changes its history has.")


class MergedPair(Model):
    """Two members of one person in Planning Center."""

    pco_id: str = Field(description="The person in Planning Center.")
    stays: MergedMember = Field(description="The member who is linked to the person.")
    joins: MergedMember = Field(description="The member whose own person was merged away; its id names the question.")
    fills: tuple[str, ...] = Field(description="Fields that only the one who would be joined has a value of.")
    differs: tuple[str, ...] = Field(description="Fields of which both have a value, and not the same one.")
    may_be_mailed: bool = Field(
        description="Planning Center may mail the person: they sign in there, and email or phone could change."
    )
    state: MergedState
    """Whether the pair waits for an answer."""
    merged_at: Timestamp | None = Field(description="When the sync learnt of it.")


class MergedQuery(PageQuery):
    """Filters of the pairs."""

    state: MergedState | None = Field(default=None, description="None: those that wait for an answer.")
    member_id: str | None = Field(default=None, max_length=40, description="Pairs in any state that this member is in.")


class AnswerMerged(Intent):
    """An administrator answers whether the two, as they were shown, are one person."""

    answer: Literal["join", "keep_two", "ask_again"] = Field(
        description="`ask_again` takes `keep_two` back, as long as nobody was created in Planning Center for it."
    )
    with_id: Annotated[Text, Field(max_length=40, description="The member who stays.")]
    version: int = Field(ge=1, description="Of the member who would be joined.")
    with_version: int = Field(ge=1, description="Of the member who stays.")
    take: tuple[Annotated[Text, Field(max_length=40)], ...] = Field(
        default=(),
        max_length=20,
        description="Of `differs`: the fields whose value is taken from the one who is joined.",
    )


class MergedAnswer(Model):
    """The state after the answer."""

    member: Member = Field(description="The one who stays.")
    pair: MergedPair | None = Field(default=None, description="None once the two are one member.")
