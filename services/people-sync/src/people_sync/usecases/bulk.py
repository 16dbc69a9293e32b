"""Idempotent bulk upserts of members and families, by the platform's own ids.

One transaction with a fixed number of statements, whatever the size. An unacceptable record is refused alone, with its
position and the errors; all others are taken.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeVar
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.http.people import BulkFamily, BulkMember, BulkRejected, BulkResult, BulkUpsert
from contracts.values import MEMBER
from people_sync.domain.inputs import problems, text_problem
from people_sync.domain.values import FIELDS, as_dict, impossible
from people_sync.storage.erased import erased_there
from people_sync.storage.joined import led_by_external_id
from people_sync.storage.links import ended, look_for_deleted
from people_sync.storage.locks import Record
from people_sync.storage.records import values_of
from people_sync.storage.tables import Connection, Family, FamilyMember, Link, Member
from people_sync.usecases import history
from people_sync.usecases.bulk_locks import lock_all
from people_sync.usecases.directory import input_values, new_member
from people_sync.usecases.families import family_notes, join, leave, membership_notes, new_family, set_values
from people_sync.usecases.held import no_longer_held
from people_sync.usecases.publishing import publish, touch_families, touch_members
from people_sync.usecases.record.effects import take_over
from people_sync.usecases.supplied import NOT_CONNECTED, kept_ids
from servicekit.http.wording import field_errors, sentence
from synckit.among import among
from synckit.history import DELETED, Actor, Noted
from synckit.standstill import one_at_a_time

Kind = Literal["member", "family"]
Item = TypeVar("Item", BulkMember, BulkFamily)


@dataclass(slots=True)
class _Call:
    session: AsyncSession
    organization_id: str
    actor: Actor
    now: datetime
    pco_organization_id: str
    """The organization of newly supplied ids: `NOT_CONNECTED` while none is connected."""
    known_organization_id: str
    """The organization that is, or was last, connected. Ids in its links belong to it."""
    country: str | None
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: list[BulkRejected] = field(default_factory=list)
    notes: list[Noted] = field(default_factory=list)
    members: dict[UUID, Member] = field(default_factory=dict)
    """Changed members, to publish."""
    families: dict[UUID, Family] = field(default_factory=dict)

    @property
    def owner(self) -> dict[str, str]:
        return {"organization_id": self.organization_id, "pco_organization_id": self.pco_organization_id}

    def count(self, *, changed: bool) -> None:
        if changed:
            self.updated += 1
        else:
            self.unchanged += 1

    def reject(self, kind: Kind, position: int, external_id: object, errors: Iterable[tuple[str, str]]) -> None:
        self.rejected.append(
            BulkRejected(
                kind=kind,
                position=position,
                external_id=external_id if isinstance(external_id, str) and not impossible(external_id) else None,
                errors=field_errors(errors),
            )
        )


async def upsert(
    session: AsyncSession, organization_id: str, body: BulkUpsert, actor: Actor, now: datetime
) -> BulkResult:
    """Upsert members, then families. TooLarge (413) if more records change than one transaction can publish."""
    await one_at_a_time(session, organization_id)
    connection = await session.get(Connection, organization_id)
    known = connection.pco_organization_id if connection else NOT_CONNECTED
    call = _Call(
        session,
        organization_id,
        actor,
        now,
        pco_organization_id=NOT_CONNECTED if connection and connection.state == "disconnected" else known,
        known_organization_id=known,
        country=connection.country_code if connection else None,
    )
    members = _valid(call, "member", body.members, BulkMember)
    families = _valid(call, "family", body.families, BulkFamily)
    members = await _with_kept_ids(call, members)
    await lock_all(session, organization_id, members.values(), families.values())
    await _members(call, members)
    await _families(call, families)
    await history.note(session, organization_id, actor, call.notes, now)
    await publish(session, organization_id, now, call.members.values(), call.families.values())
    call.rejected.sort(key=lambda one: (one.kind != "member", one.position))
    return BulkResult(
        created=call.created, updated=call.updated, unchanged=call.unchanged, rejected=tuple(call.rejected)
    )


async def _with_kept_ids(call: _Call, items: Mapping[int, BulkMember]) -> dict[int, BulkMember]:
    """Replace Planning Center's ids of people who were merged there by those of the people kept."""
    kept = await kept_ids(call.session, call.owner, [item.pco_id for item in items.values() if item.pco_id])
    return {
        position: item.model_copy(update={"pco_id": kept.get(item.pco_id or "", item.pco_id)})
        for position, item in items.items()
    }


