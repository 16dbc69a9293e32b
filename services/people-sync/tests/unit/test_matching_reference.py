"""Matching by lookup equals a slow reference that compares all with all, by the same table."""

from collections import Counter
from dataclasses import replace
from datetime import date

from hypothesis import given, settings
from hypothesis import strategies as st

from people_sync.domain.canonical import email_key
from people_sync.domain.matching import HOUSEHOLD, SHOWN, Held, Local, Matched, Peer, Theirs, match_all
from synckit.text import fold

PAIR = tuple[str, str]


SUFFIXES = {"sr": "1", "senior": "1", "jr": "2", "junior": "2", "ii": "2", "iii": "3"}


class Reference:
    """A quadratic implementation of the bare rules."""

    def __init__(self, people: list[Theirs], members: list[Local], different: list[PAIR]) -> None:
        self.people, self.members, self.different = people, members, set(different)

    def outcomes(self) -> dict[str, str | set[str]]:
        """By person: the matched member, or the candidates; an empty set without any."""
        sure = {p.pco_id: {m.member_id for m in self.members if self.verdict(p, m) is True} for p in self.people}
        taken = self.taken(sure)
        linked = {p: m for p, members in sure.items() if len(members) == 1 for m in members if m in taken}
        for p in self.people:
            if not sure[p.pco_id]:
                sure[p.pco_id] = {
                    m.member_id for m in self.members if m.member_id not in taken and self.ours(p, m, linked)
                }
        taken = self.taken(sure)
        found: dict[str, str | set[str]] = {}
        for p in self.people:
            mine = sure[p.pco_id]
            if len(mine) == 1 and mine <= taken:
                found[p.pco_id] = next(iter(mine))
            else:
                found[p.pco_id] = {m.member_id for m in self.members if self.verdict(p, m) is not None} - taken
        return found

    @staticmethod
    def taken(sure: dict[str, set[str]]) -> set[str]:
        claims = Counter(member for members in sure.values() for member in members)
        return {m for members in sure.values() if len(members) == 1 for m in members if claims[m] == 1}

    def ours(self, p: Theirs, m: Local, linked: dict[str, str]) -> bool:
        """The same child of the same family, an e-mail on one side at most."""
        relatives = p.household_members | {linked[one] for one in p.household_people if one in linked}
        family = bool(relatives & m.family_members or p.family_ids & m.family_ids)
        born = p.birthdate is not None and p.birthdate == m.birthdate and p.birthdate.year != 1885
        refused = m.linked or (p.pco_id, m.member_id) in self.different
        alike = p.child and m.child and born and self.same_name(p, m) and not (p.email_keys() and m.email)
        return alike and family and not refused

    def verdict(self, p: Theirs, m: Local) -> bool | None:
        """True: the same person; False: in doubt; None: different."""
        if m.linked or (p.pco_id, m.member_id) in self.different:
            return None
        mail = email_key(m.email)
        if mail and mail in p.email_keys():
            found = self.by_email(p, m, mail)
        else:
            found = False if self.same_name(p, m) and not self.apart(p, m) else None
        return False if found is None and self.born(p, m) and self.one_suffix(p, m) else found

    def by_email(self, p: Theirs, m: Local, mail: str) -> bool | None:
        here = [one for one in self.members if email_key(one.email) == mail]
        there = [one for one in self.people if mail in one.email_keys()]
        if len(here) == len(there) == 1:
            if self.apart(p, m) or p.child != m.child:
                return False if self.same_name(p, m) else None
            return self.same_name(p, m) or self.incomplete(p, m)
        if self.same_name(p, m):
            if self.apart(p, m) or p.child != m.child:
                return False
            alike = [one for one in here if self.same_name(p, one)], [one for one in there if self.same_name(one, m)]
            return len(alike[0]) == len(alike[1]) == 1
        accounted = any(self.same_name(p, one) for one in here) or any(self.same_name(one, m) for one in there)
        office = max(len(here), len(there)) > HOUSEHOLD
        return None if accounted or office or self.apart(p, m) or p.child != m.child else False

    @staticmethod
    def same_name(p: Theirs, m: Local) -> bool:
        return bool(m.name_key) and m.name_key in p.name_keys()

    @staticmethod
    def split(first: str, last: str, suffix: str = "") -> tuple[str, str]:
        """Name and suffix."""
        words = fold(f"{first} {last}").split()
        written = SUFFIXES.get(words[-1], "") if len(words) > 1 else ""
        name = " ".join(words[:-1] if written else words)
        return name, SUFFIXES.get(fold(suffix), "") or written

    def one_suffix(self, p: Theirs, m: Local) -> bool:
        """The same name except for a suffix missing on one side."""
        name, mine = self.split(m.first_name, m.last_name)
        theirs = (self.split(first, p.last_name, p.suffix) for first in p.first_names() or [""])
        return any(name and name == other and (not mine) != (not suffix) for other, suffix in theirs)

    @staticmethod
    def apart(p: Theirs, m: Local) -> bool:
        return bool(p.birthdate and m.birthdate) and not Reference.born(p, m)

    @staticmethod
    def born(p: Theirs, m: Local) -> bool:
        """Born on the same day, and in the same year unless one side lacks it."""
        if p.birthdate is None or m.birthdate is None:
            return False
        days = {(one.month, one.day) for one in (p.birthdate, m.birthdate)}
        return len(days) == 1 and len({p.birthdate.year, m.birthdate.year} - {1885}) <= 1

    def incomplete(self, p: Theirs, m: Local) -> bool:
        """A value is missing, none contradicts, and one is equal."""
        theirs, ours = self.split("", p.last_name, p.suffix), self.split("", m.last_name)
        firsts = {fold(name) for name in p.first_names()}
        first = fold(m.first_name)
        named = any(self.split(one, p.last_name)[0] == self.split(first, m.last_name)[0] for one in firsts or {""})
        fits = len({theirs[0], ours[0]} - {""}) <= 1 and (not first or not firsts or first in firsts)
        equal = (theirs[0] and theirs[0] == ours[0]) or (first and first in firsts)
        return bool(fits and equal and theirs[1] == ours[1] and not named)


