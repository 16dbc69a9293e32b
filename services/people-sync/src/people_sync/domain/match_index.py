"""Index of members by name, e-mail and birthdate, so that no person is compared with all: see `domain.matching`."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Final

from people_sync.domain.canonical import YEAR_UNKNOWN, email_key, without_suffix, year_known
from people_sync.domain.match_values import HOUSEHOLD, Local, Sharers, Theirs, other_suffixes

_ALONE: Final = Sharers()


class Asked:
    """A person with all lookup keys, computed once."""

    __slots__ = ("emails", "keys", "names", "person")

    def __init__(self, person: Theirs) -> None:
        self.person = person
        self.emails = sorted(person.email_keys())
        self.names = sorted(person.names(), key=lambda pair: (pair[0], pair[1] or 0))
        self.keys = sorted(person.name_keys())


class Free:
    """A member with all lookup keys, computed once."""

    __slots__ = ("email", "id", "key", "local", "name", "suffix")

    def __init__(self, local: Local) -> None:
        self.local = local
        self.id = local.member_id
        self.email = email_key(local.email)
        self.key = local.name_key
        self.name, self.suffix = without_suffix(self.key)


class Rows:
    """Members in the order of their ids, and the number of members they represent."""

    __slots__ = ("rows", "weight")

    def __init__(self) -> None:
        self.rows: list[Free] = []
        self.weight = 0

    def add(self, one: Free) -> None:
        self.rows.append(one)
        self.weight += 1 + one.local.others


class Group:
    """Members of one name, in all and by birthdate."""

    __slots__ = ("by_day", "everybody", "exact")

    def __init__(self) -> None:
        self.everybody = Rows()
        self.exact: dict[tuple[int, int, int] | None, Rows] = defaultdict(Rows)
        self.by_day: dict[tuple[int, int], Rows] = defaultdict(Rows)

    def add(self, one: Free) -> None:
        self.everybody.add(one)
        day = one.local.birthdate
        self.exact[(day.year, day.month, day.day) if day else None].add(one)
        if day:
            self.by_day[day.month, day.day].add(one)

    def possible(self, birthdate: date | None) -> list[Rows]:
        """Members whose birthdate does not contradict, the surest first, without duplicates."""
        if birthdate is None:
            return [self.everybody]
        return [*self.born(birthdate), *([self.exact[None]] if None in self.exact else [])]

    def born(self, birthdate: date | None) -> list[Rows]:
        """Members with the same birthdate; the years must be equal if both are known."""
        if birthdate is None:
            return []
        day = birthdate.month, birthdate.day
        if not year_known(birthdate):
            return [self.by_day[day]] if day in self.by_day else []
        days = ((birthdate.year, *day), (YEAR_UNKNOWN, *day))
        return [self.exact[one] for one in days if one in self.exact]


class Index:
    """Free members by their lookup keys."""

    def __init__(self, members: Iterable[Local], emails: Mapping[str, Sharers]) -> None:
        self.emails = emails
        self.members: dict[str, Free] = {}
        self.by_email: dict[str, list[Free]] = defaultdict(list)
        self._named: dict[tuple[str | None, str, int | None], Group] = defaultdict(Group)
        for local in sorted(members, key=lambda local: local.member_id):
            one = self.members[local.member_id] = Free(local)
            if one.email:
                self.by_email[one.email].append(one)
            if one.name:
                for email in {one.email, None}:
                    self._named[email, one.name, one.suffix].add(one)

    def sharers(self, email: str) -> Sharers:
        return self.emails.get(email, _ALONE)

    def named(self, person: Asked, email: str | None = None) -> list[Group]:
        """Members of the person's name; with `email` only those who have it."""
        return self._groups((email, *name) for name in person.names)

    def suffixed(self, person: Asked) -> list[Group]:
        """Members whose name differs from the person's only by a suffix missing on one side."""
        return self._groups((None, name, other) for name, suffix in person.names for other in other_suffixes(suffix))

    def _groups(self, keys: Iterable[tuple[str | None, str, int | None]]) -> list[Group]:
        return [self._named[key] for key in keys if key in self._named]

    def few(self, person: Asked, email: str) -> list[Free]:
        """Members to compare one by one, regardless of name: those with an e-mail unique on each side, and in a
        household's shared e-mail those whom no person matches by name."""
        sharers, here = self.sharers(email), self.by_email.get(email, [])
        if not sharers.shared:
            return here[:HOUSEHOLD]
        if sharers.office or any(sharers.names_here.get(key) for key in person.keys):
            return []
        return [one for one in here[:HOUSEHOLD] if not sharers.names_there.get(one.key)]
