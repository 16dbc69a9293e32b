"""Webhooks in the control API: subscriptions and events of a church, the schedule's clock, fault scripts."""

import re
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field

from pco_simulator.jsonapi import Refused
from pco_simulator.rows import Row, View, parse_id
from pco_simulator.webhooks import rules
from pco_simulator.webhooks.faults import HookFault, HookFaultState, HookScript
from pco_simulator.webhooks.hints import WEBHOOKS
from pco_simulator.webhooks.kind import DELIVERY, EVENT, SUBSCRIPTION
from pco_simulator.webhooks.sender import Webhooks
from pco_simulator.world import World


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Active(_Model):
    """Whether a subscription is active."""

    active: bool


class Skip(_Model):
    """A span of the schedule's time."""

    seconds: Annotated[float, Field(ge=0, le=1e9)]


class Hints(_Model):
    """Hints about rows that did not change."""

    name: str
    """An event's name: created, updated or approved."""
    ids: Annotated[list[int], Field(min_length=1)]
    times: Annotated[int, Field(ge=1, le=100_000)] = 1


def add_webhooks(api: FastAPI, world: World, webhooks: Webhooks) -> None:
    """Add the paths to the control API."""
    _add_subscriptions(api, world, webhooks)
    _add_events(api, world, webhooks)
    _add_faults(api, webhooks)


def shown_subscription(row: Row) -> dict[str, Any]:
    """A subscription with its secret and who made it."""
    return {"id": str(row.id), **row.attrs, "person_id": str(row.attrs["person_id"])}


def shown_event(view: View, row: Row) -> dict[str, Any]:
    """An event with its attempts."""
    get = row.attrs.get
    names = ("name", "uuid", "status", "attempts", "resource_type", "resource_id", "payload", "event_time", "due")
    return {
        "id": str(row.id),
        "subscription_id": str(get("subscription_id")),
        **{name: get(name) for name in names},
        "created_at": get("created_at"),
        "deliveries": [
            {
                "id": str(each.id),
                **{
                    name: each.attrs.get(name)
                    for name in ("attempt", "status", "timing", "response_body", "created_at")
                },
            }
            for each in view.children(DELIVERY, "event_id", row.id)
        ],
    }


def found(view: View, type_: str, id_: str) -> Row:
    """A row, or `KeyError`."""
    row = view.get(type_, parse_id(id_))
    if row is None:
        raise KeyError(f"{type_} {id_}")
    return row


def _known(world: World, organization_id: str) -> View:
    if organization_id not in world.organizations:
        raise HTTPException(404, f"There is no organization {organization_id}.")
    return world.view(organization_id)


def _row(world: World, organization_id: str, type_: str, id_: str) -> Row:
    try:
        return found(_known(world, organization_id), type_, id_)
    except KeyError as error:
        raise HTTPException(404, f"Not found: {error.args[0]}") from error


def _add_subscriptions(api: FastAPI, world: World, webhooks: Webhooks) -> None:
    path = "/_sim/organizations/{organization_id}/subscriptions"

    @api.get(path, tags=["webhooks"])
    async def list_subscriptions(organization_id: str) -> list[dict[str, Any]]:
        """The subscriptions of a church, whoever made them, secrets included."""
        return [shown_subscription(row) for row in _known(world, organization_id).all(SUBSCRIPTION)]

    @api.patch(path + "/{id}", tags=["webhooks"])
    async def set_active(organization_id: str, id: str, values: Active) -> dict[str, Any]:  # noqa: A002
        """Activate or deactivate a subscription; nobody is told."""
        row = _row(world, organization_id, SUBSCRIPTION, id)
        with world.change(organization_id, WEBHOOKS) as change:
            return shown_subscription(rules.set_active(change, row, active=values.active))

    @api.delete(path + "/{id}", tags=["webhooks"], status_code=204)
    async def remove(organization_id: str, id: str) -> None:  # noqa: A002
        """Remove a subscription with its events."""
        row = _row(world, organization_id, SUBSCRIPTION, id)
        with world.change(organization_id, WEBHOOKS) as change:
            rules.delete_subscription(change, row)

    @api.post(path + "/{id}/rotate_secret", tags=["webhooks"])
    async def rotate(organization_id: str, id: str) -> dict[str, Any]:  # noqa: A002
        """Give a subscription another secret."""
        row = _row(world, organization_id, SUBSCRIPTION, id)
        with world.change(organization_id, WEBHOOKS) as change:
            return shown_subscription(rules.rotate_secret(change, row))

    @api.get("/_sim/webhooks/clock", tags=["webhooks"])
    async def clock() -> dict[str, float]:
        """The schedule's clock: `now` in seconds, and its `factor` (set by the setting `webhooks_clock_factor`)."""
        return {"now": webhooks.clock.now(), "factor": webhooks.clock.factor}

    @api.post("/_sim/webhooks/clock/advance", tags=["webhooks"])
    async def advance(skip: Skip) -> dict[str, float]:
        """Skip a span of the schedule's time: each event has at most one attempt for it."""
        webhooks.hurry(seconds=skip.seconds)
        return {"now": webhooks.clock.now(), "factor": webhooks.clock.factor}


