"""A sync run as messages and answers carry it; people and calendar share the shape."""

from typing import Literal

from pydantic import Field

from contracts.base import Model, Timestamp

RunState = Literal["queued", "running", "waiting", "stopping", "done", "stopped", "failed"]
"""`waiting` asks a person (see `question`) or for a reconnect; `stopped` was stopped safely by a person."""


class RunProgress(Model):
    """Where a run stands; every number counts things really done."""

    phase: str = Field(description="`pull`, `compare`, `apply`, `push` or `finish`.")
    done: int = Field(ge=0)
    """How many are done."""
    total: int | None = Field(default=None, ge=0, description="None while it is not known.")
    noun: str = Field(description="What is counted: `people`, `records`, `changes`.")
    requests: int = Field(ge=0, description="Requests sent to Planning Center so far.")
    rate_per_second: float | None = None
    """How many are done a second."""
    eta_seconds_low: int | None = None
    """Seconds that are left, at least."""
    eta_seconds_high: int | None = None
    """Seconds that are left, at most."""
    waiting_for: str | None = Field(default=None, description="A plain sentence, when the run waits.")


class RunThreshold(Model):
    """What a run would change, against the settings it asks by."""

    changed: int = Field(ge=0, description="Linked records that would change.")
    linked: int = Field(ge=0, description="Linked records in all.")
    percent: int
    """The share of linked records above which it asks."""
    minimum: int = Field(description="The run asks above `percent` of the linked records, and from this many on.")


class RunQuestion(Model):
    """What a waiting run needs from an administrator."""

    kind: str = Field(
        description="`first_match`, `threshold`, `plan` (of a preview) or `undo`. The plan is under `/plan` of the run."
    )
    digest: str | None = Field(
        default=None, description="Of the plan that is shown. *Approve* names it, and runs exactly that plan."
    )
    counts: dict[str, int] = Field(
        description="By outcome, what would happen. `may_be_mailed`: how many people Planning Center may mail at most, "
        "since they sign in there and their email or phone would change."
    )
    examples: tuple[dict[str, str | None], ...] = Field(
        default=(), description="Each with `name`, `field`, `here`, `planning_center`."
    )
    answers: tuple[str, ...]
    """The answers that are possible."""
    threshold: RunThreshold | None = Field(default=None, description="Of `threshold` alone.")


class RunAnswer(Model):
    """A question of a run and what somebody answered."""

    question: str = Field(description="The question's `kind`.")
    answer: str = Field(description="One of the question's `answers`.")
    by_name: str | None
    """Name of who answered."""
    asked_at: Timestamp
    """When the run began to wait."""
    answered_at: Timestamp
    """When it went on."""


class Run(Model):
    """One sync run."""

    id: str
    """Id of the run."""
    kind: str = Field(description="`full` or `incremental`.")
    purpose: str = Field(
        default="sync",
        description="`sync`; `preview` shows its plan and writes nothing until that is approved; `undo` puts back what "
        "others changed; `proof` compares everybody and writes nothing.",
    )
    undoes: dict[str, str] = Field(
        default_factory=dict,
        description="Of an undo, what it undoes: `decision_id` or another name of `UndoInput`.",
    )
    state: RunState
    """Where the run stands."""
    trigger: str = Field(description="`person`, `schedule`, `connection` ...")
    started_by: str | None = Field(default=None, description="The platform user's id, when a person started it.")
    started_by_name: str | None = None
    """Name of who started it."""
    progress: RunProgress
    """How far the run is."""
    question: RunQuestion | None = None
    """What it waits to be told; null if nothing."""
    answered: tuple[RunAnswer, ...] = Field(
        default=(), description="What it asked before, oldest first. Between question and answer it took no time."
    )
    counts: dict[str, int] = Field(default_factory=dict, description="By outcome; each has a list behind it.")
    message: str | None = Field(default=None, description="What happened, in a plain sentence.")
    version: int = Field(ge=1)
    """Grows with every state of the run."""
    created_at: Timestamp
    """When it was made."""
    started_at: Timestamp | None = None
    """When the first step began."""
    finished_at: Timestamp | None = None
    """When it ended; null while it goes on."""
