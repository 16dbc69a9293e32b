"""A stand-in for Planning Center's own screens: find, edit, create, merge and delete people by hand."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pco_simulator.exchange import ApiRequest, Caller
from pco_simulator.jsonapi import sentence
from pco_simulator.pages import calendar, templates, webhooks
from pco_simulator.pages.parts import Refused, done, fields_of, guarded
from pco_simulator.people import api as people
from pco_simulator.simulator import Simulator
from pco_simulator.tokens import SCOPES
from pco_simulator.world import Lag

_VERSION = "2026-06-04"
_PAGE = 50
_PERSON_FIELDS = (
    "first_name",
    "given_name",
    "middle_name",
    "nickname",
    "last_name",
    "birthdate",
    "gender",
    "child",
    "grade",
    "membership",
    "status",
)
_CONTACTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "Email": ("emails", "Email", ("address", "location", "primary")),
    "PhoneNumber": ("phone_numbers", "Phone number", ("number", "location", "primary")),
    "Address": (
        "addresses",
        "Address",
        ("street_line_1", "street_line_2", "city", "state", "zip", "country_code", "location", "primary"),
    ),
}
_LABELS = {"street_line_1": "Street", "street_line_2": "Street, second line", "zip": "ZIP", "child": "Child"}
_BOOLEANS = frozenset({"child", "primary"})
_LINES = frozenset({"street_line_1"})
"""Fields typed in several lines: `street_line_1` may hold both (planningcenter/developers#718)."""


class People:
    """The People API called as the church's administrator, without the read lag of clients."""

    def __init__(self, simulator: Simulator, organization_id: str) -> None:
        self._world = simulator.world
        login = simulator.world.administrator(organization_id)
        self._caller = Caller(organization_id, login.person_id, "planning-center", "HTTPBasic", SCOPES)

    def call(self, method: str, path: str, query: Mapping[str, str] | None = None, data: Any = None) -> dict[str, Any]:
        """One call below `/people/v2`; gives the document, `{}` without one. `Refused` on an error."""
        request = ApiRequest(
            method=method,
            path=f"/people/v2{path}",
            query=tuple((query or {}).items()),
            body=orjson.dumps({"data": data}) if data is not None else b"",
            version=_VERSION,
            caller=self._caller,
            now=self._world.clock.now(),
            base_url="",
        )
        lag = self._world.lag
        if method == "GET":
            # These writes enter the past that lagging reads of clients see.
            self._world.lag = Lag()
        try:
            response = people.handle(self._world, request)
        finally:
            self._world.lag = lag
        document: dict[str, Any] = orjson.loads(response.body) if response.body else {}
        if response.status >= 400:
            errors = document.get("errors") or [{"detail": f"status {response.status}"}]
            raise Refused("; ".join(map(sentence, errors)))
        return document


def pages(simulator: Simulator) -> Starlette:
    """The pages over one simulator."""
    screens = _Screens(simulator)
    church = "/churches/{organization_id}"
    person = f"{church}/people/{{person_id}}"
    return Starlette(
        routes=[
            Route("/", screens.churches),
            Route(church, screens.church),
            Route(f"{church}/people", guarded(screens.create, _path), methods=["POST"]),
            Route(person, screens.person, methods=["GET"]),
            Route(person, guarded(screens.edit, _path), methods=["POST"]),
            Route(f"{person}/contacts", guarded(screens.add_contact, _path), methods=["POST"]),
            Route(f"{person}/contacts/{{type}}/{{id}}", guarded(screens.edit_contact, _path), methods=["POST"]),
            Route(f"{person}/households", guarded(screens.edit_household, _path), methods=["POST"]),
            Route(f"{person}/merge", guarded(screens.merge, _path), methods=["POST"]),
            Route(f"{person}/delete", guarded(screens.delete, _path), methods=["POST"]),
            # As on Planning Center's own pages, whose ids are unique over all churches.
            Route("/people/AC{id:int}", screens.elsewhere),
            Route("/households/{id:int}", screens.elsewhere),
            *calendar.routes(simulator),
            *webhooks.routes(simulator),
        ]
    )


class _Screens:
    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._world = simulator.world
        self._human = simulator.human

    async def churches(self, request: Request) -> Response:
        rows = [(church, self._world.truth(church.id)) for church in self._world.organizations.values()]
        return templates.TemplateResponse(request, "churches.html", {"churches": rows})

    async def church(self, request: Request) -> Response:
        organization_id = request.path_params["organization_id"]
        if organization_id not in self._world.organizations:
            return Response("There is no such church.", 404)
        search = request.query_params.get("q", "").strip()
        offset = request.query_params.get("offset", "0")
        known = offset.isdecimal() and len(offset) < 10
        query = {"per_page": str(_PAGE), "offset": offset if known else "0", "include": "emails"}
        if search:
            query["where[search_name_or_email]"] = search
        else:
            query["order"] = "last_name,first_name"
        document = People(self._simulator, organization_id).call("GET", "/people", query)
        emails = {row["id"]: row["attributes"]["address"] for row in document.get("included", [])}
        rows = [
            (person, [emails.get(link["id"], "") for link in person["relationships"]["emails"]["data"]])
            for person in document["data"]
        ]
        return templates.TemplateResponse(
            request,
            "church.html",
            {
                "church": self._world.organizations[organization_id],
                "rows": rows,
                "search": search,
                "total": document["meta"]["total_count"],
                "offset": int(query["offset"]),
                "next": document["meta"].get("next", {}).get("offset"),
                "refused": request.query_params.get("refused"),
            },
        )

    async def person(self, request: Request) -> Response:
        organization_id, person_id = _ids(request)
        if organization_id not in self._world.organizations:
            return Response("There is no such church.", 404)
        api = People(self._simulator, organization_id)
        try:
            document = api.call("GET", f"/people/{person_id}", {"include": "emails,phone_numbers,addresses"})
        except Refused:
            return templates.TemplateResponse(
                request,
                "gone.html",
                {"church": self._world.organizations[organization_id], "person_id": person_id},
                status_code=404,
            )
        person = document["data"]
        return templates.TemplateResponse(
            request,
            "person.html",
            {
                "church": self._world.organizations[organization_id],
                "person": person,
                "person_fields": [_field(name, person["attributes"].get(name)) for name in _PERSON_FIELDS],
                "contacts": [_section(type_, document) for type_ in _CONTACTS],
                "households": _households(api, person_id),
                "here": _path(request.path_params),
                "refused": request.query_params.get("refused"),
                "done": request.query_params.get("done"),
            },
        )

    async def elsewhere(self, request: Request) -> Response:
        id_ = request.path_params["id"]
        household = request.url.path.startswith("/households/")
        for organization_id in self._world.organizations:
            row = self._world.view(organization_id).get("Household" if household else "Person", id_)
            if row is not None:
                person_id = row.get("primary_contact_id") if household else id_
                here = f"/churches/{organization_id}"
                return RedirectResponse(f"{here}/people/{person_id}" if person_id else here, 303)
        return Response("There is nobody by this id.", 404)

    async def create(self, request: Request) -> Response:
        form = await fields_of(request)
        attributes = {name: form[name] for name in ("first_name", "last_name") if form.get(name)}
        email = form.get("email")
        emails = [{"address": email, "location": "Home", "primary": True}] if email else []
        organization_id = request.path_params["organization_id"]
        id_ = self._human.create_person(organization_id, attributes, emails=emails)
        return done(_path({**request.path_params, "person_id": id_}), "The person was created.")

    async def edit(self, request: Request) -> Response:
        form = await fields_of(request)
        values = _values(form, _PERSON_FIELDS)
        self._human.edit_person(*_ids(request), values)
        return done(_path(request.path_params), "The person was saved.")

    async def add_contact(self, request: Request) -> Response:
        form = await fields_of(request)
        organization_id, person_id = _ids(request)
        type_ = form["type"]
        attributes = {name: value for name, value in _values(form, _CONTACTS[type_][2]).items() if value is not None}
        self._human.create(organization_id, type_, attributes, person_id=person_id)
        return done(_path(request.path_params), f"{_CONTACTS[type_][1]}: added.")

    async def edit_contact(self, request: Request) -> Response:
        form = await fields_of(request)
        type_, id_ = request.path_params["type"], request.path_params["id"]
        organization_id, _ = _ids(request)
        if form.get("do") == "delete":
            self._human.delete(organization_id, type_, id_)
            return done(_path(request.path_params), f"{_CONTACTS[type_][1]}: deleted.")
        self._human.edit(organization_id, type_, id_, _values(form, _CONTACTS[type_][2]))
        return done(_path(request.path_params), f"{_CONTACTS[type_][1]}: saved.")

    async def edit_household(self, request: Request) -> Response:
        form = await fields_of(request)
        organization_id, person_id = _ids(request)
        api = People(self._simulator, organization_id)
        link = {"type": "Person", "id": person_id}
        household_id = form.get("household_id", "")
        match form.get("do"):
            case "create":
                people_and_contact = {"people": {"data": [link]}, "primary_contact": {"data": link}}
                data = {
                    "type": "Household",
                    "attributes": {"name": form.get("name", "")},
                    "relationships": people_and_contact,
                }
                api.call("POST", "/households", data=data)
                return done(_path(request.path_params), "The household was created.")
            case "join":
                membership = {
                    "type": "HouseholdMembership",
                    "attributes": {"pending": False},
                    "relationships": {"person": {"data": link}},
                }
                api.call("POST", f"/households/{household_id}/household_memberships", data=membership)
                return done(_path(request.path_params), "The person joined the household.")
            case "leave":
                membership_id = form.get("membership_id", "")
                api.call("DELETE", f"/households/{household_id}/household_memberships/{membership_id}")
                return done(_path(request.path_params), "The person left the household.")
            case _:
                data = {"type": "Household", "id": household_id, "attributes": {"name": form.get("name", "")}}
                api.call("PATCH", f"/households/{household_id}", data=data)
                return done(_path(request.path_params), "The household was saved.")

    async def merge(self, request: Request) -> Response:
        form = await fields_of(request)
        organization_id, person_id = _ids(request)
        self._human.merge_people(organization_id, person_id, form.get("remove_id", "").strip())
        return done(_path(request.path_params), "The people were merged.")

    async def delete(self, request: Request) -> Response:
        organization_id, person_id = _ids(request)
        self._human.delete(organization_id, "Person", person_id)
        return RedirectResponse(f"/churches/{organization_id}", 303)


def _ids(request: Request) -> tuple[str, str]:
    return request.path_params["organization_id"], request.path_params["person_id"]


def _path(params: Mapping[str, str]) -> str:
    church = f"/churches/{params['organization_id']}"
    return f"{church}/people/{params['person_id']}" if "person_id" in params else church


def _values(form: Mapping[str, str], names: tuple[str, ...]) -> dict[str, Any]:
    """The form's values; an empty field is null, an unticked box is false."""
    values: dict[str, Any] = {}
    for name in names:
        if name in _BOOLEANS:
            values[name] = name in form
        elif name in form:
            values[name] = form[name] or None
    if values.get("grade") is not None:
        values["grade"] = int(values["grade"])
    return values


def _field(name: str, value: Any) -> dict[str, Any]:
    return {
        "name": name,
        "label": _LABELS.get(name, name.replace("_", " ").capitalize()),
        "value": value,
        "boolean": name in _BOOLEANS,
        "lines": name in _LINES,
    }


def _section(type_: str, document: Mapping[str, Any]) -> dict[str, Any]:
    _, title, names = _CONTACTS[type_]
    rows = [row for row in document.get("included", []) if row["type"] == type_]
    return {
        "type": type_,
        "title": title,
        "rows": [
            {"id": row["id"], "fields": [_field(name, row["attributes"].get(name)) for name in names]} for row in rows
        ],
        "blank": [_field(name, False if name in _BOOLEANS else "Home" if name == "location" else "") for name in names],
    }


def _households(api: People, person_id: str) -> list[dict[str, Any]]:
    households = api.call("GET", f"/people/{person_id}/households")["data"]
    found = []
    for household in households:
        path = f"/households/{household['id']}/household_memberships"
        memberships = api.call("GET", path, {"per_page": "100", "include": "person"})["data"]
        mine = next(
            (
                row["id"]
                for row in memberships
                if ((row.get("relationships") or {}).get("person") or {}).get("data", {}).get("id") == person_id
            ),
            None,
        )
        names = [row["attributes"]["person_name"] for row in memberships]
        found.append({"id": household["id"], "name": household["attributes"]["name"], "members": names, "mine": mine})
    return found
