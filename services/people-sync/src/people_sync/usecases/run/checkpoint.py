"""The checkpoint of a run: stored in its job, committed with the rows of each step."""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, fields
from typing import Any, Final

from pco_client.walk import Position

VERSION: Final = 4
"""Version of the fields' meaning. A run begun under another version restarts its phase."""


@dataclass(slots=True)
class Pulled:
    """Progress of the pull."""

    position: Position | None = None
    """Position of the walk over all people, if the run makes one."""
    concerned: list[str] | None = None
    """People that an incremental run has still to read; None until the changes are listed."""
    households: list[str] = field(default_factory=list)
    """Households that an incremental run has still to read."""
    everybody: bool = False
    """Whether an incremental run reads all people, because that takes fewer requests."""
    missing: tuple[str, str] | None = None
    """Kind and Planning Center's id of the linked record read last among those that the walk did not meet."""
    began: str | None = None
    """When the walk began, in ISO 8601: records created later are not missing."""
    read_again: str = ""
    """The person read last among those with an incomplete page."""
    since: str | None = None
    """For a pull after an approval: it reads changes since then, in ISO 8601, in any kind of run."""


@dataclass(slots=True)
class Compared:
    """Progress of the comparison."""

    people: str = ""
    """Planning Center's id of the person compared last."""
    households: str = ""
    parts: list[str] = field(default_factory=list)
    """Names of the completely planned parts of the comparison."""
    record: str = ""
    """Our id of the record planned last in the incomplete part; empty before its first."""
    proved: dict[str, int] = field(default_factory=dict)
    """For a proof: id of the link checked last, by kind."""


@dataclass(slots=True)
class Checkpoint:
    """Progress of all phases."""

    phase: str | None = None
    """The present phase; None before the first."""
    waits: int = 0
    """Number of consecutive waits for Planning Center."""
    cursor: str | None = None
    """The newest change there at the start of the run, in ISO 8601, from which the next incremental run reads on."""
    put_off: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """Changes postponed within the push, by id: earliest time, in ISO 8601, and number of waits so far."""
    pulled: Pulled = field(default_factory=Pulled)
    compared: Compared = field(default_factory=Compared)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON for `from_json`, a copy that later changes of the fields do not affect."""
        pulled, compared = _plain(self.pulled), _plain(self.compared)
        return {
            "version": VERSION,
            "phase": self.phase,
            "waits": self.waits,
            "cursor": self.cursor,
            "put_off": dict(self.put_off),
            "pulled": pulled,
            "compared": compared,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> "Checkpoint":
        """Read a job's checkpoint. Of another version only phase and cursor are used, which every version has."""
        data = data or {}
        found = cls(phase=data.get("phase"), waits=int(data.get("waits", 0)), cursor=data.get("cursor"))
        if data.get("version") == VERSION:
            found.put_off = {change: (until, times) for change, (until, times) in data["put_off"].items()}
            pulled = data["pulled"]
            missing = pulled["missing"] and (pulled["missing"][0], pulled["missing"][1])
            found.pulled, found.compared = Pulled(**pulled | {"missing": missing}), Compared(**data["compared"])
        return found


def _plain(part: Pulled | Compared) -> dict[str, Any]:
    return {one.name: copy(getattr(part, one.name)) for one in fields(part)}
