"""Mergers in Planning Center: links follow to the person who was kept.

The log of mergers is append-only and read in its order, from where it was read last, less the staleness horizon: a
chain (A into B, B into C) resolves itself. Its entries are stored, so that they are not read twice. If two members here
became one person, the ended link names the finally kept person (`usecases/merged_pairs.py` asks about them).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import and_, delete, literal, or_, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY, MEMBER
from pco_client.jsonapi import Resource
from pco_client.walk import walk_since
from people_sync.domain.sentences import MERGED, merged_here, one_again
from people_sync.planning_center import MERGERS, is_id
from people_sync.storage import remote
from people_sync.storage.erased import follow_mergers as follow_erased
from people_sync.storage.kept_out import kept_out_among
from people_sync.storage.links import deleted_here, in_no_household, left_by_deleted
from people_sync.storage.records import full_name
from people_sync.storage.sync_tables import Alias, Conflict, HeldMatch
from people_sync.storage.tables import Connection, Effect, Family, FamilyMember, Link, LinkWrite, Member
from people_sync.usecases import directory
from people_sync.usecases.conflicts import withdraw
from people_sync.usecases.held import no_longer_held
from people_sync.usecases.history import MEMBERS
from people_sync.usecases.record.effects import Effects, noted, publish, touch
from people_sync.usecases.record.matching import said_different
from people_sync.usecases.record.planned import Planned
from people_sync.usecases.record.writer import Writer
from synckit.among import among
from synckit.history import Actor
from synckit.staleness import CREATED

log = structlog.get_logger(__name__)

_BEGINNING: Final = datetime(2000, 1, 1, tzinfo=UTC)
_COMES_WHOLE: Final = timedelta(days=1)
"""Age after which an unreadable entry of the log is skipped."""
_TOLD_BY: Final = timedelta(seconds=1)
"""Precision of the log, whole seconds: an instant in the same second may lie before the merger."""


Merged = Callable[[AsyncSession, Planned], Awaitable[None]]
"""Callback for two members whose people became one there, in the transaction that ends one of the links."""


async def _nobody(_session: AsyncSession, _plan: Planned) -> None:
    return


@dataclass(frozen=True, slots=True)
class Followed:
    """The result of reading the log of mergers."""

    kept: list[str]
    """Planning Center's ids of the people that links moved to."""
    whole: bool
    """False if an entry could not be read, which may name a missing person."""
    put_off: frozenset[str] = frozenset()
    """Planning Center's ids of people whose mergers are postponed."""


async def follow_mergers(writer: Writer, merged: Merged = _nobody, *, may_delete: bool = True) -> Followed:
    """Move links along the log of mergers.

    `may_delete`: whether to delete a duplicate member that exists only because the log lagged. Otherwise such a merger,
    and each later one of the same people, is postponed to the next reader of the log.
    """
    put_off: set[str] | None = None if may_delete else set()
    async with writer.job.sessions() as session:
        cursor = (await session.get_one(Connection, writer.organization_id)).merger_cursor
    since = cursor - writer.resources.horizon if cursor else _BEGINNING
    kept: list[str] = []
    unread = False
    async for page in walk_since(writer.pco, MERGERS, since, field="created_at"):
        entries, waited_for = _entries(page.rows, writer.now())
        unread |= waited_for
        if not entries:
            continue
        async with writer.transaction() as session:
            connection = await session.get_one(Connection, writer.organization_id, with_for_update=True)
            await _remember(session, writer, entries)
            kept += await _follow_all(session, writer, entries, merged, put_off)
            if not unread and not put_off:
                # The next read begins behind these entries, since none of them is postponed.
                connection.merger_cursor = max([one.at for one in entries] + [connection.merger_cursor or _BEGINNING])
    kept += await _follow_known_aliases(writer, merged, put_off)
    return Followed(kept, whole=not unread, put_off=frozenset(put_off or ()))


