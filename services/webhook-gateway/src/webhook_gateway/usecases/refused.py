"""Calls that were refused: counted by hour, church and reason with one sample, and not stored.

Counts are kept in memory for some seconds, because a refused call must cost less than an accepted one.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert

from servicekit.db.sessions import Sessions
from webhook_gateway import metrics
from webhook_gateway.storage.tables import RefusedCall

Reason = Literal[
    "unknown address", "retired address", "encoded", "too large", "too slow", "too many", "not signed", "not stored"
]
FLUSH_SECONDS: Final = 5.0
MOST_KINDS: Final = 5_000
"""Combinations of church and reason kept in memory. Of further churches only the reason is counted."""
_MEDIA_TYPE: Final = re.compile(r"[a-z]+/[a-z0-9.+-]{1,60}", re.ASCII)


@dataclass(slots=True)
class _Counted:
    count: int
    sample: dict[str, Any]
    newest_at: datetime


class Refused:
    """The refused calls of this process that are not in the database yet."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._counted: dict[tuple[datetime, str, Reason], _Counted] = {}

    def count(self, organization_id: str, reason: Reason, at: datetime, length: str, content_type: str) -> None:
        """Count one call. organization_id: empty if unknown. length, content_type: its headers."""
        metrics.REFUSED.labels(reason).inc()
        hour = at.replace(minute=0, second=0, microsecond=0)
        which = (hour, organization_id, reason)
        if which not in self._counted and len(self._counted) >= MOST_KINDS:
            which = (hour, "", reason)
        if which in self._counted:
            self._counted[which].count += 1
            self._counted[which].newest_at = at
        else:
            self._counted[which] = _Counted(1, _sample(length, content_type), at)

    async def flush(self) -> None:
        """Add the counts to the database's. They stay here if it is away."""
        counted, self._counted = self._counted, {}
        if not counted:
            return
        try:
            async with self._sessions.begin() as session:
                for (hour, organization_id, reason), found in sorted(counted.items(), key=lambda item: item[0]):
                    row = insert(RefusedCall).values(
                        hour=hour,
                        organization_id=organization_id,
                        reason=reason,
                        count=found.count,
                        sample=found.sample,
                        newest_at=found.newest_at,
                    )
                    more = {
                        "count": RefusedCall.count + row.excluded.count,
                        "newest_at": func.greatest(RefusedCall.newest_at, row.excluded.newest_at),
                    }
                    await session.execute(row.on_conflict_do_update(constraint="pk_refused_call", set_=more))
        except BaseException:
            for which, found in counted.items():
                if which in self._counted:
                    found.count += self._counted[which].count
                    found.newest_at = self._counted[which].newest_at
                self._counted[which] = found
            raise


def _sample(length: str, content_type: str) -> dict[str, Any]:
    """Size and kind of a call; of what the caller wrote only what has the form of a media type."""
    kind = _MEDIA_TYPE.match(content_type.lower())
    return {
        "bytes": int(length) if length.isascii() and length.isdigit() and len(length) < 16 else None,
        "content_type": kind.group() if kind else None,
    }