firsts = st.sampled_from(["Ann", "ann", "Bob", ""])
lasts = st.sampled_from(["Smith", "Smith", "Smith Jr.", "Smith, Junior", "Smith III", "Jones", ""])
mails = st.sampled_from(["a@example.org", "A@example.org", "b@example.org"])
birthdates = st.sampled_from([None, None, date(1990, 1, 1), date(2015, 5, 5), date(1885, 5, 5), date(2016, 5, 5)])
theirs = st.builds(
    Theirs,
    pco_id=st.just(""),
    first_name=firsts,
    last_name=lasts,
    nickname=firsts,
    birthdate=birthdates,
    child=st.booleans(),
    emails=st.lists(mails, max_size=2).map(tuple),
    suffix=st.sampled_from(["", "", "", "Jr.", "II", "III", "M.D."]),
    household_members=st.frozensets(st.sampled_from(["m00", "m01"]), max_size=1),
    household_people=st.frozensets(st.sampled_from(["0", "1", "2"])),
    family_ids=st.frozensets(st.sampled_from(["f", "g"]), max_size=1),
)
locals_ = st.builds(
    Local,
    member_id=st.just(""),
    first_name=firsts,
    last_name=lasts,
    birthdate=birthdates,
    child=st.booleans(),
    email=st.one_of(st.none(), mails),
    linked=st.sampled_from([False, False, True]),
    family_ids=st.frozensets(st.sampled_from(["f", "g"]), max_size=1),
    family_members=st.frozensets(st.sampled_from(["m00", "m01", "m02"])),
)
batches = st.lists(theirs, max_size=16).map(lambda all_: [replace(p, pco_id=str(n)) for n, p in enumerate(all_)])
directories = st.lists(locals_, max_size=16).map(
    lambda all_: [replace(m, member_id=f"m{n:02}") for n, m in enumerate(all_)]
)
pairs = st.lists(st.tuples(st.sampled_from("012"), st.sampled_from(["m00", "m01", "m02"])), max_size=3)


@settings(max_examples=250)
@given(batches, directories, pairs)
def test_both_agree(people: list[Theirs], members: list[Local], different: list[PAIR]) -> None:
    by_email: dict[str, list[Local]] = {}
    by_name: dict[str, list[Local]] = {}
    for member in members:
        by_email.setdefault(email_key(member.email) or "", []).append(member)
        by_name.setdefault(member.name_key, []).append(member)
    peers = [Peer(person.pco_id, person.name_keys(), person.email_keys()) for person in people]
    outcomes = match_all(people, by_email, by_name, peers=peers, different=different)
    for pco_id, expected in Reference(people, members, different).outcomes().items():
        outcome = outcomes[pco_id]
        if isinstance(expected, str):
            assert outcome == Matched(expected)
        elif isinstance(outcome, Held):
            shown = set(outcome.member_ids)
            assert shown <= expected
            assert (len(shown), outcome.more) == (min(SHOWN, len(expected)), max(0, len(expected) - SHOWN))
        else:
            assert (outcome.member_ids, expected) == ((), set())
