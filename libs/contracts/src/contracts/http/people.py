"""people-sync: the directory, runs, held matches and settings."""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, EmailStr, Field
from pydantic_core import PydanticCustomError

from contracts.base import Model, Timestamp
from contracts.http.common import NOT_NULL, FieldError, Intent, ListQuery, PageQuery
from contracts.http.inputs import REFUSED_ALONE, ExternalId, Judged, PcoId, Text, judged_as
from contracts.people import Address, Family, Member, MemberValues
from contracts.sync_runs import Run, RunState


def _bare(value: Any) -> Any:
    """Refuse a name beside the address: the validator would accept `Ann <ann@example.org>` as the address in it."""
    if isinstance(value, str) and "<" in value:
        raise PydanticCustomError("value_error", "value is not a valid email address")
    return value


Email = Annotated[EmailStr, BeforeValidator(_bare)]
Name = Annotated[Text, Field(max_length=100, description="One of the two names may be empty.")]


class AddressInput(Intent):
    """A postal address; the country is an ISO 3166-1 alpha-2 code, empty means the church's own."""

    street_line_1: Annotated[Text, Field(max_length=200)] = ""
    """House and street."""
    street_line_2: Annotated[Text, Field(max_length=200)] = ""
    """Flat, floor or building."""
    city: Annotated[Text, Field(max_length=100)] = ""
    """Town."""
    state: Annotated[Text, Field(max_length=100)] = ""
    """State, province or county."""
    zip: Annotated[Text, Field(max_length=30)] = ""
    """Postal code."""
    country_code: str = Field(default="", pattern=r"^([A-Z]{2})?$")
    """ISO 3166-1 alpha-2."""


class MemberInput(Intent):
    """A new member or child."""

    first_name: Name
    last_name: Name
    birthdate: date | None = None
    """Date of birth, not in the future."""
    gender: Literal["Male", "Female"] | None = None
    """Gender, in Planning Center's terms."""
    child: bool = False
    """Whether the person counts as a child."""
    email: Email | None = None
    """Primary email address."""
    phone: Annotated[Text, Field(max_length=50)] | None = None
    """Primary phone number, in any form that can be dialled."""
    address: AddressInput | None = None
    """Primary postal address."""
    external_id: ExternalId | None = None
    """The platform's own id of this member; one member has it at a time."""


class MemberPatch(Intent):
    """Only the fields sent are changed; null clears. `version` is the version shown to the person."""

    version: int | None = Field(default=None, ge=1)
    """The version shown to the person: 409 `version-conflict` if the member has another by now. Null: unchecked."""
    first_name: Name | None = None
    """First name; null or empty where only the last name is known."""
    last_name: Name | None = None
    """Last name; null or empty where only the first name is known."""
    birthdate: date | None = None
    """Date of birth, not in the future."""
    gender: Literal["Male", "Female"] | None = None
    """Gender, in Planning Center's terms."""
    child: Annotated[bool | None, NOT_NULL] = None
    """Whether the person counts as a child; not null."""
    email: Email | None = None
    """Primary email address."""
    phone: Annotated[Text, Field(max_length=50)] | None = None
    """Primary phone number, in any form that can be dialled."""
    address: AddressInput | None = None
    """Primary postal address, replaced as a whole."""


LARGEST_FAMILY = 1000
"""People in a family, so that one transaction can publish it with all of them."""


class FamilyInput(Intent):
    """A new family."""

    name: Annotated[Text, Field(min_length=1, max_length=200)]
    """Name of the family."""
    member_ids: tuple[str, ...] = Field(default=(), max_length=LARGEST_FAMILY)
    """Ids of the family's members."""
    primary_contact_id: str | None = None
    """The member whom the church contacts first."""
    external_id: ExternalId | None = None
    """The platform's own id of this family; one family has it at a time."""


