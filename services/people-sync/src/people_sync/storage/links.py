"""Links as the merge reads them."""

from collections.abc import Mapping
from typing import Any

from contracts.values import MEMBER
from people_sync.domain.planning_center import confirmed
from people_sync.domain.values import PersonValues, partial_from_json, value_from_json
from people_sync.storage.tables import Link


def policy_base(link: Link) -> Mapping[str, Any]:
    """Last agreed values, by field."""
    return partial_from_json(link.agreed) if link.kind == MEMBER else link.agreed


def base_of(link: Link, theirs: PersonValues, country: str) -> dict[str, Any]:
    """Last agreed values of a member, with what an unanswered write of ours evidently put there."""
    return partial_from_json(link.agreed) | confirmed(partial_from_json(link.written_after), theirs, country)


def kept_different(link: Link) -> Mapping[str, tuple[Any, Any]]:
    """The differences that an administrator decided to keep, by field."""
    if link.kind != MEMBER:
        return {name: (ours, theirs) for name, (ours, theirs) in link.kept_different.items()}
    return {
        name: (value_from_json(name, ours), value_from_json(name, theirs))
        for name, (ours, theirs) in link.kept_different.items()
    }
