"""Parameters of a bench run, by environment variable or argument."""

import argparse
import os
from dataclasses import dataclass, fields
from typing import Self

FIGURES = (
    "pull",
    "nochange",
    "pypco",
    "now",
    "apply",
    "push",
    "memory",
    "start",
    "matching",
    "idle",
    "conflicts",
    "decide",
    "plan",
    "bulk",
    "undo",
    "through",
    "hostile",
    "million",
    "queued",
    "facts",
    "live",
    "console",
    "feed",
    "links",
    "there",
    "intake",
    "applied",
    "seen",
)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Every field is `make bench FIELD=value` in capitals, or `python -m bench --field value`."""

    only: str = ",".join(FIGURES)
    """Figures to measure, separated by commas."""
    people: int = 30_000
    """People in the church of pull, nochange, pypco, now, apply, plan and console."""
    small: int = 1_000
    """People in the two churches of memory; the large one is million's too."""
    large: int = 100_000
    million: int = 1_000_000
    """Members of all churches of million."""
    sharers: int = 10_000
    """People on each side in matching."""
    new: int = 500
    """People that push adds."""
    conflicts: int = 100_000
    """Open conflicts of conflicts."""
    asked: int = 40
    """People that now syncs and decide decides about, one after the other with half a second between."""
    queued: int = 2_000
    """Queued runs of other churches in queued."""
    facts: int = 50_000
    """Facts that wait for conflict-service in facts."""
    bulk: int = 5_000
    """Conflicts that bulk decides with one answer."""
    undo: int = 5_000
    """People whom undo puts back."""
    events: int = 5_000
    """Events of feed."""
    links: int = 2_000
    """Linked events of links."""
    calendar: int = 50_000
    """Events in Planning Center of there."""
    seen: int = 30_000_000
    """Deliveries of 30 days of seen."""
    away: int = 300
    """Seconds for which Kafka is away in applied."""
    callers: int = 100
    """Concurrent callers of through."""
    quiet: int = 60
    """Seconds for which idle measures."""
    latency_ms: int = 250
    limit: int = 100
    """The vendor's limit: requests per sliding period."""
    period: int = 20
    """The vendor's sliding period in seconds."""
    scale: int = 4
    """Divisor of period and latency, for push, bulk and undo only."""
    repeat: int = 3
    """Repetitions of nochange, start and matching; the median counts."""

    @classmethod
    def read(cls) -> Self:
        """Read arguments, else the environment, else defaults. SystemExit with usage for invalid ones."""
        parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
        for one in fields(cls):
            default = os.environ.get(one.name.upper(), str(one.default))
            parser.add_argument(f"--{one.name.replace('_', '-')}", default=default, type=one.type)
        chosen = cls(**vars(parser.parse_args()))
        if unknown := set(chosen.figures) - set(FIGURES):
            parser.error(f"unknown figures {', '.join(sorted(unknown))}: choose from {', '.join(FIGURES)}")
        if {"push", "bulk", "undo"} & set(chosen.figures) and (chosen.scale < 1 or chosen.period % chosen.scale):
            parser.error(f"scale must divide the period of {chosen.period} s")
        return chosen

    @property
    def figures(self) -> list[str]:
        """The requested figures."""
        return self.only.split(",")

    def __str__(self) -> str:
        return " ".join(f"{one.name}={getattr(self, one.name)}" for one in fields(self))
