"""Family-safe matching of people in Planning Center with members here.

For people that are not linked yet. A match is made by e-mail and confirmed by the name; a doubtful match waits for an
administrator, so that no person is overwritten or duplicated.

    e-mail of one person on each side
        same name                               match
        another name                            held
        child here, adult there                 no match; held if the name is the same
    e-mail shared by several on either side
        same name, nobody else's on either side match
        same name otherwise                     held
        another name                            held only against members whom no person matches by name
    no common e-mail
        same name, same child flag              held, unless the birthdates differ
        same name, other child flag             held, unless the birthdates differ
        same name except a suffix on one side   held if the birthdates are the same
    children, an e-mail on one side at most
        same name, full birthdate and family    match

A generational suffix (Jr., III), in the last name or in Planning Center's own field, belongs to the name: another
suffix means another name, and a suffix missing on one side prevents a match.

Different birthdates, if both are known, always prevent a match, even by e-mail and name. If a side has no year (1885),
only month and day count. Two people who fit one member are both held. The outcome does not depend on the order of
people or candidates.

Thousands may share one e-mail or name: members are found by index, never by iteration over all, and a held match names
the strongest `SHOWN` of its candidates.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Literal

from people_sync.domain.canonical import email_key, generation, same_day, without_suffix, year_known
from people_sync.domain.match_index import Asked, Free, Index, Rows
from people_sync.domain.match_values import (
    HOUSEHOLD,
    SHOWN,
    UNMATCHED,
    Candidate,
    Held,
    LeftAlone,
    Local,
    Matched,
    Outcome,
    Peer,
    Sharers,
    Theirs,
    Unmatched,
)
from synckit.text import fold

__all__ = [
    "HOUSEHOLD",
    "SHOWN",
    "UNMATCHED",
    "Candidate",
    "Held",
    "LeftAlone",
    "Local",
    "Matched",
    "Outcome",
    "Peer",
    "Sharers",
    "Theirs",
    "Unmatched",
    "left_alone",
    "match_all",
    "match_people",
    "rows_needed",
    "still_matches",
]

_Names = Literal["same", "suffix", "partial", "different"]


def rows_needed(people: int, refused: int = 0) -> int:
    """Number of unlinked members of one name, child flag and birthdate that `match_people` needs for this many people,
    for whom administrators ruled out `refused` candidates; further members are only counted (`others`)."""
    return people + refused + SHOWN


def match_people(
    people: Iterable[Theirs],
    members: Iterable[Local],
    emails: Mapping[str, Sharers],
    *,
    different: Collection[tuple[str, str]] = (),
) -> dict[str, Outcome]:
    """Match a batch; outcomes by `pco_id`. Costs about n log n, however many share an e-mail or name.

    `members`: in any order, the unlinked members who
        have an e-mail of the people that at most `HOUSEHOLD` share, with any name;
        have an e-mail and a name (`Theirs.name_keys`) of one of the people;
        have a name and a birthdate of one of the people;
        have one of the people's names (`Theirs.lookup_keys`).
        Of one name, child flag and birthdate, and of one e-mail and name, `rows_needed` are enough.
    `emails`: by `email_key` of the people's e-mails. `different`: (pco_id, member_id) that an administrator called
    to be different people.
    """
    asked = {person.pco_id: Asked(person) for person in people}
    free = {member.member_id: member for member in members if not member.linked}
    refused: dict[str, set[str]] = defaultdict(set)
    for pco_id, member_id in different:
        refused[pco_id].add(member_id)
    index = Index(free.values(), emails)
    sure = {pco_id: _sure(person, index, refused[pco_id]) for pco_id, person in asked.items()}
    taken = _taken(sure)
    linked = {pco_id: member_id for pco_id, (member_id, *_) in _single(sure).items() if member_id in taken}
    for pco_id, person in asked.items():
        if not sure[pco_id]:
            sure[pco_id] = _child_of_the_family(person, index, refused[pco_id] | taken, linked)
    taken = _taken(sure)
    outcomes: dict[str, Outcome] = {}
    left = Index((local for local in free.values() if local.member_id not in taken), emails) if taken else index
    for pco_id, person in asked.items():
        if len(sure[pco_id]) == 1 and sure[pco_id] <= taken:
            (member_id,) = sure[pco_id]
            outcomes[pco_id] = Matched(member_id, inactive=_only_inactive(person.person, free[member_id]))
        else:
            outcomes[pco_id] = _held(person, left, sure[pco_id] - taken, refused[pco_id], several=len(sure[pco_id]) > 1)
    return outcomes


def match_all(
    people: Iterable[Theirs],
    by_email: Mapping[str, Sequence[Local]],
    by_name: Mapping[str, Sequence[Local]],
    *,
    peers: Iterable[Peer] = (),
    different: Collection[tuple[str, str]] = (),
) -> dict[str, Outcome]:
    """`match_people` computed from rows: each call is linear in the sharers of the e-mails.

    `by_email`: every member, linked or not, by `email_key` of the people's e-mails. `by_name`: unlinked members by
    `name_key` of the people's names. `peers`: all other people in Planning Center with one of these e-mails, linked
    or not, who make an e-mail shared.
    """
    people = list(people)
    everybody = {peer.pco_id: peer for peer in peers} | {
        person.pco_id: Peer(person.pco_id, person.name_keys(), person.email_keys()) for person in people
    }
    there: dict[str, list[Peer]] = defaultdict(list)
    for peer in everybody.values():
        for key in peer.email_keys:
            there[key].append(peer)
    emails = {key: Sharers.of(by_email.get(key, ()), sharers) for key, sharers in there.items()}
    members = [local for group in (*by_email.values(), *by_name.values()) for local in group]
    return match_people(people, members, emails, different=different)


def left_alone(outcomes: Mapping[str, Outcome], kept_out: Collection[str]) -> dict[str, Outcome]:
    """The outcomes, with `LeftAlone` for every person who may be a member kept out of the sync.

    Other candidates do not matter: an answer would decide about the member who is kept out as well.
    """
    found: dict[str, Outcome] = {}
    for pco_id, outcome in outcomes.items():
        out = tuple(one for one in outcome.member_ids if one in kept_out)
        found[pco_id] = LeftAlone(outcome.member_ids, out) if out else outcome
    return found


def still_matches(person: Theirs, member: Local, different: Collection[str] = ()) -> bool:
    """Whether an earlier match of these two still holds.

    Both need their family data (`household_members`, `family_members` and so on) if the match was made by it.
    `different`: ids of members whom an administrator ruled out for the person.
    """
    by_email = {key: [member] for key in person.email_keys() & {email_key(member.email)}}
    refused = [(person.pco_id, one) for one in different]
    outcome = match_all([person], by_email, {member.name_key: [member]}, different=refused)[person.pco_id]
    return isinstance(outcome, Matched)


def _sure(person: Asked, index: Index, refused: Collection[str]) -> set[str]:
    """Members who certainly are this person, before competition with other people."""
    found: set[str] = set()
    for email in person.emails:
        sharers = index.sharers(email)
        if sharers.shared:
            namesakes = sum(sharers.names_here.get(key, 0) for key in person.keys)
            groups = index.named(person, email) if namesakes == 1 else []
            rows = [one for group in groups for one in group.everybody.rows[:1]]
        else:
            rows = index.few(person, email)
        found |= {one.id for one in rows if one.id not in refused and _by_email(person, one, sharers) is True}
    return found


def _child_of_the_family(person: Asked, index: Index, left_out: Collection[str], linked: Mapping[str, str]) -> set[str]:
    """The child here with the same full name and full birthdate in the same family, if one of the two has no e-mail.
    The same family is a linked one, or one with a linked person."""
    theirs = person.person
    if not theirs.child or not year_known(theirs.birthdate):
        return set()
    relatives = theirs.household_members | {linked[one] for one in theirs.household_people if one in linked}
    same = [one for group in index.named(person) for rows in group.born(theirs.birthdate) for one in rows.rows[:SHOWN]]
    return {
        one.id
        for one in same
        if one.local.child
        and year_known(one.local.birthdate)
        and one.id not in left_out
        and not (person.emails and one.email)
        and not (relatives.isdisjoint(one.local.family_members) and theirs.family_ids.isdisjoint(one.local.family_ids))
    }


def _single(sure: Mapping[str, Collection[str]]) -> dict[str, Collection[str]]:
    return {pco_id: members for pco_id, members in sure.items() if len(members) == 1}


def _taken(sure: Mapping[str, Collection[str]]) -> set[str]:
    """Members that exactly one person certainly matches; several such people are all held."""
    claims = Counter(member_id for members in sure.values() for member_id in members)
    return {
        member_id for members in sure.values() if len(members) == 1 for member_id in members if claims[member_id] == 1
    }


def _held(
    person: Asked, index: Index, rivals: Collection[str], refused: Collection[str], *, several: bool
) -> Held | Unmatched:
    """Candidates, the strongest first, and the number of further ones; `rivals` fit certainly, but not uniquely."""
    competition = "Several members fit this person." if several else "Several people fit this member."
    shown = [Candidate(member_id, (competition,)) for member_id in sorted(rivals)]
    left_out = {*refused, *rivals}
    possible = _Possible.of(person, index)
    for one in islice(possible, len(left_out) + SHOWN):
        if one.id not in left_out and len(shown) < max(SHOWN, len(rivals)):
            shown.append(Candidate(one.id, possible.reasons(one)))
    if not shown:
        return UNMATCHED
    total = len(rivals) + possible.weight - possible.of_these(left_out)
    reasons = tuple(dict.fromkeys(reason for candidate in shown for reason in candidate.reasons))
    return Held(tuple(shown), reasons, more=max(0, total - len(shown)))


@dataclass(frozen=True, slots=True)
class _Possible:
    """The candidates for one person, each once, without a scan of all members."""

    person: Asked
    index: Index
    few: Mapping[str, Free]
    """Candidates by e-mail alone whose doubt has words, by id."""
    shared: Sequence[Rows]
    """Candidates of the same name and the same shared e-mail."""
    named: Sequence[Rows]
    """Candidates of the same name without a different birthdate; iteration skips those with an e-mail of the person,
    who are in `few` or `shared`."""
    suffixed: Sequence[Rows]
    """Candidates of the same birthdate whose name differs only by a suffix on one side; some are in `few`."""
    overlap: int
    """Number of candidates counted twice."""

    @classmethod
    def of(cls, person: Asked, index: Index) -> "_Possible":
        birthdate = person.person.birthdate
        few: dict[str, Free] = {}
        shared: list[Rows] = []
        overlap = 0
        for email in person.emails:
            sharers = index.sharers(email)
            few |= {one.id: one for one in index.few(person, email) if isinstance(_by_email(person, one, sharers), str)}
            groups = index.named(person, email)
            overlap += sum(rows.weight for group in groups for rows in group.possible(birthdate))
            if sharers.shared:
                shared += [group.everybody for group in groups]
        named = [rows for group in index.named(person) for rows in group.possible(birthdate)]
        suffixed = [rows for group in index.suffixed(person) for rows in group.born(birthdate)]
        overlap += sum(1 + one.local.others for one in few.values() if _but_for_suffix(person, one))
        return cls(person, index, few, shared, named, suffixed, overlap)

    def __iter__(self) -> Iterator[Free]:
        yield from chain.from_iterable(rows.rows for rows in self.shared)
        yield from self.few.values()
        for rows in self.named:
            yield from (one for one in rows.rows if one.email not in self.person.emails)
        for rows in self.suffixed:
            yield from (one for one in rows.rows if one.id not in self.few)

    @property
    def weight(self) -> int:
        return (
            sum(rows.weight for rows in (*self.shared, *self.named, *self.suffixed))
            - self.overlap
            + sum(1 + one.local.others for one in self.few.values())
        )

    def of_these(self, member_ids: Collection[str]) -> int:
        """Number of these members that `weight` counts."""
        found = [one for member_id in member_ids if (one := self.index.members.get(member_id))]
        return sum(one.id in self.few or self._named(one) or _but_for_suffix(self.person, one) for one in found)

    def _named(self, one: Free) -> bool:
        if (one.name, one.suffix) not in self.person.names:
            return False
        if one.email in self.person.emails:
            return self.index.sharers(one.email or "").shared
        return not _birthdates_differ(self.person.person, one.local)

    def reasons(self, one: Free) -> tuple[str, ...]:
        """Reasons in words, with further facts for the answer."""
        person, local = self.person.person, one.local
        known = {
            "Inactive in Planning Center, active here.": _only_inactive(person, local),
            "Linked before to a member who was deleted here.": person.deleted_here,
            "Linked before to somebody who is gone in Planning Center.": local.gone,
        }
        return (self._reason(one), *(sentence for sentence, true in known.items() if true))

    def _reason(self, one: Free) -> str:
        if one.email in self.person.emails:
            answer = _by_email(self.person, one, self.index.sharers(one.email or ""))
            if isinstance(answer, str):
                return answer
        if _but_for_suffix(self.person, one):
            return _suffix_differs(self.person, one)
        return _by_name(self.person.person, one.local)


def _by_email(person: Asked, one: Free, sharers: Sharers) -> str | Literal[True] | None:
    """The verdict on two with the same e-mail: True for a match, words for a doubt, None for different people."""
    names = _names(person, one)
    theirs, local = person.person, one.local
    if _but_for_suffix(person, one) and not sharers.shared:
        return _suffix_differs(person, one)
    if theirs.child != local.child:
        return "Same name and email, but one is a child and the other an adult." if names == "same" else None
    if _birthdates_differ(theirs, local):
        return "Same name and email, but the birthdates differ." if names == "same" else None
    both = f"{local.name} here, {theirs.name} in Planning Center."
    if not sharers.shared:
        return f"Same email, but the names differ: {both}" if names in {"different", "suffix"} else True
    if names != "same":
        return f"An email that several people share, and the names differ: {both}"
    namesakes_here = sum(sharers.names_here.get(key, 0) for key in person.keys)
    if namesakes_here == sharers.names_there.get(one.key) == 1:
        return True
    return "Several people have this name and this email."


def _by_name(person: Theirs, local: Local) -> str:
    """The doubt about two with the same name, without a common e-mail or different birthdates."""
    what = "Same name"
    if _same_birthdate(person, local):
        known = year_known(person.birthdate) and year_known(local.birthdate)
        what = "Same name and birthdate" if known else "Same name and birthday, of unknown year"
    if person.child != local.child:
        return f"{what}, but one is a child and the other an adult."
    return (
        f"{what}, but the emails differ."
        if person.email_keys() and local.email
        else f"{what}, but no email to be sure."
    )


def _but_for_suffix(person: Asked, one: Free) -> bool:
    """Whether the birthdates are equal and the names differ only by a suffix missing on one side."""
    return _same_birthdate(person.person, one.local) and _names(person, one) == "suffix"


def _suffix_differs(person: Asked, one: Free) -> str:
    both = f"{one.local.name} here, {person.person.name} in Planning Center."
    return f"Same birthdate, and the same name but for the suffix: {both}"


def _names(person: Asked, one: Free) -> _Names:
    """`suffix`: a suffix is missing on one side. `partial`: a first or last name is missing and none contradicts."""
    suffixes = [suffix for name, suffix in person.names if name == one.name]
    if one.name and suffixes:
        return "same" if one.suffix in suffixes else "suffix" if None in {one.suffix, *suffixes} else "different"
    last_there, there = without_suffix(fold(person.person.last_name))
    last_here, here = without_suffix(fold(one.local.last_name))
    if (generation(person.person.suffix) or there) != here:
        return "different"
    first_here = fold(one.local.first_name)
    firsts = {fold(name) for name in person.person.first_names()} or {""}
    last_fits = last_there == last_here or not last_there or not last_here
    first_fits = first_here in firsts or not first_here or firsts == {""}
    something_equal = (last_here and last_there == last_here) or (first_here and first_here in firsts)
    return "partial" if last_fits and first_fits and something_equal else "different"


def _birthdates_differ(person: Theirs, local: Local) -> bool:
    return person.birthdate is not None and local.birthdate is not None and not _same_birthdate(person, local)


def _only_inactive(person: Theirs, local: Local) -> bool:
    return local.active and not person.active


def _same_birthdate(person: Theirs, local: Local) -> bool:
    return person.birthdate is not None and (
        person.birthdate == local.birthdate or same_day(person.birthdate, local.birthdate)
    )
