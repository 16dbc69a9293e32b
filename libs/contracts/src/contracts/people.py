"""The directory's records, as messages and answers carry them."""

from datetime import date

from pydantic import Field

from contracts.base import Model, Timestamp


class Address(Model):
    """One postal address. Empty parts are empty strings."""

    street_line_1: str = ""
    street_line_2: str = ""
    city: str = ""
    state: str = ""
    zip: str = ""
    country_code: str = Field(default="", description="ISO 3166-1 alpha-2.")


class MemberValues(Model):
    """What a person can edit of a member, and what is kept equal with Planning Center.

    Each field is compared and merged as one value, the address too. Names can be empty where Planning Center has none.
    """

    first_name: str
    last_name: str
    birthdate: date | None = None
    gender: str | None = Field(default=None, description="Planning Center knows `Male`, `Female`.")
    child: bool = False
    email: str | None = None
    phone: str | None = Field(default=None, description="As typed; compared as E.164.")
    address: Address | None = None


class PlanningCenterLink(Model):
    """How a record is tied to its counterpart in Planning Center."""

    pco_id: str
    state: str = Field(description="`linked`, or `gone` when it no longer exists in Planning Center.")
    gone_at: Timestamp | None = None
    create_again: bool = Field(default=False, description="Gone, and an admin asked for it to be created there again.")
    merged_with: str | None = Field(
        default=None,
        description="Gone because it was merged there with the counterpart of another member: that member. It is not "
        "created there again.",
    )


class Member(MemberValues):
    """A member or child of the church."""

    id: str
    external_id: str | None = Field(default=None, description="The platform's own id of this member.")
    active: bool = True
    family_ids: tuple[str, ...] = ()
    link: PlanningCenterLink | None = None
    kept_out: bool = Field(default=False, description="Kept out of the sync: left as it is on both sides.")
    version: int = Field(ge=1)
    created_at: Timestamp
    updated_at: Timestamp


class Family(Model):
    """A family: a household in Planning Center."""

    id: str
    external_id: str | None = None
    name: str
    member_ids: tuple[str, ...] = ()
    primary_contact_id: str | None = None
    link: PlanningCenterLink | None = None
    kept_out: bool = Field(default=False, description="Kept out of the sync: left as it is on both sides.")
    version: int = Field(ge=1)
    created_at: Timestamp
    updated_at: Timestamp
