"""Histories of small families, drawn by Hypothesis and run many at a time on the whole stack.

One example of Hypothesis is one history: the actions on one family, step by step. All histories of a batch run side by
side, since they share only the sync runs between the steps. A schedule of the batch draws these runs, kills, repeated
facts and undone runs. Every typed value is unique in its history, so that `verdict.py` can trace it to its edit.
"""

import asyncio
import json
import random
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

import asyncpg
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from repeated import CONFLICTS, RESOLUTIONS, publish_again

from contracts.values import CONFLICT_SERVICE, PEOPLE_SYNC
from local_stack.church import ENDED, Church, StoryError
from local_stack.stack import Stack
from pco_simulator.testing import SimulatorError

FIELDS: Final = ("first_name", "last_name", "birthdate", "email")
PEOPLE: Final = "/people/v2/people"
EMAILS: Final = "/people/v2/emails"
HERE: Final = "here"
THERE: Final = "there"
STEPS: Final = 6
_AT_ONCE: Final = 6
_UNDOS: Final = 3
"""Maximum undos of persons, families and decisions between two steps; each is a separate run."""
_PATHS: Final = {"member": "members", "family": "families"}
_QUIET: Final = {"unchanged", "gone"}
"""Outcomes of a run without changes."""
_REFUSED: Final = re.compile(r": (404|409|422) ")
_OFTEN: Final = {
    "edit_here": 6,
    "edit_there": 6,
    "collide": 12,
    "decide": 16,
    "undo_entry": 3,
    "keep_out": 2,
    "keep_family_out": 1,
    "end_out": 2,
    "merge_there": 4,
    "answer_pair": 6,
    "arrive_there": 2,
    "arrive_here": 2,
    "move_here": 2,
    "move_there": 2,
    "rename_family": 2,
    "delete_here": 1,
    "delete_there": 1,
    "sync_one": 2,
    "undo_member": 1,
    "undo_family": 1,
    "undo_decision": 1,
}


@dataclass(frozen=True, slots=True)
class Op:
    """One action. The numbers choose among the records present at its time; without any, the action does nothing."""

    what: str
    who: int
    other: int
    field: str
    answer: str

    def __str__(self) -> str:
        return f"{self.what}({self.who}, {self.other}, {self.field}, {self.answer})"


Story = tuple[tuple[Op, ...], ...]
"""The actions of each step."""

_OPS: Final = st.builds(
    Op,
    what=st.sampled_from([name for name, times in _OFTEN.items() for _ in range(times)]),
    who=st.integers(0, 3),
    other=st.integers(0, 3),
    field=st.sampled_from(FIELDS),
    answer=st.sampled_from(("ours", "theirs", "both", "mixed")),
)
_STORIES: Final = st.tuples(*[st.lists(_OPS, min_size=1, max_size=2).map(tuple)] * STEPS)


def drawn(count: int, number: int) -> list[Story]:
    """Draw `count` histories by Hypothesis. `number`: the seed."""
    found: list[Story] = []

    @seed(number)
    @settings(
        max_examples=count, phases=[Phase.generate], database=None, deadline=None, suppress_health_check=[*HealthCheck]
    )
    @given(_STORIES)
    def take(story: Story) -> None:
        found.append(story)

    take()
    return found[:count]


@dataclass(frozen=True, slots=True)
class Between:
    """Events around one step of all histories."""

    rule: bool
    """Whether a rule is turned on."""
    sync: str | None
    """The kind of the run, None without one."""
    meanwhile: bool
    """Whether the step runs during the run, not before it."""
    kill: bool
    repeat: bool
    undo: bool
    """Whether the last run is undone."""
    idle: bool
    """Whether all pending work is done before the next step."""


def schedule(chance: random.Random) -> list[Between]:
    """Draw the events, with at least one kill, one repetition of facts and one undone run."""
    kill, repeat, undo = (chance.randrange(STEPS) for _ in range(3))
    return [
        Between(
            rule=chance.random() < 0.25,
            sync="full" if step in {kill, undo} else chance.choice(("incremental", "incremental", "full", None)),
            meanwhile=chance.random() < 0.4,
            kill=step == kill,
            repeat=step == repeat or chance.random() < 0.1,
            undo=step == undo,
            idle=step == undo or chance.random() < 0.5,
        )
        for step in range(STEPS)
    ]


