"""When Planning Center's value of a field was edited, as far as that can be known.

An email, phone or address is a record of its own, whose time moves with its value. A person or household has one time
for all of its fields, so that of a field is no later. And no edit is later than the read that first showed it.
"""

from collections.abc import Mapping
from datetime import datetime

from people_sync.domain.planning_center import CONTACT_PATHS, RECORD


def edited_there(
    name: str, updated_at: Mapping[str, datetime], agreed_at: datetime | None, seen_at: datetime
) -> tuple[datetime | None, datetime | None]:
    """When the value was edited, or else the time by which it was: one of the two is None.

    `updated_at`: as `RemotePerson` has it. `agreed_at`: when the field last had another value on both sides.
    `seen_at`: when the read began that first showed this one.
    """
    is_contact = name in CONTACT_PATHS
    told = updated_at.get(name if is_contact else RECORD)
    # Planning Center tells whole seconds. What is older than the agreement did not move with the edit: another contact
    # became the main one because the former one went.
    if told is None or told > seen_at or (agreed_at is not None and told < agreed_at.replace(microsecond=0)):
        return None, seen_at
    return (told, None) if is_contact else (None, told)
