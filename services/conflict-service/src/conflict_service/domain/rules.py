"""Rules: the conflicts a rule decides, its name, and rules learned from people's answers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from conflict_service.domain.answers import Field, Side, collides_with_nothing, instant_of, is_empty
from contracts.conflicts import STATUS

LEARNED_AFTER: Final = 5
"""Number of equal answers in a row that teach a rule."""
_AGES: Final = (365, 90)
"""Ages in days for learned rules, of which the largest fitting one is used."""
_PLURALS: Final[Mapping[str, str]] = {
    "first_name": "first names",
    "last_name": "last names",
    "birthdate": "birthdates",
    "gender": "genders",
    "child": "child or adult",
    "email": "emails",
    "phone": "phones",
    "address": "addresses",
    "active": "active or inactive",
    "name": "family names",
    "primary_contact": "primary contacts",
}
_OTHER: Final[Mapping[str, Side]] = {"ours": "theirs", "theirs": "ours"}


@dataclass(frozen=True, slots=True)
class Condition:
    """A rule decides the conflicts that fit its condition (`contracts.http.rules.RuleCondition`)."""

    fields: frozenset[str]
    answer: Side
    older_than_days: int | None = None
    empty: Side | None = None
    child: bool | None = None

    @property
    def kind(self) -> str:
        """The kind of the conflicts, as given by `kind_of`."""
        return ",".join(sorted(self.fields))

    @property
    def allowed(self) -> bool:
        """The status field, which no sync changes in Planning Center."""
        return not (STATUS in self.fields and self.answer == "ours")


@dataclass(frozen=True, slots=True)
class Answered:
    """One conflict's values, and the time of its answer."""

    fields: Sequence[Field]
    at: datetime


def kind_of(fields: Sequence[Field]) -> str | None:
    """The kind of a conflict: its fields' names. None, so no rule, if a field was not edited on both sides.

    Nor is there a rule for a field without an agreed value, except the status, which never has one.
    """
    if any(_never_agreed(field) or collides_with_nothing(field) for field in fields):
        return None
    return ",".join(sorted(field["field"] for field in fields))


def answer_of(choices: Mapping[str, str]) -> str:
    """The one choice for all fields, or `mixed`."""
    return next(iter(choices.values())) if len(set(choices.values())) == 1 else "mixed"


def fits(condition: Condition, fields: Sequence[Field], *, child: bool | None, at: datetime) -> bool:
    """Whether the rule decides a conflict with these values at this time."""
    if not condition.allowed or kind_of(fields) != condition.kind:
        return False
    if condition.child is not None and child is not condition.child:
        return False
    if condition.empty is not None and not all(_only_empty(field, condition.empty) for field in fields):
        return False
    if condition.older_than_days is None:
        return True
    age = _age(fields, at)
    return age is not None and age > timedelta(days=condition.older_than_days)


Given: TypeAlias = tuple[Mapping[str, str], Sequence[Field]]
"""A decision's choices and fields."""


def kept_by_a_person(fields: Sequence[Field], given: Iterable[Given]) -> bool:
    """Whether a person kept both of these values and wants to decide again, which no rule must do for them.

    `given`: people's decisions about the record, the newest first.
    """
    last: dict[str, tuple[str, Field]] = {}
    for choices, then in given:
        for field in then:
            last.setdefault(field["field"], (choices.get(field["field"], ""), field))
    return any(
        choice == "both" and (then["ours"], then["theirs"]) == (field["ours"], field["theirs"])
        for field in fields
        for choice, then in [last.get(field["field"], ("", field))]
    )


def choices_by(condition: Condition) -> dict[str, Side]:
    """A choice for every field."""
    return dict.fromkeys(sorted(condition.fields), condition.answer)


def agree(conditions: Iterable[Condition]) -> bool:
    """Whether all conditions have the same answer; otherwise a person decides."""
    return len({condition.answer for condition in conditions}) == 1


def learned(kind: str, answer: Side, given: Sequence[Answered]) -> Condition:
    """The narrowest rule that gives these answers."""
    ages = [_age(one.fields, one.at) for one in given]
    known = [age for age in ages if age is not None]
    youngest = min(known) if known and len(known) == len(ages) else timedelta()
    loses = _OTHER[answer]
    return Condition(
        fields=frozenset(kind.split(",")),
        answer=answer,
        older_than_days=next((days for days in _AGES if youngest > timedelta(days=days)), None),
        empty=loses if all(_only_empty(field, loses) for one in given for field in one.fields) else None,
    )


def name_of(condition: Condition) -> str:
    """The rule's full effect in words: "For phones, Planning Center is right when ours is older than a year"."""
    names = [_PLURALS.get(name, name.replace("_", " ")) for name in sorted(condition.fields)]
    many = len(names) > 1
    about = f"{', '.join(names[:-1])} and {names[-1]} together" if many else names[0]
    whose = {None: "", True: " of children", False: " of adults"}[condition.child]
    is_ = "are" if many else "is"
    right = f"ours {is_} right" if condition.answer == "ours" else "Planning Center is right"
    older = f"older than {_days(condition.older_than_days)}" if condition.older_than_days is not None else None
    when = []
    if condition.empty == "theirs":
        when.append(f"Planning Center's {is_} empty")
    if condition.empty == "ours" or older:
        ours = ["empty"] if condition.empty == "ours" else []
        when.append(f"ours {is_} {' and '.join([*ours, *([older] if older else [])])}")
    return f"For {about}{whose}, {right}{' when ' if when else ''}{' and '.join(when)}"


def _days(days: int) -> str:
    if days % 365 == 0:
        return "a year" if days == 365 else f"{days // 365} years"
    return "a day" if days == 1 else f"{days} days"


def _never_agreed(field: Field) -> bool:
    return not field["base_known"] and field["field"] != STATUS


def _age(fields: Sequence[Field], at: datetime) -> timedelta | None:
    """The age of our youngest value; None if a value has no known edit time."""
    changed = [instant_of(field["ours_changed_at"]) for field in fields]
    known = [one for one in changed if one]
    return at - max(known) if known and len(known) == len(changed) else None


def _only_empty(field: Field, side: Side) -> bool:
    return is_empty(field[side]) and not is_empty(field[_OTHER[side]])