@dataclass(slots=True)
class Person:
    """One person of a family, with the ids known on both sides."""

    pco_id: str | None
    member_id: str | None = None
    there: bool = True
    """False once deleted there or merged away."""
    here: bool = True
    """False once deleted here or joined to another member."""
    home: int | None = None
    """Index of their initial family and household; None once an action may have moved them."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A value typed by an action."""

    at: int
    """Position within the history."""
    side: str
    id: str
    """Id of the member, or of the person in Planning Center."""
    field: str
    value: Any
    since: datetime
    when: datetime
    """The edit happened between `since` and `when`."""
    first: bool
    """Whether the person was created with this value."""
    path: str
    """Path of the edited resource in Planning Center; empty for an edit here."""


@dataclass(slots=True)
class Told:
    """A history and its progress."""

    number: int
    story: Story
    people: list[Person] = field(default_factory=list)
    households: list[str] = field(default_factory=list)
    families: list[str] = field(default_factory=list)
    typed: list[Typed] = field(default_factory=list)
    asked: set[tuple[str, str, str]] = field(default_factory=set)
    """(member, field, value as JSON) set by an undo of one entry, or by a join."""
    said: list[str] = field(default_factory=list)
    merged: bool = False
    """Whether people were merged there, which replaces one's values by another's."""
    decisions: list[str] = field(default_factory=list)
    """Ids of accepted decisions."""
    out: dict[str, "Outside"] = field(default_factory=dict)
    """State of each member kept out, by id."""
    wrong: list[str] = field(default_factory=list)
    count: int = 0

    def token(self, name: str) -> Any:
        """A value not typed in this history before."""
        self.count += 1
        match name:
            case "birthdate":
                return (date(1931, 1, 1) + timedelta(days=self.count)).isoformat()
            case "email":
                return f"t{self.number}.{self.count}@example.org"
            case _:
                return f"{name[0].upper()}{self.number}x{self.count}"

    def note(
        self,
        side: str,
        id_: str,
        name: str,
        value: Any,
        *,
        first: bool = False,
        since: datetime | None = None,
        path: str = "",
    ) -> None:
        """Note a typed value."""
        now = datetime.now(UTC)
        self.typed.append(Typed(len(self.typed), side, id_, name, value, since or now, now, first, path))

    def say(self, what: str) -> None:
        """Log an event for the report of a failure."""
        self.said.append(f"{datetime.now(UTC):%H:%M:%S.%f} {what}")


@dataclass(frozen=True, slots=True)
class Outside:
    """The last observed state of a member kept out."""

    at: int
    """Number of values typed until then."""
    values: Mapping[str, Mapping[str, Any]]
    """Values by side."""


