"""What a run of the bench can be told, by environment variable or argument."""

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
)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Every field is `make bench FIELD=value` in capitals, or `python -m bench --field value`."""

    only: str = ",".join(FIGURES)
    """Which figures, separated by commas."""
    people: int = 30_000
    """The church of pull, nochange, pypco, now, apply and plan."""
    small: int = 1_000
    """The two churches of memory; the large one is million's too."""
    large: int = 100_000
    million: int = 1_000_000
    """Members of all churches of million."""
    sharers: int = 10_000
    """How many people on each side matching is asked about."""
    new: int = 500
    """How many people push adds."""
    conflicts: int = 100_000
    """Open ones, of conflicts."""
    asked: int = 40
    """How many people now syncs, and decide decides about, one after the other with half a second between."""
    queued: int = 2_000
    """Runs of other churches, of queued."""
    facts: int = 50_000
    """That wait for conflict-service, of facts."""
    bulk: int = 5_000
    """Conflicts that bulk decides with one answer."""
    undo: int = 5_000
    """People whom undo puts back."""
    callers: int = 100
    """At the same time, of through."""
    quiet: int = 60
    """Seconds for which idle looks on."""
    latency_ms: int = 250
    limit: int = 100
    """Requests per sliding period."""
    period: int = 20
    """Seconds."""
    scale: int = 4
    """push, bulk and undo alone: period and latency are divided by this."""
    repeat: int = 3
    """How often nochange, start and matching are measured; the median counts."""

    @classmethod
    def read(cls) -> Self:
        """From arguments, else the environment, else the defaults. SystemExit with usage when they cannot be meant."""
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
        """The figures asked for."""
        return self.only.split(",")

    def __str__(self) -> str:
        return " ".join(f"{one.name}={getattr(self, one.name)}" for one in fields(self))
