"""Histories of families on the whole stack: edits, decisions, undo, rules, mergers, kills and repeats.

`make test` runs a few, `make soak` as many as its time allows. A failure names the histories and the seed;
`SOAK_SEED=7 SOAK_HISTORIES=200` repeats the same ones, and `SOAK_ONLY=31` only that one of them.
"""

import os
import random
from contextlib import closing
from typing import Final

import pytest
from histories import Teller, drawn
from verdict import Verdict

from local_stack.church import Church
from local_stack.stack import Stack

HISTORIES: Final = int(os.environ.get("SOAK_HISTORIES", "20"))
SEED: Final = int(os.environ.get("SOAK_SEED", "20261129"))
ONLY: Final = os.environ.get("SOAK_ONLY")
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900 + 10 * HISTORIES)]


@pytest.fixture(scope="module")
def people() -> int:
    """Few people besides those of the histories."""
    return 5


@pytest.fixture(scope="module")
def processes() -> int:
    """One replica, so that a kill is an outage until the restart."""
    return 1


@pytest.fixture(scope="module")
def vendor(vendor: dict[str, object]) -> dict[str, object]:
    """A simulator with lag, without a rate limit, that keeps every request."""
    return vendor | {"rate_limit": 0, "journal_requests": 100_000, "journal_writes": 100_000}


def test_histories(ada: Church, stack: Stack) -> None:
    stories = dict(enumerate(drawn(HISTORIES, SEED)))
    if ONLY is not None:
        stories = {int(ONLY): stories[int(ONLY)]}
    teller = Teller(stack, ada, stories, random.Random(SEED))
    with closing(teller):
        teller.tell()
        teller.settle()
        verdict = Verdict(teller)
    happened = ", ".join(f"{times} {what}" for what, times in sorted(verdict.happened.items()))
    print(f"tried: {len(teller.told)} histories: {happened}")  # noqa: T201 - read by `make soak`
    told = {one.number: one.said for one in teller.told}
    failures = [
        "\n".join(
            [f"history {number} of seed {SEED}:", *lines, *told.get(number, ()), *verdict.effects.get(number, ())]
        )
        for number, lines in verdict.found.items()
        if lines
    ]
    assert not failures, "\n\n".join(failures)
