"""people-sync: the directory, runs, held matches and settings."""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, EmailStr, Field

from contracts.base import Model, Timestamp
from contracts.http.common import FieldError, Intent, PageQuery
from contracts.people import Address, Family, Member, MemberValues
from contracts.sync_runs import Run, RunState


def _without_control_characters(value: str) -> str:
    if any(ord(character) < 32 or 0xD800 <= ord(character) <= 0xDFFF for character in value):
        raise ValueError("must not contain control characters")
    return value


Text = Annotated[str, AfterValidator(_without_control_characters)]
Name = Annotated[Text, Field(max_length=100, description="One of the two names may be empty.")]
ExternalId = Annotated[Text, Field(min_length=1, max_length=200)]
PcoId = Annotated[str, Field(pattern=r"^[0-9]{1,18}$")]


class AddressInput(Intent):
    """A postal address; the country is an ISO 3166-1 alpha-2 code, empty means the church's own."""

    street_line_1: Annotated[Text, Field(max_length=200)] = ""
    street_line_2: Annotated[Text, Field(max_length=200)] = ""
    city: Annotated[Text, Field(max_length=100)] = ""
    state: Annotated[Text, Field(max_length=100)] = ""
    zip: Annotated[Text, Field(max_length=30)] = ""
    country_code: str = Field(default="", pattern=r"^([A-Z]{2})?$")


class MemberInput(Intent):
    """A new member or child."""

    first_name: Name
    last_name: Name
    birthdate: date | None = None
    gender: Literal["Male", "Female"] | None = None
    child: bool = False
    email: EmailStr | None = None
    phone: Annotated[Text, Field(max_length=50)] | None = None
    address: AddressInput | None = None
    external_id: ExternalId | None = None


class MemberPatch(Intent):
    """Only the fields sent are changed; null clears. `version` is the one that the person saw."""

    version: int | None = Field(default=None, ge=1)
    first_name: Name | None = None
    last_name: Name | None = None
    birthdate: date | None = None
    gender: Literal["Male", "Female"] | None = None
    child: bool | None = None
    email: EmailStr | None = None
    phone: Annotated[Text, Field(max_length=50)] | None = None
    address: AddressInput | None = None


LARGEST_FAMILY = 1000
"""People in a family, so that one transaction can publish it with all of them."""


class FamilyInput(Intent):
    """A new family."""

    name: Annotated[Text, Field(min_length=1, max_length=200)]
    member_ids: tuple[str, ...] = Field(default=(), max_length=LARGEST_FAMILY)
    primary_contact_id: str | None = None
    external_id: ExternalId | None = None


class FamilyPatch(Intent):
    """Only the fields sent are changed. Members: either the whole list, or who joins and who leaves."""

    version: int | None = Field(default=None, ge=1)
    name: Annotated[Text, Field(min_length=1, max_length=200)] | None = None
    member_ids: tuple[str, ...] | None = Field(
        default=None, max_length=LARGEST_FAMILY, description="The whole list: who is not in it leaves."
    )
    add_member_ids: tuple[str, ...] = Field(
        default=(), max_length=LARGEST_FAMILY, description="Who joins; whoever is a member already stays one."
    )
    remove_member_ids: tuple[str, ...] = Field(
        default=(), max_length=LARGEST_FAMILY, description="Who leaves; nothing happens to others."
    )
    primary_contact_id: str | None = None


class BulkMember(MemberInput):
    """A member that the platform already has, by its own id; a known Planning Center id is accepted with it."""

    external_id: ExternalId
    pco_id: PcoId | None = None


class BulkFamily(Intent):
    """A family that the platform already has; its members by the platform's own ids."""

    external_id: ExternalId
    name: Annotated[Text, Field(min_length=1, max_length=200)]
    member_external_ids: tuple[ExternalId, ...] = Field(default=(), max_length=LARGEST_FAMILY)
    primary_contact_external_id: ExternalId | None = None
    pco_id: PcoId | None = None


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
    position: int = Field(ge=0)
    external_id: str | None
    errors: tuple[FieldError, ...]


class BulkResult(Model):
    """Counts by outcome, and what was refused and why."""

    created: int
    updated: int
    unchanged: int
    rejected: tuple[BulkRejected, ...]