async def _follow_known_aliases(writer: Writer, merged: Merged, put_off: set[str] | None = None) -> list[str]:
    """Move links of people whose merger was read earlier, because the platform still uses their old number."""
    kept: list[str] = []
    followed: set[str] = set()
    while True:
        async with writer.transaction() as session:
            members = select(Link).filter_by(**writer.owner, kind=MEMBER)
            known_by = members.with_only_columns(Link.pco_id).where(Link.state != "gone")
            led_to = members.with_only_columns(Link.merged_into).where(Link.merged_into.is_not(None))
            aliases = (
                select(Alias)
                .filter_by(**writer.owner)
                .where(or_(Alias.removed_id.in_(known_by), Alias.removed_id.in_(led_to)))
            )
            found = await session.scalars(aliases.order_by(Alias.merged_at, Alias.removed_id))
            entries = [_Entry(one.removed_id, one.kept_id, one.merged_at) for one in found]
            entries = [one for one in entries if one.removed not in followed]
            if not entries:
                return kept
            kept += await _follow_all(session, writer, entries, merged, put_off)
        followed |= {one.removed for one in entries}


async def follow_after_deletions(writer: Writer) -> None:
    """Move links of merged pairs whose linked member was deleted here since.

    Runs before any read, since the link's new counterpart has to be compared.
    """
    async with writer.transaction() as session:
        entries = [_Entry(*pair, writer.now()) for pair in await left_by_deleted(session, writer.owner)]
        if entries:
            await _follow_all(session, writer, entries, _nobody)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of the log: a person who was removed, and the person kept."""

    removed: str
    kept: str
    at: datetime


def _entries(rows: list[Resource], now: datetime) -> tuple[list[_Entry], bool]:
    """The readable entries of a page, and whether an unreadable one is recent enough to become complete."""
    entries: list[_Entry] = []
    waited_for = False
    for row in rows:
        removed, kept = (str(row.attributes.get(name)) for name in ("person_to_remove_id", "person_to_keep_id"))
        at = _instant_of(row)
        if at is not None and is_id(removed) and is_id(kept):
            entries.append(_Entry(removed, kept, at))
            continue
        log.warning("unreadable merger", merger=row.id)
        near = at or (entries[-1].at if entries else now)
        waited_for |= now - near < _COMES_WHOLE
    return entries, waited_for


def _instant_of(row: Resource) -> datetime | None:
    text = row.attributes.get("created_at")
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


async def _remember(session: AsyncSession, writer: Writer, entries: list[_Entry]) -> None:
    """Store the entries of a page."""
    found = [
        {
            **writer.owner,
            "removed_id": one.removed,
            "kept_id": one.kept,
            "merged_at": one.at,
            "seen_at": writer.now(),
        }
        for one in entries
    ]
    await session.execute(insert(Alias).on_conflict_do_nothing(), found)
    # A removed person that the pull met before the merger would come back as a new one.
    erased = await follow_erased(session, writer.owner, [(one.removed, one.kept) for one in entries])
    await remote.forget(session, writer.owner, MEMBER, [*(one.removed for one in entries), *erased])


async def _lock(session: AsyncSession, writer: Writer, people: list[str]) -> None:
    """Lock these people's members, families, links and held matches, each in the order of their ids."""
    theirs = (
        Link.organization_id == writer.organization_id,
        Link.pco_organization_id == writer.pco_organization_id,
        Link.kind == MEMBER,
        or_(among(Link.pco_id, people), among(Link.merged_into, people)),
    )
    members = select(Member.id).join(Link, Link.record_id == Member.id).where(*theirs)
    found = (await session.scalars(members.order_by(Member.id).with_for_update(of=Member))).all()
    families = select(FamilyMember.family_id).where(among(FamilyMember.member_id, found))
    await session.execute(select(Family.id).where(Family.id.in_(families)).order_by(Family.id).with_for_update())
    of_families = select(Link.id).filter_by(**writer.owner, kind=FAMILY).where(Link.record_id.in_(families))
    links = or_(and_(*theirs), Link.id.in_(of_families))
    await session.execute(select(Link.id).where(links).order_by(Link.id).with_for_update())
    held = select(HeldMatch.id).filter_by(**writer.owner).where(among(HeldMatch.pco_id, people))
    await session.execute(held.order_by(HeldMatch.id).with_for_update())


