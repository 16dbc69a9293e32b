"""A stand-in for Calendar's own screens: events, series and single occurrences by hand, feeds, roles."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pco_simulator.calendar.instance import instance_name
from pco_simulator.calendar.series import local
from pco_simulator.jsonapi import stamp
from pco_simulator.pages import templates
from pco_simulator.pages.parts import done, fields_of, guarded
from pco_simulator.rows import Row, View, fold
from pco_simulator.simulator import Simulator
from pco_simulator.world import CALENDAR_ROLES, Organization

_PAGE = 50
_CONTENT = ("name", "summary", "description", "registration_url")
_TIMES = ("starts_at", "ends_at")
_SERIES = ("repeats", "interval", "count", "until")
_REPEATS = (
    ("never", "Does not repeat"),
    ("daily", "Daily"),
    ("weekly", "Weekly"),
    ("monthly", "Monthly, on the same day"),
    ("monthly_by_weekday", "Monthly, on the same weekday"),
)
_STATUSES = {"A": "Approved", "P": "Pending", "R": "Rejected"}


def routes(simulator: Simulator) -> list[Route]:
    """The pages below `/churches/{id}/calendar`, and the addresses that Planning Center's own pages have."""
    screens = _Screens(simulator)
    church = "/churches/{organization_id}/calendar"
    event = f"{church}/events/{{event_id}}"

    def post(path: str, handler: Any) -> Route:
        return Route(path, guarded(handler, _path), methods=["POST"])

    return [
        Route(church, screens.calendar, methods=["GET"]),
        post(f"{church}/events", screens.create),
        post(f"{church}/feeds", screens.subscribe),
        post(f"{church}/feeds/{{feed_id}}", screens.edit_feed),
        post(f"{church}/roles/{{person_id}}", screens.set_role),
        Route(event, screens.event, methods=["GET"]),
        post(event, screens.edit),
        post(f"{event}/times", screens.move),
        post(f"{event}/series", screens.repeat),
        post(f"{event}/instances", screens.add_instance),
        post(f"{event}/instances/{{instance_id}}", screens.edit_instance),
        Route("/events/new", screens.new),
        Route("/events/{id:int}", screens.elsewhere),
    ]


