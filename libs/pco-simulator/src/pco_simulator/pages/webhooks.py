"""Subscriptions of a church to webhooks, and what became of the latest hints."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pco_simulator.jsonapi import Refused as RefusedByRules
from pco_simulator.pages import templates
from pco_simulator.pages.parts import Refused, done, fields_of, guarded
from pco_simulator.simulator import Simulator
from pco_simulator.webhooks import rules
from pco_simulator.webhooks.control import found, shown_event, shown_subscription
from pco_simulator.webhooks.hints import WEBHOOKS
from pco_simulator.webhooks.kind import EVENT, SUBSCRIPTION

_SHOWN = 50


def routes(simulator: Simulator) -> list[Route]:
    """The pages below `/churches/{id}/webhooks`."""
    screens = _Screens(simulator)
    here = "/churches/{organization_id}/webhooks"
    return [
        Route(here, screens.webhooks, methods=["GET"]),
        Route(f"{here}/subscriptions/{{id}}", guarded(screens.edit, _path), methods=["POST"]),
        Route(f"{here}/hints/{{id}}", guarded(screens.redeliver, _path), methods=["POST"]),
    ]


class _Screens:
    def __init__(self, simulator: Simulator) -> None:
        self._world = simulator.world

    async def webhooks(self, request: Request) -> Response:
        organization = self._world.organizations.get(request.path_params["organization_id"])
        if organization is None:
            return Response("There is no such church.", 404)
        view = self._world.view(organization.id)
        events = view.entries(EVENT, ())
        rows = [view.get(EVENT, entry[-1]) for entry in reversed(events[-_SHOWN:])]
        people = {login.person_id: login.name for login in self._world.logins}
        return templates.TemplateResponse(
            request,
            "webhooks.html",
            {
                "church": organization,
                "subscriptions": [
                    {**shown_subscription(row), "person": people.get(str(row.attrs["person_id"]), "somebody who left")}
                    for row in view.all(SUBSCRIPTION)
                ],
                "events": [_shown(shown_event(view, row)) for row in rows if row is not None],
                "total": len(events),
                "here": _path(request.path_params),
                "refused": request.query_params.get("refused"),
                "done": request.query_params.get("done"),
            },
        )

    async def edit(self, request: Request) -> Response:
        form, params = await fields_of(request), request.path_params
        row = found(self._world.view(params["organization_id"]), SUBSCRIPTION, params["id"])
        with self._world.change(params["organization_id"], WEBHOOKS) as change:
            if form.get("do") == "delete":
                rules.delete_subscription(change, row)
                return done(_path(params), "The subscription was deleted.")
            active = form.get("do") == "activate"
            rules.set_active(change, row, active=active)
        return done(_path(params), f"The subscription was {'activated' if active else 'deactivated'}.")

    async def redeliver(self, request: Request) -> Response:
        params = request.path_params
        view = self._world.view(params["organization_id"])
        event = found(view, EVENT, params["id"])
        subscription = found(view, SUBSCRIPTION, str(event.attrs["subscription_id"]))
        try:
            with self._world.change(params["organization_id"], WEBHOOKS) as change:
                rules.redeliver(change, subscription, event)
        except RefusedByRules as refused:
            raise Refused(str(refused)) from refused
        return done(_path(params), "The hint is sent once more.")


def _path(params: Mapping[str, Any]) -> str:
    return f"/churches/{params['organization_id']}/webhooks"


def _shown(event: dict[str, Any]) -> dict[str, Any]:
    """An event with the answer to its last attempt in words."""
    last = event["deliveries"][-1] if event["deliveries"] else None
    answer = "" if last is None else str(last["status"] or "no answer")
    return {**event, "short": event["name"].removeprefix("people.v2.events."), "answer": answer}
