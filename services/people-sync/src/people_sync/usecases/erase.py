"""Erases a person here for good: removes values from all tables, tells the other services, and makes a receipt.

Workers of the organization are held off meanwhile. A person being written is refused (`busy`), and a run's plan for
them is dropped. The record's row stays, deleted and without values, since a worker may hold its id. Planning Center is
not touched, and no sync brings the person back (`storage.erased`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Text, and_, cast, delete, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.people_conflict_v1 import RecordErased
from contracts.events.people_sync_run_v1 import SyncRunProgressed
from contracts.events.webhooks_care_v1 import PersonErased
from contracts.http.erasures import EraseMember
from contracts.http.erasures import Erasure as Receipt
from contracts.values import FAMILY, MEMBER
from people_sync.domain import erasure as places
from people_sync.domain.erasure import ERASED_PERSON, without_names, without_people
from people_sync.domain.sentences import ERASED_MEANWHILE, KEPT_OUT, NOT_DONE
from people_sync.storage.erased import NUMBER, is_erased, mark
from people_sync.storage.erased_tables import ErasedRecord, Erasure
from people_sync.storage.held import WAITING
from people_sync.storage.joined import joined_to
from people_sync.storage.kept_out import families_with, links_of
from people_sync.storage.locks import locked
from people_sync.storage.records import full_name
from people_sync.storage.runs import RUNS
from people_sync.storage.sync_tables import (
    Alias,
    Change,
    Claim,
    Conflict,
    Creation,
    HeldBulk,
    HeldMatch,
    HeldSkipped,
    Joined,
    KeptOut,
    Refresh,
    Remote,
    Run,
    Shown,
    Stray,
)
from people_sync.storage.tables import Effect, Family, FamilyMember, Link, LinkWrite, Member
from people_sync.usecases import conflicts, history, receipts
from people_sync.usecases.directory import find
from people_sync.usecases.history import ERASED
from people_sync.usecases.publishing import family_removed, member_removed, publish, touch_families
from people_sync.usecases.record.claims import any_is_being_written
from people_sync.usecases.standstill import hold_jobs
from servicekit.db.tables import OUTBOX, SET_ASIDE
from servicekit.errors import Conflict as Refused
from servicekit.errors import Invalid, NotFound
from servicekit.http import answers
from servicekit.http.paging import contains
from servicekit.ids import uuid7
from servicekit.kafka.outbox import append_all
from synckit.among import among
from synckit.history import Actor, Noted
from synckit.records import check_version
from synckit.runs import OPEN, render
from synckit.standstill import one_at_a_time

_SILENT: Final = {"synchronize_session": False}


@dataclass(slots=True)
class _Erasing:
    """The erased person's records, and what was found about them."""

    organization_id: str
    members: dict[UUID, Member]
    """The member, and members joined to them; locked."""
    families: dict[UUID, Family]
    """All families that have or had one of them; locked."""
    last_of: dict[UUID, Family]
    """The families without anybody else."""
    links: list[Link]
    """Links of the members and of all these families; locked."""
    people: dict[str, set[str]] = field(default_factory=dict)
    """Planning Center's ids of the members, by its organization."""
    names: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def records(self) -> list[UUID]:
        """Ids of all erased records."""
        return [*self.members, *self.last_of]

    def count(self, place: str, rows: int) -> None:
        self.counts[place] = self.counts.get(place, 0) + rows

    def of_records(self, column: Any) -> ColumnElement[bool]:
        return among(column, self.records)

    def of_people(self, table: Any) -> ColumnElement[bool]:
        """The condition for rows, with an owner and `pco_id`, about one of these people in Planning Center."""
        return or_(
            False,
            *(
                and_(
                    table.organization_id == self.organization_id,
                    table.pco_organization_id == church,
                    among(table.pco_id, ids),
                )
                for church, ids in self.people.items()
            ),
        )


