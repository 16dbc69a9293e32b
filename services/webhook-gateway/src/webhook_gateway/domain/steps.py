"""The five steps of a delivery in words."""

from dataclasses import dataclass
from datetime import datetime

from contracts.http.webhooks import DeliveryStep, StepName
from contracts.values import PEOPLE

_OWNERS = {True: "the sync of people", False: "the check of events"}


@dataclass(frozen=True, slots=True)
class Times:
    """When each step was done; None if it is not."""

    received: datetime
    verified: datetime
    stored: datetime
    published: datetime | None
    applied: datetime | None
    replays: int
    product: str


def steps_of(state: str, outcome: str | None, sentence: str | None, times: Times) -> tuple[DeliveryStep, ...]:
    """The steps in order, with outcomes. state, outcome, sentence: of the delivery."""
    owner = _OWNERS[times.product == PEOPLE]
    unreadable = outcome == "unreadable"
    first = (
        _step("received", times.received, "The message reached this church's address."),
        _step("verified", times.verified, "Its signature is right: Planning Center sent it."),
        _step("stored", times.stored, "It was saved. Only then was Planning Center told that it had arrived."),
    )
    if unreadable:
        cause = sentence or "The message cannot be read."
        left = _step("published", None, "It was not handed on, because it cannot be read.")
        return (*first, left, _step("applied", times.stored, cause))
    handed = f"It was handed to {owner}." if times.published else "It waits to be handed on."
    again = f" It was sent again {_times(times.replays)}." if times.replays else ""
    published = _step("published", times.published, handed + again)
    if state == "waiting":
        return (*first, published, _step("applied", None, f"It waits for {owner}."))
    return (*first, published, _step("applied", times.applied, sentence or f"Outcome: {outcome}."))


def _step(name: StepName, at: datetime | None, sentence: str) -> DeliveryStep:
    return DeliveryStep(step=name, at=at, sentence=sentence)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