class _Screens:
    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._world = simulator.world
        self._human = simulator.human

    async def calendar(self, request: Request) -> Response:
        organization = self._world.organizations.get(request.path_params["organization_id"])
        if organization is None:
            return Response("There is no such church.", 404)
        view, query = self._world.view(organization.id), request.query_params
        search, since = query.get("q", "").strip(), query.get("from", "").strip()
        found = _found(view, organization, search, since or stamp(self._world.clock.now()))
        offset = int(query["offset"]) if query.get("offset", "").isdecimal() and len(query["offset"]) < 10 else 0
        logins = [login for login in self._world.logins if login.organization_id == organization.id]
        return templates.TemplateResponse(
            request,
            "calendar.html",
            {
                "church": organization,
                "rows": [_shown(view, organization, row) for row in found[offset : offset + _PAGE]],
                "total": len(found),
                "next": offset + _PAGE if offset + _PAGE < len(found) else None,
                "search": search,
                "since": since,
                "undated": [
                    row
                    for row in view.all("Event")
                    if fold(search) in fold(row.attrs.get("name", ""))
                    and not view.children("EventInstance", "event_id", row.id)
                ],
                "repeats": _REPEATS,
                "feeds": [row for row in view.all("Feed") if "url" in row.attrs],
                "logins": logins,
                "roles": CALENDAR_ROLES,
                "given": query,
                "refused": query.get("refused"),
                "done": query.get("done"),
            },
        )

    async def event(self, request: Request) -> Response:
        organization = self._world.organizations.get(request.path_params["organization_id"])
        if organization is None:
            return Response("There is no such church.", 404)
        view, event_id = self._world.view(organization.id), request.path_params["event_id"]
        row = view.get("Event", int(event_id)) if event_id.isdecimal() and len(event_id) < 19 else None
        if row is None:
            gone = {"church": organization, "event_id": event_id}
            return templates.TemplateResponse(request, "event_gone.html", gone, status_code=404)
        instances = view.children("EventInstance", "event_id", row.id)
        instances.sort(key=lambda each: (each.attrs.get("starts_at") or "", each.id))
        query = request.query_params
        offset = int(query["offset"]) if query.get("offset", "").isdecimal() and len(query["offset"]) < 10 else 0
        return templates.TemplateResponse(
            request,
            "event.html",
            {
                "church": organization,
                "event": row,
                "status": _STATUSES.get(row.attrs.get("approval_status", "A"), "?"),
                "rule": row.attrs.get("rule") or {},
                "repeats": _REPEATS,
                "first": _shown(view, organization, min(instances, key=lambda each: each.attrs["slot"]))
                if instances
                else None,
                "instances": [_shown(view, organization, each) for each in instances[offset : offset + _PAGE]],
                "total": len(instances),
                "next": offset + _PAGE if offset + _PAGE < len(instances) else None,
                "here": _path(request.path_params),
                "refused": query.get("refused"),
                "done": query.get("done"),
            },
        )

    async def new(self, request: Request) -> Response:
        """Planning Center's address of a new event; whose it becomes depends on who is logged in, so churches are
        offered where there are several."""
        churches = list(self._world.organizations)
        here = f"/churches/{churches[0]}/calendar" if len(churches) == 1 else "/"
        return RedirectResponse(f"{here}?{request.url.query}#new" if len(churches) == 1 else here, 303)

    async def elsewhere(self, request: Request) -> Response:
        id_ = request.path_params["id"]
        for organization_id in self._world.organizations:
            if self._world.view(organization_id).get("Event", id_) is not None:
                return RedirectResponse(f"/churches/{organization_id}/calendar/events/{id_}", 303)
        return Response("There is no event by this id.", 404)

    # -- forms -----------------------------------------------------------------------------------------------

    async def create(self, request: Request) -> Response:
        form = await fields_of(request)
        attributes = {
            **_named(form, (*_CONTENT, "location", *(_SERIES if form.get("repeats") != "never" else ()))),
            **_times(form),
            "visible_in_church_center": "visible_in_church_center" in form,
        }
        organization_id = request.path_params["organization_id"]
        event_id = self._human.create_event(organization_id, attributes)
        return done(_path({**request.path_params, "event_id": event_id}), "The event was created.")

    async def edit(self, request: Request) -> Response:
        form = await fields_of(request)
        organization_id, event_id = request.path_params["organization_id"], request.path_params["event_id"]
        match form.get("do"):
            case "delete":
                self._human.delete(organization_id, "Event", event_id)
                return done(f"/churches/{organization_id}/calendar", "The event was deleted.")
            case "approve" | "reject" as verb:
                status = {"approval_status": "A" if verb == "approve" else "R"}
                self._human.edit(organization_id, "Event", event_id, status)
                return done(_path(request.path_params), f"The event was {verb}{'d' if verb == 'approve' else 'ed'}.")
        content: dict[str, Any] = {name: form.get(name) or None for name in _CONTENT if name in form}
        content["visible_in_church_center"] = "visible_in_church_center" in form
        self._human.edit(organization_id, "Event", event_id, content)
        return done(_path(request.path_params), "The event was saved.")

    async def move(self, request: Request) -> Response:
        form = await fields_of(request)
        attributes = _times(form)
        if "location" in form:
            attributes["location"] = form["location"] or None
        self._edit_event(request, attributes)
        return done(_path(request.path_params), "All occurrences were changed.")

    async def repeat(self, request: Request) -> Response:
        self._edit_event(request, _named(await fields_of(request), _SERIES))
        return done(_path(request.path_params), "The repetition was changed.")

    def _edit_event(self, request: Request, attributes: Mapping[str, Any]) -> None:
        params = request.path_params
        self._human.edit(params["organization_id"], "Event", params["event_id"], attributes)

    async def add_instance(self, request: Request) -> Response:
        form, params = await fields_of(request), request.path_params
        attributes = {**_times(form), **_named(form, ("location",))}
        self._human.create_instance(params["organization_id"], params["event_id"], attributes)
        return done(_path(params), "The occurrence was added.")

    async def edit_instance(self, request: Request) -> Response:
        form, params = await fields_of(request), request.path_params
        if form.get("do") == "delete":
            self._human.delete(params["organization_id"], "EventInstance", params["instance_id"])
            return done(_path(params), "The occurrence was deleted.")
        attributes = _times(form)
        attributes.update({name: form[name] or None for name in ("name", "location") if name in form})
        self._human.edit(params["organization_id"], "EventInstance", params["instance_id"], attributes)
        return done(_path(params), "The occurrence was saved.")

    async def subscribe(self, request: Request) -> Response:
        form, organization_id = await fields_of(request), request.path_params["organization_id"]
        published = "published" in form
        feed_id = self._simulator.feeds.subscribe(
            organization_id, form.get("url", ""), form.get("name", ""), published=published
        )
        return await self._refresh(organization_id, feed_id)

    async def edit_feed(self, request: Request) -> Response:
        form, params = await fields_of(request), request.path_params
        if form.get("do") == "end":
            self._simulator.feeds.end(params["organization_id"], params["feed_id"])
            return done(_path(params), "The subscription was ended and its events were deleted.")
        return await self._refresh(params["organization_id"], params["feed_id"])

    async def _refresh(self, organization_id: str, feed_id: str) -> Response:
        outcome = await self._simulator.feeds.refresh(organization_id, feed_id)
        words = f"{outcome.created} events created, {outcome.updated} changed, {outcome.deleted} deleted."
        return done(f"/churches/{organization_id}/calendar", f"The feed was read: {words}")

    async def set_role(self, request: Request) -> Response:
        form, params = await fields_of(request), request.path_params
        self._human.set_calendar_role(params["organization_id"], params["person_id"], form.get("role", ""))
        return done(_path(params), "The role was changed.")