async def erase(
    session: AsyncSession, organization_id: str, member_id: str, body: EraseMember, actor: Actor, now: datetime
) -> Receipt:
    """Erase a member, also one deleted here. NotFound (404).

    Conflict (409) if the member changed since it was shown, or while a worker writes them or one of their families.
    Invalid (422) for a child at the child's own request.
    """
    await one_at_a_time(session, organization_id)
    await hold_jobs(session, organization_id)
    member = await find(session, organization_id, member_id, deleted=True)
    if await is_erased(session, organization_id, member.id):
        raise NotFound("This person was erased already.")
    going = await _locked(session, member)
    check_version(body.version, member.version, "member")
    if member.child and body.on_request_of == "person":
        raise Invalid(
            "A child is erased at the request of a parent or guardian, or of the church. Nothing was erased.",
            errors=[{"field": "on_request_of", "message": "must be `parent` or `church` for a child"}],
        )
    if await any_is_being_written(session, organization_id, [*going.members, *going.families]):
        raise Refused(
            "This person, or a family of theirs, is being synced at the moment. Nothing was erased: try again in a few "
            "seconds.",
            slug="busy",
        )
    row = Erasure(
        id=uuid7(),
        organization_id=organization_id,
        record_id=member.id,
        on_request_of=body.on_request_of,
        by_user_id=actor.user_id or "",
        by_name=actor.name,
        at=now,
        counts={},
    )
    session.add(row)
    await session.flush()
    session.add_all(
        ErasedRecord(organization_id=organization_id, record_id=id_, kind=kind, erasure_id=row.id)
        for kind, ids in ((MEMBER, going.members), (FAMILY, going.last_of))
        for id_ in ids
    )
    going.names |= {full_name(one) for one in going.members.values()} | {one.name for one in going.last_of.values()}
    await _held(session, going)
    await _mark(session, going, row.id)
    await _mirror(session, going)
    await _families(session, going)
    await _links(session, going)
    await _conflicts(session, going, now)
    told = await _syncs(session, going, now)
    await _history(session, going, actor, now, body.on_request_of)
    await _mentions(session, going)
    await answers.forget_all(session, organization_id)
    _values(going, now)
    await _tell(session, going, row, told, now)
    row.counts = going.counts
    await session.flush()
    return await receipts.render(session, row)


async def _locked(session: AsyncSession, member: Member) -> _Erasing:
    """Lock the mirror's rows, then the members, their families and links, in the global order."""
    organization_id = member.organization_id
    ids = [member.id, *await joined_to(session, organization_id, member.id)]
    read = select(Remote.pco_id).join(
        Link,
        (Link.organization_id == Remote.organization_id)
        & (Link.pco_organization_id == Remote.pco_organization_id)
        & (Link.kind == Remote.kind)
        & (Link.pco_id == Remote.pco_id),
    )
    read = read.where(Link.organization_id == organization_id, Link.kind == MEMBER, among(Link.record_id, ids))
    await session.execute(read.order_by(Remote.pco_id).with_for_update(of=Remote))
    by_id = await locked(session, Member, organization_id, ids)
    found = await locked(session, Family, organization_id, await families_with(session, organization_id, by_id))
    others = select(FamilyMember.family_id).where(
        among(FamilyMember.family_id, found), FamilyMember.member_id.not_in(list(by_id))
    )
    shared = set(await session.scalars(others))
    joined = select(FamilyMember.family_id).where(among(FamilyMember.member_id, by_id))
    theirs = set(await session.scalars(joined))
    last_of = {id_: family for id_, family in found.items() if id_ in theirs - shared}
    return _Erasing(
        organization_id, by_id, found, last_of, await links_of(session, organization_id, by_id.keys(), found.keys())
    )


async def _held(session: AsyncSession, going: _Erasing) -> None:
    """Delete held matches of people who can only be the erased person; from all others remove them as a candidate."""
    for link in going.links:
        if link.kind == MEMBER:
            going.people.setdefault(link.pco_organization_id, set()).add(link.pco_id)
    ids = set(map(str, going.members))
    touched = HeldMatch.candidate_ids.overlap(cast(sorted(ids), ARRAY(Text)))
    touched |= HeldMatch.different_from.overlap(cast(sorted(ids), ARRAY(Text)))
    rows = await session.scalars(
        select(HeldMatch)
        .where(HeldMatch.organization_id == going.organization_id, touched | going.of_people(HeldMatch))
        .order_by(HeldMatch.id)
        .with_for_update()
    )
    for held in rows:
        theirs = going.people.setdefault(held.pco_organization_id, set())
        maybe = held.state in WAITING and not held.more and set(held.candidate_ids) <= ids
        if held.pco_id in theirs or (maybe and held.candidate_ids):
            theirs.add(held.pco_id)
            going.names |= _names_in(held.theirs)
            await session.delete(held)
            going.count(places.HELD, 1)
            continue
        going.count(places.MENTIONS, 1)
        held.candidates = [one for one in held.candidates if one["member_id"] not in ids]
        held.candidate_ids = [one for one in held.candidate_ids if one not in ids]
        held.different_from = [one for one in held.different_from if one not in ids]
        held.version += 1
        # The reasons may name the person. The next sync compares again and writes them anew.
        held.reasons = [without_names(one, going.names - {""}) for one in held.reasons]
        again = update(Remote).filter_by(
            organization_id=held.organization_id,
            pco_organization_id=held.pco_organization_id,
            kind=MEMBER,
            pco_id=held.pco_id,
        )
        await session.execute(again.values(again=True), execution_options=_SILENT)