class MemberQuery(PageQuery):
    """Filters of the members' list."""

    q: str | None = Field(default=None, max_length=100, description="Part of the name or e-mail.")
    child: bool | None = None
    state: Literal["linked", "local", "gone", "held", "inactive", "kept_out"] | None = None
    family_id: str | None = Field(default=None, max_length=40, description="Members of this family.")


class FamilyQuery(PageQuery):
    """Filters of the families' list."""

    q: str | None = Field(default=None, max_length=100, description="Part of the name.")


class Difference(Model):
    """One field that an administrator decided to keep different until one side changes. Values are JSON."""

    field: str
    ours: Any = None
    theirs: Any = None
    decided_by_name: str | None
    decided_at: Timestamp


class Differences(Model):
    """The differences of one record that are kept."""

    items: tuple[Difference, ...]


class HistoryEntry(Model):
    """One change of one field of a record: never deleted."""

    id: str
    field: str
    side: str = Field(description="Where it was changed: `here` or `there`, in Planning Center.")
    old: Any = None
    new: Any = None
    by: str = Field(description="`person`, `planning_center`, `rule` or `platform`.")
    by_name: str | None = None
    rule: str | None = None
    run_id: str | None = None
    decision_id: str | None = Field(default=None, description="Of the decision about a conflict that made the change.")
    rule_id: str | None = Field(default=None, description="Of the rule that decided it.")
    changed_at: Timestamp
    can_undo: bool
    joined_name: str | None = Field(
        default=None, description="Of a change of somebody who was joined to this member since: that one's name."
    )


class RecordSync(Model):
    """One record being brought up to date on both sides, also while a run is on."""

    id: str
    record_kind: Literal["member", "family"]
    record_id: str
    reasons: tuple[str, ...] = Field(
        default=(),
        description="Why: `asked` at a screen, `answered` a held match, or left by a run: an `incomplete` read, an "
        "`unanswered` request, a `stray` that was made twice; `joined` with another member.",
    )
    state: Literal["queued", "done"]
    outcome: str | None = Field(default=None, description="As in a run's numbers; None until it is done.")
    sentence: str = Field(description="What is being waited for, or what was done, in words.")
    again_at: Timestamp | None = Field(
        default=None, description="When it is looked at again, because Planning Center did not show the newest state."
    )
    requested_at: Timestamp
    finished_at: Timestamp | None = None


class StartRun(Intent):
    """Sync Now, or *Preview*."""

    kind: Literal["full", "incremental"] = "full"
    preview: bool = Field(default=False, description="Show the plan, and write nothing until it is approved.")


class AnswerRun(Intent):
    """The answer to a waiting run's question."""

    question: Literal["first_match", "threshold", "plan", "undo"]
    answer: Literal["planning_center", "ask", "ours", "continue", "stop", "approve"]
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


class RunItemQuery(PageQuery):
    """The list behind one number of a run."""

    outcome: str | None = Field(default=None, max_length=60)


class RunItem(Model):
    """One record of a run and what became of it."""

    record_kind: str
    record_id: str | None
    pco_id: str | None
    name: str
    outcome: str
    cause: str | None = Field(default=None, description="Groups rejected records.")
    sentence: str | None = Field(default=None, description="What happened, in words.")


class RejectionGroup(Model):
    """Records that Planning Center refused for the same cause."""

    cause: str
    sentence: str
    count: int
    examples: tuple[RunItem, ...]


class PeopleStatus(Model):
    """What the People card shows beside the connection."""

    connected: bool = Field(description="Whether a sync can be started: the connection is known to the sync itself.")
    members: int
    families: int
    linked_members: int
    linked_families: int
    held: int
    gone: int
    kept_out: int = Field(default=0, description="People who are kept out of the sync.")
    rejected: int
    run: Run | None = Field(default=None, description="The run in progress.")
    last_run: Run | None = Field(default=None, description="The last run that ended.")
    next_run_at: Timestamp | None = None


class HeldPerson(MemberValues):
    """The person in Planning Center, as read last."""

    middle_name: str | None = None
    suffix: str | None = None
    active: bool | None = Field(default=None, description="None while Planning Center's answer is not known any more.")


class HeldCandidate(Model):
    """A local member who may be the same person. Here a middle name or suffix is part of the names."""

    member: Member
    reasons: tuple[str, ...] = Field(description="In words.")
    suffix: str | None = Field(default=None, description="As written behind the last name.")


