"""The effect of a decision on the agreed values, the kept differences, and the values of both sides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.conflicts import STATUS, Choice


@dataclass(frozen=True, slots=True)
class Settled:
    """The effect of a decision; all values are JSON, by field."""

    agreed: dict[str, Any]
    """New last agreed values: Planning Center's ones, whichever side lost, since both sides know them from here on."""
    kept: dict[str, Any]
    """Differences to keep."""
    taken: dict[str, Any]
    """Values that our side takes over from Planning Center."""
    sends: dict[str, Any]
    """Our values to send to Planning Center, like any other change here."""


def settle(
    fields: Sequence[Mapping[str, Any]],
    choices: Mapping[str, Choice],
    *,
    agreed: Mapping[str, Any],
    kept: Mapping[str, Any],
    note: Mapping[str, Any],
) -> Settled:
    """Decide a conflict's `fields` (`contracts.conflicts.ConflictField` as JSON), each of which has a choice.

    `note`: members stored with each kept difference.
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
