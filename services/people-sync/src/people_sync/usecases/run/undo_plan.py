"""The plan of an undo: the values to put back for every record, before the first write, and the question about it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Text, Uuid, cast, exists, func, insert, literal, or_, select, update
from sqlalchemy.dialects.postgresql import JSONPATH, aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.plans import PlanField, UndoInput
from contracts.sync_runs import RunQuestion
from contracts.values import FAMILY, MEMBER
from people_sync.domain import undo as rules
from people_sync.domain.families import household_values
from people_sync.domain.planning_center import MAILED_ABOUT, household_from_snapshot
from people_sync.domain.sentences import (
    ADDED_THERE,
    CREATED_THERE,
    LEFT_OUT,
    MADE_INACTIVE,
    NOT_DONE,
    NOT_INACTIVATED,
    NOT_PUT_BACK,
    RESTORED,
    TAKEN_BACK,
    UNDONE,
    WAITING_FOR_UNDO,
)
from people_sync.domain.undo import Back, Standing, Undo, Was, in_words, undo_of
from people_sync.domain.writes import family_since, taken_since
from people_sync.storage.families import linked_records
from people_sync.storage.records import full_name
from people_sync.storage.remote import ITS_LINK
from people_sync.storage.runs import RUNS
from people_sync.storage.sync_tables import Change, Remote, Run
from people_sync.storage.tables import Effect, Family, Link, Member
from people_sync.storage.undo import KEPT, Scope, effects_of, families_now, members_now, of_scope
from people_sync.storage.writes import writes_of
from people_sync.usecases.run.context import RunContext
from synckit import runs, work
from synckit.among import among
from synckit.history import Actor

BATCH: Final = 500
"""Records planned in one transaction."""
EXAMPLES: Final = 5
_LISTED: Final = "records"
_BACK: Final = ("here", "both")
_MAILED: Final = '$[*] ? (@.does == "both" && (' + " || ".join(f'@.field == "{one}"' for one in MAILED_ABOUT) + "))"

Record = Member | Family


@dataclass(frozen=True, slots=True)
class Undoing:
    """An undo in progress, and the person who approved it."""

    scope: Scope
    since: datetime
    """Start of the undone effects."""
    approved_by: Actor
    inactivate: bool

    @classmethod
    def of(cls, run: Run) -> "Undoing":
        """Kind of a run's scope, by field of `UndoInput`."""
        said = run.answers.get("undo") or {}
        actor = Actor("person", said.get("by_user_id"), said.get("by_name"))
        scope = scope_of(UndoInput.model_validate(run.subject or {}))
        assert scope is not None
        return cls(scope, run.created_at - KEPT, actor, bool(said.get("inactivate")))


def scope_of(asked: UndoInput) -> Scope | None:
    """The requested scope; None unless exactly one field is set. Raises ValueError for a malformed id."""
    given = {name.removesuffix("_id"): value for name, value in asked if value is not None}
    if len(given) != 1:
        return None
    ((what, id_),) = given.items()
    return Scope(what, UUID(id_))


async def undoing(context: RunContext) -> Undoing:
    """The undo of a run, from its present row."""
    async with context.job.sessions() as session:
        return Undoing.of(await session.get_one(Run, context.run_id))


async def plan_undo(context: RunContext) -> None:
    """Plan every record of the scope.

    Restored members come before families, which get them back; families before members to delete, whom none may keep.
    """
    about = await undoing(context)
    if _LISTED not in context.checkpoint.compared.parts:
        async with context.step() as session:
            total = await _list_records(session, context, about)
            context.checkpoint.compared.parts.append(_LISTED)
            await runs.change(session, RUNS, context.run_id, total=total)
        await context.analyze("change")
    deleted = exists().where(Member.id == Change.record_id, Member.deleted_at.is_not(None))
    for kind, where in ((MEMBER, (deleted,)), (FAMILY, ()), (MEMBER, ())):
        while await _plan_next(context, about, kind, where):
            pass


