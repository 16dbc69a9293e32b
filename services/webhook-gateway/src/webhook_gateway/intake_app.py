"""Wiring of the intake: a process of its own that takes deliveries, with HTTP and PostgreSQL alone.

The door's process publishes and cleans what it stores.
"""

from typing import Any

from fastapi import FastAPI
from sqlalchemy import MetaData

from servicekit.app import create_service
from servicekit.http.protocol import QuickDoor
from servicekit.loops import Loop
from servicekit.runtime import Runtime
from webhook_gateway.api import intake
from webhook_gateway.config import Settings
from webhook_gateway.resources import IntakeResources, open_intake
from webhook_gateway.usecases.refused import FLUSH_SECONDS


def create_intake_app(settings: Settings, **overrides: Any) -> FastAPI:
    """The intake as an ASGI app. `overrides`: clock or span processor, in tests."""
    return create_service(
        settings,
        title="Intake of deliveries",
        metadata=MetaData(),
        routers=[intake.router],
        loops=[Loop("writer", _write, every=0), Loop("refused calls", _flush, every=FLUSH_SECONDS)],
        resources=open_intake,
        raw_bodies=[intake.PATH],
        quiet=[intake.PATH],
        door=QuickDoor,
        admit=None,
        **overrides,
    )


async def _write(_: Runtime, resources: IntakeResources) -> None:
    await resources.writer.step()


async def _flush(_: Runtime, resources: IntakeResources) -> None:
    await resources.refused.flush()
