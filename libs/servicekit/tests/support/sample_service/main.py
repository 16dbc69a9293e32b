"""The whole sample service in one module; a real one has folders."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Response
from pydantic import BaseModel
from sqlalchemy import ForeignKey, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from contracts.base import Event
from contracts.events.auth_connection_v1 import ConnectionAuthorized, ConnectionClosing
from contracts.events.webhooks_outcome_v1 import WebhookApplied
from servicekit.app import create_service
from servicekit.db.sessions import Columns, Session, resources, service_metadata
from servicekit.errors import NotFound
from servicekit.http.answers import KeyedRoute
from servicekit.http.auth import Admin, User, service_identity
from servicekit.ids import uuid7
from servicekit.jobs import queue as jobs
from servicekit.jobs.worker import JobContext, JobWorker
from servicekit.kafka.outbox import append
from servicekit.kafka.subscriptions import subscribe
from servicekit.runtime import Runtime
from servicekit.settings import ServiceSettings


class Settings(ServiceSettings):
    """The service's own settings would stand here."""

    service_name = "people-sync"
    lease_seconds: float = 3.0
    step_seconds: float = 0.05


class Base(Columns, DeclarativeBase):
    """Declarative base with servicekit's tables."""

    metadata = service_metadata(jobs=True, answers=True)


class Note(Base):
    """Something with a version."""

    __tablename__ = "note"

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    text: Mapped[str]
    version: Mapped[int]


class Parent(Base):
    """What a child must have."""

    __tablename__ = "parent"

    id: Mapped[str] = mapped_column(primary_key=True)


class Child(Base):
    """Its parent is looked for at the commit, not before: a commit can fail."""

    __tablename__ = "child"

    id: Mapped[str] = mapped_column(ForeignKey(Parent.id, deferrable=True, initially="DEFERRED"), primary_key=True)


class Effect(Base):
    """One row per effect a handler or a job step had: tests count them."""

    __tablename__ = "effect"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    name: Mapped[str]
    detail: Mapped[str]
    pid: Mapped[int]


@dataclass(slots=True)
class Resources:
    """What lives as long as the process."""

    settings: Settings
    """Narrowed settings."""
    failures: list[Exception] = field(default_factory=list)
    """Raised by the subscriber, one per attempt, before it works."""
    deaf: list[Exception] = field(default_factory=list)
    """Raised when it is told of a dead letter, one per attempt."""
    hung: int = 0
    """How often a handler did not come back."""
    paused: bool = False
    """The job sleeps in the middle of its step."""


@asynccontextmanager
async def open_resources(runtime: Runtime) -> AsyncIterator[Resources]:
    """One per process."""
    assert isinstance(runtime.settings, Settings)
    yield Resources(runtime.settings)


Wired = Annotated[Resources, Depends(resources)]
router = APIRouter(route_class=KeyedRoute)


class NoteBody(BaseModel):
    """A note as callers see it."""

    text: str
    extra: Any = None


async def put_note_row(session: AsyncSession, organization_id: str, note_id: str, value: str) -> int:
    """Write a note and tell about it. Returns its version."""
    statement = insert(Note).values(organization_id=organization_id, id=note_id, text=value, version=1)
    version: int | None = await session.scalar(
        statement.on_conflict_do_update(
            index_elements=[Note.organization_id, Note.id], set_={"text": value, "version": Note.version + 1}
        ).returning(Note.version)
    )
    assert version is not None
    await append(session, note_event(organization_id, note_id, version))
    return version


def note_event(organization_id: str, note_id: str, version: int) -> WebhookApplied:
    """An event of a topic that people-sync may publish; its key is the note."""
    return WebhookApplied(
        organization_id=organization_id,
        version=version,
        delivery_id=note_id,
        outcome="changed",
        by="people-sync",
        applied_at=datetime.now(UTC),
    )


@router.put("/notes/{note_id}")
@router.put("/notes/{note_id}/long")
async def put_note(note_id: str, body: NoteBody, user: User, session: Session) -> dict[str, int]:
    """Write a note."""
    return {"version": await put_note_row(session, user.organization_id, note_id, body.text)}


@router.put("/notes/{note_id}/broken")
async def put_note_broken(note_id: str, body: NoteBody, user: User, session: Session) -> None:
    """Write a note, then fail."""
    await put_note_row(session, user.organization_id, note_id, body.text)
    raise RuntimeError("a secret: anna@example.org")


