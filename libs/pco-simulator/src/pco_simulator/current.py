"""The product `current`: who the token belongs to, without any product scope."""

from typing import Any

import orjson

from pco_simulator.exchange import ApiRequest, ApiResponse
from pco_simulator.jsonapi import (
    Query,
    Refused,
    html_not_found,
    not_found,
    page_links,
    resolve_version,
    unauthorized,
)
from pco_simulator.world import Login, World

VERSIONS = ("2018-08-01",)
ROOT = "/current/v2"


def handle(world: World, request: ApiRequest) -> ApiResponse:
    """Answer `/current/v2/me`, `/current/v2/people`, one person of it or their organization (vendor OpenAPI, current
    2018-08-01). Read-only. That a caller sees only themselves is unconfirmed."""
    try:
        version = resolve_version(request.version, VERSIONS[0], VERSIONS)
        response = html_not_found() if request.method not in ("GET", "HEAD") else _read(world, request)
    except Refused as refused:
        response, version = refused.response(), VERSIONS[0]
    response.headers["X-PCO-API-Processed-As-Version"] = version
    return response


def _read(world: World, request: ApiRequest) -> ApiResponse:
    login = world.login(request.caller.organization_id, request.caller.person_id)
    if login is None:
        raise unauthorized()
    query = Query.parse(request.query)
    path = request.path.removeprefix(ROOT).strip("/")
    me = f"people/{login.person_id}"
    person, organization = _person(request, login, query), _organization(world, request, login, query)
    parent = {"id": login.organization_id, "type": "Organization"}
    if path in ("me", me, "people"):
        body: dict[str, Any] = {"data": person}
        wanted = any(name == "organization" for name, _ in query.include)
        if wanted:
            related = f"{request.base_url}{ROOT}/{me}/organization"
            data = {"type": "Organization", "id": login.organization_id}
            person["relationships"] = {"organization": {"links": {"related": related}, "data": data}}
        body["included"] = [organization] if wanted else []
        body["meta"] = {"can_include": ["organization"], "parent": parent}
        if path == "people":
            seen = [person][query.offset : query.offset + query.per_page]
            links, moves = page_links(query, f"{request.base_url}{ROOT}/people", 1, len(seen))
            meta = {"total_count": 1, "count": len(seen), **moves, **body["meta"]}
            included = body["included"] if seen else []
            body = {"links": links, "data": seen, "included": included, "meta": meta}
    elif path in (f"{me}/organization", f"{me}/organization/{login.organization_id}"):
        body = {"data": organization, "meta": {"parent": {"id": login.person_id, "type": "Person"}}}
    else:
        raise not_found()
    return ApiResponse(200, orjson.dumps(body))


def _selected(query: Query, type_: str, attributes: dict[str, Any]) -> dict[str, Any]:
    wanted = query.fields.get(type_)
    return attributes if wanted is None else {k: v for k, v in attributes.items() if k in wanted}


def _person(request: ApiRequest, login: Login, query: Query) -> dict[str, Any]:
    url = f"{request.base_url}{ROOT}/people/{login.person_id}"
    attributes = {"email": login.email, "first_name": login.first_name, "last_name": login.last_name}
    return {
        "type": "Person",
        "id": login.person_id,
        "attributes": _selected(query, "Person", attributes),
        "links": {"organization": f"{url}/organization", "self": url},
    }


def _organization(world: World, request: ApiRequest, login: Login, query: Query) -> dict[str, Any]:
    organization = world.organizations[login.organization_id]
    url = f"{request.base_url}{ROOT}"
    attributes = {"name": organization.name, "subdomain": organization.subdomain}
    return {
        "type": "Organization",
        "id": organization.id,
        "attributes": _selected(query, "Organization", attributes),
        "links": {
            "people": f"{url}/people",
            "self": f"{url}/people/{login.person_id}/organization/{organization.id}",
        },
    }