async def _follow_all(
    session: AsyncSession, writer: Writer, entries: list[_Entry], merged: Merged, put_off: set[str] | None = None
) -> list[str]:
    """Lock the rows that these entries concern and follow each entry; gives the people that links moved to.

    `put_off`: collects people of mergers that would delete a member here; None to delete.
    """
    effects = Effects()
    await _lock(session, writer, [one for entry in entries for one in (entry.kept, entry.removed)])
    kept = [one.kept for one in entries if await _follow(session, writer, one, effects, merged, put_off)]
    entries = [one for one in entries if not put_off or one.removed not in put_off]
    await _lead_on(session, writer, entries, effects)
    # Held matches about people who were merged away, or are linked now, need no answer.
    await no_longer_held(session, writer.owner, [*(one.removed for one in entries), *kept])
    await publish(session, writer, effects)
    return kept


async def _lead_on(session: AsyncSession, writer: Writer, entries: list[_Entry], effects: Effects) -> None:
    """Point links that ended by an earlier merger to the person kept by these ones."""
    onward = {entry.removed: entry.kept for entry in entries}
    links = await session.scalars(
        select(Link)
        .filter_by(**writer.owner, kind=MEMBER)
        .where(among(Link.merged_into, onward))
        .order_by(Link.id)
        .with_for_update()
    )
    for link in links.all():
        passed: set[str | None] = set()
        while link.merged_into in onward.keys() - passed:
            passed.add(link.merged_into)
            link.merged_into = onward[link.merged_into or ""]
        member = await session.get_one(Member, link.record_id, with_for_update=True)
        if member.deleted_at is None:
            # The record names the member that it was merged with, so it is published again.
            touch(writer, member, effects)
    await session.flush()


async def _follow(
    session: AsyncSession, writer: Writer, entry: _Entry, effects: Effects, merged: Merged, put_off: set[str] | None
) -> bool:
    removed, keep = entry.removed, entry.kept
    if put_off and not put_off.isdisjoint((removed, keep)):
        put_off |= {removed, keep}
        return False
    links = {
        link.pco_id: link
        for link in await session.scalars(
            select(Link)
            .filter_by(**writer.owner, kind=MEMBER)
            .where(Link.pco_id.in_([removed, keep]))
            .with_for_update()
        )
    }
    link = links.get(removed)
    if link is None:
        return False
    member = await session.get_one(Member, link.record_id, with_for_update=True)
    kept = links.get(keep)
    left = kept is not None and member.deleted_at is None and await deleted_here(session, kept)
    if link.merged_into is not None and not (left and kept and kept.merged_into is None and not link.kept_two):
        # Followed before; `_lead_on` points the link to the finally kept person.
        return False
    different = str(member.id) in (await said_different(session, writer, [keep])).get(keep, ())
    if kept is not None:
        out = await kept_out_among(session, writer.organization_id, MEMBER, [member.id, kept.record_id])
        if member.id in out:
            # The link stays, and follows once the member is synced again.
            return False
        if left:
            await _change_places(session, writer, link, kept)
        elif member.deleted_at is None and not different and not out and await _came_too_early(session, kept, entry):
            if put_off is not None:
                put_off |= {removed, keep}
                return False
            await _one_again(session, writer, link, member, kept, effects, merged)
        else:
            await _two_became_one(session, writer, link, member, kept, effects, merged)
            return False
    elif different:
        # An administrator declared the two different, so the kept person becomes a separate member.
        return False
    link.pco_id, link.remote_hash, link.state = keep, None, "linked"
    link.gone_at = link.missing_since = link.merged_into = None
    link.kept_two = False
    # These writes concerned the removed person.
    await session.execute(delete(LinkWrite).where(LinkWrite.link_id == link.id))
    effects.rows.append(noted(writer, MEMBER, member.id, "planning_center_id", removed, keep, rule="merged"))
    unchanged = link.compared_version == member.version
    touch(writer, member, effects)
    if unchanged:
        # Only the link moved, so no value has to be sent to Planning Center.
        link.compared_version = member.version
    await session.flush()
    return True


