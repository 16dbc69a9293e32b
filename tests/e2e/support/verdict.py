"""The invariants of settled histories, independent of timing.

Edits are traced by value, since each value is typed once in a history (except by an undo of one entry). If the rules
allow several outcomes depending on timing, each is accepted.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from histories import EMAILS, FIELDS, HERE, PEOPLE, THERE, Person, Teller, Told, Typed

from contracts.values import CONFLICT_SERVICE

_OTHER: Final = {HERE: THERE, THERE: HERE}
_LAG: Final = timedelta(seconds=1)
"""The simulator's lag in this test."""
_READ_TO_WRITE: Final = timedelta(seconds=4)
"""Maximum time between a read and the write based on it on a busy machine."""
Row = Mapping[str, Any]


class Verdict:
    """Violations by history; empty without any."""

    def __init__(self, teller: Teller) -> None:
        self.found: dict[int, list[str]] = defaultdict(list)
        self.effects: dict[int, list[str]] = {}
        """Effects on each history's records, in order."""
        self.happened: Counter[str] = Counter()
        """Number of judged cases by name."""
        self._there = teller.there()
        self._members = {row["id"]: row for row in teller.rows("SELECT * FROM member")}
        self._links = teller.rows("SELECT * FROM link WHERE state <> 'gone'")
        self._families: dict[str, set[str]] = defaultdict(set)
        for row in teller.rows("SELECT * FROM family_member"):
            self._families[row["family_id"]].add(row["member_id"])
        self._names = {row["id"]: row["name"] for row in teller.rows("SELECT * FROM family WHERE deleted_at IS NULL")}
        """Families, except those that an undo has deleted."""
        self._undos = {row["id"] for row in teller.rows("SELECT id FROM run WHERE purpose = 'undo'")}
        self._effects: dict[str, list[Row]] = defaultdict(list)
        for row in teller.rows("SELECT * FROM effect ORDER BY id"):
            self._effects[row["record_id"]].append(row)
        self._decisions: dict[str, list[Row]] = defaultdict(list)
        query = (
            "SELECT d.*, c.record FROM decision d JOIN conflict c ON c.id = d.conflict_id ORDER BY d.decided_at, d.id"
        )
        for row in teller.rows(query, CONFLICT_SERVICE):
            self._decisions[row["record"]["id"]].append(row)
        self._pco_of = {row["record_id"]: row["pco_id"] for row in self._links}
        self._unseen = _Unseen(teller.church.control.journal(path=f"^({PEOPLE}|{EMAILS})/[0-9]+$", limit=100_000))
        for told in teller.told:
            self._judge(told)
        self._nobody_doubled(teller)

    def _judge(self, told: Told) -> None:
        # A newcomer matched with a known person has no separate member.
        ids = {one.member_id for one in told.people if one.member_id}
        records = sorted(ids | set(told.families))
        effects = sorted((row for id_ in records for row in self._effects[id_]), key=lambda row: row["id"])
        decisions = [row for id_ in records for row in self._decisions[id_]]
        self.found[told.number] += told.wrong
        self.happened.update(f"{row['outcome']} by {'a rule' if row['rule_id'] else 'somebody'}" for row in decisions)
        self.happened.update(row["rule"] for row in effects if row["rule"] in {"undone", "joined", "merged"})
        self.happened.update(row["field"] for row in effects if row["field"] == "kept_out" and row["after"])
        self.effects[told.number] = [_shown(row) for row in effects]
        for finding in (
            *self._overwritten(told, effects, decisions),
            *self._vanished(told, effects),
            *_lost(told, decisions),
            *_twice(effects),
            *_not_left_alone(effects),
            *(line for person in told.people for line in self._last_word(told, person)),
            *self._differences(told),
            *self._moved(told),
        ):
            self.found[told.number].append(finding)

    # -- no silent overwrite ---------------------------------------------------------------------------------------

    def _overwritten(self, told: Told, effects: Iterable[Row], decisions: list[Row]) -> Iterable[str]:
        """A typed value is replaced only by a newer one that followed it, or by a decision."""
        # A value replaced before its edit was not the edit's.
        typed = {(one.side, one.field, json.dumps(one.value)): one.since for one in reversed(told.typed)}
        # An undo of one entry types a value again, which does not make it newer.
        since: dict[tuple[str, str], int] = {}
        until: dict[tuple[str, str], int] = {}
        for one in told.typed:
            value = (one.field, json.dumps(one.value))
            since.setdefault(value, one.at)
            until[value] = one.at
        # A person who is new on the other side arrives with all their values.
        carried = {(side, one.field, json.dumps(one.value)) for one in told.typed if one.first for side in _OTHER}
        for row in effects:
            name, side = row["field"], row["side"]
            before, after = json.dumps(row["before"]), json.dumps(row["after"])
            key = (side, name, before)
            if name in FIELDS and before != after:
                if row["cause"] == "edit":
                    asked = (row["record_id"], name, after) in told.asked or row["rule"] == "joined"
                    if not asked and (HERE, name, after) not in typed:
                        yield f"nobody typed {after}: {_shown(row)}"
                elif (name, after) not in until and not (told.merged and row["after"] is None):
                    yield f"invented {after}: {_shown(row)}"
                elif _is_later(row, typed.get(key)) and not _chosen(decisions, side, name, row["before"]):
                    if (_OTHER[side], name, before) not in carried:
                        yield f"overwritten, and the other side never had it: {_shown(row)}"
                    elif (
                        not told.merged
                        and row["cause_id"] not in self._undos
                        and until[name, after] < since[name, before]
                    ):
                        yield f"overwritten by something older: {_shown(row)}"
            if row["rule"] not in {"kept_different", "decide_again"}:
                carried.add((side, name, after))

    def _vanished(self, told: Told, effects: list[Row]) -> Iterable[str]:
        """The last typed value of a side is present, or the history names its replacement."""
        if told.merged:
            return
        last = {(one.side, one.id, one.field): one for one in told.typed}
        for (side, id_, name), one in last.items():
            now = self._value(side, id_, name)
            if now is _NOBODY or now == one.value:
                continue
            of_field = [row for row in effects if (row["side"], row["field"]) == (side, name)]
            if any(row["before"] == one.value for row in of_field):
                continue
            if self._unseen.overwrote(one):
                continue
            yield f"{one.value} was typed {side} and is {now}, and no history says why"

    def _value(self, side: str, id_: str, name: str) -> Any:
        if side == HERE:
            member = self._members.get(id_)
            return _NOBODY if member is None or member["deleted_at"] else member[name]
        return self._there.values(id_)[name] if id_ in self._there.people else _NOBODY

    def _last_word(self, told: Told, person: Person) -> Iterable[str]:
        """For a person linked all along, both sides have the last edit or decision of each field."""
        id_, pco_id = person.member_id or "", person.pco_id or ""
        if told.merged or not (person.here and person.there) or self._pco_of.get(id_) != pco_id:
            return
        undone = {row["field"] for row in self._effects[id_] if row["cause_id"] in self._undos}
        for name in set(FIELDS) - undone:
            typed = [one for one in told.typed if one.id in {id_, pco_id} and one.field == name]
            about = [row for row in self._decisions[id_] if name in row["choices"]]
            now = (self._members[id_][name], self._there.values(pco_id)[name])
            applied = [row for row in about if row["outcome"] == "applied"]
            if not typed or any(one.value == typed[-1].value for one in typed[:-1]):
                # Put back by an undo of one entry: the last agreed value is no change, so another change replaces it.
                continue
            if self._unseen.overwrote(typed[-1]):
                continue
            if not about and set(now) != {typed[-1].value}:
                yield f"{name} of {id_} was last typed as {typed[-1].value}, nothing was decided, and is {now}"
            elif applied and typed[-1].when < datetime.fromisoformat(applied[-1]["decided_at"]):
                choice = applied[-1]["choices"][name]
                field = next(one for one in applied[-1]["fields"] if one["field"] == name)
                if choice != "both" and set(now) != {field[choice]}:
                    yield f"{name} of {id_} was decided to be {field[choice]} and is {now}"

    # -- both sides ------------------------------------------------------------------------------------------------

    def _differences(self, told: Told) -> Iterable[str]:
        for person in told.people:
            member = self._members.get(person.member_id or "")
            pco_id = self._pco_of.get(person.member_id or "")
            if member is None or member["deleted_at"] or pco_id is None:
                continue
            if pco_id not in self._there.people:
                yield f"{member['id']} is linked to {pco_id}, who is not there"
                continue
            here, there = {name: member[name] for name in FIELDS}, self._there.values(pco_id)
            if here != there:
                yield f"{member['id']} is {here} here, {there} there"
        for family, household in zip(told.families, told.households, strict=True):
            if family in self._names:
                yield from self._family(family, household)

    def _family(self, family: str, household: str) -> Iterable[str]:
        linked = {id_: self._pco_of[id_] for id_ in self._families[family] if id_ in self._pco_of}
        known = {
            self._pco_of[id_] for id_, row in self._members.items() if id_ in self._pco_of and not row["deleted_at"]
        }
        here = {pco_id for id_, pco_id in linked.items() if not self._members[id_]["deleted_at"]}
        there = self._there.members[household] & known
        if here != there:
            yield f"family {family} has {sorted(here)} here, {sorted(there)} there"
        names = self._names[family], self._there.households[household]["name"]
        if names[0] != names[1]:
            yield f"family {family} is {names[0]} here, {names[1]} there"

    def _moved(self, told: Told) -> Iterable[str]:
        """People not moved by an action are in their initial family and household."""
        for person in told.people:
            if person.home is None or told.merged or not (person.here and person.there):
                continue
            if told.families[person.home] not in self._names:
                continue
            homes = [
                number for number, family in enumerate(told.families) if person.member_id in self._families[family]
            ]
            if homes != [person.home]:
                yield f"{person.member_id} was in family {person.home} and is in {homes}"

    def _nobody_doubled(self, teller: Teller) -> None:
        """No person was created without an action, on either side."""
        whose = {id_: told for told in teller.told for one in told.people for id_ in (one.pco_id, one.member_id) if id_}
        linked = {row["pco_id"] for row in self._links if row["kind"] == "member"}
        for told in teller.told:
            alive = [one for one in told.people if one.pco_id and one.there]
            for one in alive:
                if one.pco_id not in self._there.people:
                    self.found[told.number].append(f"{one.pco_id} is not there any more")
                elif one.pco_id not in linked and one.here and not told.merged:
                    self.found[told.number].append(f"{one.pco_id} is there and nobody here")
        strangers = {row["record_id"] for row in self._links if row["pco_id"] in teller.strangers}
        for id_ in self._members.keys() - whose.keys() - strangers:
            self.found[-1].append(f"a member more: {self._members[id_]}")
        for id_ in self._there.people.keys() - whose.keys() - teller.strangers:
            self.found[-1].append(f"a person more: {self._there.people[id_]}")


