"""Family-safe matching: who in Planning Center is whom here.

For people that are not linked yet. A match is made by e-mail, confirmed by the name; whatever is doubtful waits for
an administrator, so that nobody is overwritten or doubled.

    e-mail of one person on each side
        same name                               match
        another name                            held
        child here, adult there                 no match; held if the name is the same
    e-mail shared by several on either side
        same name, nobody else's on either side match
        same name otherwise                     held
        another name                            held only against those whom nobody matches by name
    no common e-mail
        same name, same child flag              held, unless the birthdates differ
        same name, other child flag             no match; held if the birthdates are the same

A different birthdate, where both are known, always speaks against: no match by e-mail and name either. Two people
who fit one member are both held. The outcome does not depend on the order of people or candidates.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal, TypeAlias

from people_sync.domain.canonical import email_key, fold, name_key

_HOUSEHOLD: Final = 12
"""An e-mail that more people share on either side is an office's: beside another name it says nothing."""


@dataclass(frozen=True, slots=True)
class Theirs:
    """A person in Planning Center."""

    pco_id: str
    first_name: str
    last_name: str
    given_name: str = ""
    """The legal first name, where `first_name` is a nickname."""
    nickname: str = ""
    birthdate: date | None = None
    child: bool = False
    emails: tuple[str, ...] = ()
    """All of them, not only the primary one."""

    def first_names(self) -> list[str]:
        """Display, legal and nickname: any of them may be the one used here."""
        return [name for name in dict.fromkeys((self.first_name, self.given_name, self.nickname)) if name]

    def name_keys(self) -> frozenset[str]:
        """Every way the full name may be written here."""
        return frozenset(name_key(first, self.last_name) for first in self.first_names() or [""]) - {""}

    def email_keys(self) -> frozenset[str]:
        """The e-mails as they are looked up."""
        return frozenset(key for email in self.emails if (key := email_key(email)))

    @property
    def name(self) -> str:
        """The display name."""
        return f"{self.first_name} {self.last_name}".strip()


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody in Planning Center of whom matching asks only who else has an e-mail."""

    pco_id: str
    name_keys: frozenset[str]
    email_keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class Local:
    """A member here who is not deleted."""

    member_id: str
    first_name: str
    last_name: str
    birthdate: date | None = None
    child: bool = False
    email: str | None = None
    linked: bool = False
    """Already tied to somebody in Planning Center: no candidate, but counts among those who share an e-mail."""

    @property
    def name_key(self) -> str:
        """The full name as it is looked up."""
        return name_key(self.first_name, self.last_name)

    @property
    def name(self) -> str:
        """The display name."""
        return f"{self.first_name} {self.last_name}".strip()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A member who may be the same person, and why, in words."""

    member_id: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Matched:
    """The same person, without doubt."""

    member_id: str

    @property
    def member_ids(self) -> tuple[str, ...]:
        """The member."""
        return (self.member_id,)


@dataclass(frozen=True, slots=True)
class Held:
    """Doubtful: waits for an administrator."""

    candidates: tuple[Candidate, ...]
    reasons: tuple[str, ...]
    """Of all candidates, in words, without repetition."""

    @property
    def member_ids(self) -> tuple[str, ...]:
        """The candidates."""
        return tuple(candidate.member_id for candidate in self.candidates)


@dataclass(frozen=True, slots=True)
class Unmatched:
    """Nobody here: a new member."""

    @property
    def member_ids(self) -> tuple[str, ...]:
        """Nobody."""
        return ()


Outcome: TypeAlias = Matched | Held | Unmatched
UNMATCHED: Final = Unmatched()

_Names = Literal["same", "partial", "different"]


def match_all(
    people: Iterable[Theirs],
    by_email: Mapping[str, Sequence[Local]],
    by_name: Mapping[str, Sequence[Local]],
    *,
    peers: Iterable[Peer] = (),
    different: Collection[tuple[str, str]] = (),
) -> dict[str, Outcome]:
    """Match a batch; keys of the answer are the people's `pco_id`.

    `by_email`: every member, linked or not, by `email_key` of the people's e-mails. `by_name`: unlinked members by
    `name_key` of the people's names. `peers`: everybody else in Planning Center with one of these e-mails, linked or
    not: they make an e-mail shared. `different`: (pco_id, member_id) that an administrator called different people.
    """
    asked = {person.pco_id: person for person in people}
    everybody = {peer.pco_id: peer for peer in peers} | {
        person.pco_id: Peer(person.pco_id, person.name_keys(), person.email_keys()) for person in asked.values()
    }
    there: dict[str, list[Peer]] = defaultdict(list)
    for peer in everybody.values():
        for key in peer.email_keys:
            there[key].append(peer)
    shared = {key: _Sharers.of(by_email.get(key, ()), sharers) for key, sharers in there.items()}
    refused = frozenset(different)
    return _settle({pco_id: _verdict(person, shared, by_name, refused) for pco_id, person in asked.items()})


