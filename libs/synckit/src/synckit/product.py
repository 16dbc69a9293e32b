"""A product's description of its runs, which all other modules of synckit take."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.base import Event
from synckit.sentences import STOPPED
from synckit.tables import RunColumns, ScheduledConnection

R = TypeVar("R", bound=RunColumns)
C = TypeVar("C", bound=ScheduledConnection)


def _stopped(_: RunColumns) -> str:
    return STOPPED


def _nothing(_: RunColumns) -> Mapping[str, Any]:
    return {}


def _as_given(by_name: str | None, answer: str) -> str:
    return f"{by_name or 'Somebody else'} has answered this: {answer}. That answer stays."


@dataclass(frozen=True, slots=True, kw_only=True)
class Product(Generic[R, C]):
    """A product's runs: their tables, their facts, and the steps that only the product knows."""

    name: str
    """As in `contracts.values`."""
    job: str
    """Kind of the jobs that execute runs."""
    runs: type[R]
    connections: type[C]
    settings: type[Any]
    """Settings by organization. A change of a run locks them after the connection and before the run."""
    started: Callable[..., Event]
    progressed: Callable[..., Event]
    finished: Callable[..., Event]
    """The three facts, each with `organization_id`, `version` and `run`."""
    nouns: Mapping[str, str]
    """The noun of each phase's counted records."""
    role_is_gone: str
    """The sentence for a run that Planning Center refuses to the user who connected it."""
    interval: Callable[[AsyncSession, str], Awaitable[timedelta]]
    """The interval between an organization's runs."""
    let_go: Callable[[AsyncSession, UUID], Awaitable[dict[str, int]]]
    """Discards what a run that ends early has staged, and returns its counts by outcome."""
    stopped: Callable[[R], str] = _stopped
    """The sentence for a stopped run."""
    rendered: Callable[[R], Mapping[str, Any]] = _nothing
    """Further fields of `contracts.sync_runs.Run`."""
    answered_before: Callable[[str | None, str], str] = _as_given
    """The sentence for a second answer, from the name and the answer of the first."""