class _Nobody:
    pass


_NOBODY: Final = _Nobody()


class _Unseen:
    """Finds edits in Planning Center that the read right before our write could not show yet.

    The vendor has no conditional requests, so this window is documented (decision 7).
    """

    def __init__(self, journal: Iterable[Row]) -> None:
        self._read_at: dict[str, list[datetime]] = defaultdict(list)
        self._writes: dict[str, list[tuple[datetime, datetime, str]]] = defaultdict(list)
        """Writes by path: begin, end and body."""
        for entry in journal:
            at = datetime.fromisoformat(entry["at"])
            if entry["method"] == "GET":
                self._read_at[entry["path"]].append(at)
            elif entry["status"] < 300:  # status 0: the client did not wait for the answer
                end = at + timedelta(milliseconds=entry["duration_ms"])
                self._writes[entry["path"]].append((at, end, entry["body"] or ""))

    def overwrote(self, one: Typed) -> bool:
        """Whether a write of ours replaced this value before any of our reads could show it."""
        name = "address" if one.field == "email" else one.field
        reads = self._read_at[f"{PEOPLE}/{one.id}"]
        for begin, end, body in self._writes[one.path]:
            read_at = max((at for at in reads if at <= begin), default=None)
            about_it = not body or name in json.loads(body)["data"]["attributes"]
            if read_at is None or not about_it or begin - read_at > _READ_TO_WRITE:
                continue
            if read_at - _LAG <= one.when and one.since <= end:
                return True
        return False