class FamilyPatch(Intent):
    """Only the fields sent are changed. Members: either the whole list, or those who join and those who leave."""

    version: int | None = Field(default=None, ge=1)
    """The version shown to the person: 409 `version-conflict` if the family has another by now. Null: unchecked."""
    name: Annotated[Annotated[Text, Field(min_length=1, max_length=200)] | None, NOT_NULL] = None
    """Name of the family; not null."""
    member_ids: Annotated[tuple[str, ...] | None, NOT_NULL] = Field(
        default=None, max_length=LARGEST_FAMILY, description="The whole list: members missing from it leave."
    )
    add_member_ids: tuple[str, ...] = Field(
        default=(), max_length=LARGEST_FAMILY, description="Members who join; present members stay."
    )
    remove_member_ids: tuple[str, ...] = Field(
        default=(), max_length=LARGEST_FAMILY, description="Members who leave; all others stay."
    )
    primary_contact_id: str | None = None
    """The member whom the church contacts first."""


class BulkMember(MemberInput):
    """A member that the platform already has, by its own id; a known Planning Center id is accepted with it."""

    external_id: ExternalId
    """The platform's own id: the member that has it is changed, or one is added."""
    pco_id: PcoId | None = None
    """Id in Planning Center, where it is known."""


class BulkFamily(Intent):
    """A family that the platform already has; its members by the platform's own ids."""

    external_id: ExternalId
    """The platform's own id: the family that has it is changed, or one is added."""
    name: Annotated[Text, Field(min_length=1, max_length=200)]
    """Name of the family."""
    member_external_ids: tuple[ExternalId, ...] = Field(default=(), max_length=LARGEST_FAMILY)
    """The platform's own ids of the family's members."""
    primary_contact_external_id: ExternalId | None = None
    """The member whom the church contacts first, by the platform's own id."""
    pco_id: PcoId | None = None
    """Id in Planning Center, where it is known."""


class BulkUpsert(Intent):
    """Members first, then families. A repeated call has the effect of one."""

    members: tuple[Annotated[Judged, judged_as(BulkMember)], ...] = Field(
        default=(), max_length=1000, description=REFUSED_ALONE
    )
    families: tuple[Annotated[Judged, judged_as(BulkFamily)], ...] = Field(
        default=(), max_length=1000, description=REFUSED_ALONE
    )


class BulkRejected(Model):
    """One refused record."""

    kind: Literal["member", "family"]
    """The list that holds the record."""
    position: int = Field(ge=0)
    """Position in that list, from 0."""
    external_id: str | None
    """The platform's own id, if it could be read."""
    errors: tuple[FieldError, ...]
    """The record's fault in words."""


class BulkResult(Model):
    """Counts by outcome, and the refused records with reasons."""

    created: int
    """Number of records added."""
    updated: int
    """Number of records changed."""
    unchanged: int
    """Number of records that already had these values."""
    rejected: tuple[BulkRejected, ...]
    """The refused records."""


class MemberFilter(ListQuery):
    """Filters of the members' list."""

    q: str | None = Field(default=None, max_length=100, description="Part of the name or e-mail.")
    child: bool | None = None
    """Only children, or only adults."""
    state: Literal["linked", "local", "gone", "held", "inactive", "kept_out"] | None = None
    """`local`: only here. `gone`: no longer in Planning Center. `held`: candidate of a match that awaits an answer."""
    family_id: str | None = Field(default=None, max_length=40, description="Members of this family.")


class MemberQuery(MemberFilter, PageQuery):
    """A page of them."""

    limit: int = Field(default=50, ge=1, le=1000)
    """Items on one page."""


class FamilyFilter(ListQuery):
    """Filters of the families' list."""

    q: str | None = Field(default=None, max_length=100, description="Part of the name.")


class FamilyQuery(FamilyFilter, PageQuery):
    """A page of them."""

    limit: int = Field(default=50, ge=1, le=1000)
    """Items on one page."""


class Difference(Model):
    """One field that an administrator decided to keep different until one side changes. Values are JSON."""

    field: str
    """Name of the field."""
    ours: Any = None
    """The value here."""
    theirs: Any = None
    """The value in Planning Center."""
    decided_by_name: str | None
    """Name of the person or rule that decided it."""
    decided_at: Timestamp
    """When it was decided."""


class Differences(Model):
    """The differences of one record that an administrator keeps."""

    items: tuple[Difference, ...]
    """The kept differences."""


