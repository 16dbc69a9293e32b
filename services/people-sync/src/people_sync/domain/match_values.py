"""Who is matched with whom, and what matching finds: see `domain.matching`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final, TypeAlias

from people_sync.domain.canonical import GENERATIONS, email_key, generation, name_key, with_suffix, without_suffix

HOUSEHOLD: Final = 12
"""An e-mail that more people share on either side is an office's: beside another name it says nothing."""
SHOWN: Final = 10
"""How many candidates a held match names; of further ones it says how many."""


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
    suffix: str = ""
    """Planning Center's own field; a suffix may stand in the last name as well."""
    middle_name: str = ""
    active: bool = True
    household_members: frozenset[str] = frozenset()
    """Ids of members who are linked to people of this person's households."""
    household_people: frozenset[str] = frozenset()
    """Planning Center's ids of the people of these households: whoever of them is matched in the same batch counts as
    linked."""
    family_ids: frozenset[str] = frozenset()
    """Ids of families that are linked to these households."""
    deleted_here: bool = False
    """Linked to a member who was deleted here. Asked about so that somebody added again is tied to them: whoever is
    `Unmatched` stays as they are, and nobody new is made of them."""

    def first_names(self) -> list[str]:
        """Display, legal and nickname, the first two with the middle name or its initial too: any of them may be the
        one used here."""
        names = [self.first_name, self.given_name, self.nickname]
        if self.middle_name:
            middles = (self.middle_name, self.middle_name[0])
            names += [f"{first} {middle}" for first in names[:2] if first for middle in middles]
        return [name for name in dict.fromkeys(names) if name]

    def names(self) -> frozenset[tuple[str, int | None]]:
        """Every full name, folded and without a generational suffix, and the suffix's generation."""
        found = (without_suffix(name_key(first, self.last_name)) for first in self.first_names() or [""])
        own = generation(self.suffix)
        return frozenset((name, own or written) for name, written in found if name)

    def name_keys(self) -> frozenset[str]:
        """Every way the full name may be written here, with its generational suffix."""
        return frozenset(key for name, suffix in self.names() for key in spellings(name, suffix))

    def lookup_keys(self) -> frozenset[str]:
        """What members are looked up by, by `Local.name_key`: with a birthdate, that of somebody who differs by a
        suffix on one side alone may be the same."""
        if self.birthdate is None:
            return self.name_keys()
        others = (
            key for name, suffix in self.names() for other in other_suffixes(suffix) for key in spellings(name, other)
        )
        return self.name_keys().union(others)

    def email_keys(self) -> frozenset[str]:
        """The e-mails as they are looked up."""
        return frozenset(key for email in self.emails if (key := email_key(email)))

    @property
    def name(self) -> str:
        """The display name, with middle name and suffix."""
        return " ".join(part for part in (self.first_name, self.middle_name, self.last_name, self.suffix) if part)


def spellings(name: str, suffix: int | None) -> list[str]:
    """Every way in which a full name is looked up with the suffix of a generation, or with none."""
    return [name] if suffix is None else with_suffix(name, suffix)


def other_suffixes(suffix: int | None) -> Sequence[int | None]:
    """Suffixes that may be the same person's nevertheless: one that is missing contradicts nothing."""
    return GENERATIONS if suffix is None else (None,)


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
    active: bool = True
    family_ids: frozenset[str] = frozenset()
    family_members: frozenset[str] = frozenset()
    """Ids of the members of these families."""
    gone: bool = False
    """The counterpart is gone: the member stays a candidate, since somebody may have added them there again."""
    others: int = 0
    """How many further unlinked members of the same name, child flag and birthdate are not given: counted for a held
    match. Of each such group at one row; see `matching.rows_needed`."""

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
    inactive: bool = False
    """The person is inactive there and the member active here: agreeing on the rest changes that on a side, so it is
    asked or counted with the first match."""

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
    more: int = 0
    """How many further members may be this person: not named, there are too many."""

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


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """Somebody who is, or may be, a member who is kept out of the sync: nothing is done, and nobody is asked."""

    member_ids: tuple[str, ...]
    """All whom the person may be."""
    kept_out: tuple[str, ...]
    """Those of them who are kept out."""


Outcome: TypeAlias = Matched | Held | Unmatched | LeftAlone
UNMATCHED: Final = Unmatched()


@dataclass(frozen=True, slots=True)
class Sharers:
    """Who has one e-mail: counts of everybody, linked or not, the people asked about too; deleted members do not count.

    `names_here` counts members by `Local.name_key`, `names_there` people by each of `Theirs.name_keys()`. Needed are
    the names of the people asked about; of an e-mail that at most `HOUSEHOLD` share on either side, all of them.
    """

    here: int = 0
    there: int = 0
    names_here: Mapping[str, int] = field(default_factory=dict)
    names_there: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, here: Sequence[Local], there: Sequence[Peer]) -> "Sharers":
        """Counted from rows: linear, so once for all people, not once a batch."""
        return cls(
            len(here),
            len(there),
            Counter(local.name_key for local in here),
            Counter(key for peer in there for key in peer.name_keys),
        )

    @property
    def shared(self) -> bool:
        """Whether several people have it on a side."""
        return self.here > 1 or self.there > 1

    @property
    def office(self) -> bool:
        """Whether more people share it than a household has."""
        return max(self.here, self.there) > HOUSEHOLD