def _valid(call: _Call, kind: Kind, items: Sequence[dict[Any, Any]], model: type[Item]) -> dict[int, Item]:
    """The records with acceptable shape and values and unique ids, by position."""
    valid: dict[int, Item] = {}
    first: dict[tuple[str, str], int] = {}
    for position, raw in enumerate(items):
        try:
            item: Item = model.model_validate(raw)
        except ValidationError as error:
            errors = [(".".join(map(str, one["loc"])) or "record", sentence(one)) for one in error.errors()]
            call.reject(kind, position, raw.get("external_id"), errors)
            continue
        found: list[tuple[str, str]] = []
        for name, value in (("external_id", item.external_id), ("pco_id", item.pco_id)):
            if value is not None and first.setdefault((name, value), position) != position:
                found.append((name, f"is the same as that of record {first[name, value]}: send each once"))
        if isinstance(item, BulkMember):
            found += problems(_values(item), call.country, call.now.date())
        else:
            if item.primary_contact_external_id not in {None, *item.member_external_ids}:
                found.append(("primary_contact_external_id", "must be one of member_external_ids"))
            if problem := text_problem(item.name):
                found.append(("name", f"{problem}: write it again"))
        if found:
            call.reject(kind, position, item.external_id, found)
        else:
            valid[position] = item
    return valid


def _values(item: BulkMember) -> dict[str, Any]:
    return input_values({name: getattr(item, name) for name in FIELDS})


def _sent(item: BulkMember) -> dict[str, Any]:
    """Only the sent fields, because a record without an address must not clear the address here."""
    return input_values({name: getattr(item, name) for name in FIELDS if name in item.model_fields_set})


@dataclass(slots=True)
class _Links:
    """The links of one kind to the Planning Center organization, and the links that the platform supplies."""

    kind: Kind
    records: dict[str, UUID]
    """By Planning Center's id."""
    pco_ids: dict[UUID, str]
    """By our id."""
    erased: frozenset[str] = frozenset()
    """Planning Center's ids of erased people, whom no sync brings back."""
    supplied: dict[str, UUID] = field(default_factory=dict)

    @classmethod
    async def read(
        cls, call: _Call, kind: Kind, items: Iterable[BulkMember | BulkFamily], led: Iterable[UUID] = ()
    ) -> "_Links":
        """`led`: records that the platform's ids of joined members lead to."""
        items = list(items)
        record = Member if kind == MEMBER else Family
        named = select(record.id).where(
            record.organization_id == call.organization_id,
            or_(record.external_id.in_([item.external_id for item in items]), among(record.id, led)),
        )
        rows = await call.session.execute(
            select(Link.pco_id, Link.record_id, Link.pco_organization_id, ended(Link).label("over")).where(
                Link.organization_id == call.organization_id,
                Link.pco_organization_id.in_([call.pco_organization_id, call.known_organization_id]),
                Link.kind == kind,
                or_(Link.record_id.in_(named), Link.pco_id.in_([item.pco_id for item in items if item.pco_id])),
            )
        )
        found = rows.all()
        return cls(
            kind,
            {row.pco_id: row.record_id for row in found},
            {
                row.record_id: row.pco_id
                for row in found
                if row.pco_organization_id == call.pco_organization_id and not row.over
            },
            (await erased_there(call.session, call.owner)).people,
        )

    def owner(self, pco_id: str | None) -> UUID | None:
        return self.records.get(pco_id) if pco_id else None

    def contradiction(self, pco_id: str | None, record_id: UUID | None) -> str | None:
        """Why this id of Planning Center cannot belong to this record; None if it can."""
        if pco_id is None:
            return None
        owner = self.owner(pco_id)
        if self.kind == MEMBER and pco_id in self.erased:
            return "is of a person who was erased here: leave it out, or let them back first"
        if owner is not None and owner != record_id:
            return f"belongs to another {self.kind} here already: leave it out, or correct that one"
        if owner is None and record_id and self.pco_ids.get(record_id, pco_id) != pco_id:
            return f"is another than the one that this {self.kind} is linked to: leave it out to keep the link"
        return None

    def supply(self, pco_id: str | None, record_id: UUID) -> bool:
        """Note a supplied id. Returns whether it is new."""
        if pco_id is None or pco_id in self.records:
            return False
        self.records[pco_id] = record_id
        self.supplied[pco_id] = record_id
        return True

    async def write(self, call: _Call) -> None:
        if not self.supplied:
            return
        # The new id replaces one that does not exist in Planning Center.
        over = select(Link.id).filter_by(**call.owner, kind=self.kind)
        over = over.where(among(Link.record_id, self.supplied.values()), ended(Link))
        ids = (await call.session.scalars(over.order_by(Link.id).with_for_update())).all()
        await call.session.execute(
            delete(Link).where(among(Link.id, ids)), execution_options={"synchronize_session": False}
        )
        link = {**call.owner, "kind": self.kind, "state": "supplied"}
        supplied = self.supplied.items()
        await call.session.execute(
            insert(Link), [{**link, "record_id": record_id, "pco_id": pco_id} for pco_id, record_id in supplied]
        )
        call.notes += [
            Noted(self.kind, record_id, "planning_center_id", None, pco_id) for pco_id, record_id in supplied
        ]
        if self.kind == MEMBER:
            await no_longer_held(call.session, call.owner, self.supplied)