class Teller:
    """Runs a batch of histories."""

    def __init__(self, stack: Stack, church: Church, stories: Mapping[int, Story], chance: random.Random) -> None:
        self.stack = stack
        self.church = church
        self.pco = str(church.control.organizations()[0]["id"])
        self.told = [Told(number, story) for number, story in stories.items()]
        self._runner = asyncio.Runner()
        self._connections: dict[str, asyncpg.Connection[Any]] = {}
        self.strangers = set(self.there().people)
        """People there who belong to no history."""
        self._chance = chance
        self._by_record: dict[str, Told] = {}
        self._emails: dict[str, str] = {}
        self._conflicts: dict[int, list[dict[str, Any]]] = {}
        self._pairs: dict[int, list[dict[str, Any]]] = {}
        self._later: list[tuple[Told, dict[str, str]]] = []
        self._lock = threading.Lock()

    # -- all of them -----------------------------------------------------------------------------------------------

    def tell(self) -> None:
        """Run all steps, from connecting to the end of the last one."""
        self._begin()
        for number, between in enumerate(schedule(self._chance)):
            self._look()
            run = self.church.start(between.sync or "full") if between.meanwhile else None
            if between.rule:
                self._turn_on_a_rule()
            self._each(partial(self._step, number), self.told)
            if run is None and between.sync is not None:
                run = self.church.start(between.sync)
            if between.kill:
                self._kill(run)
            if between.repeat:
                self._runner.run(publish_again(self.stack.kafka.bootstrap_servers, (CONFLICTS, RESOLUTIONS)))
            if run is not None:
                self._done(run)
            if between.idle:
                self.idle()
            if between.undo and run is not None:
                self._undo({"run_id": run})
            for told, what in self._later[:_UNDOS]:
                told.say(f"undo {what}")
                self._undo(what)
            self._later.clear()

    def settle(self) -> None:
        """Sync everyone again, answer every question, and sync until no change is left."""
        for row in self.rows("SELECT kind, record_id FROM kept_out ORDER BY kind"):
            self._ask("DELETE", f"/people/{_PATHS[row['kind']]}/{row['record_id']}/kept-out")
        for _ in range(15):
            self.idle()
            mark = self.church.control.mark()
            run = self._done(self.church.start("full"))
            self.idle()
            if not self._answer_everything() and not self.church.writes_since(mark) and set(run["counts"]) <= _QUIET:
                self._look()
                return
        raise AssertionError(f"after 15 syncs there still is something to do: {run['counts']}")

    def idle(self) -> None:
        """Wait until no work is in progress and every fact has arrived."""

        def quiet() -> bool:
            at_work = self.rows(
                "SELECT (SELECT count(*) FROM refresh WHERE state = 'queued') refreshes, "
                "(SELECT count(*) FROM conflict WHERE state = 'open' AND decision IS NOT NULL) decided, "
                "(SELECT count(*) FROM run WHERE state IN ('queued', 'running', 'waiting', 'stopping')) runs, "
                "(SELECT count(*) FROM outbox) outbox"
            )
            of_conflicts = self.rows(
                "SELECT (SELECT count(*) FROM decision WHERE outcome = 'waiting') waiting, "
                "(SELECT count(*) FROM outbox) outbox",
                CONFLICT_SERVICE,
            )
            return not any(count for row in (*at_work, *of_conflicts) for count in row.values())

        self._until(quiet, "everything is carried out")
        self._until(self.counted, "the count is that of the list, and of the sync's own", 60)

    def counted(self) -> bool:
        """Whether badge, list and people-sync agree on the open conflicts."""
        listed = {one["id"] for one in self.church.all("/conflicts")}
        known = {row["id"] for row in self.rows("SELECT id FROM conflict WHERE state = 'open'")}
        return listed == known and self.church.get("/conflicts/count")["open"] == len(listed)

    def rows(self, query: str, service: str = PEOPLE_SYNC) -> list[dict[str, Any]]:
        """Rows of a service's database, as JSON."""

        async def fetch() -> list[str]:
            connection = self._connections.get(service)
            if connection is None:
                connection = await asyncpg.connect(self.stack.database_url(service, driver="postgresql"))
                self._connections[service] = connection
            return [row[0] for row in await connection.fetch(f"SELECT to_jsonb(q) FROM ({query}) q")]

        return [json.loads(line) for line in self._runner.run(fetch())]

    def close(self) -> None:
        """Close the database connections."""
        for connection in self._connections.values():
            connection.terminate()
        self._runner.close()

    def _until(self, true: Callable[[], Any], what: str, within: float = 1200) -> None:
        """Wait until `true()` holds, polling gently."""
        deadline = time.monotonic() + within
        while not true():
            if time.monotonic() > deadline:
                raise StoryError(f"did not happen within {within:g} s: {what}")
            time.sleep(0.3)

    def there(self) -> "There":
        """Planning Center's present rows."""
        return There(self.church.control.dump(self.pco))

    def _each(self, do: Callable[[Any], Any], items: Iterable[Any]) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(do, items))

    # -- between the steps -----------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Create all people, connect and sync once."""
        self._each(self._settle_down, self.told)
        self.church.connect()
        self.church.call(
            "PATCH",
            "/people/settings",
            json={
                "first_match": "planning_center",
                "threshold_percent": 100,
                "merge_different_fields": self._chance.random() < 0.5,
            },
        )
        wanted = {household for told in self.told for household in told.households}
        families: dict[str, str] = {}
        while not wanted <= families.keys():  # a sync may not be shown people added just before it
            self.church.sync(within=1200)
            linked = self.rows("SELECT pco_id, record_id FROM link WHERE kind = 'family'")
            families = {row["pco_id"]: row["record_id"] for row in linked}
        for told in self.told:
            told.families = [families[household] for household in told.households]
        self._look()

    def _settle_down(self, told: Told) -> None:
        """Create two households, of two people and of one."""
        for home, size in enumerate((2, 1)):
            people = [self._newcomer(told, home) for _ in range(size)]
            made = self.church.control.create_household(
                self.pco, f"H{told.number}x{home}", *(str(one.pco_id) for one in people)
            )
            told.households.append(made)

    def _newcomer(self, told: Told, home: int | None) -> Person:
        values = {name: told.token(name) for name in FIELDS}
        attributes = {name: value for name, value in values.items() if name != "email"}
        pco_id = self.church.control.create_person(self.pco, **attributes)
        email = {
            "op": "create",
            "type": "Email",
            "id": pco_id,
            "attributes": {"address": values["email"], "primary": True},
        }
        self._emails[pco_id] = self.church.control.mutate(self.pco, email)[0]["id"]
        for name, value in values.items():
            told.note(THERE, pco_id, name, value, first=True)
        person = Person(pco_id, home=home)
        told.people.append(person)
        return person

    def _look(self) -> None:
        """Read both sides, questions and new people; check that members kept out are unchanged."""
        links = self.rows("SELECT * FROM link WHERE kind = 'member' AND state <> 'gone'")
        of_person = {row["pco_id"]: row["record_id"] for row in links}
        members = {row["id"]: row for row in self.rows("SELECT * FROM member WHERE deleted_at IS NULL")}
        there = self.there()
        out = {row["record_id"] for row in self.rows("SELECT record_id FROM kept_out WHERE kind = 'member'")}
        asked = {row["record_id"] for row in self.rows("SELECT record_id FROM conflict WHERE state = 'open'")} & out
        of_member = {row["record_id"]: row["pco_id"] for row in links}
        self._emails = {id_: there.email_id(id_) for id_ in there.people}
        self._by_record = {}
        for told in self.told:
            for person in told.people:
                person.member_id = person.member_id or of_person.get(person.pco_id or "")
                person.pco_id = person.pco_id or of_member.get(person.member_id or "")
                person.here = person.here and (person.member_id is None or person.member_id in members)
                if person.member_id:
                    self._by_record[person.member_id] = told
            self._by_record |= dict.fromkeys(told.families, told)
            self._same_outside(told, out, members, there)
            ids = {one.member_id for one in told.people} & asked
            told.wrong += [f"{id_} is kept out and in conflict" for id_ in ids]
        self._conflicts, self._pairs = defaultdict(list), defaultdict(list)
        for one in self.church.all("/conflicts"):
            if (whose := self._by_record.get(one["record"]["id"])) is not None:
                self._conflicts[whose.number].append(one)
        for one in self.church.all("/people/merged"):
            if (whose := self._by_record.get(one["joins"]["member"]["id"])) is not None:
                self._pairs[whose.number].append(one)

    def _same_outside(
        self, told: Told, out: Collection[str], members: Mapping[str, Mapping[str, Any]], there: "There"
    ) -> None:
        """Check that both sides of a member kept out have their former values, except edits since."""
        before, told.out = told.out, {}
        for person in told.people:
            id_, pco_id = person.member_id or "", person.pco_id
            if id_ not in out or id_ not in members or pco_id is None or not (person.here and person.there):
                continue
            now = Outside(
                len(told.typed),
                {HERE: {name: members[id_][name] for name in FIELDS}, THERE: there.values(pco_id)},
            )
            told.out[id_] = now
            if (was := before.get(id_)) is None or told.merged:
                continue
            for side, whose in ((HERE, id_), (THERE, pco_id)):
                expected = dict(was.values[side])
                for typed in told.typed[was.at :]:
                    if (typed.side, typed.id) == (side, whose):
                        expected[typed.field] = typed.value
                if expected != now.values[side]:
                    told.wrong.append(f"{id_} is kept out and was {expected} {side}, is {now.values[side]}")

    def _turn_on_a_rule(self) -> None:
        condition = {"fields": [self._chance.choice(FIELDS)], "answer": self._chance.choice(("ours", "theirs"))}
        shown = self.church.call("POST", "/conflicts/rules/preview", json=condition)
        self._ask("POST", "/conflicts/rules", json={**condition, "digest": shown["digest"]})

    def _kill(self, run: str | None) -> None:
        """Kill people-sync by SIGKILL, after a drawn number of a run's requests if any, and restart it."""
        if run is not None:
            after = self._chance.randrange(8)
            begun = f"SELECT 1 FROM run WHERE id = '{run}' AND (requests > {after} OR state IN {ENDED})"
            self._until(lambda: self.rows(begun), "the run is on")
        process = self.stack.process(PEOPLE_SYNC)
        process.kill()
        process.start()
        self.stack.wait_ready(PEOPLE_SYNC)

    def _done(self, run_id: str) -> dict[str, Any]:
        run = self._ended(run_id)
        assert run["state"] == "done", run
        return run

    def _ended(self, run_id: str) -> dict[str, Any]:
        """Wait for the run's end, answering its questions."""
        over = f"SELECT 1 FROM run WHERE id = '{run_id}' AND (question IS NOT NULL OR state IN {ENDED})"
        self._until(lambda: self.rows(over), "the run has ended")
        return self.church.wait(run_id, answers={"threshold": "continue", "undo": "approve"}, within=1200)

    def _undo(self, what: Mapping[str, str]) -> None:
        """Plan and approve an undo; no effect without values to put back."""
        run = self._ask("POST", "/people/undo", json=what)
        if run is not None:
            ended = self._ended(run["id"])
            assert ended["state"] in {"done", "stopped"}, ended

    def _answer_everything(self) -> bool:
        """Answer every open question, and end every kept difference; gives whether there was any."""
        asked: list[tuple[str, str, Any]] = []
        for one in self.church.all("/conflicts"):
            answer = self._chance.choice(("ours", "theirs"))
            choices = {each["field"]: "theirs" if each["field"] == "active" else answer for each in one["fields"]}
            body = {"values_version": one["values_version"], "choices": choices}
            asked.append(("POST", f"/conflicts/{one['id']}/decision", body))
        for link in self.rows("SELECT kind, record_id, decided FROM link WHERE decided <> '{}' AND state <> 'gone'"):
            for name, kept in link["decided"].items():
                if not kept.get("ended"):
                    path = f"/people/{_PATHS[link['kind']]}/{link['record_id']}/differences/{name}"
                    asked.append(("DELETE", path, None))
        for pair in self.church.all("/people/merged"):
            body = _answer_to(pair, "join", ())
            asked.append(("POST", f"/people/merged/{pair['joins']['member']['id']}", body))
        for held in self.church.all("/people/held-matches"):
            if held["state"] in {"open", "later"}:
                body = {"answer": "different", "version": held["version"]}
                asked.append(("POST", f"/people/held-matches/{held['id']}/answer", body))
        self._each(lambda call: self._ask(call[0], call[1], **({"json": call[2]} if call[2] else {})), asked)
        return bool(asked)

    def _ask(self, method: str, path: str, told: Told | None = None, **options: Any) -> Any:
        """A call that may be refused because the record has changed or is gone: None then. A 204 gives True."""
        try:
            answer = self.church.call(method, path, **options)
        except StoryError as refused:
            if told is not None:
                told.say(f"{method} {path} {options.get('json')}: {refused}")
            if _REFUSED.search(str(refused)):
                return None
            raise
        if told is not None:
            told.say(f"{method} {path} {options.get('json')}")
        return True if answer is None else answer

    # -- one of them -----------------------------------------------------------------------------------------------

    def _step(self, number: int, told: Told) -> None:
        for op in told.story[number]:
            told.say(str(op))
            try:
                getattr(self, f"_{op.what}")(told, op)
            except SimulatorError as refused:
                # A concurrent edit there has replaced the contact read before.
                told.say(str(refused))

    def _edit_here(self, told: Told, op: Op) -> None:
        person = _among([one for one in told.people if one.member_id and one.here], op.who)
        if person is None:
            return
        value, since = told.token(op.field), datetime.now(UTC)
        member = str(person.member_id)
        if self._ask("PATCH", f"/people/members/{member}", told, json={op.field: value}) is not None:
            told.note(HERE, member, op.field, value, since=since)

    def _edit_there(self, told: Told, op: Op) -> None:
        person = _among([one for one in told.people if one.pco_id and one.there], op.who)
        if person is None:
            return
        value, pco_id = told.token(op.field), str(person.pco_id)
        since = datetime.now(UTC)
        if op.field == "email":
            path = f"{EMAILS}/{self._emails[pco_id]}"
            email = {"op": "edit", "type": "Email", "id": self._emails[pco_id], "attributes": {"address": value}}
            self.church.control.mutate(self.pco, email)
        else:
            path = f"{PEOPLE}/{pco_id}"
            self.church.control.edit_person(self.pco, pco_id, **{op.field: value})
        told.say(f"{pco_id} {op.field} is {value} there")
        told.note(THERE, pco_id, op.field, value, since=since, path=path)

    def _collide(self, told: Told, op: Op) -> None:
        self._edit_here(told, op)
        self._edit_there(told, op)

    def _decide(self, told: Told, op: Op) -> None:
        conflict = _among(self._conflicts[told.number], op.who)
        if conflict is None:
            return
        mixed = ("ours", "theirs", "both") if op.other % 2 else ("theirs", "ours", "both")
        choices = {
            one["field"]: mixed[position % 3] if op.answer == "mixed" else op.answer
            for position, one in enumerate(conflict["fields"])
        }
        choices |= {"active": "theirs"} if "active" in choices else {}
        body = {"values_version": conflict["values_version"], "choices": choices}
        answer = self._ask("POST", f"/conflicts/{conflict['id']}/decision", told, json=body)
        if answer is not None:
            told.decisions.append(answer["decision"]["id"])

    def _undo_entry(self, told: Told, op: Op) -> None:
        person = _among([one for one in told.people if one.member_id and one.here], op.who)
        if person is None:
            return
        history = self._ask("GET", f"/people/members/{person.member_id}/history", told, params={"limit": 20})
        entry = _among([one for one in (history or {"items": ()})["items"] if one["can_undo"]], op.other)
        if entry is None:
            return
        path = f"/people/members/{person.member_id}/history/{entry['id']}/undo"
        # Without the answer of a killed process it is unknown whether the edit was done.
        told.asked.add((str(person.member_id), entry["field"], json.dumps(entry["old"])))
        since = datetime.now(UTC)
        if self._ask("POST", path, told) is not None:
            told.note(HERE, str(person.member_id), entry["field"], entry["old"], since=since)

    def _keep_out(self, told: Told, op: Op) -> None:
        person = _among([one for one in told.people if one.member_id and one.here], op.who)
        if person is not None:
            self._ask("POST", f"/people/members/{person.member_id}/kept-out", told)

    def _keep_family_out(self, told: Told, op: Op) -> None:
        self._ask("POST", f"/people/families/{told.families[op.other % 2]}/kept-out", told)

    def _end_out(self, told: Told, op: Op) -> None:
        for person in told.people:
            if person.member_id in told.out:
                told.out.pop(str(person.member_id))
                self._ask("DELETE", f"/people/members/{person.member_id}/kept-out", told)
        self._ask("DELETE", f"/people/families/{told.families[op.other % 2]}/kept-out", told)
        told.out.clear()

    def _merge_there(self, told: Told, op: Op) -> None:
        alive = [one for one in told.people if one.pco_id and one.there]
        gone, kept = _among(alive, op.who), _among(alive, op.other)
        if gone is None or kept is None or gone is kept:
            return
        told.merged = True
        gone.there = False
        told.say(f"{gone.pco_id} is merged into {kept.pco_id} there")
        self.church.control.merge_people(self.pco, str(kept.pco_id), str(gone.pco_id))

    def _answer_pair(self, told: Told, op: Op) -> None:
        pair = _among(self._pairs[told.number], op.who)
        if pair is None:
            return
        joins = pair["joins"]["member"]["id"]
        take = pair["differs"] if op.other % 2 else ()
        answer = "keep_two" if op.answer == "both" else "join"
        done = self._ask("POST", f"/people/merged/{joins}", told, json=_answer_to(pair, answer, take))
        for person in told.people:
            if person.member_id == joins and done is not None and answer == "join":
                person.here = False

    def _arrive_there(self, told: Told, op: Op) -> None:
        person = self._newcomer(told, None)
        told.say(f"{person.pco_id} arrives there")

    def _arrive_here(self, told: Told, op: Op) -> None:
        values, since = {name: told.token(name) for name in FIELDS}, datetime.now(UTC)
        member = self._ask("POST", "/people/members", told, json=values)
        if member is None:
            return
        told.people.append(Person(None, member["id"]))
        for name, value in values.items():
            told.note(HERE, member["id"], name, value, first=True, since=since)
        joins = {"add_member_ids": [member["id"]]}
        self._ask("PATCH", f"/people/families/{told.families[op.other % 2]}", told, json=joins)

    def _move_here(self, told: Told, op: Op) -> None:
        person = _among([one for one in told.people if one.member_id and one.here], op.who)
        if person is None:
            return
        person.home = None
        to, left = told.families[op.other % 2], told.families[1 - op.other % 2]
        self._ask("PATCH", f"/people/families/{to}", told, json={"add_member_ids": [person.member_id]})
        if op.other < 2:
            self._ask("PATCH", f"/people/families/{left}", told, json={"remove_member_ids": [person.member_id]})

    def _move_there(self, told: Told, op: Op) -> None:
        person = _among([one for one in told.people if one.pco_id and one.there], op.who)
        if person is None:
            return
        person.home = None
        to = None if op.answer == "both" else told.households[op.other % 2]
        told.say(f"{person.pco_id} moves to {to} there")
        self.church.control.move_person(self.pco, str(person.pco_id), to)

    def _rename_family(self, told: Told, op: Op) -> None:
        number = op.other % 2
        if op.answer in {"ours", "mixed"}:
            self._ask("PATCH", f"/people/families/{told.families[number]}", told, json={"name": told.token("name")})
        if op.answer in {"theirs", "mixed"}:
            named = {"name": told.token("name")}
            household = {"op": "edit", "type": "Household", "id": told.households[number], "attributes": named}
            self.church.control.mutate(self.pco, household)
            told.say(f"{told.households[number]} is {named} there")

    def _delete_here(self, told: Told, op: Op) -> None:
        person = _among([one for one in told.people if one.member_id and one.here], op.who)
        if person is not None:
            person.here, person.home = False, None
            self._ask("DELETE", f"/people/members/{person.member_id}", told)

    def _delete_there(self, told: Told, op: Op) -> None:
        person = _among([one for one in told.people if one.pco_id and one.there], op.who)
        if person is not None:
            person.there, person.home = False, None
            told.say(f"{person.pco_id} is deleted there")
            self.church.control.delete_person(self.pco, str(person.pco_id))

    def _sync_one(self, told: Told, op: Op) -> None:
        person = _among([one for one in told.people if one.member_id and one.here], op.who)
        if person is not None:
            self._ask("POST", f"/people/members/{person.member_id}/sync", told)

    def _undo_member(self, told: Told, op: Op) -> None:
        person = _among([one for one in told.people if one.member_id and one.here], op.who)
        if person is not None:
            self._undo_later(told, {"member_id": str(person.member_id)})

    def _undo_family(self, told: Told, op: Op) -> None:
        self._undo_later(told, {"family_id": told.families[op.other % 2]})

    def _undo_decision(self, told: Told, op: Op) -> None:
        decision = _among(told.decisions, op.who)
        if decision is not None:
            self._undo_later(told, {"decision_id": decision})

    def _undo_later(self, told: Told, what: dict[str, str]) -> None:
        with self._lock:
            self._later.append((told, what))


