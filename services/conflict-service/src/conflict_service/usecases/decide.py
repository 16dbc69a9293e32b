"""Decisions about single conflicts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from conflict_service.domain.conflict import Conflict, decided
from conflict_service.domain.rules import answer_of, kind_of
from conflict_service.storage import queries
from conflict_service.storage.tables import DecisionRow
from conflict_service.usecases.announce import announce
from conflict_service.usecases.read import render
from contracts.conflicts import STATUS, Choice
from contracts.events.conflicts_resolution_v1 import ConflictResolved
from contracts.http.conflicts import Conflict as Shown
from contracts.http.conflicts import Decide
from contracts.identity import UserIdentity
from servicekit import errors
from servicekit.ids import uuid7
from servicekit.kafka import outbox


async def decide(
    session: AsyncSession, organization_id: str, conflict_id: str, body: Decide, user: UserIdentity, now: datetime
) -> Shown:
    """Accept a decision, which people-sync then carries out on both sides.

    NotFound (404); Conflict (409) with the present conflict if it has changed or was already decided; Invalid (422).
    """
    await queries.lock(session, organization_id, conflict_id)
    conflict = await queries.find(session, organization_id, conflict_id)
    if conflict is None:
        raise errors.NotFound("There is no such conflict.")
    await _check_open(session, organization_id, conflict_id, conflict)
    fields = {field.field for field in conflict.fields}
    if body.values_version != conflict.values_version or body.choices.keys() != fields:
        raise errors.Conflict(
            "The values have changed since you looked, so nothing was decided. Look at them again, and choose again.",
            slug="values-moved",
            conflict=(await _as_it_is(session, organization_id, conflict_id, conflict)).model_dump(mode="json"),
        )
    _check_choices(body.choices)
    row = await take(
        session, organization_id, conflict_id, conflict, body.choices, Decider(user.user_id, user.name), now
    )
    return render(conflict_id, decided(conflict, row.id), row)


@dataclass(frozen=True, slots=True)
class Decider:
    """Author of a decision: a person, with the bulk answer if any; or a rule, with the person who turned it on."""

    id: str
    name: str | None
    bulk_id: str | None = None
    rule_id: str | None = None


async def take(
    session: AsyncSession,
    organization_id: str,
    conflict_id: str,
    conflict: Conflict,
    choices: Mapping[str, Choice],
    by: Decider,
    now: datetime,
) -> DecisionRow:
    """Store a decision about a locked, open conflict, and publish it to people-sync."""
    fields = [field.model_dump(mode="json") for field in conflict.fields]
    row = DecisionRow(
        organization_id=organization_id,
        id=str(uuid7()),
        conflict_id=conflict_id,
        choices=dict(choices),
        fields=fields,
        decided_by=by.id,
        decided_by_name=by.name,
        decided_at=now,
        outcome="waiting",
        refused=[],
        bulk_id=by.bulk_id,
        rule_id=by.rule_id,
        kind=kind_of(fields),
        answer=answer_of(choices),
    )
    session.add(row)
    after = decided(conflict, row.id)
    await queries.save(session, organization_id, conflict_id, after)
    await announce(session, organization_id, conflict_id, after)
    await outbox.append(session, resolved(after, row, decided_on=conflict.values_version))
    return row


def resolved(conflict: Conflict, row: DecisionRow, *, decided_on: int) -> ConflictResolved:
    """What people-sync is told of a decision. decided_on: the `values_version` that was shown."""
    return ConflictResolved(
        organization_id=row.organization_id,
        version=conflict.version,
        conflict_id=row.conflict_id,
        record_id=conflict.record.id,
        decision_id=row.id,
        decided_on=decided_on,
        choices=row.choices,
        decided_by=row.decided_by,
        decided_by_name=row.decided_by_name,
        decided_at=row.decided_at,
        bulk_id=row.bulk_id,
        rule_id=row.rule_id,
    )


async def _check_open(session: AsyncSession, organization_id: str, conflict_id: str, conflict: Conflict) -> None:
    if conflict.state == "open":
        return
    shown = await _as_it_is(session, organization_id, conflict_id, conflict)
    if shown.decision and conflict.state in {"resolving", "resolved"}:
        name = shown.decision.decided_by_name or "Somebody else"
        who = f"The rule “{name}”" if shown.decision.rule_id else name
        said = f"{who} has decided this conflict already."
    else:
        said = "This conflict is over already: nothing is left to decide."
    raise errors.Conflict(
        f"{said} Your choice was not applied.", slug="settled", conflict=shown.model_dump(mode="json")
    )


async def _as_it_is(session: AsyncSession, organization_id: str, conflict_id: str, conflict: Conflict) -> Shown:
    newest = (await queries.newest_decisions(session, organization_id, [conflict_id])).get(conflict_id)
    return render(conflict_id, conflict, newest)


def _check_choices(choices: Mapping[str, Choice]) -> None:
    if choices.get(STATUS) == "ours":
        raise errors.Invalid(
            "No sync changes whether somebody is active in Planning Center. Keep Planning Center's status, or keep "
            "both different.",
            errors=[{"field": f"choices.{STATUS}", "message": "must be `theirs` or `both`"}],
        )