class RecordSync(Model):
    """One record being brought up to date on both sides, also while a run is on."""

    id: str
    """Id of this record sync."""
    record_kind: Literal["member", "family"]
    """Whether it is a member or a family."""
    record_id: str
    """Id of the member or family."""
    reasons: tuple[str, ...] = Field(
        default=(),
        description="Reason: `asked` at a screen, `answered` a held match, or left by a run: an `incomplete` read, an "
        "`unanswered` request, a `stray` that was made twice; `joined` with another member; `hinted` by a notice of "
        "Planning Center.",
    )
    state: Literal["queued", "done"]
    """`queued` until the sync is done."""
    outcome: str | None = Field(default=None, description="The outcome, named as in a run's numbers; null until done.")
    sentence: str = Field(description="The result, or the cause of the wait, in words.")
    again_at: Timestamp | None = Field(
        default=None,
        description="When the record is read again, because Planning Center did not show the newest state.",
    )
    requested_at: Timestamp
    """When the sync was requested."""
    finished_at: Timestamp | None = None
    """When the sync was done; null until then."""


class StartRun(Intent):
    """Sync Now, or *Preview*."""

    kind: Literal["full", "incremental"] = "full"
    """`full` reads all people, `incremental` those who changed."""
    preview: bool = Field(default=False, description="Show the plan, and write only after it is approved.")


class AnswerRun(Intent):
    """The answer to a waiting run's question."""

    question: Literal["first_match", "threshold", "plan", "undo"]
    """The kind of the run's question."""
    answer: Literal["planning_center", "ask", "ours", "continue", "stop", "approve"]
    """One of the answers that the run names."""
    digest: str | None = Field(
        default=None, max_length=100, description="*Approve* needs the digest of the plan as shown."
    )
    inactivate: bool = Field(
        default=False,
        description="For an undo: make people inactive whom the sync created in Planning Center.",
    )


class RunFilter(ListQuery):
    """Filters of the run history."""

    state: RunState | None = None
    """Runs in this state."""
    undoes: Literal["decision_id", "rule_id"] | None = Field(
        default=None, description="Only undos of decisions, or only undos of rules."
    )


class RunQuery(RunFilter, PageQuery):
    """A page of them."""


class RunItemFilter(ListQuery):
    """The list behind one number of a run."""

    outcome: str | None = Field(default=None, max_length=60)
    """Records with this outcome."""


class RunItemQuery(RunItemFilter, PageQuery):
    """A page of them."""


class RunItem(Model):
    """One record of a run and its outcome."""

    record_kind: str
    """Whether it is a member or a family."""
    record_id: str | None
    """Id here; null for a person who exists only in Planning Center."""
    pco_id: str | None
    """Id in Planning Center, where it is known."""
    name: str
    """Name of the person or family."""
    outcome: str
    """The outcome, named as in the run's numbers."""
    cause: str | None = Field(
        default=None,
        description="Groups rejected records by cause; `held` for a record that waits for an answer to a held match.",
    )
    sentence: str | None = Field(default=None, description="What happened, in words.")


class RejectionGroup(Model):
    """Records that Planning Center refused for one cause."""

    cause: str
    """The common cause."""
    sentence: str
    """The cause in words."""
    count: int
    """Number of records."""
    examples: tuple[RunItem, ...]
    """Some of the records."""


class PeopleStatus(Model):
    """Figures of the People card, beside the connection."""

    connected: bool = Field(description="Whether a sync can be started: people-sync knows of the connection.")
    members: int
    """Members here."""
    families: int
    """Families here."""
    linked_members: int
    """Members with a counterpart in Planning Center."""
    linked_families: int
    """Families with a counterpart in Planning Center."""
    held: int
    """Doubtful matches that wait for an answer."""
    gone: int
    """Members whose counterpart no longer exists."""
    kept_out: int = Field(default=0, description="People who are kept out of the sync.")
    rejected: int
    """Records that Planning Center refused in the last run."""
    run: Run | None = Field(default=None, description="The run in progress.")
    last_run: Run | None = Field(default=None, description="The last run that ended.")
    next_run_at: Timestamp | None = None
    """When the next scheduled run begins."""


