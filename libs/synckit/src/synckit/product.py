"""What a product says about its runs, once: everything else in synckit is given it."""

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
    """A product's runs: where they are kept, how they are told, and what it does where synckit does not know."""

    name: str
    """As in `contracts.values`."""
    job: str
    """Kind of the jobs that carry runs out."""
    runs: type[R]
    connections: type[C]
    settings: type[Any]
    """By organization. Locked after the connection and before the run, by whoever changes a run."""
    started: Callable[..., Event]
    progressed: Callable[..., Event]
    finished: Callable[..., Event]
    """The three facts, each with `organization_id`, `version` and `run`."""
    nouns: Mapping[str, str]
    """By phase, what it counts."""
    role_is_gone: str
    """What is said of a run that Planning Center refuses to whoever connected it."""
    interval: Callable[[AsyncSession, str], Awaitable[timedelta]]
    """Between an organization's runs."""
    let_go: Callable[[AsyncSession, UUID], Awaitable[dict[str, int]]]
    """Let go of what a run that ends early has staged, and say by outcome what it has done."""
    stopped: Callable[[R], str] = _stopped
    """What stopping a run means."""
    rendered: Callable[[R], Mapping[str, Any]] = _nothing
    """Further fields of `contracts.sync_runs.Run`."""
    answered_before: Callable[[str | None, str], str] = _as_given
    """To who comes second: by whose name the question was answered before, and with what."""