async def _list_records(session: AsyncSession, context: RunContext, about: Undoing) -> int:
    """Insert a row for each record, without a plan, by one statement."""
    found = select(
        literal(context.organization_id),
        literal(context.run_id, Uuid),
        Effect.kind,
        Effect.record_id,
        literal(""),
        literal("none"),
        literal("none"),
        literal(NOT_DONE),
        literal(NOT_PUT_BACK),
    )
    found = found.where(of_scope(context.organization_id, about.scope, about.since)).distinct()
    names = ["organization_id", "run_id", "kind", "record_id", "name", "here", "there", "outcome", "sentence"]
    result: Any = await session.execute(insert(Change).from_select(names, found))
    return int(result.rowcount)


async def _plan_next(context: RunContext, about: Undoing, kind: str, where: Sequence[Any]) -> bool:
    """Plan the next records of a kind. False when none are left."""
    async with context.step() as session:
        changes = (
            await session.scalars(
                select(Change)
                .where(
                    Change.run_id == context.run_id,
                    Change.kind == kind,
                    Change.outcome == NOT_DONE,
                    Change.plan.is_(None),
                    *where,
                )
                .order_by(Change.id)
                .limit(BATCH)
            )
        ).all()
        if changes:
            await _plan(session, context, about, kind, changes)
            await context.advance(session, len(changes))
    return len(changes) == BATCH


async def _plan(
    session: AsyncSession, context: RunContext, about: Undoing, kind: str, changes: Sequence[Change]
) -> None:
    ids = [change.record_id for change in changes if change.record_id]
    table: Any = Member if kind == MEMBER else Family
    found = select(table).where(table.organization_id == context.organization_id, among(table.id, ids))
    records: dict[UUID, Record] = {row.id: row for row in await session.scalars(found)}
    decided = await look(session, context, about, kind, records)
    shown = await _Shown.of(session, context, kind, ids)
    await shown.name(session, [one for undo, _ in decided.values() for one in undo.backs])
    for change in changes:
        record = records.get(change.record_id)  # type: ignore[arg-type] # made with a record
        if record is None or change.record_id is None:
            change.plan, change.outcome, change.sentence = [], LEFT_OUT, "Not here any more."
            change.planned = LEFT_OUT
            continue
        undo, now = decided[record.id]
        change.name = full_name(record) if isinstance(record, Member) else record.name
        change.pco_id = now.linked_to
        change.plan = shown.plan(record.id, undo, now)
        _outcome(change, undo, linked=now.linked_to is not None)
        change.planned = change.outcome


def _outcome(change: Change, undo: Undo, *, linked: bool) -> None:
    said = in_words(undo.left)
    if undo.whole:
        change.outcome, change.sentence = (TAKEN_BACK if undo.whole == "delete" else RESTORED), said
        change.here = "planned"
    elif undo.backs:
        change.outcome, change.sentence = UNDONE, said
        change.here, change.there = "planned", "planned" if linked else "none"
    elif undo.made_there:
        change.outcome, change.there, change.sentence = CREATED_THERE, "planned", ADDED_THERE
    else:
        change.outcome, change.sentence = LEFT_OUT, said or "Nothing of it was changed."


async def look(
    session: AsyncSession, context: RunContext, about: Undoing, kind: str, records: Mapping[UUID, Record]
) -> dict[UUID, tuple[Undo, Standing]]:
    """Decide about the records' present state, both for the plan and under lock when it is carried out."""
    effects = await effects_of(session, context.organization_id, about.scope, about.since, list(records))
    now: dict[UUID, Standing]
    if kind == MEMBER:
        members = [one for one in records.values() if isinstance(one, Member)]
        now = await members_now(session, context.owner, context.run_id, members)
    else:
        families = [one for one in records.values() if isinstance(one, Family)]
        former = {record_id: _people_in(effects[record_id]) for record_id in records if record_id in effects}
        now = await families_now(session, context.owner, context.run_id, families, former)
    return {one: (undo_of(kind, effects.get(one, ()), now[one], str(one)), now[one]) for one in records}