async def _came_too_early(session: AsyncSession, kept: Link, entry: _Entry) -> bool:
    """Whether the person who was kept is a second member here only because the log lags.

    The member was added from Planning Center after the merger, and has no edits here.
    """
    of_member = Effect.record_id == kept.record_id
    typed = select(Effect.id).where(of_member, Effect.by.in_(("person", "platform"))).exists()
    taken_over = select(Effect.id).where(
        Effect.record_id == FamilyMember.family_id,
        Effect.field == MEMBERS,
        Effect.after == literal(str(kept.record_id), JSONB),
        Effect.by == "planning_center",
    )
    # The history of a family created here does not name its first members.
    put_in = select(FamilyMember.family_id).where(FamilyMember.member_id == kept.record_id, ~taken_over.exists())
    made = (
        Effect.field == CREATED,
        Effect.by == "planning_center",
        Effect.at >= entry.at + _TOLD_BY,
        Effect.after == literal(kept.pco_id, JSONB),
    )
    untouched = (Member.external_id.is_(None), Member.deleted_at.is_(None))
    statement = select(Member.id).where(
        Member.id == kept.record_id,
        *untouched,
        select(Effect.id).where(of_member, *made).exists(),
        ~typed,
        ~put_in.exists(),
    )
    return await session.scalar(statement) is not None


async def _change_places(session: AsyncSession, writer: Writer, link: Link, kept: Link) -> None:
    """Take the kept person over from the link of a member deleted here.

    That link gets the removed person's id, as merged: if the platform sends the deleted member again, no person is
    added in Planning Center.
    """
    removed = link.pco_id
    await in_no_household(session, writer.owner, [kept.record_id])
    # The unique key forbids two links with one id even within a transaction.
    link.pco_id = f"from {removed}"
    await session.flush()
    kept.merged_into = kept.pco_id
    kept.pco_id, kept.state, kept.gone_at, kept.missing_since = removed, "gone", writer.now(), None
    await session.execute(delete(LinkWrite).where(LinkWrite.link_id == kept.id))
    await session.flush()


async def _one_again(
    session: AsyncSession, writer: Writer, link: Link, member: Member, kept: Link, effects: Effects, merged: Merged
) -> None:
    """Delete the second member and link the first one to the kept person."""
    second = await session.get_one(Member, kept.record_id, with_for_update=True)
    families = await session.scalars(
        select(Family)
        .join(FamilyMember, FamilyMember.family_id == Family.id)
        .where(FamilyMember.member_id == second.id, Family.primary_contact_id == second.id)
        .order_by(Family.id)
        .with_for_update(of=Family)
    )
    for family in families:
        # Deleting the second member counts the versions of its families.
        family.primary_contact_id = member.id
        moved = noted(writer, FAMILY, family.id, "primary_contact", str(second.id), str(member.id), rule="merged")
        effects.rows.append(moved)
    await in_no_household(session, writer.owner, [second.id])
    actor = Actor("planning_center")
    await directory.remove(session, writer.organization_id, str(second.id), actor, writer.now())
    await session.execute(delete(LinkWrite).where(LinkWrite.link_id == kept.id))
    await session.delete(kept)
    await session.flush()
    sentence = one_again(full_name(second), full_name(member))
    await merged(
        session, Planned(MEMBER, full_name(second), MERGED, second.id, link.pco_id, here="done", sentence=sentence)
    )


async def _two_became_one(
    session: AsyncSession, writer: Writer, link: Link, member: Member, kept: Link, effects: Effects, merged: Merged
) -> None:
    """End the second member's link after a merger of both people. If both members stay, publish both."""
    other = await session.get_one(Member, kept.record_id)
    link.state, link.gone_at, link.merged_into = "gone", link.gone_at or writer.now(), kept.pco_id
    link.create_again, link.missing_since = False, None
    effects.rows.append(noted(writer, MEMBER, member.id, "planning_center_id", link.pco_id, None, rule="merged"))
    touch(writer, member, effects)
    await in_no_household(session, writer.owner, [member.id])
    # The conflict has lost its second side.
    effects.conflicts += await withdraw(session, writer.organization_id, writer.now(), Conflict.record_id == member.id)
    if member.deleted_at is None and other.deleted_at is None:
        name = full_name(member)
        sentence = merged_here(name, full_name(other))
        await merged(session, Planned(MEMBER, name, MERGED, member.id, link.pco_id, here="done", sentence=sentence))