async def _members(call: _Call, items: Mapping[int, BulkMember]) -> None:
    led = await led_by_external_id(call.session, call.organization_id, [item.external_id for item in items.values()])
    items = await _one_each(call, items, led)
    links = await _Links.read(call, "member", items.values(), led.values())
    existing, adoptable = await _existing(call, Member, items.values(), links, led.values())
    known = {member.id: member for member in existing.values()} | {
        id_: member for id_, member in adoptable.items() if id_ is not None
    }
    existing |= {name: known[into] for name, into in led.items() if into in known}
    revived: list[UUID] = []
    adopted: list[UUID] = []
    added: list[Member] = []
    for position, item in items.items():
        member = existing.get(item.external_id) or adoptable.get(links.owner(item.pco_id))
        if wrong := links.contradiction(item.pco_id, member.id if member else None):
            call.reject("member", position, item.external_id, [("pco_id", wrong)])
            continue
        values = _values(item)
        if member is None:
            member = new_member(call.organization_id, values, item.external_id, call.now)
            call.session.add(member)
            added.append(member)
            call.members[member.id] = member
            call.created += 1
            links.supply(item.pco_id, member.id)
            continue
        values = _sent(item)
        if member.external_id is None:
            adopted.append(member.id)
        notes = history.changed_fields(MEMBER, member.id, as_dict(values_of(member)), values)
        if member.deleted_at is not None:
            member.deleted_at = None
            revived.append(member.id)
            notes.append(Noted(MEMBER, member.id, DELETED, old=True, new=False))
        news = links.supply(item.pco_id, member.id) or member.external_id is None
        call.count(changed=bool(notes) or news)
        if notes or news:
            take_over(member, values)
            if item.external_id not in led:
                member.external_id = item.external_id
            member.version += 1
            member.updated_at = call.now
            call.members[member.id] = member
            call.notes += notes
    await call.session.flush()
    await look_for_deleted(call.session, added)
    # A pull agreed on its own values, not on the platform's, so the first-match choice decides. Links that ended, or of
    # another Planning Center organization, stay out of use.
    await call.session.execute(
        update(Link)
        .where(
            Link.organization_id == call.organization_id,
            Link.pco_organization_id == call.known_organization_id,
            Link.kind == MEMBER,
            Link.record_id.in_(adopted),
            ~ended(Link),
        )
        .values(agreed={}, agreed_at={}, remote_hash=None, state="supplied")
    )
    await links.write(call)
    await _show_again(call, revived)


async def _one_each(call: _Call, items: Mapping[int, BulkMember], led: Mapping[str, UUID]) -> dict[int, BulkMember]:
    """Refuse further records about one member, to whom several ids lead since members were joined here.

    The record with the member's own id is taken, else the first one.
    """
    if not led:
        return dict(items)
    own = select(Member.external_id, Member.id).where(
        Member.organization_id == call.organization_id, among(Member.id, led.values())
    )
    ids = dict((await call.session.execute(own)).all())
    first: dict[UUID, int] = {ids[item.external_id]: at for at, item in items.items() if item.external_id in ids}
    left: dict[int, BulkMember] = {}
    for position, item in items.items():
        into = led.get(item.external_id)
        if into is None or first.setdefault(into, position) == position:
            left[position] = item
            continue
        other = f"is the same person as record {first[into]}, since the two were joined here: send one of them"
        call.reject("member", position, item.external_id, [("external_id", other)])
    return left


async def _show_again(call: _Call, members: list[UUID]) -> None:
    """Publish the families of restored members, who are their members again."""
    if members:
        families = await call.session.scalars(
            select(Family)
            .where(
                Family.id.in_(select(FamilyMember.family_id).where(FamilyMember.member_id.in_(members))),
                Family.deleted_at.is_(None),
            )
            .order_by(Family.id)
            .with_for_update()
        )
        call.families |= {family.id: family for family in families}
        await touch_families(call.session, list(call.families.values()), call.now)


async def _existing(
    call: _Call,
    record: type[Record],
    items: Iterable[BulkMember | BulkFamily],
    links: _Links,
    led: Iterable[UUID] = (),
) -> tuple[dict[str, Record], dict[UUID | None, Record]]:
    """Locked rows: by the platform's id, and by our id those that a pull added and the platform now names."""
    items = list(items)
    owners = {owner for item in items if (owner := links.owner(item.pco_id))} | {*led}
    rows = (
        await call.session.scalars(
            select(record)
            .where(
                record.organization_id == call.organization_id,
                or_(record.external_id.in_([item.external_id for item in items]), record.id.in_(owners)),
            )
            .order_by(record.id)
            .with_for_update()
        )
    ).all()
    return (
        {row.external_id: row for row in rows if row.external_id is not None},
        {row.id: row for row in rows if row.external_id is None},
    )