def _people_in(effects: Collection[Was]) -> set[str]:
    """Ids of members named by effects on a family."""
    here = {value for one in effects if one.field == rules.MEMBERS for value in (one.before, one.after) if value}
    there = {one.field.removeprefix(rules.MEMBER) for one in effects if one.field.startswith(rules.MEMBER)}
    return here | there


@dataclass(slots=True)
class _Shown:
    """Data shown beside our values: agreed values, Planning Center's values, and names of members."""

    kind: str
    agreed: dict[UUID, Mapping[str, Any]]
    there: dict[UUID, Mapping[str, Any]]
    names: dict[str, str]

    @classmethod
    async def of(cls, session: AsyncSession, context: RunContext, kind: str, ids: Collection[UUID]) -> "_Shown":
        rows = await session.execute(
            select(Link.record_id, Link.id, Link.agreed, Remote.snapshot, Remote.read_at)
            .outerjoin(Remote, ITS_LINK)
            .where(
                Link.organization_id == context.organization_id,
                Link.pco_organization_id == context.pco_organization_id,
                Link.kind == kind,
                Link.state == "linked",
                among(Link.record_id, ids),
            )
        )
        found = rows.all()
        writes = await writes_of(session, [link_id for _, link_id, _, snapshot, _ in found if snapshot])
        made = cls(kind, {}, {}, {})
        for record_id, link_id, agreed, snapshot, read_at in found:
            made.agreed[record_id] = made.there[record_id] = agreed
            sent = writes.get(link_id, ())
            if snapshot and kind == MEMBER:
                made.there[record_id] = snapshot["values"] | taken_since(sent, read_at)
            elif snapshot:
                household = household_from_snapshot(snapshot)
                known = await linked_records(session, context.owner, household.person_ids)
                theirs = family_since(household_values(household, known), sent, read_at)
                made.there[record_id] = {
                    "name": theirs.name,
                    rules.PRIMARY_CONTACT: theirs.primary_contact,
                    rules.MEMBERS: sorted(theirs.members),
                }
        return made

    async def name(self, session: AsyncSession, backs: Collection[Back]) -> None:
        """Look up the names of members in these values."""
        ids = {one.key.removeprefix(rules.MEMBER) for one in backs if one.key.startswith(rules.MEMBER)}
        for values in (*self.agreed.values(), *self.there.values()):
            ids |= {values[name] for name in (rules.PRIMARY_CONTACT,) if values.get(name)}
        ids |= {value for one in backs if one.key == rules.PRIMARY_CONTACT for value in (one.here, one.after) if value}
        members = await session.scalars(select(Member).where(among(Member.id, [UUID(one) for one in _uuids(ids)])))
        self.names |= {str(member.id): full_name(member) for member in members}

    def plan(self, record_id: UUID, undo: Undo, now: Standing) -> list[dict[str, Any]]:
        """Plan fields as JSON, each with the part that `backs_of` reads."""
        does = "both" if now.linked_to is not None else "here"
        rows = [self._field(record_id, one, does) for one in undo.backs]
        for key in undo.left:
            if key in now.values and not key.startswith(rules.MEMBER):
                value = now.values[key]
                rows.append(self._field(record_id, Back(key, value, value), "nothing"))
        return rows

    def _field(self, record_id: UUID, back: Back, does: Any) -> dict[str, Any]:
        agreed, there = self.agreed.get(record_id), self.there.get(record_id, {})
        if back.key.startswith(rules.MEMBER):
            member = back.key.removeprefix(rules.MEMBER)

            def named(values: Mapping[str, Any] | None) -> str | None:
                return self._called(member) if member in (values or {}).get(rules.MEMBERS, ()) else None

            values: dict[str, Any] = {"field": rules.MEMBERS, "agreed": named(agreed), "there": named(there)}
            values |= {"here": self._called(member) if back.here else None}
            values |= {"after": self._called(member) if back.after else None}
        else:
            values = {"field": back.key, "here": back.here, "after": back.after}
            values |= {"agreed": (agreed or {}).get(back.key), "there": there.get(back.key)}
            if back.key == rules.PRIMARY_CONTACT:
                values |= {name: self._called(value) for name, value in values.items() if name != "field"}
        known = agreed is not None and (back.key in agreed or back.key.startswith(rules.MEMBER))
        field = PlanField(**values, agreed_known=known, does=does)
        return field.model_dump(mode="json") | {"exact": [back.key, back.here, back.after]}

    def _called(self, member: str | None) -> str | None:
        return None if member is None else self.names.get(member, member)