class HeldPerson(MemberValues):
    """The person in Planning Center, as read last."""

    middle_name: str | None = None
    """Middle name."""
    suffix: str | None = None
    """Suffix, such as `Jr.`"""
    active: bool | None = Field(default=None, description="Null while Planning Center's status is not known.")


class HeldCandidate(Model):
    """A local member who may be the same person. Here a middle name or suffix is part of the names."""

    member: Member
    """The member."""
    reasons: tuple[str, ...] = Field(description="Reasons why this may be the same person, in words.")
    suffix: str | None = Field(default=None, description="Suffix behind the last name.")


class HeldMatch(Model):
    """A person in Planning Center who waits for an answer; meanwhile no sync overwrites or duplicates them."""

    id: str
    """Id of the question."""
    pco_id: str
    """Id in Planning Center, where it is known."""
    theirs: HeldPerson
    """The person in Planning Center."""
    candidates: tuple[HeldCandidate, ...]
    """Members who may be this person."""
    more: int = Field(default=0, description="Number of further candidates that are not listed.")
    reasons: tuple[str, ...]
    """Why a person has to answer, in words."""
    state: Literal["open", "later", "same", "different"]
    """`open` and `later` wait for an answer."""
    answered_by_name: str | None = None
    """Name of the person who answered."""
    answered_at: Timestamp | None = None
    """When the match was answered."""
    member_id: str | None = Field(default=None, description="The member who is linked with this person now.")
    can_take_back: bool = Field(
        default=False, description="Whether the answer can still be taken back: no sync has acted on it."
    )
    version: int
    """Grows with every state of the question."""
    created_at: Timestamp
    """When it was first asked."""


HeldReason = Literal["name", "email", "child", "suffix"]
"""`name`: the same name without a common e-mail. `email`: the same e-mail with a contradicting field. `child`: a child
on one side, an adult on the other. `suffix`: names that differ only by a suffix."""
_MOST_DAYS = 3650


class HeldFilter(ListQuery):
    """Filters of the held matches."""

    state: Literal["open", "later", "same", "different"] | None = None
    """Matches in this state."""
    reason: HeldReason | None = Field(default=None, description="At least one candidate has this reason.")
    single: bool | None = Field(default=None, description="Whether exactly one member may be the person.")
    family_id: str | None = Field(default=None, max_length=40, description="A candidate is in this family.")
    older_than_days: int | None = Field(
        default=None, ge=0, le=_MOST_DAYS, description="The question is older than this many days."
    )
    pco_id: str | None = Field(default=None, max_length=40, description="About this person in Planning Center.")
    member_id: str | None = Field(default=None, max_length=40, description="This member may be the person.")


class HeldQuery(HeldFilter, PageQuery):
    """A page of them."""


Answer = Literal["same", "different", "later"]


class HeldBulkInput(Intent):
    """One answer for every held match that waits and fits the filters."""

    answer: Answer = Field(
        description="`same` applies only to matches with exactly one candidate who is candidate of no other match."
    )
    state: Literal["open", "later"] | None = Field(default=None, description="State of the matches; null for both.")
    reason: HeldReason | None = None
    """Same filter as in the list of held matches."""
    single: bool | None = None
    """Same filter as in the list of held matches."""
    family_id: str | None = Field(default=None, max_length=40)
    """Same filter as in the list of held matches."""
    older_than_days: int | None = Field(default=None, ge=0, le=_MOST_DAYS)
    """Same filter as in the list of held matches."""


class HeldSample(Model):
    """One of the held matches shown, and the effect of the answer."""

    match: HeldMatch
    """The held match as it is shown."""
    sentence: str
    """The effect in words."""


class HeldBulk(Model):
    """A bulk answer to held matches, its counts and its progress."""

    id: str
    """Id of this bulk answer."""
    answer: Answer
    """The answer."""
    digest: str = Field(description="Digest of the shown matches, their versions and the answer.")
    count: int = Field(description="Number of matches that would be answered.")
    left_out: int = Field(description="Number of matches that fit the filters but would stay open.")
    may_be_mailed: int = Field(
        default=0,
        description="Number of people Planning Center may mail: they sign in there, and email or phone would change.",
    )
    state: Literal["shown", "working", "done"]
    """`shown` until a person agrees, `working` while the answer is carried out."""
    done: int = Field(description="Number of matches processed: answered or skipped.")
    skipped: int = Field(description="Number of matches left open because they changed after being shown.")
    created_at: Timestamp
    """When it was made."""
    finished_at: Timestamp | None = None
    """When it was done; null until then."""


