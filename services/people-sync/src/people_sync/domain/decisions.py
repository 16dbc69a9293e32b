"""A decision changes what is agreed, what is kept different, and the values of either side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.conflicts import STATUS, Choice


@dataclass(frozen=True, slots=True)
class Settled:
    """All values are JSON, by field."""

    agreed: dict[str, Any]
    """Last agreed values: whichever side lost, Planning Center's value is known to both from here on."""
    kept: dict[str, Any]
    """The differences that are kept."""
    taken: dict[str, Any]
    """The values that our side takes over from Planning Center."""
    sends: dict[str, Any]
    """Ours, which Planning Center does not have yet: a change here like any other."""


def settle(
    fields: Sequence[Mapping[str, Any]],
    choices: Mapping[str, Choice],
    *,
    agreed: Mapping[str, Any],
    kept: Mapping[str, Any],
    note: Mapping[str, Any],
) -> Settled:
    """Decide a conflict's `fields` (`contracts.conflicts.ConflictField` as JSON), each of which has a choice.

    `note`: what is remembered with each pair that is kept different.
    """
    found = Settled(dict(agreed), {name: one for name, one in kept.items() if name not in choices}, {}, {})
    for field in fields:
        name, choice = field["field"], choices[field["field"]]
        if choice == "both" and name != STATUS:
            found.kept[name] = {"ours": field["ours"], "theirs": field["theirs"], **note}
            continue
        found.agreed[name] = field["theirs"]
        if choice == "ours":
            found.sends[name] = field["ours"]
        elif choice == "theirs":
            found.taken[name] = field["theirs"]
    return found