def _names_in(values: Mapping[str, Any]) -> set[str]:
    return {f"{values.get('first_name') or ''} {values.get('last_name') or ''}".strip()} - {""}


async def _mark(session: AsyncSession, going: _Erasing, erasure_id: UUID) -> None:
    """Mark all people in Planning Center who are or may be the person, so that no sync brings them back; delete our
    intents.
    """
    numbers: dict[str, set[str]] = {}
    households: dict[str, set[str]] = {}
    for link in going.links:
        if link.kind == FAMILY and link.record_id not in going.last_of:
            households.setdefault(link.pco_organization_id, set()).add(link.pco_id)
    made = await session.scalars(
        select(Creation).where(
            Creation.organization_id == going.organization_id,
            going.of_records(Creation.record_id) | going.of_records(Creation.of_record),
        )
    )
    count = 0
    for creation in made.all():
        church = creation.pco_organization_id
        if creation.kind == MEMBER and creation.pco_id is not None:
            going.people.setdefault(church, set()).add(creation.pco_id)
        elif creation.kind == MEMBER and creation.marker is not None and creation.state == "sent":
            numbers.setdefault(church, set()).add(str(creation.marker))
        await session.delete(creation)
        count += 1
    strays = await session.scalars(
        select(Stray).where(
            Stray.organization_id == going.organization_id,
            going.of_records(Stray.record_id) | going.of_records(Stray.intent_id),
        )
    )
    for stray in strays.all():
        if stray.kind == MEMBER:
            going.people.setdefault(stray.pco_organization_id, set()).add(stray.pco_id)
        await session.delete(stray)
        count += 1
    going.count(places.LINKS, count)
    for kind, found in ((MEMBER, going.people), (NUMBER, numbers), (FAMILY, households)):
        for church, ids in found.items():
            owner = {"organization_id": going.organization_id, "pco_organization_id": church}
            await mark(session, owner, kind, dict.fromkeys(sorted(ids), erasure_id))
            if kind != FAMILY:
                going.count(places.MARKED, len(ids))


async def _mirror(session: AsyncSession, going: _Erasing) -> None:
    """Delete the mirror's rows of the person, and of households without anybody else."""
    mine = and_(Remote.kind == MEMBER, going.of_people(Remote))
    for row in await session.scalars(select(Remote).where(mine)):
        said = row.snapshot or (row.unread or {}).get("person") or {}
        going.names |= _names_in(said.get("values", {}))
    homes = [(link.pco_organization_id, link.pco_id) for link in going.links if link.record_id in going.last_of]
    for church, household in homes:
        home = await session.get(Remote, (going.organization_id, church, FAMILY, household))
        if home is not None and set((home.snapshot or {}).get("person_ids", ())) <= going.people.get(church, set()):
            await session.delete(home)
            going.count(places.MIRROR, 1)
    gone = await session.execute(delete(Remote).where(mine).returning(Remote.pco_id), execution_options=_SILENT)
    going.count(places.MIRROR, len(gone.all()))


