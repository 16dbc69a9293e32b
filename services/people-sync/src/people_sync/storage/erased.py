"""Rows of erased people whom no sync may add again: checked at every read of Planning Center, before it is stored."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import delete, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY, MEMBER
from people_sync.storage.erased_tables import Erased, ErasedRecord
from people_sync.storage.tables import Link
from synckit.among import among

NUMBER: Final = "number"
"""Kind of a marker: see `Erased.kind`."""

Owner = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ErasedThere:
    """Erased people of one Planning Center organization."""

    people: frozenset[str]
    numbers: frozenset[str]
    """Markers of ours in `remote_id`."""

    def __bool__(self) -> bool:
        return bool(self.people or self.numbers)


async def erased_there(session: AsyncSession, owner: Owner) -> ErasedThere:
    """All erased people of a church, who are few."""
    found = select(Erased.kind, Erased.pco_id).filter_by(**owner).where(Erased.kind != FAMILY)
    rows = (await session.execute(found)).all()
    return ErasedThere(
        frozenset(pco_id for kind, pco_id in rows if kind == MEMBER),
        frozenset(pco_id for kind, pco_id in rows if kind == NUMBER),
    )


async def is_erased(session: AsyncSession, organization_id: str, record_id: UUID) -> bool:
    """Whether a former record here was erased."""
    return await session.get(ErasedRecord, (organization_id, record_id)) is not None


async def to_be_stored(session: AsyncSession, owner: Owner, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that the mirror may store: without erased people, and without unlinked households of erased people only.

    The caller holds the job, as an erasure does, so no erasure comes in between.
    """
    erased = await erased_there(session, owner)
    if not erased:
        return rows
    made = {row["pco_id"] for row in rows if row["kind"] == MEMBER and _number_of(row) in erased.numbers}
    await _mark_made(session, owner, rows, made)
    people = erased.people | made
    alone = {row["pco_id"] for row in rows if row["kind"] == FAMILY and _is_of(row, people)}
    if alone:
        linked = select(Link.pco_id).filter_by(**owner, kind=FAMILY).where(among(Link.pco_id, alone))
        alone -= set(await session.scalars(linked))
    return [row for row in rows if row["pco_id"] not in (people if row["kind"] == MEMBER else alone)]


def _number_of(row: Mapping[str, Any]) -> str | None:
    said = row["snapshot"] or (row["unread"] or {}).get("person") or {}
    return None if said.get("remote_id") is None else str(said["remote_id"])


def _is_of(row: Mapping[str, Any], people: Collection[str]) -> bool:
    in_it = set((row["snapshot"] or {}).get("person_ids", ()))
    return bool(in_it) and in_it <= set(people)


async def _mark_made(
    session: AsyncSession, owner: Owner, rows: Iterable[Mapping[str, Any]], made: Collection[str]
) -> None:
    """Mark people by id whom our marker identifies as erased: the number can be changed there, the id cannot."""
    numbers = {row["pco_id"]: _number_of(row) for row in rows if row["pco_id"] in made and row["kind"] == MEMBER}
    if not numbers:
        return
    found = select(Erased.pco_id, Erased.erasure_id).filter_by(**owner, kind=NUMBER)
    erasures = dict((await session.execute(found.where(among(Erased.pco_id, numbers.values())))).all())
    await mark(session, owner, MEMBER, {pco_id: erasures[str(number)] for pco_id, number in numbers.items()})


async def mark(session: AsyncSession, owner: Owner, kind: str, erasures: Mapping[str, UUID]) -> None:
    """Bar these people or households from coming back, each with the id of its erasure."""
    if erasures:
        values = [{**owner, "kind": kind, "pco_id": pco_id, "erasure_id": id_} for pco_id, id_ in erasures.items()]
        await session.execute(insert(Erased).on_conflict_do_nothing(), values)


async def adopt(session: AsyncSession, organization_id: str, before: str, now: str) -> None:
    """Move markers to another Planning Center organization: they were made while none was connected."""
    of_church = (Erased.organization_id == organization_id, Erased.pco_organization_id == before)
    moved = select(Erased.organization_id, literal(now), Erased.kind, Erased.pco_id, Erased.erasure_id)
    columns = ["organization_id", "pco_organization_id", "kind", "pco_id", "erasure_id"]
    await session.execute(insert(Erased).from_select(columns, moved.where(*of_church)).on_conflict_do_nothing())
    await session.execute(delete(Erased).where(*of_church), execution_options={"synchronize_session": False})


async def follow_mergers(session: AsyncSession, owner: Owner, entries: Sequence[tuple[str, str]]) -> list[str]:
    """Extend erasures along mergers: a person kept in a merger of an erased one is erased too, unless a member here.

    `entries`: removed and kept person, in Planning Center's order. Gives the newly erased ids. An erased person into
    whom a member here is merged becomes that member, and is erased no longer.
    """
    erased = (await erased_there(session, owner)).people
    if not erased:
        return []
    concerned = {one for entry in entries for one in entry}
    alive = select(Link.pco_id).filter_by(**owner, kind=MEMBER).where(Link.state != "gone")
    members = set(await session.scalars(alive.where(among(Link.pco_id, concerned))))
    found: list[str] = []
    for removed, kept in entries:
        if removed in erased and kept not in members and kept not in erased:
            of_removed = select(Erased.erasure_id).filter_by(**owner, kind=MEMBER, pco_id=removed).limit(1)
            erasure_id = await session.scalar(of_removed)
            if erasure_id is not None:
                await mark(session, owner, MEMBER, {kept: erasure_id})
                erased |= {kept}
                found.append(kept)
        elif removed in members and kept in erased:
            await session.execute(delete(Erased).filter_by(**owner, kind=MEMBER, pco_id=kept))
            erased -= {kept}
            members |= {kept}
    return found
