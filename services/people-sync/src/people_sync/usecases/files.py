"""The lists as files: their columns, and the lines of one item."""

from collections.abc import Iterator
from typing import Any, Final

from contracts import people, sync_runs
from contracts.http.erasures import Erasure
from contracts.http.merged import MergedPair
from contracts.http.people import HeldMatch, HeldSkipped, RunItem
from contracts.http.proof import Statement
from people_sync.domain.sentences import OUTCOMES

Lines = Iterator[tuple[Any, ...]]

MEMBERS: Final = (
    "First name",
    "Last name",
    "Child",
    "Birthdate",
    "Gender",
    "Email",
    "Phone",
    "Address",
    "Active",
    "In Planning Center",
    "Kept out of the sync",
    "Our id",
    "Platform's id",
    "Planning Center id",
)
FAMILIES: Final = (
    "Name",
    "Members",
    "In Planning Center",
    "Kept out of the sync",
    "Our id",
    "Platform's id",
    "Planning Center id",
)
HELD: Final = ("Person in Planning Center", "Birthdate", "Email", "Phone", "May be", "Reasons", "State", "Since", "Id")
SKIPPED: Final = ("Person in Planning Center", "Why", "Id")
MERGED: Final = ("Stays", "Would be joined", "Filled in", "Different", "May be mailed", "State", "Since", "Id")
RUNS: Final = ("Asked for", "Began", "Ended", "What", "For", "State", "By", "Numbers", "Message", "Id")
ITEMS: Final = ("Name", "Kind", "What", "Sentence", "Our id", "Planning Center id")
STATEMENTS: Final = ("When", "Result", "People", "Identical", "Families", "Identical families", "Kept out", "Changed")

ERASURES: Final = (
    "When",
    "On request of",
    "By",
    "Complete",
    "Service",
    "Place",
    "Outcome",
    "Rows",
    "Sentence",
    "Our id",
    "Planning Center ids",
    "Let back",
    "Let back by",
    "Id",
)


def of_member(one: people.Member) -> Lines:
    """One member."""
    address = one.address.model_dump(exclude={"country_code"}) if one.address else None
    values = (one.first_name, one.last_name, one.child, one.birthdate, one.gender, one.email, one.phone, address)
    yield (*values, one.active, _there(one.link), one.kept_out, one.id, one.external_id, _pco_id(one.link))


def of_family(one: people.Family) -> Lines:
    """One family, with how many members it has."""
    yield (
        one.name,
        len(one.member_ids),
        _there(one.link),
        one.kept_out,
        one.id,
        one.external_id,
        _pco_id(one.link),
    )


def of_held(one: HeldMatch) -> Lines:
    """One held match."""
    theirs = one.theirs
    candidates = [_name(candidate.member) for candidate in one.candidates]
    if one.more:
        candidates.append(f"{one.more} more")
    values = (_name(theirs), theirs.birthdate, theirs.email, theirs.phone)
    yield (*values, candidates, one.reasons, one.state, one.created_at, one.id)


def of_skipped(one: HeldSkipped) -> Lines:
    """One held match that a bulk answer left."""
    yield (one.name, one.sentence, one.held_id)


def of_pair(one: MergedPair) -> Lines:
    """Two members who are one person."""
    names = (_name(one.stays.member), _name(one.joins.member))
    yield (*names, one.fills, one.differs, one.may_be_mailed, one.state, one.merged_at, one.pco_id)


def of_run(one: sync_runs.Run) -> Lines:
    """One run, its numbers in one cell."""
    times = (one.created_at, one.started_at, one.finished_at)
    numbers = [f"{name} {count}" for name, count in one.counts.items() if count]
    yield (*times, one.kind, one.purpose, one.state, one.started_by_name or one.trigger, numbers, one.message, one.id)


def of_item(one: RunItem) -> Lines:
    """One record of a run."""
    kind = "Family" if one.record_kind == "family" else "Person"
    yield (one.name, kind, OUTCOMES.get(one.outcome, one.outcome), one.sentence, one.record_id, one.pco_id)


def of_statement(one: Statement) -> Lines:
    """One nightly comparison."""
    numbers = (one.people, one.people_identical, one.families, one.families_identical, one.kept_out, one.changed)
    yield (one.at, one.sentence, *numbers)


def of_erasure(one: Erasure) -> Lines:
    """One receipt, a line per place."""
    about = (one.at, one.on_request_of, one.by_name, one.complete)
    after = (one.record_id, one.pco_ids, one.let_back_at, one.let_back_by_name, one.id)
    for line in one.lines:
        yield (*about, line.service, line.place, line.outcome, line.count, line.sentence, *after)


def _name(values: Any) -> str:
    return f"{values.first_name} {values.last_name}".strip()


def _there(link: people.PlanningCenterLink | None) -> str:
    return "only here" if link is None else "gone" if link.state == "gone" else "linked"


def _pco_id(link: people.PlanningCenterLink | None) -> str | None:
    return link.pco_id if link else None