async def _families(session: AsyncSession, going: _Erasing) -> None:
    """Remove the person from families, only here: the agreed membership goes too, so that no household loses them."""
    ids = set(map(str, going.members))
    left = await session.execute(
        delete(FamilyMember).where(among(FamilyMember.member_id, going.members)).returning(FamilyMember.family_id),
        execution_options=_SILENT,
    )
    going.count(places.FAMILIES, len(left.all()))
    for link in going.links:
        if link.kind != FAMILY or link.record_id in going.last_of:
            continue
        agreed = dict(link.agreed)
        if "members" in agreed:
            agreed["members"] = [one for one in agreed["members"] if one not in ids]
        if agreed.get("primary_contact") in ids:
            agreed["primary_contact"] = None
        link.agreed, link.remote_hash = agreed, None
        link.kept_different = {name: kept for name, kept in link.kept_different.items() if not _names_any(kept, ids)}
        link.decided = {name: kept for name, kept in link.decided.items() if not _names_any(kept, ids)}
    for family in going.families.values():
        if family.primary_contact_id in going.members:
            family.primary_contact_id = None


def _names_any(value: Any, ids: Collection[str]) -> bool:
    if isinstance(value, Mapping):
        return any(_names_any(one, ids) for one in value.values())
    if isinstance(value, list):
        return any(_names_any(one, ids) for one in value)
    return value in ids


async def _links(session: AsyncSession, going: _Erasing) -> None:
    memberships = [f"member:{id_}" for id_ in going.members]
    families = [link.id for link in going.links if link.kind == FAMILY]
    said = [f'"{id_}"' for id_ in going.members]
    sent = and_(
        among(LinkWrite.link_id, families),
        among(LinkWrite.field, memberships)
        | among(cast(LinkWrite.before, Text), said)
        | among(cast(LinkWrite.after, Text), said),
    )
    await session.execute(delete(LinkWrite).where(sent), execution_options=_SILENT)
    own = [link for link in going.links if link.record_id in {*going.records}]
    writes = delete(LinkWrite).where(among(LinkWrite.link_id, [link.id for link in own])).returning(LinkWrite.id)
    going.count(places.LINKS, len((await session.execute(writes, execution_options=_SILENT)).all()))
    for link in own:
        await session.delete(link)
        going.count(places.LINKS, 1)
    for table in (KeptOut, Claim):
        of_records = (table.organization_id == going.organization_id, going.of_records(table.record_id))
        await session.execute(delete(table).where(*of_records), execution_options=_SILENT)
    joined = delete(Joined).where(
        Joined.organization_id == going.organization_id,
        among(Joined.member_id, going.members) | among(Joined.into_id, going.members),
    )
    await session.execute(joined, execution_options=_SILENT)
    await session.flush()


async def _conflicts(session: AsyncSession, going: _Erasing, now: datetime) -> None:
    """Delete the person's conflicts, whatever was decided. A family's conflict about them is withdrawn; the next sync
    compares the rest.
    """
    ids = set(map(str, going.members))
    others = [id_ for id_ in going.families if id_ not in going.last_of]
    naming = [
        one
        for one in (await conflicts.open_conflicts_of(session, going.organization_id, others)).values()
        if _names_any(one.fields, ids)
    ]
    decided = [one for one in naming if one.decision is not None]
    await append_all(
        session,
        await conflicts.facts(session, [conflicts.overtaken(one, ERASED_MEANWHILE, now) for one in decided], now),
    )
    closed = [conflicts.close(one, "withdrawn", now) for one in naming]
    await append_all(session, await conflicts.facts(session, closed, now))
    mine = (Conflict.organization_id == going.organization_id, going.of_records(Conflict.record_id))
    going.names |= set(await session.scalars(select(Conflict.name).where(*mine))) - {""}
    await session.flush()
    gone = await session.execute(delete(Conflict).where(*mine).returning(Conflict.id), execution_options=_SILENT)
    going.count(places.CONFLICTS, len(gone.all()))


