"""`people.record.v1` (compacted): the directory as the platform sees it."""

from pydantic import Field

from contracts.base import Event, Timestamp
from contracts.people import Family, Member


class MemberChanged(Event):
    """A member was added or changed; the full record."""

    member: Member
    """The member after the change."""
    changed_at: Timestamp
    """When it was changed."""

    @property
    def key(self) -> str:
        return self.member.id


class MemberRemoved(Event):
    """A member was deleted here. A tombstone for the same key follows."""

    member_id: str
    """Id of the member."""
    joined_into: str | None = Field(
        default=None, description="The member that this one was joined to, who now holds the values of both."
    )
    erased: bool = Field(
        default=False, description="The person was erased: consumers must delete their copies as well."
    )
    removed_at: Timestamp
    """When it was deleted."""

    @property
    def key(self) -> str:
        return self.member_id


class FamilyChanged(Event):
    """A family was added or changed; the full record with its members' ids."""

    family: Family
    """The family after the change."""
    changed_at: Timestamp
    """When it was changed."""

    @property
    def key(self) -> str:
        return self.family.id


class FamilyRemoved(Event):
    """A family was deleted here. A tombstone for the same key follows."""

    family_id: str
    """Id of the family."""
    removed_at: Timestamp
    """When it was deleted."""

    @property
    def key(self) -> str:
        return self.family_id