def _add_events(api: FastAPI, world: World, webhooks: Webhooks) -> None:
    path = "/_sim/organizations/{organization_id}/hints"

    @api.get(path, tags=["webhooks"])
    async def events(
        organization_id: str,
        after: Annotated[int, Query(ge=0)] = 0,
        status: str | None = None,
        name: str | None = None,
        subscription_id: int | None = None,
        limit: Annotated[int, Query(ge=1, le=100_000)] = 1_000,
    ) -> list[dict[str, Any]]:
        """The newest `limit` kept events with an id above `after`, oldest first, each with its `deliveries`.

        `name`: the end of the event's name, such as `email.created`.
        """
        view = _known(world, organization_id)
        rows = [
            row
            for row in view.all(EVENT)
            if row.id > after
            and status in {None, row.attrs["status"]}
            and (name is None or row.attrs["name"].endswith(name))
            and subscription_id in {None, row.attrs["subscription_id"]}
        ]
        return [shown_event(view, row) for row in sorted(rows, key=lambda row: row.id)[-limit:]]

    @api.get(path + "/counts", tags=["webhooks"])
    async def counts(organization_id: str) -> dict[str, int]:
        """Number of kept events per status."""
        found: dict[str, int] = {}
        for row in _known(world, organization_id).all(EVENT):
            found[row.attrs["status"]] = found.get(row.attrs["status"], 0) + 1
        return found

    @api.post(path, tags=["webhooks"], status_code=201)
    async def send(organization_id: str, hints: Hints) -> dict[str, int]:
        """Send hints about rows that did not change, `times` for each in turn, to the active subscriptions of their
        name; gives their number."""
        _known(world, organization_id)
        try:
            return {"count": webhooks.outbox.send(organization_id, hints.name, hints.ids, hints.times)}
        except KeyError as error:
            raise HTTPException(404, f"Not found: {error.args[0]}") from error

    @api.post(path + "/{id}/redeliver", tags=["webhooks"])
    async def redeliver(organization_id: str, id: str) -> dict[str, Any]:  # noqa: A002
        """Send an event once more."""
        row = _row(world, organization_id, EVENT, id)
        subscription = _row(world, organization_id, SUBSCRIPTION, str(row.attrs["subscription_id"]))
        try:
            with world.change(organization_id, WEBHOOKS) as change:
                return shown_event(change.view, rules.redeliver(change, subscription, row))
        except Refused as error:
            raise HTTPException(422, str(error)) from error


def _add_faults(api: FastAPI, webhooks: Webhooks) -> None:
    faults = webhooks.faults

    def script(fault_id: str) -> HookScript:
        found = faults.get(fault_id)
        if found is None:
            raise HTTPException(404, f"There is no fault script {fault_id}.")
        return found

    @api.get("/_sim/webhooks/faults", tags=["webhooks"])
    async def list_faults() -> list[HookFaultState]:
        """All scripts for deliveries with their counts, in the order added."""
        return [each.state() for each in faults.all()]

    @api.post("/_sim/webhooks/faults", tags=["webhooks"], status_code=201)
    async def add_fault(fault: HookFault) -> HookFaultState:
        """Add a script."""
        for expression in (fault.match.name, fault.match.url):
            try:
                re.compile(expression or "")
            except re.error as error:
                raise HTTPException(422, f"{expression!r} is no regular expression: {error}") from error
        return faults.add(fault).state()

    @api.get("/_sim/webhooks/faults/{fault_id}", tags=["webhooks"])
    async def get_fault(fault_id: str) -> HookFaultState:
        """One script with its counts."""
        return script(fault_id).state()

    @api.delete("/_sim/webhooks/faults/{fault_id}", tags=["webhooks"], status_code=204)
    async def remove_fault(fault_id: str) -> None:
        """Stop a script."""
        script(fault_id)
        faults.remove(fault_id)

    @api.delete("/_sim/webhooks/faults", tags=["webhooks"], status_code=204)
    async def clear_faults() -> None:
        """Stop all scripts."""
        faults.clear()
