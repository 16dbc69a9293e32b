"""The product `calendar`: its organization alone, and 403 for a person without a role in Calendar."""

import orjson

from pco_simulator.exchange import ApiRequest, ApiResponse
from pco_simulator.jsonapi import Refused, forbidden, html_not_found, not_found, resolve_version, unauthorized
from pco_simulator.world import World

VERSIONS = ("2018-08-01", "2020-04-08", "2021-07-20", "2022-07-07", "2026-06-22")
ROOT = "/calendar/v2"


def handle(world: World, request: ApiRequest) -> ApiResponse:
    """Answer `/calendar/v2` (vendor OpenAPI, calendar 2022-07-07). Nothing else of it is simulated."""
    try:
        version = resolve_version(request.version, VERSIONS[-1], VERSIONS)
        response = html_not_found() if request.method not in ("GET", "HEAD") else _read(world, request)
    except Refused as refused:
        response, version = refused.response(), VERSIONS[-1]
    response.headers["X-PCO-API-Processed-As-Version"] = version
    return response


def _read(world: World, request: ApiRequest) -> ApiResponse:
    login = world.login(request.caller.organization_id, request.caller.person_id)
    if login is None:
        raise unauthorized()
    if "calendar" not in login.products:
        raise forbidden()
    if request.path.rstrip("/") != ROOT:
        raise not_found()
    organization = world.organizations[login.organization_id]
    data = {
        "type": "Organization",
        "id": organization.id,
        "attributes": {
            "name": organization.name,
            "time_zone": organization.time_zone,
            "twenty_four_hour_time": False,
            "date_format": organization.date_format,
            "onboarding": False,
            "calendar_starts_on": "sunday",
        },
        "links": {"self": f"{request.base_url}{ROOT}"},
    }
    return ApiResponse(200, orjson.dumps({"data": data, "included": [], "meta": {}}))
