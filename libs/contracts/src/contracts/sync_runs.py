"""A sync run as messages and answers carry it; people and calendar share the shape."""

from typing import Literal

from pydantic import Field

from contracts.base import Model, Timestamp

RunState = Literal["queued", "running", "waiting", "stopping", "done", "stopped", "failed"]
"""`waiting`: for a person's answer (see `question`) or for a reconnect; `stopped`: safely, by a person."""


class RunProgress(Model):
    """Progress of a run; every number counts completed work."""

    phase: str = Field(description="`pull`, `compare`, `apply`, `push` or `finish`.")
    done: int = Field(ge=0)
    """Number of records done."""
    total: int | None = Field(default=None, ge=0, description="Number of records in all; null while not known.")
    noun: str = Field(description="Unit of `done` and `total`: `people`, `records`, `changes`.")
    requests: int = Field(ge=0, description="Requests sent to Planning Center so far.")
    rate_per_second: float | None = None
    """Records done per second."""
    eta_seconds_low: int | None = None
    """Lower bound of the seconds left."""
    eta_seconds_high: int | None = None
    """Upper bound of the seconds left."""
    waiting_for: str | None = Field(default=None, description="Cause of the wait in a sentence, while the run waits.")


class RunThreshold(Model):
    """The size of a run's change and the threshold above which it asks."""

    changed: int = Field(ge=0, description="Linked records that would change.")
    linked: int = Field(ge=0, description="Linked records in all.")
    percent: int
    """The percentage of linked records above which the run asks."""
    minimum: int = Field(description="The least number of records for which the run asks.")


class RunQuestion(Model):
    """A waiting run's question to an administrator."""

    kind: str = Field(
        description="`first_match`, `threshold`, `plan` (of a preview) or `undo`. The plan is under `/plan` of the run."
    )
    digest: str | None = Field(
        default=None, description="Digest of the shown plan. *Approve* names it, and runs exactly that plan."
    )
    counts: dict[str, int] = Field(
        description="By outcome, what would happen. `may_be_mailed`: how many people Planning Center may mail at most, "
        "since they sign in there and their email or phone would change."
    )
    examples: tuple[dict[str, str | None], ...] = Field(
        default=(), description="Examples, each with `name`, `field`, `here`, `planning_center`."
    )
    answers: tuple[str, ...]
    """The answers that are possible."""
    threshold: RunThreshold | None = Field(default=None, description="Only with `threshold`.")


class RunAnswer(Model):
    """A run's question and its answer."""

    question: str = Field(description="The question's `kind`.")
    answer: str = Field(description="One of the question's `answers`.")
    by_name: str | None
    """Name of the person who answered."""
    asked_at: Timestamp
    """When the run began to wait."""
    answered_at: Timestamp
    """When the run continued."""


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
        description="For an undo, the changes it undoes: `decision_id` or another field of `UndoInput`.",
    )
    state: RunState
    """State of the run."""
    trigger: str = Field(description="`person`, `schedule`, `connection`, `change_notices` ...")
    started_by: str | None = Field(default=None, description="The platform user's id, when a person started it.")
    started_by_name: str | None = None
    """Name of the person who started the run."""
    progress: RunProgress
    """Progress of the run."""
    question: RunQuestion | None = None
    """The question that the run waits for; null if none."""
    answered: tuple[RunAnswer, ...] = Field(
        default=(),
        description="Earlier questions, oldest first. The wait for an answer does not count as the run's time.",
    )
    counts: dict[str, int] = Field(
        default_factory=dict, description="Number of records by outcome; each number has a list behind it."
    )
    message: str | None = Field(default=None, description="The result in a plain sentence.")
    version: int = Field(ge=1)
    """Grows with every state of the run."""
    created_at: Timestamp
    """When it was made."""
    started_at: Timestamp | None = None
    """When the first step began."""
    finished_at: Timestamp | None = None
    """When it ended; null while it goes on."""
