"""The journal of served requests: counters for all, the last requests and the last writes in full."""

import re
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain

WRITES = frozenset({"POST", "PATCH", "PUT", "DELETE"})
_KINDS_KEPT = 2_000
_OTHER = "(other)"
_ID = re.compile(r"/(?:\d+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?=/|$)")


def kind_of(method: str, path: str) -> str:
    """`PATCH /people/v2/people/7/emails` → `PATCH /people/v2/people/{id}/emails`."""
    return f"{method} {_ID.sub('/{id}', path)}"


@dataclass(slots=True)
class Entry:
    """One request as it was served."""

    seq: int
    """Counts from 1 in the order of arrival, since the simulator started."""
    at: datetime
    """UTC, the simulator's clock, at arrival."""
    method: str
    path: str
    query: str
    """As sent, percent-encoded."""
    kind: str
    status: int
    """0 without an answer (connection reset before processing, or the client gone during a hold)."""
    duration_ms: float
    organization_id: str | None
    person_id: str | None
    client_id: str | None
    faults: list[str] = field(default_factory=list)
    """Actions of fault scripts that hit this request, in order."""
    body: str | None = None
    """Body of a write, cut at 16 KiB. Bodies of OAuth calls and uploads are never kept."""
    created_id: str | None = None


class Journal:
    """Memory is bounded: counters per kind (at most 2,000 kinds) and two rings of entries."""

    def __init__(self, requests: int, writes: int) -> None:
        self._recent: deque[Entry] = deque(maxlen=requests)
        self._writes: deque[Entry] = deque(maxlen=writes)
        self._kinds: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._seq = 0
        self._mark = 0
        self.requests = 0

    def resize(self, requests: int, writes: int) -> None:
        """Change how many entries are kept; the newest stay."""
        if requests != self._recent.maxlen:
            self._recent = deque(self._recent, maxlen=requests)
        if writes != self._writes.maxlen:
            self._writes = deque(self._writes, maxlen=writes)

    def arrive(self) -> int:
        """Give the sequence number of a request that has just arrived."""
        self._seq += 1
        return self._seq

    def record(self, entry: Entry) -> None:
        """Keep a request that is over."""
        self.requests += 1
        kind = entry.kind if entry.kind in self._kinds or len(self._kinds) < _KINDS_KEPT else _OTHER
        self._kinds[kind] += 1
        self._statuses[entry.status] += 1
        self._recent.append(entry)
        if entry.method in WRITES:
            self._writes.append(entry)

    def mark(self) -> int:
        """Start the counters afresh; gives the sequence number of the last request before the mark."""
        self._kinds.clear()
        self._statuses.clear()
        self.requests = 0
        self._mark = self._seq
        return self._seq

    def summary(self) -> dict[str, int | dict[str, int]]:
        """Counts since the mark."""
        return {
            "last_seq": self._seq,
            "marked_at": self._mark,
            "requests": self.requests,
            "statuses": {str(status): count for status, count in sorted(self._statuses.items())},
        }

    def kinds(self) -> dict[str, int]:
        """Requests since the mark, per method and path with ids replaced by `{id}`, most frequent first."""
        return dict(self._kinds.most_common())

    def entries(
        self, *, after: int = 0, method: str | None = None, path: str | None = None, limit: int = 1_000
    ) -> list[Entry]:
        """The newest `limit` kept entries with a sequence number above `after`, oldest first.

        `path` is a regular expression that must be found in the path.
        """
        pattern = re.compile(path) if path else None
        found = [
            entry
            for entry in self._kept(after)
            if (method is None or entry.method == method.upper()) and (pattern is None or pattern.search(entry.path))
        ]
        return found[-limit:]

    def _kept(self, after: int) -> Iterator[Entry]:
        both = {entry.seq: entry for entry in chain(self._writes, self._recent) if entry.seq > after}
        return (both[seq] for seq in sorted(both))