@router.put("/notes/{note_id}/deferred")
async def put_note_deferred(note_id: str, body: NoteBody, user: User, session: Session) -> dict[str, int]:
    """Write what only the commit will refuse."""
    session.add(Child(id=note_id))
    await session.flush()
    return {"version": 1}


@router.post("/notes", status_code=201)
async def add_note(body: NoteBody, user: Admin, session: Session, wired: Wired) -> dict[str, str]:
    """Add a note under an id of its own: twice is two notes. Takes as long as the job does."""
    note_id = str(uuid7())
    await put_note_row(session, user.organization_id, note_id, body.text)
    while wired.paused:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return {"id": note_id}


@router.post("/cookies")
async def give_cookie(user: User, session: Session, response: Response) -> dict[str, str]:
    """Something for one browser."""
    response.set_cookie("secret", str(uuid7()))
    return {"id": str(uuid7())}


@router.get("/notes/{note_id}")
async def get_note(note_id: str, user: User, session: Session) -> dict[str, Any]:
    """Read a note."""
    note = await session.get(Note, (user.organization_id, note_id))
    if note is None:
        raise NotFound("There is no such note.")
    return {"text": note.text, "version": note.version}


@router.post("/runs", status_code=202)
async def start_run(user: Admin, session: Session) -> dict[str, Any]:
    """Start a run or join the one in progress."""
    job_id, created = await jobs.enqueue(session, "run", user.organization_id, {"pages": 10})
    return {"id": str(job_id), "created": created}


@router.get("/lease")
async def lease(
    caller: Annotated[str, Depends(service_identity({"auth-service", "webhook-gateway"}))],
) -> dict[str, str]:
    """For services only."""
    return {"caller": caller}


async def on_authorized(event: ConnectionAuthorized, session: AsyncSession, wired: Resources) -> None:
    """Note that a church has connected."""
    if event.pco_organization_name == "kills":
        os.kill(os.getpid(), signal.SIGKILL)
    if event.pco_organization_name == "hangs":
        wired.hung += 1
        await asyncio.Event().wait()
    if wired.failures:
        raise wired.failures.pop(0)
    await effect(session, "authorized", f"{event.organization_id}:{event.version}")


async def on_closing(event: ConnectionClosing, session: AsyncSession, wired: Resources) -> None:
    """Poison: never works."""
    await effect(session, "closing", event.organization_id)
    raise ValueError(f"cannot take {event.pco_organization_name}")


async def on_rejected(event: Event | None, cause: str, session: AsyncSession, wired: Resources) -> None:
    """Leave a row that says why."""
    if wired.deaf:
        raise wired.deaf.pop(0)
    about = f"{event.organization_id}:{event.version}" if event else "nobody"
    await effect(session, "rejected", f"told of {about}: {cause}")


connections = subscribe(
    "auth.connection.v1",
    group="people-sync.connections",
    handlers={ConnectionAuthorized: on_authorized, ConnectionClosing: on_closing},
    on_rejected=on_rejected,
    after_loss="python -m auth_service republish",
)


async def effect(session: AsyncSession, name: str, detail: str) -> None:
    """Leave a row."""
    session.add(Effect(name=name, detail=detail, pid=func.pg_backend_pid()))
    await session.flush()


async def run_pages(job: JobContext, wired: Resources) -> None:
    """Pages, one transaction each."""
    page = (job.data or {"page": 0})["page"]
    while page < job.payload["pages"]:
        job.stop_if_requested()
        job.check()
        await asyncio.sleep(wired.settings.step_seconds)
        async with job.sessions.begin() as session:
            await effect(session, "page", f"{job.id}:{page}:{job.fence}")
            page += 1
            await job.checkpoint(session, {"page": page})


def create_app(settings: Settings, **more: Any) -> FastAPI:
    """Wiring, nothing else."""
    return create_service(
        settings,
        metadata=Base.metadata,
        routers=[router],
        subscribers=[connections],
        workers=[JobWorker("run", run_pages, concurrency=1, lease_seconds=settings.lease_seconds)],
        resources=open_resources,
        body_limits={"/notes/{note_id}/long": 3 * 1024 * 1024},
        **more,
    )