async def _syncs(session: AsyncSession, going: _Erasing, now: datetime) -> list[Run]:
    """Remove names and values from lines of runs, which still count, and drop what is planned. Gives runs whose
    question changed.
    """
    organization_id = going.organization_id
    people = sorted({pco_id for ids in going.people.values() for pco_id in ids})
    runs_of = _runs_of(organization_id)
    mine = going.of_records(Change.record_id) | and_(Change.kind == MEMBER, among(Change.pco_id, people))
    rows = (
        await session.scalars(
            select(Change).where(Change.run_id.in_(runs_of), mine).order_by(Change.id).with_for_update()
        )
    ).all()
    for row in rows:
        going.names |= {row.name} - {"", ERASED_PERSON, f"Person {row.pco_id}"}
        if "planned" in {row.here, row.there}:
            row.here = row.there = "done" if row.here == "done" else "none"
            row.outcome, row.planned = KEPT_OUT, None
        row.name, row.sentence, row.may_be_mailed = ERASED_PERSON, ERASED_MEANWHILE, False
        row.pco_id = row.cause = None
        row.plan = [] if row.plan is not None else None
    going.count(places.SYNCS, len(rows))
    shown = delete(Shown).where(
        Shown.run_id.in_(runs_of),
        going.of_records(Shown.record_id) | and_(Shown.kind == MEMBER, among(Shown.pco_id, people)),
    )
    gone = await session.execute(shown.returning(Shown.key), execution_options=_SILENT)
    going.count(places.SYNCS, len(gone.all()))
    told: list[Run] = []
    asking = select(Run).where(Run.organization_id == organization_id, Run.question.is_not(None))
    for run in await session.scalars(asking.order_by(Run.id).with_for_update()):
        question: dict[str, Any] = dict(run.question or {})
        examples = [
            one
            for one in question.get("examples", ())
            if going.names.isdisjoint({one.get("name"), one.get("here"), one.get("planning_center")})
        ]
        if len(examples) != len(question.get("examples", ())):
            run.question = question | {"examples": examples}
            run.version += 1
            going.count(places.SYNCS, 1)
            told.append(run)
    waiting = (
        Refresh.organization_id == organization_id,
        going.of_records(Refresh.record_id) | and_(Refresh.kind == MEMBER, among(Refresh.pco_id, people)),
    )
    left = await session.scalars(select(Refresh).where(*waiting).order_by(Refresh.id).with_for_update())
    for refresh in left:
        if refresh.state == "queued":
            refresh.state, refresh.finished_at = "done", now
        refresh.outcome, refresh.sentence = NOT_DONE, ERASED_MEANWHILE
        going.count(places.SYNCS, 1)
    return told


def _runs_of(organization_id: str) -> Any:
    """The organization's runs, because lines of runs are found by their run."""
    return select(Run.id).where(Run.organization_id == organization_id)


async def _history(session: AsyncSession, going: _Erasing, actor: Actor, now: datetime, on_request_of: str) -> None:
    """Delete their history, and note an erasure with them and with the families that stay."""
    own = (Effect.organization_id == going.organization_id, going.of_records(Effect.record_id))
    values = (Effect.field, Effect.before, Effect.after)
    gone = (await session.execute(delete(Effect).where(*own).returning(*values), execution_options=_SILENT)).all()
    going.count(places.HISTORY, len(gone))
    going.names |= _former_names(going.members.values(), gone)
    notes = [Noted(MEMBER, id_, ERASED, None, None, on_request_of) for id_ in going.members]
    notes += [
        Noted(FAMILY, id_, ERASED, None, None, on_request_of)
        for id_, family in going.families.items()
        if family.deleted_at is None
    ]
    await history.note(session, going.organization_id, actor, notes, now)


def _former_names(members: Collection[Member], effects: Iterable[Sequence[Any]]) -> set[str]:
    """All names that they may have had, because others' data has the name of its time."""
    first, last = {one.first_name for one in members}, {one.last_name for one in members}
    for field_, before, after in effects:
        if field_ in {"first_name", "last_name"}:
            (first if field_ == "first_name" else last).update(one for one in (before, after) if isinstance(one, str))
    return {f"{one} {other}".strip() for one in first for other in last} - {""}


async def _mentions(session: AsyncSession, going: _Erasing) -> None:
    """Remove their names from others' data: sentences, plans of families, lists of bulk answers."""
    organization_id = going.organization_id
    names = {name for name in going.names if name}
    ids = {*map(str, going.members), *(pco_id for found in going.people.values() for pco_id in found)}
    own = select(HeldBulk.id).where(HeldBulk.organization_id == organization_id)
    said: Sequence[tuple[Any, Iterable[ColumnElement[bool]]]] = (
        (Change, (Change.run_id.in_(_runs_of(organization_id)),)),
        (Refresh, (Refresh.organization_id == organization_id,)),
        (HeldSkipped, (HeldSkipped.bulk_id.in_(own),)),
    )
    for table, where in said:
        naming = or_(False, *(table.sentence.like(contains(name)) for name in names))
        for row in await session.scalars(select(table).where(*where, naming)):
            row.sentence = without_names(row.sentence, names)
            going.count(places.MENTIONS, 1)
    plans = select(Change).where(
        Change.run_id.in_(_runs_of(organization_id)),
        Change.plan.is_not(None),
        or_(False, *(cast(Change.plan, Text).like(contains(f'"{id_}"')) for id_ in sorted(ids))),
    )
    for row in await session.scalars(plans):
        row.plan = without_people(row.plan, ids, names)
        going.count(places.MENTIONS, 1)
    for bulk in await session.scalars(select(HeldBulk).where(HeldBulk.organization_id == organization_id)):
        if not names.isdisjoint(bulk.names):
            bulk.names = [ERASED_PERSON if one in names else one for one in bulk.names]
            going.count(places.MENTIONS, 1)