T = TypeVar("T")


def _among(items: Sequence[T], number: int) -> T | None:
    return items[number % len(items)] if items else None


def _answer_to(pair: Mapping[str, Any], answer: str, take: Iterable[str]) -> dict[str, Any]:
    stays, joins = pair["stays"]["member"], pair["joins"]["member"]
    shown = {"with_id": stays["id"], "version": joins["version"], "with_version": stays["version"]}
    return {"answer": answer, "take": list(take), **shown}


class There:
    """Planning Center's rows by type."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self.people: dict[str, Mapping[str, Any]] = {}
        self.households: dict[str, Mapping[str, Any]] = {}
        self.members: dict[str, set[str]] = defaultdict(set)
        """People by household."""
        self._emails: dict[str, list[tuple[bool, int, str]]] = defaultdict(list)
        for row in rows:
            values = row["attributes"]
            match row["type"]:
                case "Person":
                    self.people[row["id"]] = values
                case "Household":
                    self.households[row["id"]] = values
                case "HouseholdMembership":
                    self.members[str(values["household_id"])].add(str(values["person_id"]))
                case "Email":
                    one = (not values.get("primary"), int(row["id"]), values["address"])
                    self._emails[str(values["person_id"])].append(one)

    def values(self, pco_id: str) -> dict[str, Any]:
        """A person's values by field."""
        person = self.people[pco_id]
        emails = self._emails[pco_id]
        return {name: person.get(name) for name in FIELDS[:3]} | {"email": min(emails)[2] if emails else None}

    def email_id(self, pco_id: str) -> str:
        """Id of the primary email; empty without one."""
        emails = self._emails[pco_id]
        return str(min(emails)[1]) if emails else ""
