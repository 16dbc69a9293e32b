"""A bulk answer to conflicts: previewed, bound to the preview, carried out by a job in batches."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final, cast

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from conflict_service.domain.answers import choices_for
from conflict_service.domain.conflict import Conflict
from conflict_service.resources import Resources
from conflict_service.storage import queries
from conflict_service.storage import rules as stored_rules
from conflict_service.storage.tables import BulkRow, BulkSkippedRow, ConflictRow, DecisionRow, RuleRow
from conflict_service.usecases import by_rule
from conflict_service.usecases.decide import Decider, take
from conflict_service.usecases.read import render
from contracts.http.common import Page, PageQuery
from contracts.http.conflicts import AnswerBulk, Bulk, BulkAnswer, BulkInput, BulkPreview, BulkSample, BulkSkipped
from contracts.identity import UserIdentity
from servicekit.db.sessions import Sessions
from servicekit.errors import Conflict as Refused
from servicekit.errors import NotFound
from servicekit.http import paging
from servicekit.ids import uuid7
from servicekit.jobs import queue as jobs
from servicekit.jobs.worker import JobContext

KIND: Final = "conflicts.bulk"
"""Kind of the job that carries an answer out."""
SAMPLES: Final = 10
MOST: Final = 10_000
"""Maximum conflicts of one answer; further ones are left for the next answer."""
READ_AT_ONCE: Final = 500
BATCH: Final = 100
"""Conflicts of one transaction."""
KEPT: Final = timedelta(days=1)
"""Time for which a preview can be answered, and a result be read."""


async def preview(session: AsyncSession, organization_id: str, body: BulkInput, now: datetime) -> BulkPreview:
    """Store the set of matching conflicts, and show its size and first ones."""
    row = new_row(organization_id, body.answer, body.field, now)
    wanted = queries.fitting(organization_id, "open", body)
    columns = (ConflictRow.id, ConflictRow.values_version, ConflictRow.fields, ConflictRow.record["name"].astext)
    statement = select(*columns).where(*wanted).order_by(ConflictRow.opened_at.desc(), ConflictRow.id.desc())
    found = await session.stream(statement.execution_options(yield_per=READ_AT_ONCE))
    async for conflict_id, version, fields, name in found:
        if len(row.conflict_ids) == MOST or choices_for(fields, body.answer, body.field) is None:
            row.left_out += 1
            continue
        row.conflict_ids.append(conflict_id)
        row.values_versions.append(version)
        row.names.append(name)
    row.digest = digest_of(row)
    session.add(row)
    await session.flush()
    return BulkPreview(**dict(_render(row, Counter(), 0)), samples=await samples(session, row))


def new_row(organization_id: str, answer: str, field: str | None, now: datetime) -> BulkRow:
    """A new answer with an empty set of conflicts."""
    return BulkRow(
        organization_id=organization_id,
        id=str(uuid7()),
        answer=answer,
        field=field,
        conflict_ids=[],
        values_versions=[],
        names=[],
        left_out=0,
        digest="",
        state="shown",
        done=0,
        skipped=0,
        created_at=now,
    )


async def samples(session: AsyncSession, row: BulkRow) -> tuple[BulkSample, ...]:
    """The first conflicts of an answer, with their choices."""
    found = []
    for conflict_id in row.conflict_ids[:SAMPLES]:
        conflict = await queries.find(session, row.organization_id, conflict_id)
        if conflict is None:
            continue  # erased meanwhile
        choices = _choices(row, conflict)
        found.append(BulkSample(conflict=render(conflict_id, conflict, None), choices=choices or {}))
    return tuple(found)


def _choices(row: BulkRow, conflict: Conflict) -> dict[str, str] | None:
    fields = [field.model_dump(mode="json") for field in conflict.fields]
    return cast("dict[str, str] | None", choices_for(fields, cast("BulkAnswer", row.answer), row.field))


def digest_of(row: BulkRow, *more: str) -> str:
    """Hash an answer and the shown conflicts, by id and values, in order."""
    pairs = zip(row.conflict_ids, row.values_versions, strict=True)
    content = "\n".join([row.answer, row.field or "", *more, *(f"{id_}:{version}" for id_, version in pairs)])
    return blake2b(content.encode(), digest_size=16).hexdigest()


async def answer(
    session: AsyncSession, organization_id: str, bulk_id: str, body: AnswerBulk, user: UserIdentity
) -> Bulk:
    """Decide the shown conflicts; idempotent. Conflict (409) if another set was shown, or another answer is at work."""
    row = await _find(session, organization_id, bulk_id, locked=True)
    if body.digest != row.digest:
        raise Refused(
            "The list has changed since it was shown to you. Nothing was decided: look at it and answer again.",
            slug="not-shown",
        )
    if row.state == "done":
        return await _counted(session, row)
    if row.state == "shown" and not row.conflict_ids:
        raise Refused("There is nothing to decide. Choose other filters.", slug="nothing-shown")
    await begin(session, row)
    if row.state == "shown":
        row.state, row.decided_by, row.decided_by_name = "working", user.user_id, user.name
    return await _counted(session, row)


async def begin(session: AsyncSession, row: BulkRow) -> None:
    """Start carrying an answer out; idempotent. Conflict (409) if another one is at work."""
    job_id, created = await jobs.enqueue(session, KIND, row.organization_id, {"bulk_id": row.id})
    if not created and (await jobs.get(session, job_id, row.organization_id)).payload.get("bulk_id") != row.id:
        raise Refused(
            "Another answer to several records is still being carried out. Nothing was decided: wait until it is "
            "done, then answer again.",
            slug="at-work",
        )


async def get(session: AsyncSession, organization_id: str, bulk_id: str) -> Bulk:
    """Count the outcomes of a bulk answer so far. NotFound (404)."""
    return await _counted(session, await _find(session, organization_id, bulk_id))


async def skipped(session: AsyncSession, organization_id: str, bulk_id: str, query: PageQuery) -> Page[BulkSkipped]:
    """A page of skipped conflicts, in the order shown. NotFound (404)."""
    row = await _find(session, organization_id, bulk_id)
    statement = select(BulkSkippedRow).filter_by(organization_id=organization_id, bulk_id=bulk_id)
    if query.after:
        (last,) = paging.decode(query.after, paging.position)
        statement = statement.where(BulkSkippedRow.position > last)
    found = (await session.scalars(statement.order_by(BulkSkippedRow.position).limit(query.limit + 1))).all()
    shown = found[: query.limit]
    return Page[BulkSkipped](
        items=tuple(
            BulkSkipped(conflict_id=row.conflict_ids[one.position], name=row.names[one.position], sentence=one.sentence)
            for one in shown
        ),
        next=paging.encode(shown[-1].position) if len(found) > query.limit else None,
        total=row.skipped,
    )


async def _find(session: AsyncSession, organization_id: str, bulk_id: str, *, locked: bool = False) -> BulkRow:
    row = await session.get(BulkRow, (organization_id, bulk_id), with_for_update=locked or None)
    if row is None:
        raise NotFound("This list is no longer kept: it is there for a day. Filter again and answer then.")
    return row


async def _counted(session: AsyncSession, row: BulkRow) -> Bulk:
    of_bulk = (DecisionRow.organization_id == row.organization_id, DecisionRow.bulk_id == row.id)
    outcomes = select(DecisionRow.outcome, func.count()).where(*of_bulk).group_by(DecisionRow.outcome)
    refused = select(func.count()).where(*of_bulk, func.cardinality(DecisionRow.refused) > 0)
    counts: Counter[str] = Counter(dict((await session.execute(outcomes)).all()))
    return _render(row, counts, await session.scalar(refused) or 0)


def _render(row: BulkRow, outcomes: Counter[str], refused: int) -> Bulk:
    return Bulk(
        id=row.id,
        answer=row.answer,
        field=row.field,
        digest=row.digest,
        count=len(row.conflict_ids),
        left_out=row.left_out,
        state=row.state,
        done=row.done,
        skipped=row.skipped,
        waiting=outcomes["waiting"],
        applied=outcomes["applied"],
        not_needed=outcomes["not_needed"],
        overtaken=outcomes["overtaken"],
        refused=refused,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


async def carry_out(job: JobContext, resources: Resources) -> None:
    """Decide the shown conflicts, one transaction per batch (`servicekit.jobs.queue.Run`)."""
    key = (job.organization_id, job.payload["bulk_id"])
    while not job.over:
        async with job.transaction() as session:
            row = await session.get(BulkRow, key, with_for_update=True)
            if row is not None and row.done < len(row.conflict_ids):
                await _batch(session, row, resources.clock.now())
                await job.checkpoint(session, {"done": row.done})
            else:
                if row is not None:
                    row.state, row.finished_at = "done", resources.clock.now()
                await job.finish(session)
        if not job.over:
            job.stop_if_requested()


async def _batch(session: AsyncSession, row: BulkRow, now: datetime) -> None:
    part = slice(row.done, row.done + BATCH)
    shown = list(enumerate(zip(row.conflict_ids[part], row.values_versions[part], strict=True), start=row.done))
    # Lock rules before conflicts, like the consumer of facts.
    rule = await stored_rules.find(session, row.organization_id, row.rule_id, shared=True) if row.rule_id else None
    rules = await stored_rules.on_for(session, row.organization_id, rule.kind, locked=True) if rule else []
    by = by_rule.decider(rule, row.id) if rule else Decider(row.decided_by or "", row.decided_by_name, row.id)
    left: list[dict[str, object]] = []
    # Lock in the order of ids, so that two concurrent answers do not deadlock.
    for position, (conflict_id, version) in sorted(shown, key=lambda one: one[1]):
        await queries.lock(session, row.organization_id, conflict_id)
        conflict = await queries.find(session, row.organization_id, conflict_id)
        why = _moved(conflict, version)
        if why is None and conflict is not None and row.rule_id is not None:
            why = _not_by(rule, rules, conflict, now) or await _not_again(session, row.organization_id, conflict_id)
        choices = None if why or conflict is None else _choices(row, conflict)
        if conflict is None or choices is None:
            key = {"organization_id": row.organization_id, "bulk_id": row.id, "position": position}
            left.append({**key, "sentence": why or ""})
            continue
        await take(session, row.organization_id, conflict_id, conflict, choices, by, now)  # type: ignore[arg-type]
    if left:
        await session.execute(insert(BulkSkippedRow), left)
    row.done += len(shown)
    row.skipped += len(left)


def _moved(conflict: Conflict | None, version: int) -> str | None:
    """Why a conflict is no longer as shown; None if it still is."""
    if conflict is None:
        return "There is no such conflict any more."
    if conflict.state == "open":
        return None if conflict.values_version == version else "A value changed since it was shown."
    if conflict.state in {"resolving", "resolved"}:
        return "Somebody decided it since it was shown."
    return "It was over before its turn: nothing was left to decide."


def _not_by(rule: RuleRow | None, rules: Sequence[RuleRow], conflict: Conflict, now: datetime) -> str | None:
    """Why a rule no longer decides a shown conflict; None if it does. `rules`: the active ones of its kind."""
    if rule is None or not rule.is_on:
        return "The rule was turned off before its turn."
    if not by_rule.decides(rule, conflict, now):
        return "It changed since it was shown, so the rule no longer fits."
    if not by_rule.deciding(rules, conflict, now):
        return "Another rule, turned on since it was shown, answers differently, so it waits for you."
    return None


async def _not_again(session: AsyncSession, organization_id: str, conflict_id: str) -> str | None:
    if await stored_rules.was_overtaken(session, organization_id, conflict_id):
        return "A decision about it could not be carried out since it was shown, so it waits for you."
    return None


async def forget_old(sessions: Sessions, now: datetime) -> None:
    """Delete unanswered previews and old results, each kind in its own transaction."""
    async with sessions() as session:
        over = select(BulkRow.organization_id, BulkRow.id).where(
            BulkRow.created_at < now - KEPT, BulkRow.state != "working"
        )
        old = (await session.execute(over.limit(100))).all()
    for organization_id, bulk_id in old:
        async with sessions.begin() as session:
            this = delete(BulkRow).filter_by(organization_id=organization_id, id=bulk_id)
            if await session.scalar(this.where(BulkRow.state != "working").returning(BulkRow.id)) is not None:
                of_bulk = delete(BulkSkippedRow).filter_by(organization_id=organization_id, bulk_id=bulk_id)
                await session.execute(of_bulk)