def _is_later(row: Row, than: datetime | None) -> bool:
    return than is not None and datetime.fromisoformat(row["at"]) >= than


def _shown(row: Row) -> str:
    return json.dumps(
        {
            name: row[name]
            for name in ("id", "at", "record_id", "side", "field", "before", "after", "cause", "cause_id", "rule")
        }
    )


def _chosen(decisions: Iterable[Row], side: str, name: str, value: Any) -> bool:
    """Whether a decision about this value on this side chose the other side's."""
    shown, other = ("ours", "theirs") if side == HERE else ("theirs", "ours")
    return any(
        row["choices"].get(name) == other
        and any(field["field"] == name and field[shown] == value for field in row["fields"])
        for row in decisions
    )


def _lost(told: Told, decisions: Iterable[Row]) -> Iterable[str]:
    """Every accepted decision is stored and has an outcome; one that was not carried out says why."""
    by_id = {row["id"]: row for row in decisions}
    yield from (f"decision {id_} is lost" for id_ in told.decisions if id_ not in by_id)
    for row in by_id.values():
        if row["outcome"] not in {"applied", "overtaken", "not_needed"}:
            yield f"decision {row['id']} is {row['outcome']} for ever"
        elif row["outcome"] == "overtaken" and not row["sentence"]:
            yield f"decision {row['id']} was overtaken without a word"


def _twice(effects: Iterable[Row]) -> Iterable[str]:
    """No decision is carried out twice."""
    seen: set[tuple[Any, ...]] = set()
    for row in effects:
        if row["cause"] in {"decision", "rule"}:
            did = tuple(json.dumps(row[key]) for key in ("cause_id", "record_id", "side", "field", "before", "after"))
            if did in seen:
                yield f"done twice: {_shown(row)}"
            seen.add(did)


def _not_left_alone(effects: Iterable[Row]) -> Iterable[str]:
    """Only people's own edits change a member kept out of the sync."""
    out: set[str] = set()
    for row in effects:
        if row["field"] == "kept_out":
            (out.add if row["after"] else out.discard)(row["record_id"])
        elif row["record_id"] in out and row["cause"] != "edit":
            yield f"kept out, and yet: {_shown(row)}"
