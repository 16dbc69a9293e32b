"""Histories of linked events: edits on both sides, lost and moved occurrences, reads that fail or lag, zones and DST.

After each history the linked events are those of Planning Center, as the simulator itself has them. `make test` tells a
few, `SOAK_SEED=7 SOAK_HISTORIES=300` others, and more.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from time import monotonic
from typing import Any, Final, TypeAlias
from zoneinfo import ZoneInfo

import pytest
import stamina
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from sqlalchemy import select

from calendar_sync.storage.tables import OccurrenceRow
from calendar_sync.usecases import events
from pco_simulator.testing import SimulatorError

HISTORIES: Final = int(os.environ.get("SOAK_HISTORIES", "8"))
SEED: Final = int(os.environ.get("SOAK_SEED", "20261130"))
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600 + 5 * HISTORIES)]

ZONES: Final = ("America/New_York", "Australia/Lord_Howe", "Europe/London", "America/Sao_Paulo")
NAMES: Final = ("Choir", "Supper", "Fête", "A & B")
PLACES: Final = (None, "Hall", "Garden")
TEXTS: Final = (
    ({"summary": None, "description": None}, None),
    ({"summary": "Bring notes."}, "Bring notes."),
    ({"summary": None, "description": "<p>Bring <b>soup</b>.</p><p>And bread.</p>"}, "Bring soup.\n\nAnd bread."),
)
"""What staff write there, and the description that the product shows."""
HORIZON: Final = timedelta(seconds=120)
AHEAD: Final = timedelta(days=365)
FIELDS: Final = (
    *("title", "location", "description", "starts_at", "ends_at", "first_day", "last_day", "time_zone", "recurrence"),
)
TEXT_FIELDS: Final = frozenset(FIELDS[:3])
Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Moment:
    """A time on the church's clock: days from today, or from a change of its clocks."""

    change: int
    day: int
    minutes: int
    utc: bool


@dataclass(frozen=True)
class Plan:
    """An event there, and the one here that is linked to it."""

    kind: str
    at: Moment
    name: str
    place: str | None
    text: int
    public: bool
    repeats_here: bool


@dataclass(frozen=True)
class Step:
    """One thing that somebody does."""

    what: str
    event: int
    which: int
    at: Moment
    name: str
    place: str | None
    text: int


@dataclass(frozen=True)
class Check:
    """The clock moves on; checks that are due by then meet a fault, or reads older than the last edits."""

    minutes: int
    fault: tuple[Json, Json] | None
    unseen: tuple[Step, ...]
    lagging: frozenset[str]


@dataclass(frozen=True)
class History:
    zone: str
    all_day_times: str
    plans: tuple[Plan, ...]
    steps: tuple[Step | Check, ...]


THERE: Final = (
    *("rename", "describe", "place", "shift", "own_name", "own_place", "move", "move", "days", "timed", "longer"),
    *("drop", "drop", "add", "add", "recount", "reissue", "neighbour"),
)
VANISHING: Final = ("delete", "hide", "hide", "show", "show", "show", "drop", "reissue")
HERE: Final = (
    *("title", "text", "time", "own", "cancel", "put_back", "put_back", "sync", "sync", "unlink", "link", "link"),
    *("keep", "reconnect"),
)
KINDS: Final = (
    *("single", "night", "days", "weekly", "weekly", "daily", "nights", "whole_days", "monthly", "one", "long"),
)

