"""The directory's records, as messages and answers carry them."""

from datetime import date

from pydantic import Field

from contracts.base import Model, Timestamp


class Address(Model):
    """One postal address. Empty parts are empty strings."""

    street_line_1: str = ""
    """House and street."""
    street_line_2: str = ""
    """Flat, floor or building."""
    city: str = ""
    """Town."""
    state: str = ""
    """State, province or county."""
    zip: str = ""
    """Postal code."""
    country_code: str = Field(default="", description="ISO 3166-1 alpha-2.")


class MemberValues(Model):
    """The fields of a member that a person can edit and the sync keeps equal with Planning Center.

    Each field is compared and merged as one value, the address too. A name can be empty if Planning Center has none.
    """

    first_name: str
    """First name, as the church uses it."""
    last_name: str
    """Last name."""
    birthdate: date | None = None
    """Date of birth."""
    gender: str | None = Field(default=None, description="Planning Center knows `Male`, `Female`.")
    child: bool = False
    """Whether the person counts as a child."""
    email: str | None = None
    """Primary email address."""
    phone: str | None = Field(default=None, description="As typed; compared as E.164.")
    address: Address | None = None
    """Primary postal address."""


class PlanningCenterLink(Model):
    """A record's link to its counterpart in Planning Center."""

    pco_id: str
    """Id of the person or household in Planning Center."""
    state: str = Field(description="`linked`, or `gone` when it no longer exists in Planning Center.")
    gone_at: Timestamp | None = None
    """When the counterpart was found to be gone."""
    create_again: bool = Field(
        default=False,
        description="The counterpart is gone, and an administrator asked to create it in Planning Center again.",
    )
    merged_with: str | None = Field(
        default=None,
        description="Gone because it was merged there with the counterpart of another member: that member. It is not "
        "created there again.",
    )


class Member(MemberValues):
    """A member or child of the church."""

    id: str
    """Id of this member here; it never changes."""
    external_id: str | None = Field(default=None, description="The platform's own id of this member.")
    active: bool = True
    """Whether the member is active."""
    family_ids: tuple[str, ...] = ()
    """Families that this member belongs to."""
    link: PlanningCenterLink | None = None
    """Counterpart in Planning Center; null if there is none."""
    kept_out: bool = Field(default=False, description="Kept out of the sync: left as it is on both sides.")
    version: int = Field(ge=1)
    """Grows with every change of the record."""
    created_at: Timestamp
    """When the member was added."""
    updated_at: Timestamp
    """When it was changed last."""


class Family(Model):
    """A family: a household in Planning Center."""

    id: str
    """Id of this family here; it never changes."""
    external_id: str | None = None
    """The platform's own id of this family."""
    name: str
    """Name of the family."""
    member_ids: tuple[str, ...] = ()
    """Members of the family."""
    primary_contact_id: str | None = None
    """The member whom the church contacts first."""
    link: PlanningCenterLink | None = None
    """Counterpart in Planning Center; null if there is none."""
    kept_out: bool = Field(default=False, description="Kept out of the sync: left as it is on both sides.")
    version: int = Field(ge=1)
    """Grows with every change of the record."""
    created_at: Timestamp
    """When the family was added."""
    updated_at: Timestamp
    """When it was changed last."""
