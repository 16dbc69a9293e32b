"""Fault scripts for deliveries: each matches hints, or attempts to send them, and acts on some of them.

`wrong_signature` and `truncate` count attempts; every other action counts hints, as they are made.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pco_simulator.faults import Counted, Scripts, Turns

Milliseconds = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""On the clock of the retry schedule."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class HookMatch(Turns):
    """Selects hints; an absent criterion matches every hint."""

    name: str | None = None
    """Regular expression searched in the event's name."""
    url: str | None = None
    """Regular expression searched in the subscription's address."""
    organization_id: str | None = None
    subscription_id: str | None = None


class Duplicate(_Model):
    """Send the same hint, with the same id, further times, as long as it is pending or delivered."""

    kind: Literal["duplicate"] = "duplicate"
    copies: Annotated[int, Field(ge=1, le=100_000)] = 1
    gap_ms: Milliseconds = 0


class Delay(_Model):
    """Send the hint later."""

    kind: Literal["delay"] = "delay"
    ms: Milliseconds


class Reorder(_Model):
    """Hold hints until `window` of them are there, then send them last first, `gap_ms` apart.

    Hints that wait longer than `within_ms` for the others are sent in their own order.
    """

    kind: Literal["reorder"] = "reorder"
    window: Annotated[int, Field(ge=2, le=10_000)] = 2
    within_ms: Milliseconds = 5_000
    gap_ms: Milliseconds = 50


class Drop(_Model):
    """Never send the hint."""

    kind: Literal["drop"] = "drop"
    listed: bool = True
    """Whether the subscription's events show it, as `failed`; else nothing does."""


class Storm(_Model):
    """Make further hints about the same row, each with an id of its own."""

    kind: Literal["storm"] = "storm"
    count: Annotated[int, Field(ge=1, le=100_000)]


class Resend(_Model):
    """Send the hint a second time, long after the first."""

    kind: Literal["resend"] = "resend"
    after_ms: Milliseconds


class WrongSignature(_Model):
    """Sign the attempt with another secret."""

    kind: Literal["wrong_signature"] = "wrong_signature"


class TruncateBody(_Model):
    """Send only the first part of the body, with its own length and the signature of the whole."""

    kind: Literal["truncate"] = "truncate"
    keep: Annotated[float, Field(ge=0, lt=1)] = 0.5


class Tamper(_Model):
    """Deactivate the subscription silently, remove it or rotate its secret when the hint is due. The hint is lost with
    a subscription that is deactivated or removed."""

    kind: Literal["deactivate", "remove", "rotate"]


HookAction = Annotated[
    Duplicate | Delay | Reorder | Drop | Storm | Resend | WrongSignature | TruncateBody | Tamper,
    Field(discriminator="kind"),
]


class HookFault(_Model):
    """A script: a match and an action."""

    match: HookMatch = Field(default_factory=HookMatch)
    action: HookAction


class HookFaultState(HookFault):
    """A script with its counts."""

    id: str
    matched: int
    acted: int


class HookScript(Counted):
    """One fault script at work."""

    def __init__(self, id_: str, fault: HookFault) -> None:
        super().__init__(fault.match)
        self.id = id_
        self.fault = fault
        self.held: list[int] = []
        """Events that a `reorder` holds."""

    @property
    def of_attempts(self) -> bool:
        """Whether the script acts on attempts rather than on hints."""
        return isinstance(self.fault.action, WrongSignature | TruncateBody)

    def state(self) -> HookFaultState:
        """As shown by the control API."""
        fault = self.fault
        return HookFaultState(
            id=self.id, match=fault.match, action=fault.action, matched=self.matched, acted=self.acted
        )

    def hits(self, organization_id: str, subscription_id: int, subscription: Mapping[str, Any]) -> bool:
        """Count the hint or attempt if it matches; gives whether the script acts on it."""
        match = self.fault.match
        return (
            match.organization_id in {None, organization_id}
            and match.subscription_id in {None, str(subscription_id)}
            and (match.name is None or re.search(match.name, subscription["name"]) is not None)
            and (match.url is None or re.search(match.url, subscription["url"]) is not None)
            and self.count()
        )


class HookFaults(Scripts[HookFault, HookScript]):
    """All scripts for deliveries."""

    def __init__(self) -> None:
        super().__init__(HookScript)

    def hits(
        self, organization_id: str, subscription_id: int, subscription: Mapping[str, Any], *, of_attempts: bool
    ) -> list[HookScript]:
        """The scripts that act on a hint that was just made, or on an attempt that is about to start."""
        return [
            script
            for script in list(self._scripts.values())
            if script.of_attempts is of_attempts and script.hits(organization_id, subscription_id, subscription)
        ]