_ANSWERS: Final[tuple[Json, ...]] = (
    {"kind": "respond", "status": 500},
    {"kind": "respond", "status": 503, "body": "html"},
    {"kind": "respond", "status": 404, "body": "html"},
    {"kind": "respond", "status": 200, "body": "empty"},
    {"kind": "respond", "status": 200, "body": "html"},
    {"kind": "respond", "status": 422},
    {"kind": "respond", "status": 403},
    {"kind": "too_many_requests", "retry_after": 0},
    {"kind": "truncate", "mode": "connection"},
    {"kind": "truncate", "mode": "length"},
    {"kind": "reset", "when": "before"},
    {"kind": "reset", "when": "after"},
    *(
        {"kind": "omit", "attribute": name, "type": "EventInstance"}
        for name in ("name", "location", "starts_at", "ends_at", "published_starts_at", "created_at", "recurrence")
    ),
    *({"kind": "omit", "attribute": name, "type": "Event"} for name in ("name", "summary", "description")),
    {"kind": "omit", "attribute": "all_day_event", "type": "EventInstance"},
    {"kind": "omit", "attribute": "time_zone", "type": "Organization"},
    {"kind": "omit", "relationship": "event"},
    {"kind": "omit", "data_of": "event"},
    {"kind": "omit", "included": "Event"},
    {"kind": "latency", "ms": 5_000},
)
_WHERE: Final[tuple[Json, ...]] = (
    {"path": "/calendar/v2"},
    {"path": "/calendar/v2/event_instances"},
    {"path": "/calendar/v2/events/"},
    {"path": "/calendar/v2/event", "query": "offset=[1-9]"},
)


def _fault(draw: st.DrawFn) -> tuple[Json, Json]:
    action, where = draw(st.sampled_from(_ANSWERS)), dict(draw(st.sampled_from(_WHERE)))
    if "query" in where and draw(st.booleans()):
        action = {"kind": "respond", "status": 404}  # a page that is missing amid a list
    if action["kind"] == "latency":
        return action, where | {"nth": draw(st.integers(1, 2))}
    return action, where | draw(
        st.one_of(st.just({}), st.fixed_dictionaries({"nth": st.integers(1, 3)}), st.just({"every": 2}))
    )


_MOMENTS: Final = st.builds(
    Moment,
    change=st.sampled_from([0, 0, 1, 2]),
    day=st.one_of(st.integers(-1, 1), st.integers(1, 40), st.integers(-10, 420)),
    minutes=st.sampled_from([0, 60, 90, 120, 150, 9 * 60, 19 * 60 + 30, 23 * 60 + 30]),
    utc=st.sampled_from([False, False, True]),
)
_PLANS: Final = st.builds(
    Plan,
    kind=st.sampled_from(KINDS),
    at=st.builds(
        Moment,
        change=st.sampled_from([0, 0, 1, 2]),
        day=st.one_of(st.integers(1, 30), st.integers(-4, 200)),
        minutes=st.sampled_from([0, 60, 120, 150, 9 * 60, 19 * 60 + 30]),
        utc=st.booleans(),
    ),
    name=st.sampled_from(NAMES),
    place=st.sampled_from(PLACES),
    text=st.integers(0, len(TEXTS) - 1),
    public=st.booleans(),
    repeats_here=st.booleans(),
)


def _steps(what: Sequence[str]) -> st.SearchStrategy[Step]:
    return st.builds(
        Step,
        what=st.sampled_from(what),
        event=st.integers(0, 4),
        which=st.integers(0, 5),
        at=_MOMENTS,
        name=st.sampled_from(NAMES),
        place=st.sampled_from(PLACES),
        text=st.integers(0, len(TEXTS) - 1),
    )


@st.composite
def _checks(draw: st.DrawFn) -> Check:
    how = draw(st.sampled_from(["whole", "whole", "fault", "fault", "lag"]))
    return Check(
        minutes=draw(st.sampled_from([5, 5, 6, 10, 1, 60, 26 * 60])),
        fault=_fault(draw) if how == "fault" else None,
        unseen=tuple(draw(st.lists(_steps(THERE), min_size=1, max_size=3))) if how == "lag" else (),
        lagging=frozenset(
            draw(st.sets(st.sampled_from(["singles_ms", "lists_ms", "filters_ms", "includes_ms"]), min_size=1))
            if how == "lag"
            else ()
        ),
    )


