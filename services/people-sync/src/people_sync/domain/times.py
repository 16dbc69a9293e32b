"""Edit times of Planning Center's values, as far as they can be known.

An email, phone or address is a record of its own, whose `updated_at` moves with its value. A person or household has
one `updated_at` for all fields, an upper bound for each. And no edit is later than the read that first showed it.
"""

from collections.abc import Mapping
from datetime import datetime

from people_sync.domain.planning_center import CONTACT_PATHS, RECORD


def edited_there(
    name: str, updated_at: Mapping[str, datetime], agreed_at: datetime | None, seen_at: datetime
) -> tuple[datetime | None, datetime | None]:
    """The exact edit time, or else the latest possible one; the other of the two is None.

    `updated_at`: as in `RemotePerson`. `agreed_at`: when both sides last agreed on another value.
    `seen_at`: when the read began that first showed this value.
    """
    is_contact = name in CONTACT_PATHS
    told = updated_at.get(name if is_contact else RECORD)
    # Planning Center gives whole seconds. A time before the agreement is not the edit's: another contact became the
    # main one because the former one was deleted.
    if told is None or told > seen_at or (agreed_at is not None and told < agreed_at.replace(microsecond=0)):
        return None, seen_at
    return (told, None) if is_contact else (None, told)