def _values(going: _Erasing, now: datetime) -> None:
    for member in going.members.values():
        member.external_id = member.birthdate = member.gender = member.email = member.phone = member.address = None
        member.first_name = member.last_name = member.name_key = ""
        member.email_key, member.child, member.active = None, False, False
        member.version += 1
        member.updated_at, member.deleted_at = now, member.deleted_at or now
        going.count(places.VALUES, 1)
    for family in going.last_of.values():
        family.external_id, family.name, family.name_key = None, "", ""
        family.version += 1
        family.updated_at, family.deleted_at = now, family.deleted_at or now
        going.count(places.FAMILIES, 1)


async def _tell(session: AsyncSession, going: _Erasing, row: Erasure, told: Sequence[Run], now: datetime) -> None:
    """Delete unsent messages, then tell the other services to forget them; on compacted topics a tombstone follows."""
    keys = [str(id_) for id_ in going.records]
    about = and_(OUTBOX.c.topic.in_(["people.record.v1", "people.conflict.v1"]), OUTBOX.c.key.in_(keys))
    if told:
        # A run's question can name them; its new form is published below. Facts of other types have no question.
        asks = OUTBOX.c.headers["ce_type"].astext == SyncRunProgressed.__name__
        about |= and_(OUTBOX.c.topic == "people.sync-run.v1", OUTBOX.c.key == going.organization_id, asks)
    gone = await session.execute(delete(OUTBOX).where(about).returning(OUTBOX.c.id))
    # Messages about them, set aside because their type was unknown, are older than this erasure.
    aside = delete(SET_ASIDE).where(among(SET_ASIDE.c.key, [key.encode() for key in keys])).returning(SET_ASIDE.c.id)
    going.count(places.OUTBOX, len(gone.all()) + len((await session.execute(aside)).all()))
    await session.flush()
    stay = [one for one in going.families.values() if one.id not in going.last_of and one.deleted_at is None]
    await touch_families(session, stay, now)
    await publish(session, going.organization_id, now, [], stay)
    removed = [member_removed(member, now, erased=True) for member in going.members.values()]
    await append_all(session, [*removed, *(family_removed(one, now) for one in going.last_of.values())], tombstone=True)
    records: list[tuple[str, Member | Family]] = [(MEMBER, one) for one in going.members.values()]
    records += [(FAMILY, one) for one in going.last_of.values()]
    await append_all(
        session,
        [
            RecordErased(
                organization_id=going.organization_id,
                version=one.version,
                record_id=str(one.id),
                record_kind=kind,
                erasure_id=str(row.id),
                erased_at=now,
            )
            for kind, one in records
        ],
    )
    if people := await _ever_theirs(session, going):
        # What the delivery log keeps of notices about them.
        erased = PersonErased(
            organization_id=going.organization_id,
            version=max(one.version for one in going.members.values()),
            pco_person_ids=people,
            erased_at=now,
        )
        await append_all(session, [erased])
    await append_all(
        session,
        [
            SyncRunProgressed(organization_id=run.organization_id, version=run.version, run=render(RUNS, run))
            for run in told
            if run.state in OPEN
        ],
    )


async def _ever_theirs(session: AsyncSession, going: _Erasing) -> tuple[str, ...]:
    """Planning Center's ids of the person, and of people who were merged into them."""
    found: set[str] = set()
    for church, ids in going.people.items():
        new = set(ids)
        while new:
            found |= new
            merged = select(Alias.removed_id).filter_by(
                organization_id=going.organization_id, pco_organization_id=church
            )
            new = set(await session.scalars(merged.where(among(Alias.kept_id, new)))) - found
    return tuple(sorted(found))