@st.composite
def histories(draw: st.DrawFn) -> History:
    """What happens to a few linked events."""
    step = st.one_of(_steps(THERE), _steps(THERE), _steps(VANISHING), _steps(HERE), _checks(), _checks())
    return History(
        zone=draw(st.sampled_from(ZONES)),
        all_day_times=draw(st.sampled_from(["local_midnight", "last_second", "utc_midnight"])),
        plans=tuple(draw(st.lists(_PLANS, min_size=2, max_size=5))),
        steps=tuple(draw(st.lists(step, min_size=4, max_size=24))),
    )


@dataclass(frozen=True)
class Span:
    """When an occurrence is; of whole days the days count."""

    starts: datetime
    ends: datetime
    days: tuple[str, str] | None = None


def whole_days(first: str, last: str, zone: ZoneInfo) -> Span:
    begins, ends = date.fromisoformat(first), date.fromisoformat(last) + timedelta(days=1)
    instants = (datetime.combine(day, time(), zone).astimezone(UTC) for day in (begins, ends))
    return Span(next(instants), next(instants), (first, last))


def _instants(begins: str, ends: str) -> tuple[datetime, datetime]:
    return datetime.fromisoformat(begins), datetime.fromisoformat(ends)


@dataclass
class Pair:
    """An event here with the one there."""

    event: Json
    pco: str
    instance: str | None
    linked: bool = True
    hidden: list[Json] | None = None
    """Instances as they were before they were hidden."""
    faults: list[str] = field(default_factory=list)
    missed_at: datetime | None = None
    """The first check that could see that it is not there."""
    gone: bool = False
    edits: list[tuple[str, Any]] = field(default_factory=list)