class HeldMatch(Model):
    """A person in Planning Center that waits for an answer; neither overwritten nor duplicated meanwhile."""

    id: str
    pco_id: str
    theirs: HeldPerson
    candidates: tuple[HeldCandidate, ...]
    more: int = Field(default=0, description="How many further members may be this person and are not listed.")
    reasons: tuple[str, ...]
    state: Literal["open", "later", "same", "different"]
    version: int
    created_at: Timestamp


HeldReason = Literal["name", "email", "child", "suffix"]
"""`name`: the same name, and no common e-mail. `email`: the same e-mail, and something contradicts. `child`: one is a
child and the other an adult. `suffix`: the same name but for a suffix."""
_MOST_DAYS = 3650


class HeldQuery(PageQuery):
    """Filters of the held matches."""

    state: Literal["open", "later", "same", "different"] | None = None
    reason: HeldReason | None = Field(default=None, description="At least one candidate has such a reason.")
    single: bool | None = Field(default=None, description="Whether exactly one member may be the person.")
    family_id: str | None = Field(default=None, max_length=40, description="A candidate is in this family.")
    older_than_days: int | None = Field(default=None, ge=0, le=_MOST_DAYS, description="The question is older.")


Answer = Literal["same", "different", "later"]


class HeldBulkInput(Intent):
    """One answer for every held match that waits and fits the filters."""

    answer: Answer = Field(
        description="`same` takes only those where exactly one member may be the person, and who may be nobody else."
    )
    state: Literal["open", "later"] | None = Field(default=None, description="None: both.")
    reason: HeldReason | None = None
    single: bool | None = None
    family_id: str | None = Field(default=None, max_length=40)
    older_than_days: int | None = Field(default=None, ge=0, le=_MOST_DAYS)


class HeldSample(Model):
    """One of those shown, and what would be done."""

    match: HeldMatch
    sentence: str


class HeldBulk(Model):
    """One answer to many held matches: what was shown, and how far it is carried out."""

    id: str
    answer: Answer
    digest: str = Field(description="Of exactly the matches shown, their versions and the answer.")
    count: int = Field(description="How many would be answered.")
    left_out: int = Field(description="How many fit the filters and are left as they are.")
    may_be_mailed: int = Field(
        default=0,
        description="People whom Planning Center may mail: they sign in there, and their email or phone would change.",
    )
    state: Literal["shown", "working", "done"]
    done: int = Field(description="How many were looked at: answered or skipped.")
    skipped: int = Field(description="How many moved since they were shown, and were left as they are.")
    created_at: Timestamp
    finished_at: Timestamp | None = None


class HeldBulkPreview(HeldBulk):
    """The effect that one answer to many held matches would have. Nothing was done yet."""

    samples: tuple[HeldSample, ...] = Field(description="The first ten.")


class AnswerHeldBulk(Intent):
    """Carry out what was shown."""

    digest: Annotated[Text, Field(max_length=100, description="As shown.")]


class HeldSkipped(Model):
    """A held match that was shown and not answered, because it moved since."""

    held_id: str
    name: str
    sentence: str


class AnswerHeld(Intent):
    """`same` needs the member."""

    answer: Answer
    member_id: str | None = None
    version: int | None = Field(default=None, ge=1)


class PeopleSettings(Model):
    """What an administrator chose for the People sync."""

    first_match: Literal["planning_center", "ask", "ours"] | None = Field(
        default=None, description="None until the first run asked."
    )
    merge_different_fields: bool = False
    threshold_percent: int = Field(default=25, ge=1, le=100)
    threshold_minimum: int = Field(default=50, ge=1, le=100_000)
    schedule_hours: int = Field(default=4, ge=1, le=168)
    inactivate_deleted: bool = False


class PeopleSettingsPatch(Intent):
    """Only the fields sent are changed."""

    first_match: Literal["planning_center", "ask", "ours"] | None = None
    merge_different_fields: bool | None = None
    threshold_percent: int | None = Field(default=None, ge=1, le=100)
    threshold_minimum: int | None = Field(default=None, ge=1, le=100_000)
    schedule_hours: int | None = Field(default=None, ge=1, le=168)
    inactivate_deleted: bool | None = None


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