async def _families(call: _Call, items: Mapping[int, BulkFamily]) -> None:
    links = await _Links.read(call, "family", items.values())
    existing, adoptable = await _existing(call, Family, items.values(), links)
    people = await _by_external_id(call, {name for item in items.values() for name in item.member_external_ids})
    present = await _present(call, [*existing.values(), *adoptable.values()])
    joined: set[tuple[UUID, UUID]] = set()
    left: set[tuple[UUID, UUID]] = set()
    for position, item in items.items():
        family = existing.get(item.external_id) or adoptable.get(links.owner(item.pco_id))
        errors = [
            (f"member_external_ids.{index}", "no member has this external_id: send the member first")
            for index, name in enumerate(item.member_external_ids)
            if name not in people
        ]
        if wrong := links.contradiction(item.pco_id, family.id if family else None):
            errors.append(("pco_id", wrong))
        if errors:
            call.reject("family", position, item.external_id, errors)
            continue
        wanted = frozenset(people[name] for name in item.member_external_ids)
        fresh = family is None
        if family is None:
            family = new_family(call.organization_id, item.name, item.external_id, call.now)
            call.session.add(family)
        # Members unknown to the platform stay, because it cannot have meant to remove them.
        before, known = present.get(family.id, (frozenset(), frozenset()))
        after = wanted | (before - known)
        values = _family_values(item, family, people, after)
        news = links.supply(item.pco_id, family.id) or family.external_id is None or family.deleted_at is not None
        notes = family_notes(family, values) + membership_notes(family.id, before, after)
        joined |= {(family.id, member) for member in after - before}
        left |= {(family.id, member) for member in before - after}
        if fresh:
            family.primary_contact_id = values.get("primary_contact_id")
            call.created += 1
            call.families[family.id] = family
            continue
        call.count(changed=bool(notes) or news)
        if notes or news:
            family.external_id = item.external_id
            family.deleted_at = None
            set_values(family, values, call.now)
            call.families[family.id] = family
            call.notes += notes
    await call.session.flush()
    await links.write(call)
    await leave(call.session, left)
    await join(call.session, call.organization_id, joined)
    await _touch(call, {member for _, member in joined | left})


def _family_values(
    item: BulkFamily, family: Family, people: Mapping[str, UUID], members: frozenset[UUID]
) -> dict[str, Any]:
    """The values to set. A primary contact that was not sent stays while that person is a member."""
    values: dict[str, Any] = {"name": item.name}
    if item.primary_contact_external_id is not None:
        values["primary_contact_id"] = people[item.primary_contact_external_id]
    elif family.primary_contact_id not in members:
        values["primary_contact_id"] = None
    return values


async def _by_external_id(call: _Call, names: set[str]) -> dict[str, UUID]:
    rows = await call.session.execute(
        select(Member.external_id, Member.id).where(
            Member.organization_id == call.organization_id,
            Member.external_id.in_(names),
            Member.deleted_at.is_(None),
        )
    )
    found = {str(row.external_id): row.id for row in rows}
    led = await led_by_external_id(call.session, call.organization_id, names)
    alive = set(
        await call.session.scalars(select(Member.id).where(among(Member.id, led.values()), Member.deleted_at.is_(None)))
    )
    return found | {name: into for name, into in led.items() if into in alive}


async def _present(call: _Call, families: Iterable[Family]) -> dict[UUID, tuple[frozenset[UUID], frozenset[UUID]]]:
    """By family: its members who are not deleted, and those of them with an id of the platform."""
    rows = await call.session.execute(
        select(FamilyMember.family_id, FamilyMember.member_id, Member.external_id)
        .join(Member, Member.id == FamilyMember.member_id)
        .where(FamilyMember.family_id.in_([family.id for family in families]), Member.deleted_at.is_(None))
    )
    members: dict[UUID, set[UUID]] = {}
    known: dict[UUID, set[UUID]] = {}
    for family_id, member_id, external_id in rows:
        members.setdefault(family_id, set()).add(member_id)
        if external_id is not None:
            known.setdefault(family_id, set()).add(member_id)
    return {family: (frozenset(ids), frozenset(known.get(family, ()))) for family, ids in members.items()}


async def _touch(call: _Call, ids: set[UUID]) -> None:
    """Count the versions of members who came or went, unless this call has counted them already."""
    members = (
        await call.session.scalars(
            select(Member).where(Member.id.in_(ids - call.members.keys())).order_by(Member.id).with_for_update()
        )
    ).all()
    await touch_members(call.session, members, call.now)
    call.members |= {member.id: member for member in members}