class Teller:
    """Tells one history, and judges after each check."""

    def __init__(self, linked: Any, history: History) -> None:
        self.linked, self.history = linked, history
        self.zone = ZoneInfo(history.zone)
        self.pairs: list[Pair] = []
        self.others: list[str] = []
        self.today = linked.clock.now().astimezone(self.zone).date()
        self.changes = list(self._changes())
        self.began = linked.mark()
        self._known: list[Json] | None = None

    def _changes(self) -> Iterator[date]:
        """Days on which clocks change; any days where they never do."""
        noon = [datetime.combine(self.today + timedelta(days=n), time(12), self.zone) for n in range(400)]
        found = [one.date() for before, one in pairwise(noon) if before.utcoffset() != one.utcoffset()]
        yield from [*found, self.today + timedelta(days=60), self.today + timedelta(days=200)][:2]

    # -- what happens ----------------------------------------------------------------------------------------

    def day(self, at: Moment) -> date:
        base = self.today if at.change == 0 else self.changes[at.change - 1]
        near = at.day if at.change == 0 else (at.day + 2) % 5 - 2
        return base + timedelta(days=near)

    def local(self, at: Moment, more: int = 0) -> str:
        found = datetime.combine(self.day(at), time()) + timedelta(minutes=at.minutes + more)
        return f"{found:%Y-%m-%dT%H:%M}" + (":00Z" if at.utc else "")

    async def begin(self) -> None:
        self.linked.control.change_settings(all_day_times=self.history.all_day_times)
        for number, plan in enumerate(self.history.plans):
            pco = self._created(plan)
            instance = self.linked.instances(pco)[plan.at.minutes % 4]["id"] if plan.kind == "one" else None
            begins = f"{self.day(plan.at)}T09:00:00Z"
            event = await self.linked.here.add(
                title=f"Here {number}",
                starts_at=begins,
                ends_at=begins,
                time_zone=self.history.zone,
                recurrence="FREQ=WEEKLY;COUNT=4" if plan.repeats_here else None,
            )
            await self.linked.link(event, pco, instance)
            self.pairs.append(Pair(event, pco, instance))

    def _created(self, plan: Plan) -> str:
        about: Json = {"location": plan.place, **TEXTS[plan.text][0]}
        starts = self.local(plan.at)
        first = str(self.day(plan.at))
        if plan.public and plan.kind not in {"days", "whole_days"}:
            about |= {"visible_in_church_center": True, "setup_minutes": 45}
        match plan.kind:
            case "single":
                return str(self.linked.create(plan.name, starts, self.local(plan.at, 90), **about))
            case "night":
                return str(self.linked.create(plan.name, starts, self.local(plan.at, 20 * 60), **about))
            case "days":
                last = str(self.day(plan.at) + timedelta(days=2))
                return str(self.linked.create(plan.name, first, last, all_day_event=True, **about))
            case "whole_days":
                return str(self.linked.series(plan.name, first, count=5, all_day_event=True, **about))
            case "nights":
                ends = self.local(plan.at, 6 * 60)
                return str(self.linked.series(plan.name, starts, "daily", count=4, ends_at=ends, **about))
        repeats = {"daily": "daily", "long": "daily", "monthly": "monthly"}.get(plan.kind, "weekly")
        count = {"long": 130, "monthly": 3}.get(plan.kind, 5)
        return str(self.linked.series(plan.name, starts, repeats, count=count, **about))

    def there(self, pair: Pair) -> Json | None:
        found: Json | None = self.linked.control.event(self.linked.there.id, pair.pco)
        return found

    def present(self, pair: Pair) -> bool:
        found = self.there(pair)
        if found is None or pair.hidden is not None:
            return False
        return pair.instance is None or any(one["id"] == pair.instance for one in found["instances"])

    def edit(self, step: Step) -> None:
        """Staff edit there; what Planning Center itself refuses does not happen."""
        pair = self.pairs[step.event % len(self.pairs)]
        if pair.hidden is not None and step.what not in {"show", "neighbour"}:
            return
        with suppress(SimulatorError):
            self._edit(step, pair)

    def _edit(self, step: Step, pair: Pair) -> None:
        if step.what == "neighbour":
            self.others.append(self.linked.create(step.name, self.local(step.at), location=step.place))
            return
        found = self.there(pair)
        if found is None:
            return
        control, church, instances = self.linked.control, self.linked.there.id, found["instances"]
        match step.what:
            case "delete":
                control.delete_event(church, pair.pco)
            case "hide":
                self._hide(pair, instances)
            case "show":
                self._show(pair)
            case "add" if "rule" in found:
                control.create_instance(church, pair.pco, self.local(step.at), location=step.place)
            case "drop" if instances:
                control.delete_instance(church, instances[step.which % len(instances)]["id"])
            case what:
                if (values := self._of_event(step, repeats="rule" in found).get(what)) is not None:
                    control.edit_event(church, pair.pco, **values)
                elif instances and (values := self._of_instance(step).get(what)) is not None:
                    control.edit_instance(church, instances[step.which % len(instances)]["id"], **values)

    def _of_event(self, step: Step, *, repeats: bool) -> dict[str, Json | None]:
        return {
            "rename": {"name": step.name},
            "describe": TEXTS[step.text][0],
            "place": {"location": step.place},
            "shift": {"starts_at": self.local(step.at)},
            "reissue": {"reissue": True},
            "recount": {"count": 1 + step.which} if repeats else None,
            "add": {"repeats": "weekly", "count": 2 + step.which},
        }

    def _of_instance(self, step: Step) -> dict[str, Json]:
        starts, first = self.local(step.at), str(self.day(step.at))
        last = str(self.day(step.at) + timedelta(days=step.which % 3))
        return {
            "own_name": {"name": None if step.name == NAMES[0] else step.name},
            "own_place": {"location": step.place},
            "move": {"starts_at": starts},
            "longer": {"starts_at": starts, "ends_at": self.local(step.at, 7 * 60 * step.which)},
            "days": {"starts_at": first, "ends_at": last, "all_day_event": True, "setup_minutes": 0},
            "timed": {"starts_at": starts, "ends_at": self.local(step.at, 75), "all_day_event": False},
        }

    def _hide(self, pair: Pair, instances: list[Json]) -> None:
        """It is not there for a while, as if deleted, and may return with its ids."""
        control, church = self.linked.control, self.linked.there.id
        pair.hidden = instances
        for one in instances:
            control.set_raw(church, "EventInstance", one["id"], starts_at=None, ends_at=None)
        ids = "|".join(one["id"] for one in instances) or "none"
        for path in (rf"/events/{pair.pco}(/|$)", rf"/event_instances/({ids})$"):
            pair.faults.append(control.add_fault({"kind": "respond", "status": 404}, path=path))

    def _show(self, pair: Pair) -> None:
        for one in pair.hidden or ():
            times = {"starts_at": one["starts_at"], "ends_at": one["ends_at"]}
            self.linked.control.set_raw(self.linked.there.id, "EventInstance", one["id"], **times)
        for fault in pair.faults:
            self.linked.control.remove_fault(fault)
        pair.hidden, pair.faults = None, []

    async def act(self, step: Step) -> None:
        """Somebody does something here."""
        pair = self.pairs[step.event % len(self.pairs)]
        path = f"/events/{pair.event['id']}"
        now = (await self.events())[self.pairs.index(pair)]
        before, self._known = self._known or [], None
        match step.what:
            case "title":
                await self._patch(pair, now, {"title": f"{step.name} of ours {step.which}"})
            case "text":
                await self._patch(pair, now, {"location": step.place, "description": f"Ours {step.which}"})
            case "time":
                begins = f"{self.day(step.at)}T12:00:00Z"
                await self._try("PATCH", path, {"starts_at": begins, "ends_at": begins, "recurrence": None})
            case "own" | "cancel" as what:
                key = now["occurrences"][step.which % len(now["occurrences"])]["key"]
                own: Json = {"cancelled": True} if what == "cancel" else {"title": step.name, "location": step.place}
                await self._try("PATCH", f"{path}/occurrences/{key}", own)
            case "put_back":
                entries = [one for one in await self._entries(pair) if one["can_undo"]]
                if entries:
                    await self._try("POST", f"{path}/restore", {"entry_id": entries[step.which % len(entries)]["id"]})
            case what:
                await self._act_on_link(what, pair, before)

    async def _act_on_link(self, what: str, pair: Pair, before: list[Json]) -> None:
        path, call = f"/events/{pair.event['id']}/link", self.linked.here.call
        match what:
            case "sync" if pair.linked:
                await self.linked.sync(pair.event)
                await self._links(before, stale=())
            case "unlink" if pair.linked:
                await call("DELETE", path)
                pair.linked = pair.gone = False
            case "link" if not pair.linked or pair.gone:
                there = self.present(pair)
                body = {"pco_event_id": pair.pco, "pco_event_instance_id": pair.instance}
                await call("POST", path, body, status=200 if there else 404)
                if there:
                    pair.linked, pair.gone = True, False
            case "keep" if pair.gone:
                await call("POST", f"{path}/keep")
                pair.linked = pair.gone = False
            case "reconnect":
                await self.linked.disconnected()
                mark = self.linked.mark()
                await self.poll(5)
                assert self.linked.requests(mark) == []
                await self.linked.connected()

    async def _try(self, method: str, path: str, body: Json) -> bool:
        """Whether it is allowed: dates of a linked event, its last occurrence and some of the history are not."""
        answer = await self.linked.here.http.request(method, f"/api/v1/calendar{path}", json=body)
        assert answer.status_code in {200, 409, 422}, answer.text
        return bool(answer.status_code == 200)

    async def _patch(self, pair: Pair, before: Json, values: Json) -> None:
        await self.linked.here.call("PATCH", f"/events/{pair.event['id']}", values)
        pair.edits += [(name, value) for name, value in values.items() if before[name] != value]

    async def check(self, check: Check) -> None:
        """A check in the midst of it all."""
        control = self.linked.control
        self.linked.clock.advance(timedelta(minutes=check.minutes))
        since = monotonic()
        stale = tuple(pair for pair in self.pairs if not self.present(pair))
        before = await self.events()
        if check.unseen:
            for step in check.unseen:
                self.edit(step)
            lag = int((monotonic() - since) * 1_000) + 1
            control.set_lag(**dict.fromkeys(check.lagging, lag))
        fault = control.add_fault(check.fault[0], **check.fault[1]) if check.fault else None
        await self.poll(0)
        if fault is not None:
            control.remove_fault(fault)
        control.set_lag()
        await self._links(before, stale)
        if check.fault:
            await self._nothing_invented(before)
        elif not check.unseen:
            await self.verdict(before)

    # -- what must hold --------------------------------------------------------------------------------------

    async def events(self) -> list[Json]:
        """All as they are here."""
        if self._known is None:
            here = self.linked.here
            async with here.app.state.runtime.sessions() as session:
                found = [await events.get(session, here.organization_id, pair.event["id"]) for pair in self.pairs]
            self._known = [one.model_dump(mode="json") for one in found]
        return self._known

    async def poll(self, minutes: float) -> None:
        await self.linked.poll(minutes)
        self._known = None

    async def _links(self, before: list[Json], stale: Sequence[Pair]) -> None:
        """A link ends only after its event was gone there for the horizon; none here is removed."""
        for pair, was, now in zip(self.pairs, before, await self.events(), strict=True):
            assert (now["link"] is not None) == pair.linked
            if not pair.linked:
                assert now["version"] == was["version"], "nothing changes an event without a link"
                continue
            pair.gone = now["link"]["state"] == "gone"
            absent, at = pair in stale or not self.present(pair), self.linked.clock.now()
            pair.missed_at = (pair.missed_at or at) if absent else None
            if pair.gone and was["link"]["state"] == "linked":
                assert absent, f"{was['title']} was unlinked while it was there"
                assert pair.missed_at is not None
                assert at - pair.missed_at >= HORIZON, f"{was['title']} was unlinked at the first 404"

    async def _nothing_invented(self, before: list[Json]) -> None:
        """A read that fails takes over what Planning Center has, or nothing."""
        cancelled = await self._cancelled()
        for pair, was, now in zip(self.pairs, before, await self.events(), strict=True):
            found = self.there(pair)
            if found is None or pair.hidden is not None or not pair.linked or pair.gone:
                continue
            instances = [one for one in found["instances"] if pair.instance in {None, one["id"]}]
            spans = {self.span_there(found, one) for one in instances}
            known = {self.span_here(one) for one in was["occurrences"]} | spans
            shown = {self.span_here(one) for one in now["occurrences"] if not one["cancelled"]}
            assert shown <= known, f"{shown - known} is neither here nor there"
            names = {found.get("name"), *(one.get("name") for one in instances)}
            assert now["title"] in {was["title"], *names}
            assert now["description"] in {was["description"], self.description(found)}
            kept = {one["key"] for one in was["occurrences"] if one["cancelled"]}
            lost = {key for key, id_ in cancelled[pair.event["id"]] if id_ in {one["id"] for one in instances}} - kept
            assert not lost, f"{lost} were taken out here and are there"

    async def _cancelled(self) -> dict[str, list[tuple[str, str | None]]]:
        row = OccurrenceRow
        query = select(row.event_id, row.key, row.pco_instance_id).where(row.cancelled)
        async with self.linked.here.app.state.runtime.sessions() as session:
            rows = (await session.execute(query)).all()
        return {
            pair.event["id"]: [(key, id_) for event_id, key, id_ in rows if str(event_id) == pair.event["id"]]
            for pair in self.pairs
        }

    async def verdict(self, before: list[Json] | None = None) -> None:
        """After a complete check: what takes place from now on within the horizon is as Planning Center has it.

        before: events as they were before the check. None: after a sync by hand, when all of it is.
        """
        now = self.linked.clock.now()
        if before is not None:
            status = await self.linked.here.call("GET", "/status")
            if status["checked_at"] is None or datetime.fromisoformat(status["checked_at"]) != now:
                return
        for number, (pair, here) in enumerate(zip(self.pairs, await self.events(), strict=True)):
            if not pair.linked or here["link"]["state"] == "gone" or not self.present(pair):
                continue
            if before is not None:
                dates = [self.span_here(one) for one in before[number]["occurrences"] if not one["cancelled"]]
                if not any(one.ends > now and one.starts < now + AHEAD for one in dates):
                    continue  # outside of what is checked by itself
            found = self.there(pair)
            assert found is not None
            self._same(pair, here, found, everything=before is None)

    def _same(self, pair: Pair, here: Json, found: Json, *, everything: bool) -> None:
        differs = set(here["link"]["differs"])
        instances = [one for one in found["instances"] if pair.instance in {None, one["id"]}]
        name = found["name"]
        if pair.instance is not None:
            name = instances[0].get("name") or name
        assert "title" in differs or here["title"] == name
        assert "description" in differs or here["description"] == self.description(found)
        if "times" in differs:
            return
        if not instances:
            assert "no date" in here["link"]["note"]
            return
        now = self.linked.clock.now()
        theirs, ours = Counter[Any](), Counter[Any]()
        earliest = min(self.span_there(found, one).starts for one in instances)
        for one in instances:
            own = one.get("name") if pair.instance is None and one.get("name") != found["name"] else None
            self._count(theirs, self.span_there(found, one), own, one.get("location"), everything=everything)
        for one in here["occurrences"]:
            if not one["cancelled"]:
                place = one["location"] or here["location"]
                self._count(ours, self.span_here(one), one["title"], place, everything=everything)
        if "location" in differs:
            theirs, ours = (Counter(one[:2] for one in each.elements()) for each in (theirs, ours))
        # What is over and not listed there any more is left.
        alone = [one for one in ours - theirs if one[0].ends > min(now, earliest)]
        assert (alone, list(theirs - ours)) == ([], [])
        active = [self.span_here(one) for one in here["occurrences"] if not one["cancelled"]]
        assert datetime.fromisoformat(here["starts_at"]) == min(one.starts for one in active)
        assert here["time_zone"] == self.history.zone

    def _count(
        self, into: Counter[Any], span: Span, title: str | None, location: str | None, *, everything: bool
    ) -> None:
        now = self.linked.clock.now()
        if everything or (span.ends > now and span.starts < now + AHEAD):
            into[(span, title, location)] += 1

    def span_there(self, event: Json, one: Json) -> Span:
        """When people see it there."""
        if one.get("all_day_event"):
            return whole_days(one["first_day"], one["last_day"], self.zone)
        public = "published_" if event.get("visible_in_church_center") else ""
        return Span(*_instants(one[f"{public}starts_at"], one[f"{public}ends_at"]))

    def span_here(self, one: Json) -> Span:
        days = (one["first_day"], one["last_day"]) if one["first_day"] is not None else None
        return Span(*_instants(one["starts_at"], one["ends_at"]), days)

    def description(self, event: Json) -> str | None:
        if event.get("summary"):
            return str(event["summary"])
        return next(shown for written, shown in TEXTS if written.get("description") == event.get("description"))

    async def _entries(self, pair: Pair) -> list[Json]:
        """The history, newest first."""
        found: list[Json] = []
        page: Json = {"next": None}
        while True:
            params = {"after": page["next"]} if page["next"] else {}
            page = await self.linked.here.call("GET", f"/events/{pair.event['id']}/history", params=params)
            found += page["items"]
            if page["next"] is None:
                return found

    async def end(self) -> None:
        """Faults end, lag passes, checks go on."""
        for minutes in (5, 5, 24 * 60):
            before = await self.events()
            await self.poll(minutes)
            await self._links(before, stale=())
            await self.verdict(before)
        status = await self.linked.here.call("GET", "/status")
        ahead = [pair for pair in self.pairs if pair.linked and not pair.gone]
        assert not ahead or datetime.fromisoformat(status["checked_at"]) == self.linked.clock.now()
        await self._put_back()
        for pair in self.pairs:
            if pair.linked:
                await self.linked.sync(pair.event)
        self._known = None
        for pair, here in zip(self.pairs, await self.events(), strict=True):
            if pair.linked:
                # What was put back here before it was gone stays so, should it return.
                assert here["link"]["differs"] == [] or not self.present(pair)
                state = "linked" if self.present(pair) else "gone"
                assert here["link"]["state"] == state, "it is there, and linked again by itself"
        await self.verdict()
        for pair, here in zip(self.pairs, await self.events(), strict=True):
            await self._told(pair, here)
        await self._silent_without_links()

    async def _put_back(self) -> None:
        """A value that was overwritten is put back, and stays until somebody syncs by hand."""
        for pair, here in zip(self.pairs, await self.events(), strict=True):
            if not pair.linked or not self.present(pair) or here["link"]["differs"]:
                continue
            for one in await self._entries(pair):
                if one["field"] == "title" and one["can_undo"] and one["old"] != here["title"]:
                    body = {"entry_id": one["id"]}
                    back = await self.linked.here.call("POST", f"/events/{pair.event['id']}/restore", body)
                    assert (back["title"], back["link"]["differs"]) == (one["old"], ["title"])
                    await self.poll(5)
                    kept = await self.linked.event(pair.event)
                    assert (kept["title"], kept["link"]["differs"]) == (one["old"], ["title"])
                    return

    async def _told(self, pair: Pair, here: Json) -> None:
        """The history of each field has no gap, ends with the present value, and has every edit."""
        entries = list(reversed(await self._entries(pair)))
        for name in FIELDS:
            of_field = [one for one in entries if one["field"] == name]
            for before, one in pairwise(of_field):
                assert _value(before["new"]) == _value(one["old"]), name
            # Of an all-day event the days are its times.
            present = None if here["all_day"] and name in {"starts_at", "ends_at"} else here[name]
            assert not of_field or _value(of_field[-1]["new"]) == _value(present), name
        of_texts = [one for one in entries if one["field"] in TEXT_FIELDS]
        by_people = Counter((one["field"], one["new"]) for one in of_texts if one["by"] == "person")
        assert not Counter(pair.edits) - by_people
        assert all(one["can_undo"] for one in of_texts if one["by"] == "planning_center")

    async def _silent_without_links(self) -> None:
        for pair in self.pairs:
            if pair.linked:
                await self.linked.here.call("DELETE", f"/events/{pair.event['id']}/link")
        self._known = None
        before = await self.events()
        mark = self.linked.mark()
        await self.poll(5)
        await self.poll(24 * 60)
        assert self.linked.requests(mark) == []
        assert await self.events() == before
        listed = await self.linked.here.call("GET", "/events")
        assert listed["total"] == len(self.pairs)
        for method in ("POST", "PATCH", "PUT", "DELETE"):
            writes = self.linked.control.journal(after=self.began, method=method, path="^/calendar")
            assert writes == [], "nothing is written to Planning Center"

    async def clean(self) -> None:
        """The next history finds the church as it was."""
        control, church = self.linked.control, self.linked.there.id
        control.clear_faults()
        control.set_lag()
        left = {one["id"] for one in control.events(church)}
        for pco in {*(pair.pco for pair in self.pairs), *self.others} & left:
            control.delete_event(church, pco)
        await self.linked.here.http.aclose()


def _value(one: Any) -> Any:
    """Instants are written in two ways."""
    if isinstance(one, str) and "T" in one:
        with suppress(ValueError):
            return datetime.fromisoformat(one)
    return one


@seed(SEED)
@settings(
    max_examples=HISTORIES,
    phases=[Phase.reuse, Phase.generate, *([] if os.environ.get("SOAK_HISTORIES") else [Phase.shrink])],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    report_multiple_bugs=False,
)
@given(history=histories())
async def test_any_history_ends_with_what_planning_center_has(
    connected_in: Callable[[str], Any], history: History
) -> None:
    stamina.set_testing(True)
    teller = Teller(await connected_in(history.zone), history)
    try:
        await teller.begin()
        for step in history.steps:
            if isinstance(step, Check):
                await teller.check(step)
            elif step.what in HERE:
                await teller.act(step)
            else:
                teller.edit(step)
        await teller.end()
    except Exception as error:
        error.add_note("\n".join(map(str, [history.zone, history.all_day_times, *history.plans, *history.steps])))
        raise
    finally:
        await teller.clean()