def _path(params: Mapping[str, Any]) -> str:
    church = f"/churches/{params['organization_id']}/calendar"
    return f"{church}/events/{params['event_id']}" if "event_id" in params else church


def _named(form: Mapping[str, str], names: tuple[str, ...]) -> dict[str, Any]:
    """The values that are filled in."""
    return {name: form[name] for name in names if form.get(name)}


def _times(form: Mapping[str, str]) -> dict[str, Any]:
    """Times on the church's clock; of whole days the dates count, the last one included."""
    all_day = "all_day_event" in form
    times = {name: value[:10] if all_day else value for name, value in _named(form, _TIMES).items()}
    return {**times, "all_day_event": all_day}


def _found(view: View, organization: Organization, search: str, since: str) -> list[Row]:
    """Instances that end after an instant or local day, by start."""
    if len(since) == 10:
        since = stamp(datetime.fromisoformat(since).replace(tzinfo=organization.zone))
    wanted = fold(search)
    rows = [row for row in view.all("EventInstance") if (row.attrs.get("ends_at") or "") >= since]
    if wanted:
        rows = [row for row in rows if wanted in fold(instance_name(view, row) or "")]
    return sorted(rows, key=lambda row: (row.attrs.get("starts_at") or "", row.id))


def _clock(instant: str | None, organization: Organization) -> str:
    if instant is None:
        return ""
    return local(datetime.fromisoformat(instant), organization.zone).isoformat(timespec="minutes")


def _shown(view: View, organization: Organization, row: Row) -> dict[str, Any]:
    """An instance with its public times as `datetime-local` has them; of whole days the first and the last."""
    get = row.attrs.get
    if get("all_day_event"):
        starts, ends = f"{get('first_day')}T00:00", f"{get('last_day')}T00:00"
    else:
        starts, ends = (_clock(get(name), organization) for name in ("published_starts_at", "published_ends_at"))
    return {
        "id": row.id,
        "event_id": row.attrs["event_id"],
        "name": instance_name(view, row) or "(no name)",
        "own_name": get("name", ""),
        "location": get("location", ""),
        "all_day": bool(get("all_day_event")),
        "starts": starts,
        "ends": ends,
        "when": starts[:10] if get("all_day_event") else starts.replace("T", " "),
        "until": ends[:10] if get("all_day_event") else ends.replace("T", " "),
    }
