"""Mergers in any order, read in parts and repeatedly, between answers and deletions here: stories drawn by seed.

In every story each existing person has at most one linked member, all merged people lead to an existing one, and joins
neither lose nor add memberships.
"""

import os
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from contracts.values import MEMBER
from people_sync.storage.tables import Effect, FamilyMember, Link
from people_sync.usecases.record.mergers import (
    _Entry,
    _follow_all,
    _follow_known_aliases,
    _nobody,
    _remember,
    follow_after_deletions,
)
from people_sync.usecases.record.writer import Writer

STORIES: Final = int(os.environ.get("MERGER_STORIES", "12"))
FIRST_SEED: Final = int(os.environ.get("MERGER_SEED", "1"))
NOW = datetime(2026, 11, 28, tzinfo=UTC)
SEEN, UNSEEN = 5, 2
"""People who are members here, and people whom no sync has met."""


@dataclass(slots=True)
class Story:
    """A church and its past events."""

    church: Any
    writer: Writer
    draw: random.Random
    log: list[_Entry] = field(default_factory=list)
    read: int = 0
    """How many entries of the log were read."""
    living: list[str] = field(default_factory=list)
    """People who are in Planning Center."""
    person: dict[str, str] = field(default_factory=dict)
    """Of each member who is here, the person of their own at the beginning."""
    apart: set[str] = field(default_factory=set)
    """Members whom an administrator called somebody else."""
    told: list[str] = field(default_factory=list)

    def now_is(self, person: str) -> str:
        """The person kept for a person by the log, as far as it was read."""
        onward = {entry.removed: entry.kept for entry in self.log[: self.read]}
        while person in onward:
            person = onward[person]
        return person

    async def begin(self) -> None:
        await self.church.connect()
        self.living = [str(number) for number in range(1, SEEN + UNSEEN + 1)]
        for pco_id in self.living[:SEEN]:
            member = (await self.church.add(first_name=f"P{pco_id}", external_id=f"e{pco_id}"))["id"]
            await self.church.link(member, pco_id)
            self.person[member] = pco_id
        members = list(self.person)
        for number in range(3):
            inside = self.draw.sample(members, self.draw.randint(1, 3))
            body = {"name": f"F{number}", "member_ids": inside, "primary_contact_id": inside[0]}
            await self.church.call("POST", "/families", body, status=201)

    async def merge(self) -> None:
        if len(self.living) < 2:
            return
        keep, remove = self.draw.sample(self.living, 2)
        self.living.remove(remove)
        self.log.append(_Entry(remove, keep, NOW + timedelta(seconds=len(self.log))))
        self.told.append(f"{remove} into {keep}")

    async def look(self, *, again: int | None = None) -> None:
        """Read the new part of the log, and some of the old part again, page by page."""
        overlap = self.draw.randint(0, self.read) if again is None else again
        entries = self.log[self.read - overlap :]
        size = self.draw.randint(1, 3)
        for at in range(0, len(entries), size):
            async with self.writer.transaction() as session:
                await _remember(session, self.writer, entries[at : at + size])
                await _follow_all(session, self.writer, entries[at : at + size], _nobody)
        await _follow_known_aliases(self.writer, _nobody)
        self.read = len(self.log)
        self.told.append(f"read, {overlap} of them again")

    async def delete(self) -> None:
        if len(self.person) < 3:
            return
        member = self.draw.choice(sorted(self.person, key=lambda one: self.person[one]))
        await self.church.call("DELETE", f"/members/{member}", status=204)
        self.told.append(f"deleted P{self.person.pop(member)}")
        await follow_after_deletions(self.writer)

    async def answer(self) -> None:
        pairs = (await self.church.call("GET", "/merged"))["items"]
        if not pairs:
            return
        pair = self.draw.choice(sorted(pairs, key=lambda one: self.person[one["joins"]["member"]["id"]]))
        stays, joins = pair["stays"]["member"], pair["joins"]["member"]
        what = self.draw.choice(["join", "join", "keep_two"])
        before = await self.memberships()
        body = {"answer": what, "with_id": stays["id"], "version": joins["version"], "with_version": stays["version"]}
        await self.church.call("POST", f"/merged/{joins['id']}", body)
        self.told.append(f"{what} P{self.person[joins['id']]}, P{self.person[stays['id']]} stays")
        if what == "keep_two":
            self.apart.add(joins["id"])
        else:
            moved = {(home, stays["id"] if one == joins["id"] else one) for home, one in before}
            assert await self.memberships() == moved, self.told
            del self.person[joins["id"]]

    async def memberships(self) -> set[tuple[str, str]]:
        rows = await self.church.rows(FamilyMember)
        assert len({(row.family_id, row.member_id) for row in rows}) == len(rows)
        return {(str(row.family_id), str(row.member_id)) for row in rows}

    async def links(self) -> dict[str, tuple[str, str, str | None]]:
        return {
            str(link.record_id): (link.state, link.pco_id, link.merged_into)
            for link in await self.church.rows(Link)
            if link.kind == MEMBER
        }

    async def check(self) -> None:
        """Check the state after the whole log was read."""
        links = await self.links()
        by_person: dict[str, list[str]] = {}
        for member, person in self.person.items():
            by_person.setdefault(self.now_is(person), []).append(member)
        for person, members in by_person.items():
            linked = [one for one in members if links[one][0] != "gone"]
            assert len(linked) <= 1, (self.told, links)
            assert all(links[one][1] == person for one in linked), (self.told, links)
            # Without a link only if an administrator declared all of them to be other people.
            assert linked or self.apart.issuperset(members), (self.told, links)
            for one in set(members) - set(linked):
                assert links[one][2] == person, (self.told, links)
        pairs = (await self.church.call("GET", "/merged?limit=200"))["items"]
        asked = {pair["joins"]["member"]["id"] for pair in pairs}
        expected = {
            one
            for members in by_person.values()
            for one in members
            if links[one][0] == "gone" and one not in self.apart and len(members) > 1
        }
        assert asked == expected, (self.told, links)


async def test_every_story_ends_well(church: Any, another: Callable[[str], Awaitable[Any]], writer: Writer) -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + STORIES):
        organization = f"org-of-{seed}"
        story = Story(await another(organization), replace(writer, organization_id=organization), random.Random(seed))
        story.told.append(f"MERGER_SEED={seed} MERGER_STORIES=1")
        await story.begin()
        steps = [
            story.merge,
            story.merge,
            story.merge,
            story.look,
            story.look,
            story.delete,
            story.answer,
            story.answer,
        ]
        for _ in range(14):
            await story.draw.choice(steps)()
        await story.look()
        await follow_after_deletions(story.writer)
        await story.check()
        links, effects = await story.links(), len(await story.church.rows(Effect))
        for _ in range(2):
            await story.look(again=len(story.log))
            await follow_after_deletions(story.writer)
        assert await story.links() == links, story.told
        assert len(await story.church.rows(Effect)) == effects, story.told
        # All open pairs can be joined, in turn.
        for _ in range(SEEN):
            await story.answer()
        await story.check()


pytestmark = pytest.mark.timeout(300)