def still_matches(person: Theirs, member: Local, different: Collection[str] = ()) -> bool:
    """Whether the two alone match: of a match that was made earlier, whether both are still whom it was made for.

    `different`: ids of members whom an administrator called somebody else than the person.
    """
    by_email = {key: [member] for key in person.email_keys() & {email_key(member.email)}}
    refused = [(person.pco_id, one) for one in different]
    return isinstance(match_all([person], by_email, {}, different=refused)[person.pco_id], Matched)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Before the competition: members who are this person for sure, and those who may be."""

    sure: frozenset[str]
    doubtful: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Sharers:
    """Who has one e-mail."""

    here: Sequence[Local]
    people_here: int
    people_there: int
    names_here: Counter[str]
    names_there: Counter[str]

    @classmethod
    def of(cls, here: Sequence[Local], there: Sequence[Peer]) -> "_Sharers":
        return cls(
            here,
            len(here),
            len(there),
            Counter(local.name_key for local in here),
            Counter(key for peer in there for key in peer.name_keys),
        )

    @property
    def shared(self) -> bool:
        return self.people_here > 1 or self.people_there > 1

    def may_be(self, person: Theirs) -> list[Local]:
        """The members to look at: in a shared e-mail whoever is found by name is accounted for, and only two who
        are both left over may be one person."""
        keys = person.name_keys()
        named = [local for local in self.here if local.name_key in keys]
        if not self.shared:
            return list(self.here)
        if named or max(self.people_here, self.people_there) > _HOUSEHOLD:
            return named
        return [local for local in self.here if not self.names_there[local.name_key]]


def _verdict(
    person: Theirs,
    shared: Mapping[str, _Sharers],
    by_name: Mapping[str, Sequence[Local]],
    refused: frozenset[tuple[str, str]],
) -> _Verdict:
    def possible(local: Local) -> bool:
        return not local.linked and (person.pco_id, local.member_id) not in refused

    sure: set[str] = set()
    doubtful: dict[str, list[str]] = defaultdict(list)
    for key in sorted(person.email_keys()):
        for local in filter(possible, shared[key].may_be(person)):
            answer = _by_email(person, local, shared[key])
            if answer is True:
                sure.add(local.member_id)
            elif answer:
                doubtful[local.member_id].append(answer)
    for key in sorted(person.name_keys()):
        for local in filter(possible, by_name.get(key, ())):
            if reason := _by_name(person, local):
                doubtful[local.member_id].append(reason)
    return _Verdict(
        frozenset(sure),
        {member: tuple(dict.fromkeys(reasons)) for member, reasons in doubtful.items() if member not in sure},
    )


def _by_email(person: Theirs, local: Local, sharers: _Sharers) -> str | Literal[True] | None:
    """Two with the same e-mail: True for a match, words for a doubt, None for somebody else."""
    names = _names(person, local)
    if person.child != local.child:
        return "Same name and email, but one is a child and the other an adult." if names == "same" else None
    if _birthdates_differ(person, local):
        return "Same name and email, but the birthdates differ." if names == "same" else None
    both = f"{local.name} here, {person.name} in Planning Center."
    if not sharers.shared:
        return f"Same email, but the names differ: {both}" if names == "different" else True
    if names != "same":
        return f"An email that several people share, and the names differ: {both}"
    namesakes_here = sum(sharers.names_here[key] for key in person.name_keys())
    if namesakes_here == sharers.names_there[local.name_key] == 1:
        return True
    return "Several people have this name and this email."


def _by_name(person: Theirs, local: Local) -> str | None:
    """Two with the same name: words for a doubt, None for somebody else."""
    if _birthdates_differ(person, local):
        return None
    same_birthdate = person.birthdate is not None and person.birthdate == local.birthdate
    if person.child != local.child:
        return "Same name and birthdate, but one is a child and the other an adult." if same_birthdate else None
    keys, mail = person.email_keys(), email_key(local.email)
    if mail in keys:
        # The e-mail has its own, more exact words.
        return None
    what = "Same name and birthdate" if same_birthdate else "Same name"
    return f"{what}, but the emails differ." if keys and mail else f"{what}, but no email to be sure."


def _names(person: Theirs, local: Local) -> _Names:
    """`partial`: a first or last name is missing on a side and nothing contradicts."""
    last_there, last_here = fold(person.last_name), fold(local.last_name)
    first_here = fold(local.first_name)
    firsts = {fold(name) for name in person.first_names()} or {""}
    if local.name_key and local.name_key in person.name_keys():
        return "same"
    last_fits = last_there == last_here or not last_there or not last_here
    first_fits = first_here in firsts or not first_here or firsts == {""}
    something_equal = (last_here and last_there == last_here) or (first_here and first_here in firsts)
    return "partial" if last_fits and first_fits and something_equal else "different"


def _birthdates_differ(person: Theirs, local: Local) -> bool:
    return person.birthdate is not None and local.birthdate is not None and person.birthdate != local.birthdate


def _settle(verdicts: Mapping[str, _Verdict]) -> dict[str, Outcome]:
    """Let people compete for members: one for sure takes the member, several hold it against all of them."""
    claims = Counter(member for verdict in verdicts.values() for member in verdict.sure)
    taken = {
        member
        for verdict in verdicts.values()
        if len(verdict.sure) == 1
        for member in verdict.sure
        if claims[member] == 1
    }
    outcomes: dict[str, Outcome] = {}
    for pco_id, verdict in verdicts.items():
        if len(verdict.sure) == 1 and verdict.sure <= taken:
            (member,) = verdict.sure
            outcomes[pco_id] = Matched(member)
            continue
        reason = "Several members fit this person." if len(verdict.sure) > 1 else "Several people fit this member."
        doubtful = dict.fromkeys(verdict.sure, (reason,)) | dict(verdict.doubtful)
        candidates = tuple(
            Candidate(member, reasons) for member, reasons in sorted(doubtful.items()) if member not in taken
        )
        reasons = tuple(dict.fromkeys(reason for candidate in candidates for reason in candidate.reasons))
        outcomes[pco_id] = Held(candidates, reasons) if candidates else UNMATCHED
    return outcomes
