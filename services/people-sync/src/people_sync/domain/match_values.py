"""Inputs and outcomes of matching: see `domain.matching`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final, TypeAlias

from people_sync.domain.canonical import GENERATIONS, email_key, generation, name_key, with_suffix, without_suffix

HOUSEHOLD: Final = 12
"""Maximum number of people who share a household's e-mail on a side. An e-mail with more is an office's, and proves
nothing beside another name."""
SHOWN: Final = 10
"""Number of candidates that a held match names; further ones are counted."""


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
    """All e-mails, not only the primary one."""
    suffix: str = ""
    """Planning Center's suffix field; the last name may hold a suffix as well."""
    middle_name: str = ""
    active: bool = True
    household_members: frozenset[str] = frozenset()
    """Ids of members who are linked to people of this person's households."""
    household_people: frozenset[str] = frozenset()
    """Planning Center's ids of the people of these households; a person matched in the same batch counts as linked."""
    family_ids: frozenset[str] = frozenset()
    """Ids of families that are linked to these households."""
    deleted_here: bool = False
    """Linked to a member deleted here. Matched so that a member added again is linked to this person; if `Unmatched`,
    the link stays and no new member is created."""

    def first_names(self) -> list[str]:
        """Display, legal and nickname, the first two also with the middle name or its initial: the member here may use
        any of them."""
        names = [self.first_name, self.given_name, self.nickname]
        if self.middle_name:
            middles = (self.middle_name, self.middle_name[0])
            names += [f"{first} {middle}" for first in names[:2] if first for middle in middles]
        return [name for name in dict.fromkeys(names) if name]

    def names(self) -> frozenset[tuple[str, int | None]]:
        """Every full name, folded and without its generational suffix, with the suffix's generation."""
        found = (without_suffix(name_key(first, self.last_name)) for first in self.first_names() or [""])
        own = generation(self.suffix)
        return frozenset((name, own or written) for name, written in found if name)

    def name_keys(self) -> frozenset[str]:
        """All spellings of the full name here, with the generational suffix."""
        return frozenset(key for name, suffix in self.names() for key in spellings(name, suffix))

    def lookup_keys(self) -> frozenset[str]:
        """Values of `Local.name_key` to look members up by; with a birthdate also names that differ by a suffix on one
        side only."""
        if self.birthdate is None:
            return self.name_keys()
        others = (
            key for name, suffix in self.names() for other in other_suffixes(suffix) for key in spellings(name, other)
        )
        return self.name_keys().union(others)

    def email_keys(self) -> frozenset[str]:
        """Lookup keys of the e-mails."""
        return frozenset(key for email in self.emails if (key := email_key(email)))

    @property
    def name(self) -> str:
        """The display name, with middle name and suffix."""
        return " ".join(part for part in (self.first_name, self.middle_name, self.last_name, self.suffix) if part)


def spellings(name: str, suffix: int | None) -> list[str]:
    """All lookup keys of a full name with the suffix of a generation, or without one."""
    return [name] if suffix is None else with_suffix(name, suffix)


def other_suffixes(suffix: int | None) -> Sequence[int | None]:
    """Suffixes that do not contradict: a missing one fits any."""
    return GENERATIONS if suffix is None else (None,)


@dataclass(frozen=True, slots=True)
class Peer:
    """A person in Planning Center who only counts among the sharers of an e-mail."""

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
    """Already linked: no candidate, but counts among the sharers of an e-mail."""
    active: bool = True
    family_ids: frozenset[str] = frozenset()
    family_members: frozenset[str] = frozenset()
    """Ids of the members of these families."""
    gone: bool = False
    """A member whose counterpart is gone stays a candidate: someone may have re-added them."""
    others: int = 0
    """Number of further unlinked members of the same name, child flag and birthdate that are only counted. Set on one
    row of each such group; see `matching.rows_needed`."""

    @property
    def name_key(self) -> str:
        """Lookup key of the full name."""
        return name_key(self.first_name, self.last_name)

    @property
    def name(self) -> str:
        """The display name."""
        return f"{self.first_name} {self.last_name}".strip()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A member who may be the same person, with reasons in words."""

    member_id: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Matched:
    """A certain match."""

    member_id: str
    inactive: bool = False
    """The person is inactive there and the member active here. Linking them changes one of the two, so the first match
    asks about it or counts it."""

    @property
    def member_ids(self) -> tuple[str, ...]:
        """The matched member."""
        return (self.member_id,)


@dataclass(frozen=True, slots=True)
class Held:
    """A doubtful match, which waits for an administrator."""

    candidates: tuple[Candidate, ...]
    reasons: tuple[str, ...]
    """Reasons of all candidates, in words, without duplicates."""
    more: int = 0
    """Number of further candidates that are not named."""

    @property
    def member_ids(self) -> tuple[str, ...]:
        """Ids of the candidates."""
        return tuple(candidate.member_id for candidate in self.candidates)


@dataclass(frozen=True, slots=True)
class Unmatched:
    """No candidate: the person becomes a new member."""

    @property
    def member_ids(self) -> tuple[str, ...]:
        """Always empty."""
        return ()


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """A person who is, or may be, a member kept out of the sync: no change and no question."""

    member_ids: tuple[str, ...]
    """Ids of all candidates."""
    kept_out: tuple[str, ...]
    """Ids of the candidates who are kept out."""


Outcome: TypeAlias = Matched | Held | Unmatched | LeftAlone
UNMATCHED: Final = Unmatched()


@dataclass(frozen=True, slots=True)
class Sharers:
    """The sharers of one e-mail: counts of all people and members, linked or not, without deleted members.

    `names_here` counts members by `Local.name_key`, `names_there` people by each of `Theirs.name_keys()`. They must
    hold the names of the people to match; of an e-mail that at most `HOUSEHOLD` share on either side, all names.
    """

    here: int = 0
    there: int = 0
    names_here: Mapping[str, int] = field(default_factory=dict)
    names_there: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, here: Sequence[Local], there: Sequence[Peer]) -> "Sharers":
        """Count from rows. Linear, so call it once for all people, not per batch."""
        return cls(
            len(here),
            len(there),
            Counter(local.name_key for local in here),
            Counter(key for peer in there for key in peer.name_keys),
        )

    @property
    def shared(self) -> bool:
        """Whether several people on a side have the e-mail."""
        return self.here > 1 or self.there > 1

    @property
    def office(self) -> bool:
        """Whether more people share the e-mail than a household has."""
        return max(self.here, self.there) > HOUSEHOLD
