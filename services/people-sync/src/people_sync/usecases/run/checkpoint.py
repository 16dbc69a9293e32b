"""Where a run stands: kept in its job, committed with the rows that each step writes."""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, fields
from typing import Any, Final

from pco_client.walk import Position

VERSION: Final = 4
"""Of what the fields mean. A run that was begun under another version begins its phase again."""


@dataclass(slots=True)
class Pulled:
    """How far Planning Center is read."""

    position: Position | None = None
    """Of the walk over everybody, where the run makes one."""
    concerned: list[str] | None = None
    """People that an incremental run has still to read; None until it has asked who changed."""
    households: list[str] = field(default_factory=list)
    """The same of households."""
    everybody: bool = False
    """Whether an incremental run reads everybody, since that takes fewer requests."""
    missing: tuple[str, str] | None = None
    """Kind and Planning Center's id of the linked record asked for last that the walk did not meet."""
    began: str | None = None
    """When the walk began, in ISO 8601: who was made later is not missing."""
    read_again: str = ""
    """The person read last for whom a page did not say everything."""
    since: str | None = None
    """Of a pull after an approval: it reads what changed since then, in ISO 8601, whatever the kind of the run."""


@dataclass(slots=True)
class Compared:
    """How far the comparison is."""

    people: str = ""
    """Planning Center's id of the person compared last."""
    households: str = ""
    parts: list[str] = field(default_factory=list)
    """Names of the parts of the comparison that are planned to the end."""
    record: str = ""
    """Our id of the record planned last in the part that is not; empty before its first."""
    proved: dict[str, int] = field(default_factory=dict)
    """Of a run that writes nothing: by kind, the id of the link looked at last."""


@dataclass(slots=True)
class Checkpoint:
    """What the phases have behind them."""

    phase: str | None = None
    """None before the first."""
    waits: int = 0
    """For Planning Center, in a row."""
    cursor: str | None = None
    """The newest change there when the run began, in ISO 8601: the next incremental run reads on from it."""
    put_off: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """Changes that a push has to come back to, by id: from when on, in ISO 8601, and how often it has waited."""
    pulled: Pulled = field(default_factory=Pulled)
    compared: Compared = field(default_factory=Compared)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON that `from_json` reads back, and that stays as it is when the fields move on."""
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
        """What a job carries. Of another version the phase and the cursor alone, which every version has had."""
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