def _uuids(texts: Collection[str]) -> list[str]:
    return [text for text in texts if text != "stranger"]


def backs_of(change: Change) -> list[Back]:
    """The values that a plan puts back."""
    return [Back(*row["exact"]) for row in change.plan or () if row["does"] in _BACK]


async def ask_undo(context: RunContext) -> bool:
    """Whether the undo may go on. If not, it waits for an administrator and the job is released."""
    async with context.job.sessions.begin() as session:
        await context.job.verify(session)
        context.job.stop_if_requested()
        run = await session.get_one(Run, context.run_id)
        if "undo" in run.answers:
            await _settle_added_there(session, context, Undoing.of(run))
            return True
        counts = await _counts(session, context)
        if set(counts) <= {LEFT_OUT}:
            return True
        question = RunQuestion(
            kind="undo",
            digest=await _digest(session, context),
            counts=counts | {"may_be_mailed": await _may_be_mailed(session, context)},
            examples=await _examples(session, context),
            answers=("approve", "stop"),
        )
        checkpoint = context.checkpoint.to_json()
        await work.ask(session, RUNS, context.job, question, checkpoint, context.now(), waiting_for=WAITING_FOR_UNDO)
    return False


async def _settle_added_there(session: AsyncSession, context: RunContext, about: Undoing) -> None:
    """Make people inactive whom the scope added in Planning Center, or leave them, as answered."""
    values: dict[str, Any] = {"outcome": MADE_INACTIVE, "sentence": None}
    if not about.inactivate:
        values = {"outcome": LEFT_OUT, "there": "none", "sentence": NOT_INACTIVATED}
    added = (Change.run_id == context.run_id, Change.outcome == CREATED_THERE, Change.there == "planned")
    await session.execute(update(Change).where(*added).values(values), execution_options={"synchronize_session": False})


async def _counts(session: AsyncSession, context: RunContext) -> dict[str, int]:
    found = select(Change.outcome, func.count(Change.id)).where(Change.run_id == context.run_id)
    return dict((await session.execute(found.group_by(Change.outcome))).all())


async def _digest(session: AsyncSession, context: RunContext) -> str:
    """Digest of the whole plan."""
    one = func.concat_ws("|", Change.kind, cast(Change.record_id, Text), Change.outcome, cast(Change.plan, Text))
    every = func.string_agg(func.md5(one), aggregate_order_by(literal(""), Change.kind, Change.record_id))
    found = select(func.md5(every)).where(Change.run_id == context.run_id)
    return str(await session.scalar(found))


async def _may_be_mailed(session: AsyncSession, context: RunContext) -> int:
    """Mark people who sign in at Planning Center and would get another email or phone there; gives their number."""
    marked = (
        update(Change)
        .where(
            Change.run_id == context.run_id,
            Change.kind == MEMBER,
            Change.outcome == UNDONE,
            Remote.organization_id == context.organization_id,
            Remote.pco_organization_id == context.pco_organization_id,
            Remote.kind == Change.kind,
            Remote.pco_id == Change.pco_id,
            Remote.login.is_(True),
            func.jsonb_path_exists(Change.plan, cast(_MAILED, JSONPATH)),
        )
        .values(may_be_mailed=True)
    )
    result: Any = await session.execute(marked, execution_options={"synchronize_session": False})
    return int(result.rowcount)


async def _examples(session: AsyncSession, context: RunContext) -> tuple[dict[str, str | None], ...]:
    rows = await session.scalars(
        select(Change)
        .where(Change.run_id == context.run_id, or_(Change.here == "planned", Change.there == "planned"))
        .order_by(Change.id)
        .limit(EXAMPLES)
    )
    return tuple({"name": row.name, "field": row.outcome, "here": None, "planning_center": None} for row in rows)