class HeldBulkPreview(HeldBulk):
    """The effect that a bulk answer to held matches would have. No match is answered yet."""

    samples: tuple[HeldSample, ...] = Field(description="The first ten matches.")


class AnswerHeldBulk(Intent):
    """Carry out the shown answer."""

    digest: Annotated[Text, Field(max_length=100, description="Digest of the shown preview.")]


class HeldSkipped(Model):
    """A held match left open because it changed after being shown."""

    held_id: str
    """Id of the held match."""
    name: str
    """Name of the person or family."""
    sentence: str
    """Why the match was left open, in words."""


class AnswerHeld(Intent):
    """The answer to a held match; `same` needs `member_id`."""

    answer: Answer
    """The answer."""
    member_id: str | None = None
    """The member who is the person, with `same`."""
    version: int | None = Field(default=None, ge=1)
    """The version shown: 409 if the match has another by now."""


class TakeBackHeld(Intent):
    """Takes back an answer that no sync has acted on."""

    version: int | None = Field(default=None, ge=1)
    """The version shown: 409 if the match has another by now."""


class PeopleSettings(Model):
    """An administrator's settings of the People sync."""

    first_match: Literal["planning_center", "ask", "ours"] | None = Field(
        default=None, description="Side whose values both get at the first match; null until the first run has asked."
    )
    merge_different_fields: bool = False
    """When both sides changed a record: only fields that both changed are in conflict, instead of the whole record."""
    threshold_percent: int = Field(default=25, ge=1, le=100)
    """Percentage of linked records; a run that would change more, and at least the minimum, asks first."""
    threshold_minimum: int = Field(default=50, ge=1, le=100_000)
    """A run that would change fewer records than this does not ask."""
    schedule_hours: int = Field(default=4, ge=1, le=168)
    """Hours between scheduled runs."""
    inactivate_deleted: bool = False
    """Whether deleting a member here makes the person inactive in Planning Center."""


class PeopleSettingsPatch(Intent):
    """Only the fields sent are changed."""

    first_match: Literal["planning_center", "ask", "ours"] | None = None
    """Side whose values both get at the first match; null asks again."""
    merge_different_fields: Annotated[bool | None, NOT_NULL] = None
    """When both sides changed a record: only fields that both changed are in conflict, instead of the whole record."""
    threshold_percent: Annotated[int | None, NOT_NULL] = Field(default=None, ge=1, le=100)
    """Percentage of linked records; a run that would change more, and at least the minimum, asks first."""
    threshold_minimum: Annotated[int | None, NOT_NULL] = Field(default=None, ge=1, le=100_000)
    """A run that would change fewer records than this does not ask."""
    schedule_hours: Annotated[int | None, NOT_NULL] = Field(default=None, ge=1, le=168)
    """Hours between scheduled runs."""
    inactivate_deleted: Annotated[bool | None, NOT_NULL] = None
    """Whether deleting a member here makes the person inactive in Planning Center."""


__all__ = [
    "Address",
    "AddressInput",
    "AnswerHeld",
    "AnswerHeldBulk",
    "AnswerRun",
    "BulkFamily",
    "BulkMember",
    "BulkRejected",
    "BulkResult",
    "BulkUpsert",
    "Family",
    "FamilyInput",
    "FamilyPatch",
    "FamilyQuery",
    "HeldBulk",
    "HeldBulkInput",
    "HeldBulkPreview",
    "HeldCandidate",
    "HeldMatch",
    "HeldPerson",
    "HeldQuery",
    "HeldSample",
    "HeldSkipped",
    "Member",
    "MemberInput",
    "MemberPatch",
    "MemberQuery",
    "PeopleSettings",
    "PeopleSettingsPatch",
    "PeopleStatus",
    "RecordSync",
    "RejectionGroup",
    "Run",
    "RunItem",
    "RunItemQuery",
    "RunQuery",
    "StartRun",
]
