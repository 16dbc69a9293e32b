"""Answers to the parts of one member: each part is accepted, refused or unanswered by itself."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import MEMBER
from pco_client.errors import Unavailable
from people_sync.domain.values import to_json
from people_sync.storage.effects import insert_effects
from people_sync.storage.links import agree
from people_sync.storage.tables import Link, Member
from people_sync.storage.writes import answered, left_again, taken_back, writes_of
from people_sync.usecases.record.effects import noted
from people_sync.usecases.record.refusals import DEFINITE, Part, Refusals
from people_sync.usecases.record.writer import Writer
from synckit.history import THERE


@dataclass(slots=True)
class Parts:
    """Outcomes of the parts of one member."""

    reasons: Mapping[str, str] = field(default_factory=dict)
    """Rule of each written field."""
    refusals: Refusals = field(default_factory=Refusals)
    complete: bool = True
    """Whether Planning Center now has our whole version."""


@asynccontextmanager
async def part(writer: Writer, member: Member, outcome: Parts, part: Part) -> AsyncIterator[None]:
    """Send one request and note its answer; a definite refusal concerns this part alone."""
    try:
        yield
    except DEFINITE as error:
        await _take_back(writer, member, part.fields)
        outcome.complete = False
        await outcome.refusals.refused(writer, part, error)
    except Unavailable as error:
        if error.outcome_unknown:
            # The request may still be in flight: reads are conclusive a horizon after now.
            async with writer.transaction() as session:
                link = await locked_link(session, writer, member)
                await left_again(session, link.id, part.fields, writer.now())
        raise


async def answer(
    writer: Writer,
    member: Member,
    outcome: Parts,
    taken: Mapping[str, Any],
    *,
    contacts: Mapping[str, str | None] | None = None,
    other: Sequence[str] = (),
) -> None:
    async with writer.transaction() as session:
        link = await store_answer(session, writer, member, outcome, to_json(taken), contacts=contacts or {})
        await answered(session, link.id, other, writer.now())


async def store_answer(
    session: AsyncSession,
    writer: Writer,
    member: Member,
    outcome: Parts,
    taken: Mapping[str, Any],
    *,
    contacts: Mapping[str, str | None],
) -> Link:
    """Note these fields (JSON) as accepted by Planning Center, and so agreed."""
    link = await locked_link(session, writer, member)
    # A field that a read has confirmed meanwhile is already noted.
    writes = (await writes_of(session, [link.id])).get(link.id, [])
    replaced = {one.field: one.before for one in writes if one.answered_at is None}
    await answered(session, link.id, taken.keys(), writer.now())
    agree(link, {**link.agreed, **taken}, writer.now())
    merged = {**link.contacts, **contacts}
    link.contacts = {name: contact for name, contact in merged.items() if contact is not None}
    outcome.refusals.taken |= bool(taken)
    # The announcement noted the contact that a cleared one leaves there; the answer makes the note final.
    link.kept_different = {
        name: pair[:2] if name in taken else pair
        for name, pair in link.kept_different.items()
        if name not in taken or len(pair) > 2
    }
    rows = []
    for name, value in taken.items():
        if name not in replaced:
            continue
        rule = "first_match" if outcome.reasons.get(name) == "first_match" else None
        # The church's choice for first matches is a rule; every other value was typed here.
        by = "rule" if rule else "platform"
        rows.append(noted(writer, MEMBER, member.id, name, replaced[name], value, side=THERE, by=by, rule=rule))
    await insert_effects(session, rows)
    return link


async def _take_back(writer: Writer, member: Member, fields: Sequence[str]) -> None:
    async with writer.transaction() as session:
        link = await locked_link(session, writer, member)
        link.kept_different = {
            name: pair for name, pair in link.kept_different.items() if name not in fields or len(pair) == 2
        }
        await taken_back(session, link.id, fields)


async def locked_link(session: AsyncSession, writer: Writer, member: Member) -> Link:
    statement = select(Link).filter_by(**writer.owner, kind=MEMBER, record_id=member.id).with_for_update()
    return (await session.scalars(statement)).one()
