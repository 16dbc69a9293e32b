"""people-sync: the directory, runs, held matches and settings."""

import re
from datetime import date
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, EmailStr, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from contracts.base import Model, Timestamp
from contracts.http.common import NOT_NULL, FieldError, Intent, PageQuery
from contracts.people import Address, Family, Member, MemberValues
from contracts.sync_runs import Run, RunState

_CONTROLS: Final = r"\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""C0 and C1, halves of characters, ends of lines, and what turns the direction of the text around it."""
_UNSEEN: Final = (
    r"\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u2065\u206a-\u206f\u2800\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
)
"""Takes part in other characters, or is seen nowhere. Spaces at both ends go before anybody looks."""
_CONTROL: Final = re.compile(f"[{_CONTROLS}]")
_NOTHING: Final = re.compile(rf"[\s{_UNSEEN}\U000e0000-\U000e0fff]+")


def _legible(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("must not contain control characters")
    if _NOTHING.fullmatch(value):
        raise ValueError("must have a character that can be seen")
    return value


class _Legible:
    """Text that looks on every screen like what it is."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(_legible, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"pattern": f"^(?![{_UNSEEN}]+$)[^{_CONTROLS}]*$"}


def _bare(value: Any) -> Any:
    """Without this, `Ann <ann@example.org>` is taken for the address in it."""
    if isinstance(value, str) and "<" in value:
        raise PydanticCustomError("value_error", "value is not a valid email address")
    return value


Text = Annotated[str, _Legible()]
Email = Annotated[EmailStr, BeforeValidator(_bare)]
Name = Annotated[Text, Field(max_length=100, description="One of the two names may be empty.")]
ExternalId = Annotated[Text, Field(min_length=1, max_length=200)]
PcoId = Annotated[str, Field(pattern=r"^[0-9]{1,18}$")]


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
    """As Planning Center knows it."""
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
    """Only the fields sent are changed; null clears. `version` is the one that the person saw."""

    version: int | None = Field(default=None, ge=1)
    """As the person saw it: 409 `version-conflict` if it is another by now. Without it nothing is compared."""
    first_name: Name | None = None
    """First name; null or empty where only the last name is known."""
    last_name: Name | None = None
    """Last name; null or empty where only the first name is known."""
    birthdate: date | None = None
    """Date of birth, not in the future."""
    gender: Literal["Male", "Female"] | None = None
    """As Planning Center knows it."""
    child: Annotated[bool | None, NOT_NULL] = None
    """Whether the person counts as a child; not null."""
    email: Email | None = None
    """Primary email address."""
    phone: Annotated[Text, Field(max_length=50)] | None = None
    """Primary phone number, in any form that can be dialled."""
    address: AddressInput | None = None
    """Primary postal address: the whole of it."""


LARGEST_FAMILY = 1000
"""People in a family, so that one transaction can publish it with all of them."""


class FamilyInput(Intent):
    """A new family."""

    name: Annotated[Text, Field(min_length=1, max_length=200)]
    """Name of the family."""
    member_ids: tuple[str, ...] = Field(default=(), max_length=LARGEST_FAMILY)
    """Who belongs to it."""
    primary_contact_id: str | None = None
    """One of its members, whom the church contacts first."""
    external_id: ExternalId | None = None
    """The platform's own id of this family; one family has it at a time."""


class FamilyPatch(Intent):
    """Only the fields sent are changed. Members: either the whole list, or who joins and who leaves."""

    version: int | None = Field(default=None, ge=1)
    """As the person saw it: 409 `version-conflict` if it is another by now. Without it nothing is compared."""
    name: Annotated[Annotated[Text, Field(min_length=1, max_length=200)] | None, NOT_NULL] = None
    """Name of the family; not null."""
    member_ids: Annotated[tuple[str, ...] | None, NOT_NULL] = Field(
        default=None, max_length=LARGEST_FAMILY, description="The whole list: who is not in it leaves."
    )
    add_member_ids: tuple[str, ...] = Field(
        default=(), max_length=LARGEST_FAMILY, description="Who joins; whoever is a member already stays one."
    )
    remove_member_ids: tuple[str, ...] = Field(
        default=(), max_length=LARGEST_FAMILY, description="Who leaves; nothing happens to others."
    )
    primary_contact_id: str | None = None
    """One of its members, whom the church contacts first."""


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
    """Who belongs to it, by the platform's own ids."""
    primary_contact_external_id: ExternalId | None = None
    """One of them, whom the church contacts first."""
    pco_id: PcoId | None = None
    """Id in Planning Center, where it is known."""


def _judged_later(value: Any) -> Any:
    return value


_Record = dict[Any, Any]
"""Names can be halves of characters, which pydantic takes for no text: that record alone is refused."""


_ALONE = "One with unacceptable values is refused alone, by its position; an entry that is no object refuses the call."


class BulkUpsert(Intent):
    """Members first, then families. The same call twice has the effect of once."""

    members: tuple[Annotated[_Record, BeforeValidator(_judged_later, json_schema_input_type=BulkMember)], ...] = Field(
        default=(), max_length=1000, description=_ALONE
    )
    families: tuple[Annotated[_Record, BeforeValidator(_judged_later, json_schema_input_type=BulkFamily)], ...] = Field(
        default=(), max_length=1000, description=_ALONE
    )


class BulkRejected(Model):
    """One record that was not taken."""

    kind: Literal["member", "family"]
    """In which of the two lists it was."""
    position: int = Field(ge=0)
    """Where it was in that list, from 0."""
    external_id: str | None
    """The platform's own id, where it could be read."""
    errors: tuple[FieldError, ...]
    """What is wrong with it."""


class BulkResult(Model):
    """Counts by outcome, and what was refused and why."""

    created: int
    """Added."""
    updated: int
    """Changed."""
    unchanged: int
    """Found as they are."""
    rejected: tuple[BulkRejected, ...]
    """Not taken, one by one."""


class MemberQuery(PageQuery):
    """Filters of the members' list."""

    limit: int = Field(default=50, ge=1, le=1000)
    """Items on one page."""
    q: str | None = Field(default=None, max_length=100, description="Part of the name or e-mail.")
    child: bool | None = None
    """Children, or adults, alone."""
    state: Literal["linked", "local", "gone", "held", "inactive", "kept_out"] | None = None
    """`local`: here alone. `gone`: no longer in Planning Center. `held`: a match that waits for an answer."""
    family_id: str | None = Field(default=None, max_length=40, description="Members of this family.")


class FamilyQuery(PageQuery):
    """Filters of the families' list."""

    limit: int = Field(default=50, ge=1, le=1000)
    """Items on one page."""
    q: str | None = Field(default=None, max_length=100, description="Part of the name.")


class Difference(Model):
    """One field that an administrator decided to keep different until one side changes. Values are JSON."""

    field: str
    """Name of the field."""
    ours: Any = None
    """The value here."""
    theirs: Any = None
    """The value in Planning Center."""
    decided_by_name: str | None
    """Name of who decided it, or of the rule."""
    decided_at: Timestamp
    """When it was decided."""


class Differences(Model):
    """The differences of one record that are kept."""

    items: tuple[Difference, ...]
    """All of them."""


class HistoryEntry(Model):
    """One change of one field of a record: never deleted."""

    id: str
    """Id of the change."""
    field: str
    """Name of the field."""
    side: str = Field(description="Where it was changed: `here` or `there`, in Planning Center.")
    old: Any = None
    """The value before, as JSON."""
    new: Any = None
    """The value after, as JSON."""
    by: str = Field(description="`person`, `planning_center`, `rule` or `platform`.")
    by_name: str | None = None
    """Name of who made the change."""
    rule: str | None = None
    """Name of the rule that made the change."""
    run_id: str | None = None
    """The run that made the change."""
    decision_id: str | None = Field(default=None, description="Of the decision about a conflict that made the change.")
    rule_id: str | None = Field(default=None, description="Of the rule that decided it.")
    changed_at: Timestamp
    """When it was changed."""
    can_undo: bool
    """Whether this change alone can be taken back."""
    joined_name: str | None = Field(
        default=None, description="Of a change of somebody who was joined to this member since: that one's name."
    )


class RecordSync(Model):
    """One record being brought up to date on both sides, also while a run is on."""

    id: str
    """Id of this sync of one record."""
    record_kind: Literal["member", "family"]
    """Whether it is a member or a family."""
    record_id: str
    """Id of the member or family."""
    reasons: tuple[str, ...] = Field(
        default=(),
        description="Why: `asked` at a screen, `answered` a held match, or left by a run: an `incomplete` read, an "
        "`unanswered` request, a `stray` that was made twice; `joined` with another member.",
    )
    state: Literal["queued", "done"]
    """`queued` until it is done."""
    outcome: str | None = Field(default=None, description="As in a run's numbers; None until it is done.")
    sentence: str = Field(description="What is being waited for, or what was done, in words.")
    again_at: Timestamp | None = Field(
        default=None, description="When it is looked at again, because Planning Center did not show the newest state."
    )
    requested_at: Timestamp
    """When it was asked for."""
    finished_at: Timestamp | None = None
    """When it was done; null until then."""


class StartRun(Intent):
    """Sync Now, or *Preview*."""

    kind: Literal["full", "incremental"] = "full"
    """`full` reads everybody, `incremental` who changed."""
    preview: bool = Field(default=False, description="Show the plan, and write nothing until it is approved.")


class AnswerRun(Intent):
    """The answer to a waiting run's question."""

    question: Literal["first_match", "threshold", "plan", "undo"]
    """The question, as the run asks it."""
    answer: Literal["planning_center", "ask", "ours", "continue", "stop", "approve"]
    """One of the answers that the run names."""
    digest: str | None = Field(
        default=None, max_length=100, description="*Approve* needs the digest of the plan as shown."
    )
    inactivate: bool = Field(
        default=False,
        description="Of an undo: people whom the sync created in Planning Center are made inactive there.",
    )


class RunQuery(PageQuery):
    """Filters of the run history."""

    state: RunState | None = None
    """Runs in this state."""
    undoes: Literal["decision_id", "rule_id"] | None = Field(
        default=None, description="Undos of decisions, or of rules, alone."
    )


class RunItemQuery(PageQuery):
    """The list behind one number of a run."""

    outcome: str | None = Field(default=None, max_length=60)
    """Records with this outcome."""


class RunItem(Model):
    """One record of a run and what became of it."""

    record_kind: str
    """Whether it is a member or a family."""
    record_id: str | None
    """Id here; null for somebody who is not here."""
    pco_id: str | None
    """Id in Planning Center, where it is known."""
    name: str
    """Name of the person or family."""
    outcome: str
    """What became of it, as in the run's numbers."""
    cause: str | None = Field(
        default=None,
        description="Groups rejected records; `held` for one that waits for an answer to a held match.",
    )
    sentence: str | None = Field(default=None, description="What happened, in words.")


class RejectionGroup(Model):
    """Records that Planning Center refused for the same cause."""

    cause: str
    """The cause, the same for all of them."""
    sentence: str
    """The same in words."""
    count: int
    """How many."""
    examples: tuple[RunItem, ...]
    """Some of them."""


class PeopleStatus(Model):
    """What the People card shows beside the connection."""

    connected: bool = Field(description="Whether a sync can be started: the connection is known to the sync itself.")
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
    active: bool | None = Field(default=None, description="None while Planning Center's answer is not known any more.")


class HeldCandidate(Model):
    """A local member who may be the same person. Here a middle name or suffix is part of the names."""

    member: Member
    """The member."""
    reasons: tuple[str, ...] = Field(description="In words.")
    suffix: str | None = Field(default=None, description="As written behind the last name.")


class HeldMatch(Model):
    """A person in Planning Center that waits for an answer; neither overwritten nor duplicated meanwhile."""

    id: str
    """Id of the question."""
    pco_id: str
    """Id in Planning Center, where it is known."""
    theirs: HeldPerson
    """The person in Planning Center."""
    candidates: tuple[HeldCandidate, ...]
    """Members who may be this person."""
    more: int = Field(default=0, description="How many further members may be this person and are not listed.")
    reasons: tuple[str, ...]
    """Why a person has to answer, in words."""
    state: Literal["open", "later", "same", "different"]
    """`open` and `later` wait for an answer."""
    answered_by_name: str | None = None
    """Who answered it."""
    answered_at: Timestamp | None = None
    """When it was answered."""
    member_id: str | None = Field(default=None, description="The member who is linked with this person now.")
    can_take_back: bool = Field(default=False, description="Answered, and no sync has acted on the answer yet.")
    version: int
    """Grows with every state of the question."""
    created_at: Timestamp
    """When it was first asked."""


HeldReason = Literal["name", "email", "child", "suffix"]
"""`name`: the same name, and no common e-mail. `email`: the same e-mail, and something contradicts. `child`: one is a
child and the other an adult. `suffix`: the same name but for a suffix."""
_MOST_DAYS = 3650


class HeldQuery(PageQuery):
    """Filters of the held matches."""

    state: Literal["open", "later", "same", "different"] | None = None
    """Matches in this state."""
    reason: HeldReason | None = Field(default=None, description="At least one candidate has such a reason.")
    single: bool | None = Field(default=None, description="Whether exactly one member may be the person.")
    family_id: str | None = Field(default=None, max_length=40, description="A candidate is in this family.")
    older_than_days: int | None = Field(default=None, ge=0, le=_MOST_DAYS, description="The question is older.")
    pco_id: str | None = Field(default=None, max_length=40, description="About this person in Planning Center.")
    member_id: str | None = Field(default=None, max_length=40, description="This member may be the person.")


Answer = Literal["same", "different", "later"]


class HeldBulkInput(Intent):
    """One answer for every held match that waits and fits the filters."""

    answer: Answer = Field(
        description="`same` takes only those where exactly one member may be the person, and who may be nobody else."
    )
    state: Literal["open", "later"] | None = Field(default=None, description="None: both.")
    reason: HeldReason | None = None
    """As in the list of held matches."""
    single: bool | None = None
    """As in the list of held matches."""
    family_id: str | None = Field(default=None, max_length=40)
    """As in the list of held matches."""
    older_than_days: int | None = Field(default=None, ge=0, le=_MOST_DAYS)
    """As in the list of held matches."""


class HeldSample(Model):
    """One of those shown, and what would be done."""

    match: HeldMatch
    """The held match as it is shown."""
    sentence: str
    """What would be done, in words."""


class HeldBulk(Model):
    """One answer to many held matches: what was shown, and how far it is carried out."""

    id: str
    """Id of this answer to many."""
    answer: Answer
    """The answer."""
    digest: str = Field(description="Of exactly the matches shown, their versions and the answer.")
    count: int = Field(description="How many would be answered.")
    left_out: int = Field(description="How many fit the filters and are left as they are.")
    may_be_mailed: int = Field(
        default=0,
        description="People whom Planning Center may mail: they sign in there, and their email or phone would change.",
    )
    state: Literal["shown", "working", "done"]
    """`shown` until somebody agrees, `working` while it is carried out."""
    done: int = Field(description="How many were looked at: answered or skipped.")
    skipped: int = Field(description="How many moved since they were shown, and were left as they are.")
    created_at: Timestamp
    """When it was made."""
    finished_at: Timestamp | None = None
    """When it was done; null until then."""


class HeldBulkPreview(HeldBulk):
    """The effect that one answer to many held matches would have. Nothing was done yet."""

    samples: tuple[HeldSample, ...] = Field(description="The first ten.")


class AnswerHeldBulk(Intent):
    """Carry out what was shown."""

    digest: Annotated[Text, Field(max_length=100, description="As shown.")]


class HeldSkipped(Model):
    """A held match that was shown and not answered, because it moved since."""

    held_id: str
    """Id of the held match."""
    name: str
    """Name of the person or family."""
    sentence: str
    """Why it was left, in words."""


class AnswerHeld(Intent):
    """`same` needs the member."""

    answer: Answer
    """The answer."""
    member_id: str | None = None
    """Who the person is, with `same`."""
    version: int | None = Field(default=None, ge=1)
    """The version that was shown: 409 if it is another by now."""


class TakeBackHeld(Intent):
    """Which state of the answer is taken back."""

    version: int | None = Field(default=None, ge=1)
    """The version that was shown: 409 if it is another by now."""


class PeopleSettings(Model):
    """What an administrator chose for the People sync."""

    first_match: Literal["planning_center", "ask", "ours"] | None = Field(
        default=None, description="None until the first run asked."
    )
    merge_different_fields: bool = False
    """Where both sides changed a record: only fields that both changed are a conflict, instead of the whole record."""
    threshold_percent: int = Field(default=25, ge=1, le=100)
    """A run asks first if it would change more than this share of the linked records, and the minimum."""
    threshold_minimum: int = Field(default=50, ge=1, le=100_000)
    """A run that would change fewer records than this does not ask."""
    schedule_hours: int = Field(default=4, ge=1, le=168)
    """Hours between scheduled runs."""
    inactivate_deleted: bool = False
    """Whether who is deleted here becomes inactive in Planning Center."""


class PeopleSettingsPatch(Intent):
    """Only the fields sent are changed."""

    first_match: Literal["planning_center", "ask", "ours"] | None = None
    """Whose values both get at the first match; null asks again."""
    merge_different_fields: Annotated[bool | None, NOT_NULL] = None
    """Where both sides changed a record: only fields that both changed are a conflict, instead of the whole record."""
    threshold_percent: Annotated[int | None, NOT_NULL] = Field(default=None, ge=1, le=100)
    """A run asks first if it would change more than this share of the linked records, and the minimum."""
    threshold_minimum: Annotated[int | None, NOT_NULL] = Field(default=None, ge=1, le=100_000)
    """A run that would change fewer records than this does not ask."""
    schedule_hours: Annotated[int | None, NOT_NULL] = Field(default=None, ge=1, le=168)
    """Hours between scheduled runs."""
    inactivate_deleted: Annotated[bool | None, NOT_NULL] = None
    """Whether who is deleted here becomes inactive in Planning Center."""


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
    "HistoryEntry",
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
