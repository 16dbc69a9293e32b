"""People without any candidate here, and their households: planned and added by set-based statements."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Select,
    bindparam,
    cast,
    exists,
    func,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from contracts.values import FAMILY, MEMBER
from people_sync.domain.sentences import CREATED_HERE
from people_sync.storage import remote
from people_sync.storage.links import AT_ONCE
from people_sync.storage.remote import Owner
from people_sync.storage.strays import is_stray
from people_sync.storage.sync_tables import Alias, Change, Creation, Remote
from synckit.among import among


def _strangers(owner: Owner, run_id: UUID, kind: str, name: ColumnElement[str]) -> Select[Any]:
    """Unlinked people or households that the run met, as (a new id, Planning Center's id, name)."""
    linked = exists().where(remote.ITS_LINK)
    return (
        select(func.gen_random_uuid(), Remote.pco_id, name)
        .where(
            Remote.organization_id == owner["organization_id"],
            Remote.pco_organization_id == owner["pco_organization_id"],
            Remote.kind == kind,
            Remote.run_id == run_id,
            Remote.snapshot.is_not(None),
            ~Remote.again,
            ~linked,
            # Records that we may have created ourselves are handled one by one.
            ~is_stray(),
        )
        .order_by(Remote.pco_id)
    )


def unlinked_people(owner: Owner, run_id: UUID) -> Select[Any]:
    """People whom the run met and who are not linked, merged away, or marked by us. They are new if no member is free
    (`candidates.anybody_free`)."""
    first, last = (Remote.snapshot["values"][part].astext for part in ("first_name", "last_name"))
    name = func.coalesce(
        func.nullif(func.trim(func.concat(first, " ", last)), ""), func.concat("Person ", Remote.pco_id)
    )
    merged = exists().where(
        Alias.organization_id == Remote.organization_id,
        Alias.pco_organization_id == Remote.pco_organization_id,
        Alias.removed_id == Remote.pco_id,
    )
    marked = exists().where(
        Creation.organization_id == Remote.organization_id,
        Creation.pco_organization_id == Remote.pco_organization_id,
        Creation.marker == cast(Remote.snapshot["remote_id"].astext, BigInteger),
    )
    return _strangers(owner, run_id, MEMBER, name).where(~merged, ~marked)


def households_of_newcomers(owner: Owner, run_id: UUID) -> Select[Any]:
    """Households whose people are all planned as new here, so that no family can match."""
    other = aliased(Remote)
    person = (
        func.jsonb_array_elements_text(other.snapshot["person_ids"]).table_valued("pco_id").render_derived("person")
    )
    new = (
        (Change.run_id == run_id)
        & (Change.kind == MEMBER)
        & (Change.pco_id == person.c.pco_id)
        & (Change.outcome == CREATED_HERE)
    )
    with_others = (
        select(other.pco_id)
        .join(person, true())
        .outerjoin(Change, new)
        .where(
            other.organization_id == owner["organization_id"],
            other.pco_organization_id == owner["pco_organization_id"],
            other.kind == FAMILY,
            other.run_id == run_id,
            Change.id.is_(None),
        )
    )
    somebody = func.jsonb_array_length(Remote.snapshot["person_ids"]) > 0
    name = Remote.snapshot["name"].astext
    return _strangers(owner, run_id, FAMILY, name).where(somebody, Remote.pco_id.not_in(with_others))


async def any_unanswered(session: AsyncSession, owner: Owner, kind: str) -> bool:
    """Whether a record of this kind may exist there unknown to us: an intent has no answer."""
    sent = select(Creation.id).filter_by(**owner, kind=kind, state="sent").limit(1)
    return await session.scalar(sent) is not None


@dataclass(frozen=True, slots=True)
class Newcomer:
    """One person or household planned as new."""

    change_id: int
    record_id: UUID
    pco_id: str
    snapshot: dict[str, Any]
    remote_hash: bytes
    """Hash of the snapshot."""
    plan: list[Any] | None
    """Approved fields as `contracts.http.plans.PlanField`; None without an approval."""


def _planned(owner: Owner, run_id: UUID, kind: str) -> Any:
    return (
        select(Change.id, Change.record_id, Change.pco_id, Remote.snapshot, Remote.remote_hash, Change.plan)
        .join(Remote, (Remote.kind == Change.kind) & (Remote.pco_id == Change.pco_id))
        .where(
            Change.run_id == run_id,
            Change.kind == kind,
            Change.here == "planned",
            Change.outcome == CREATED_HERE,
            Remote.organization_id == owner["organization_id"],
            Remote.pco_organization_id == owner["pco_organization_id"],
            Remote.snapshot.is_not(None),
        )
        .order_by(Change.id)
    )


async def next_planned(
    session: AsyncSession, owner: Owner, run_id: UUID, kind: str, after: int, limit: int
) -> list[Newcomer]:
    """Planned newcomers not added yet, in the order of their plans, beyond the plan `after`."""
    rows = await session.execute(_planned(owner, run_id, kind).where(Change.id > after).limit(limit))
    return [Newcomer(*row) for row in rows]


async def planned_people(
    session: AsyncSession, owner: Owner, run_id: UUID, pco_ids: Collection[str]
) -> dict[str, Newcomer]:
    """The people among these who are planned as new and not added yet."""
    wanted = among(Change.pco_id, pco_ids)
    rows = await session.execute(_planned(owner, run_id, MEMBER).where(wanted))
    found = [Newcomer(*row) for row in rows]
    return {one.pco_id: one for one in found}


_INSERT_MEMBERS: Final = text(
    """
    INSERT INTO member (
        id, organization_id, first_name, last_name, birthdate, gender, child, email, phone, address, name_key,
        email_key, active, version, created_at, updated_at
    )
    SELECT id, :organization_id, first_name, last_name, birthdate, gender, child, email, phone, address, name_key,
        email_key, active, 1, :now, :now
    FROM jsonb_to_recordset(:rows) AS new (
        id uuid, first_name text, last_name text, birthdate date, gender text, child boolean, email text, phone text,
        address jsonb, name_key text, email_key text, active boolean
    )
    """
).bindparams(bindparam("rows", type_=JSONB), bindparam("now", type_=DateTime(timezone=True)))

_INSERT_FAMILIES: Final = text(
    """
    INSERT INTO family (id, organization_id, name, name_key, primary_contact_id, version, created_at, updated_at)
    SELECT id, :organization_id, name, name_key, primary_contact_id, 1, :now, :now
    FROM jsonb_to_recordset(:rows) AS new (id uuid, name text, name_key text, primary_contact_id uuid)
    """
).bindparams(bindparam("rows", type_=JSONB), bindparam("now", type_=DateTime(timezone=True)))

_INSERT_MEMBERSHIPS: Final = text(
    """
    INSERT INTO family_member (organization_id, family_id, member_id)
    SELECT :organization_id, new.id, one.member_id
    FROM jsonb_to_recordset(:rows) AS new (id uuid, members uuid[]), unnest(new.members) AS one (member_id)
    """
).bindparams(bindparam("rows", type_=JSONB))

_INSERT_LINKS: Final = text(
    """
    INSERT INTO link (
        organization_id, pco_organization_id, kind, record_id, pco_id, state, agreed, agreed_at, kept_different,
        contacts, remote_hash, compared_version, create_again
    )
    SELECT :organization_id, :pco_organization_id, :kind, record_id, pco_id, 'linked', agreed, :agreed_at, '{}',
        contacts, remote_hash, 1, false
    FROM jsonb_to_recordset(:rows) AS new (
        record_id uuid, pco_id text, agreed jsonb, contacts jsonb, remote_hash bytea
    )
    ON CONFLICT DO NOTHING
    """
).bindparams(bindparam("rows", type_=JSONB), bindparam("agreed_at", type_=JSONB))


async def insert_members(session: AsyncSession, owner: Owner, rows: Sequence[dict[str, Any]], now: datetime) -> None:
    """Rows of `Member` as JSON, of the first version."""
    values = {"organization_id": owner["organization_id"], "rows": rows, "now": now}
    await session.execute(_INSERT_MEMBERS, values)


async def insert_families(session: AsyncSession, owner: Owner, rows: Sequence[dict[str, Any]], now: datetime) -> None:
    """Rows of `Family` as JSON, of the first version, each with the ids of its `members`."""
    if rows:
        values = {"organization_id": owner["organization_id"], "rows": rows}
        await session.execute(_INSERT_FAMILIES, values | {"now": now})
        await session.execute(_INSERT_MEMBERSHIPS, values)


async def insert_links(
    session: AsyncSession, owner: Owner, kind: str, agreed: Sequence[tuple[Newcomer, dict[str, Any]]], now: datetime
) -> bool:
    """Link new records to their counterparts with all values agreed. False if a counterpart is linked by now.

    The hash is of the snapshot that gave the values, since the mirror may hold a later read by now.
    """
    if not agreed:
        return True
    rows = [
        {
            "record_id": str(one.record_id),
            "pco_id": one.pco_id,
            "agreed": values,
            "contacts": one.snapshot.get("contacts", {}),
            "remote_hash": remote.hexadecimal(one.remote_hash),
        }
        for one, values in agreed
    ]
    result: Any = await session.execute(
        _INSERT_LINKS, {**owner, "kind": kind, "rows": rows, "agreed_at": {AT_ONCE: now.isoformat()}}
    )
    return int(result.rowcount) == len(rows)


async def note_done(session: AsyncSession, changes: Collection[int]) -> None:
    """Mark these plans as carried out here."""
    done = update(Change).where(among(Change.id, changes)).values(here="done")
    await session.execute(done.execution_options(synchronize_session=False))
