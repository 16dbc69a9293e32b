"""Unauthenticated, unauthorized and malformed calls to every route of the table, through the gateway.

The cases come from `contracts.routes`, so they cover new routes automatically. A new path parameter needs a record in
`world`.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import asyncpg
import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from pydantic import BaseModel

from contracts.http.people import BulkFamily, BulkMember
from contracts.routes import ROUTES, Route
from contracts.values import SERVICES, WEBHOOK_GATEWAY
from local_stack.church import Church
from local_stack.stack import IDENTITY_PROVIDER, Stack

pytestmark = pytest.mark.e2e

OWN: Final = ("/api/v1/me", "/api/v1/live")
PUBLIC: Final = ("/api/v1/console-settings",)
PRODUCT: Final = "people"
PARAMETER: Final = re.compile(r"{(\w+)}")
# Texts that another organization must never read.
CHURCH: Final = ("riverbend", "Ada Moreno", "ada@")


def ids_in(route: Route) -> list[str]:
    """Path parameters that name a record."""
    return [name for name in PARAMETER.findall(route.path) if name not in {"product", "field"}]


WITH_IDS: Final = [route for route in ROUTES if ids_in(route)]
WITH_BODY: Final = [route for route in ROUTES if route.request is not None]
WITH_QUERY: Final = [route for route in ROUTES if route.query is not None]


ASKS_PLANNING_CENTER: Final = (
    "/api/v1/calendar/there",
    "/api/v1/calendar/events/{event_id}/suggestions",
    "/api/v1/calendar/events/{event_id}/comparison",
)
"""Reads that need the Calendar connected, which it is not here."""
NOTHING_YET: Final = (
    "/api/v1/calendar/syncs/",
    "/api/v1/calendar/runs/",
    "/api/v1/connections/{product}/receipt",
)
"""Paths of records that this church does not have."""


def named(route: Any) -> str:
    return f"{route.method} {route.path.removeprefix('/api/v1')}"


@dataclass(slots=True)
class World:
    """A church with every kind of record, and an unrelated second one."""

    stack: Stack
    ada: Church
    sam: Church
    olga: Church
    ids: dict[str, str]
    """Ids of Ada's church, by path parameter."""
    secrets: tuple[str, ...]
    """Ids, names and addresses of Ada's church."""
    http: httpx.Client
    """A client without a token."""

    def path(self, route: Route, **instead: str) -> str:
        """The route's address, by default with the ids of Ada's church."""
        values = self.ids | instead
        if route.path.startswith("/api/v1/conflicts/bulk/") and "bulk_id" not in instead:
            values["bulk_id"] = self.ids["conflicts_bulk_id"]
        missing = set(PARAMETER.findall(route.path)) - values.keys()
        assert not missing, f"say in `world` which record {missing} of {route.path} means"
        return route.path.format(**values)


@pytest.fixture(scope="module")
def stack(door: Stack) -> Stack:
    """One process of every service, since permissions do not depend on the number."""
    return door


@pytest.fixture(scope="module")
def world(stack: Stack) -> Iterator[World]:
    """Ada's church after a sync that found a doubtful match and a conflict."""
    with (
        Church.of(stack, "ada") as ada,
        Church.of(stack, "sam") as sam,
        Church.of(stack, "olga") as olga,
        httpx.Client(base_url=stack.url(), timeout=60) as http,
    ):
        pco = ada.control.organizations()[0]
        rows = ada.control.dump(pco["id"])
        address = next(row["attributes"]["address"] for row in rows if row["type"] == "Email")
        ada.add_member(first_name="Zebulon", last_name="Doubtful", email=address)
        ada.connect()
        ada.sync(answers={"first_match": "planning_center"})
        member = next(one for one in ada.members(state="linked") if one["birthdate"] and not one["child"])
        ada.change_member(member, last_name="Ours")
        ada.edit_there(pco["id"], member["link"]["pco_id"], last_name="Theirs")
        run = ada.sync()
        ada.eventually(lambda: ada.get("/conflicts/count")["open"] == 1, "the conflict is known")
        members, families = ada.members(), ada.families()
        another = next(one for one in ada.members(state="linked") if one["id"] != member["id"])
        synced = ada.call("POST", f"/people/members/{another['id']}/sync")
        bulk = ada.call("POST", "/people/held-matches/bulk", json={"answer": "later"})
        decisions = ada.call("POST", "/conflicts/bulk", json={"answer": "both"})
        shown = ada.call("POST", "/conflicts/rules/preview", json={"fields": ["email"], "answer": "theirs"})
        rule = ada.call("POST", "/conflicts/rules", json=shown["condition"] | {"digest": shown["digest"]})
        last = ada.add_member(first_name="Gone", last_name="Forever")
        erased = ada.call("POST", f"/people/members/{last['id']}/erasure", json={"on_request_of": "person"})
        day = {"first_day": "2026-03-06", "last_day": "2026-03-06", "time_zone": "UTC"}
        event = ada.call(
            "POST", "/calendar/events", json={"title": "Prayer", "recurrence": "FREQ=WEEKLY;COUNT=3", **day}
        )
        delivery = asyncio.run(delivered(stack, ada.get("/me")["user"]["organization_id"]))
        counted = ada.call("POST", "/webhooks/replays/preview", json={"number": delivery})
        agreed = {"number": delivery, "newest": counted["newest"], "digest": counted["digest"]}
        replay = ada.call("POST", "/webhooks/replays", json=agreed)
        secrets = {record["id"] for record in [*members, *families]} | {one["email"] for one in members if one["email"]}
        yield World(
            stack,
            ada,
            sam,
            olga,
            ids={
                "product": PRODUCT,
                "member_id": member["id"],
                "entry_id": next(ada.all(f"/people/members/{member['id']}/history"))["id"],
                "event_id": event["id"],
                "key": event["occurrences"][0]["key"],
                "family_id": families[0]["id"],
                "run_id": run["id"],
                "sync_id": synced["id"],
                "bulk_id": bulk["id"],
                "conflicts_bulk_id": decisions["id"],
                "rule_id": rule["id"],
                "field": "last_name",
                "held_id": next(ada.all("/people/held-matches"))["id"],
                "conflict_id": next(ada.all("/conflicts"))["id"],
                "erasure_id": erased["id"],
                "number": str(delivery),
                "replay_id": replay["id"],
            },
            secrets=(*secrets, *CHURCH, pco["name"]),
            http=http,
        )


async def delivered(stack: Stack, organization_id: str) -> int:
    """Store a delivery in the log. Its number."""
    connection = await asyncpg.connect(stack.database_url(WEBHOOK_GATEWAY, driver="postgresql"))
    try:
        number = await connection.fetchval(
            "INSERT INTO delivery (organization_id, product, generation, body_id, position, delivery_id, name, "
            "resource_type, resource_id, state, received_at, verified_at) VALUES ($1, 'people', 1, gen_random_uuid(), "
            "0, 'd-1', 'people.v2.events.person.updated', 'Person', '1', 'waiting', now(), now()) RETURNING id",
            organization_id,
        )
        return int(number)
    finally:
        await connection.close()


def refused(answer: httpx.Response, *statuses: int) -> dict[str, Any]:
    """Check that an answer is one of these refusals; gives its problem document."""
    request = answer.request
    assert answer.status_code in statuses, f"{request.method} {request.url}: {answer.status_code} {answer.text[:500]}"
    assert answer.headers["content-type"] == "application/problem+json", request.url
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["title"]
    assert problem["detail"]
    assert problem["type"].startswith("/problems/")
    assert "Traceback" not in answer.text
    return dict(problem)


def never_broken(answer: httpx.Response, what: str) -> None:
    """Check that a call was accepted or refused with a problem document, without a 5xx."""
    assert answer.status_code < 500, f"{what}: {answer.status_code} {answer.text[:500]}"
    if answer.is_error:
        refused(answer, answer.status_code)


# -- nobody is asking ----------------------------------------------------------------------------------------------


def encoded(part: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def decoded(part: str) -> dict[str, Any]:
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))


@pytest.fixture(scope="module")
def worthless(world: World) -> dict[str, str | None]:
    """Invalid authorization headers by fault."""
    good = world.stack.token("ada")
    head, body, signature = good.split(".")
    header, claims = decoded(head), decoded(body)
    jwks = httpx.get(f"{world.stack.url(IDENTITY_PROVIDER)}/jwks.json").json()
    public = json.dumps(jwks["keys"][0]).encode()
    own_key = ECKey.generate_key("P-256", private=True)
    signed_with_public = f"{encoded({**header, 'alg': 'HS256'})}.{body}"
    mac = hmac.new(public, signed_with_public.encode(), hashlib.sha256).digest()
    form = {"grant_type": "password", "username": "ada"}
    tokens = httpx.post(f"{world.stack.url(IDENTITY_PROVIDER)}/token", data=form).json()

    def forged(**changed: Any) -> str:
        """A token with valid claims, signed by a foreign key under the provider's `kid`."""
        return jwt.encode({"alg": "ES256", "kid": header["kid"]}, claims | changed, own_key)

    bearers = {
        "expired": world.stack.token("ada", lifetime=-60),
        "wrong key": forged(),
        "wrong key, another church": forged(organization_id="hillside"),
        "unknown key": jwt.encode({"alg": "ES256", "kid": "nobody"}, claims, own_key),
        "the sender's own key inside": jwt.encode(
            {"alg": "ES256", "jwk": own_key.as_dict(private=False)}, claims, own_key
        ),
        "alg none": f"{encoded({'alg': 'none', 'typ': 'at+jwt'})}.{body}.",
        "alg none under a key": f"{encoded({**header, 'alg': 'none'})}.{body}.",
        "alg none with the signature": f"{encoded({**header, 'alg': 'none'})}.{body}.{signature}",
        "public key as a secret": f"{signed_with_public}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}",
        "claims changed": f"{head}.{encoded({**claims, 'organization_id': 'hillside'})}.{signature}",
        "signature cut off": f"{head}.{body}.",
        "for another audience": tokens["id_token"],
        "no JWT": "garbage",
        "no JSON": "a.b.c",
        "too long": "x" * 20_000,
        "not even text": "\xff\xfe",
    }
    return {
        "nothing": None,
        "empty": "",
        "Basic": "Basic YWRhOmFkYQ==",
        "no token": "Bearer",
        **{what: f"Bearer {token}" for what, token in bearers.items()},
    }


@pytest.mark.parametrize("method_path", [*ROUTES, *OWN], ids=lambda it: it if isinstance(it, str) else named(it))
def test_an_invalid_token_is_asked_to_sign_in(
    world: World, worthless: dict[str, str | None], method_path: Route | str
) -> None:
    if isinstance(method_path, str):
        method, path = "GET", method_path
    else:
        method, path = method_path.method, world.path(method_path)
    for what, header in worthless.items():
        headers = {} if header is None else {b"authorization": header.encode("latin-1")}
        answer = world.http.request(method, path, headers=headers)
        assert answer.status_code == 401, f"{what}: {answer.status_code} {answer.text[:300]}"
        refused(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Bearer"), what
        told = answer.text.replace(path, "")
        assert not any(secret in told for secret in world.secrets), what


def test_every_address_of_the_api_is_in_the_table_or_known_to_be_the_doors_own(world: World) -> None:
    """A route outside the table would escape these tests."""
    described = world.http.get("/api/v1/openapi.json").json()["paths"]
    assert set(described) == {route.path for route in ROUTES} | {*OWN, *PUBLIC}
    for path in PUBLIC:
        assert not any(secret in world.http.get(path).text for secret in world.secrets)


@pytest.mark.parametrize("route", [route for route in ROUTES if route.owner != WEBHOOK_GATEWAY], ids=named)
def test_the_owner_itself_believes_only_the_door(world: World, route: Route) -> None:
    """Inside the network a platform token, or none, gets no access either."""
    owner = world.stack.url(route.owner)
    for headers in ({}, {"Authorization": f"Bearer {world.stack.token('ada')}"}):
        refused(world.http.request(route.method, owner + world.path(route), headers=headers), 401)


# -- known, but not allowed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", [route for route in ROUTES if route.role == "admin"], ids=named)
def test_staff_do_not_do_an_admins_work(world: World, route: Route) -> None:
    body = minimal(route.request) if route.request else None
    refused(world.sam.api.request(route.method, world.path(route), json=body), 403)


@pytest.mark.parametrize("route", [route for route in ROUTES if route.role == "staff"], ids=named)
def test_staff_read_everything(world: World, route: Route) -> None:
    answer = world.sam.api.request(route.method, world.path(route), params=query(route))
    if route.path.startswith(ASKS_PLANNING_CENTER):
        assert refused(answer, 409)["type"] == "/problems/not-connected"
    elif route.path.startswith(NOTHING_YET):
        refused(answer, 404)
    else:
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("route", WITH_IDS, ids=named)
def test_another_organizations_record_is_not_there(world: World, route: Route) -> None:
    """The answer equals that for an unknown record, word for word."""
    body = minimal(route.request) if route.request else None
    nobodys = {name: str(uuid4()) for name in ids_in(route)}
    theirs, unknown = world.path(route), world.path(route, **nobodys)
    answers = [world.olga.api.request(route.method, path, json=body, params=query(route)) for path in (theirs, unknown)]
    problems = [refused(answer, 404) for answer in answers]
    for problem in problems:
        problem.pop("instance")
        problem.pop("correlation_id", None)
    assert problems[0] == problems[1]
    told = answers[0].text.replace(theirs, "")
    assert not any(secret in told for secret in world.secrets)


@pytest.mark.parametrize("route", [route for route in WITH_IDS if len(ids_in(route)) > 1], ids=named)
def test_another_organizations_record_below_ones_own_is_not_there(world: World, route: Route) -> None:
    own = world.olga.add_member(first_name="Own", last_name="Member")
    path = world.path(route, member_id=own["id"])
    refused(world.olga.api.request(route.method, path, json=minimal(route.request) if route.request else None), 404)


@pytest.mark.parametrize("route", [r for r in ROUTES if r.method == "GET" and not ids_in(r)], ids=named)
def test_lists_and_counts_hold_nothing_of_another_organization(world: World, route: Route) -> None:
    path = world.path(route)
    answers = [world.olga.api.get(path)]
    if route.query is not None:
        # A file has no pages.
        following = None if route.media else world.ada.api.get(path, params={"limit": 1}).json().get("next")
        pages = [following, world.ids["member_id"]]
        answers += [world.olga.api.get(path, params={"after": after}) for after in pages if after]
        names = route.query.model_fields.keys() & world.ids.keys()
        answers += [world.olga.api.get(path, params={name: world.ids[name]}) for name in names]
    for answer in answers:
        never_broken(answer, path)
        assert not any(secret in answer.text for secret in world.secrets), answer.text[:500]


def test_ids_of_another_organization_in_bodies_are_not_there_either(world: World) -> None:
    theirs = world.ids["member_id"]
    own = world.olga.add_member(first_name="Own", last_name="Person")
    family = world.olga.add_family("Own", own)
    before = world.ada.get(f"/people/members/{theirs}")
    for method, path, body in [
        ("POST", "/people/families", {"name": "Thieves", "member_ids": [theirs]}),
        ("POST", "/people/families", {"name": "Thieves", "member_ids": [own["id"], theirs]}),
        ("POST", "/people/families", {"name": "Thieves", "primary_contact_id": theirs}),
        ("PATCH", f"/people/families/{family['id']}", {"member_ids": [own["id"], theirs]}),
        ("PATCH", f"/people/families/{family['id']}", {"primary_contact_id": theirs}),
    ]:
        answer = world.olga.api.request(method, f"/api/v1{path}", json=body)
        refused(answer, 404, 409, 422)
        assert not any(secret in answer.text.replace(theirs, "") for secret in world.secrets), answer.text
    assert [one["name"] for one in world.olga.families()] == ["Own"]
    assert world.ada.get(f"/people/members/{theirs}") == before


# -- bodies --------------------------------------------------------------------------------------------------------


def minimal(model: type[BaseModel]) -> dict[str, Any]:
    """The smallest body that the model takes."""
    schema = model.model_json_schema()
    body = _object(schema, schema.get("$defs", {}))
    model.model_validate(body)
    return body


def query(route: Route) -> dict[str, Any] | None:
    """What the route requires in its query."""
    return minimal(route.query) if route.query else None


def _object(schema: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    return {name: _example(schema["properties"][name], known) for name in schema.get("required", ())}


def _example(schema: dict[str, Any], known: dict[str, Any]) -> Any:
    if "$ref" in schema:
        return _object(known[schema["$ref"].rpartition("/")[2]], known)
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("minItems"):
        return [_example(schema["items"], known)]
    if schema.get("minProperties"):
        return {"x": _example(schema["additionalProperties"], known)}
    if "[0-9]" in schema.get("pattern", ""):
        return "1"
    text = "x" * max(1, schema.get("minLength", 1))
    examples = {"string": text, "integer": schema.get("minimum", 1), "boolean": True, "array": [], "object": {}}
    return examples[schema["type"]]


# Never acceptable, in whatever field.
UNSTORABLE: Final = {
    "NUL": "a\x00b",
    "half of a surrogate pair": "a\udfffb",
}
# Acceptable in some fields, and an error of ours in none.
STRANGE: Final[dict[str, Any]] = {
    "null": None,
    "number": 7,
    "negative": -1,
    "fraction": 0.5,
    "huge": 10**400,
    "above 64 bits": 2**63,
    "boolean": True,
    "empty": "",
    "text": "nonsense",
    "long": "x" * 10_000,
    "list": ["x"],
    "list of lists": [[]],
    "object": {"x": 1},
    "control characters": "\x01\x1b\x7f\u202e",
    "emoji": "👩‍👩‍👧‍👦" * 20,
    "injection": "'; DROP TABLE member; -- %s {x} \\",
    "last year": "9999-12-31",
    "before any year": "0000-00-00",
    "an id of nobody": "00000000-0000-0000-0000-000000000000",
    "ids twice": ["00000000-0000-0000-0000-000000000000"] * 2,
}
# Not JSON, or not an object.
UNREADABLE: Final = {
    "nothing": b"",
    "cut off": b'{"a": ',
    "text": b"nonsense",
    "form": b"first_name=A&last_name=B",
    "not UTF-8": b'{"first_name": "\xff\xfe"}',
    "only bytes": bytes(range(256)),
    "list": b"[]",
    "null": b"null",
    "string": b'"text"',
    "number": b"1",
    "not a number": b"NaN",
    "infinity": b'{"version": 1e999}',
    "endless digits": b'{"version": ' + b"9" * 10_000 + b"}",
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "deep and open": b'{"version":' * 80_000,
    "deep with NUL": b"[" * 50_000 + b'"\\u0000"' + b"]" * 50_000,
    "raw NUL": b'{"first_name": "a\x00b"}',
    "half an escape": b'{"first_name": "\\ud8"}',
    "NUL below": b'[{"a": ["\\u0000"]}]',
    "NUL in a name": b'{"a\\u0000": 1}',
}
JSON: Final = {"content-type": "application/json"}


def send(world: World, route: Route, body: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
    """As Olga, whose church has no records to change: a body is validated before its record is looked up."""
    path = world.path(route, **{name: str(uuid4()) for name in ids_in(route)})
    return world.olga.api.request(route.method, path, content=body, headers=JSON | (headers or {}))


@pytest.mark.parametrize("route", WITH_BODY, ids=named)
def test_an_unreadable_body_is_refused(world: World, route: Route) -> None:
    assert route.request is not None
    for what, body in UNREADABLE.items():
        answer = send(world, route, body)
        assert answer.status_code in {400, 422}, f"{what}: {answer.status_code} {answer.text[:300]}"
        refused(answer, 400, 422)
    good = json.dumps(minimal(route.request)).encode()
    refused(send(world, route, good, {"content-type": "text/plain"}), 415)
    refused(send(world, route, good, {"content-encoding": "gzip", "content-type": "image/png"}), 415)


@pytest.mark.parametrize("route", WITH_BODY, ids=named)
def test_a_misspelt_field_is_named(world: World, route: Route) -> None:
    assert route.request is not None
    body = minimal(route.request) | {"frist_name": "x"}
    problem = refused(send(world, route, json.dumps(body).encode()), 422)
    assert any("frist_name" in error["field"] for error in problem["errors"])


@pytest.mark.parametrize("route", WITH_BODY, ids=named)
def test_no_value_of_any_field_breaks_us(world: World, route: Route) -> None:
    assert route.request is not None
    for field in route.request.model_fields:
        for what, value in UNSTORABLE.items():
            body = minimal(route.request) | {field: value}
            answer = send(world, route, json.dumps(body).encode())
            assert answer.status_code == 422, f"{field}, {what}: {answer.status_code} {answer.text[:300]}"
            refused(answer, 422)
        for what, value in STRANGE.items():
            body = minimal(route.request) | {field: value}
            never_broken(send(world, route, json.dumps(body).encode()), f"{field}, {what}")


@pytest.mark.parametrize(("kind", "model"), [("members", BulkMember), ("families", BulkFamily)])
def test_no_record_of_a_bulk_breaks_the_others(world: World, kind: str, model: type[BaseModel]) -> None:
    good = minimal(model) | {"external_id": f"good-{kind}"}
    strange = [
        minimal(model) | {"external_id": f"{kind}-{field}-{what}", field: value}
        for field in model.model_fields
        for what, value in STRANGE.items()
    ]
    result = world.olga.call("PUT", "/people/bulk", json={kind: [good, *strange]})
    assert result["created"] + result["updated"] + result["unchanged"] + len(result["rejected"]) == 1 + len(strange)
    assert 0 not in {one["position"] for one in result["rejected"]}
    assert all(one["errors"] for one in result["rejected"])
    assert result == world.olga.call("PUT", "/people/bulk", json={kind: [good, *strange]}) | {
        "created": result["created"],
        "updated": result["updated"],
        "unchanged": result["unchanged"],
    }


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method != "GET"], ids=named)
def test_too_large_a_body_is_refused(world: World, route: Route) -> None:
    """With and without an announced length."""
    piece = b" " * 65_536
    more = route.max_body // len(piece) + 1
    refused(send(world, route, piece * more), 413)
    path = world.path(route, **{name: str(uuid4()) for name in ids_in(route)})
    answer = world.olga.api.request(route.method, path, content=(piece for _ in range(more)), headers=JSON)
    refused(answer, 413)


@pytest.mark.parametrize("route", [r for r in ROUTES if r.method != "GET" and not r.request], ids=named)
def test_an_unexpected_body_is_ignored(world: World, route: Route) -> None:
    for what, body in UNREADABLE.items():
        never_broken(send(world, route, body), what)


# -- addresses and queries -----------------------------------------------------------------------------------------

NAMES_NOTHING: Final = (
    "nonsense",
    "0",
    "-1",
    "%20",
    "%00",
    "a%00b",
    "%ff%fe",
    "%ED%A0%80",
    "%2e%2e",
    "%2e%2e%2f%2e%2e%2flivez",
    "..%5c..",
    "%F0%9F%91%A9",
    "{}",
    "x" * 5_000,
    "9" * 400,
    "00000000-0000-0000-0000-00000000000g",
    "urn:uuid:00000000-0000-0000-0000-000000000000",
)


@pytest.mark.parametrize("route", [route for route in ROUTES if PARAMETER.search(route.path)], ids=named)
def test_an_unknown_id_is_not_found(world: World, route: Route) -> None:
    body = minimal(route.request) if route.request else None
    for name in PARAMETER.findall(route.path):
        for value in NAMES_NOTHING:
            path = world.path(route, **{name: value})
            refused(world.ada.api.request(route.method, path, json=body), 400, 404, 405, 422)


def cursor(*key: Any) -> str:
    """Made up, in the form of `Page.next`."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


AFTER: Final = [
    "x",
    "====",
    "\x00",
    "é",
    cursor(),
    cursor(None),
    cursor(10**30),
    cursor(-(10**30)),
    cursor(1e300),
    cursor([]),
    cursor("a", "b"),
    cursor("a\x00b", str(uuid4())),
    cursor("\ud800", str(uuid4())),
    cursor("a", "b\x00", str(uuid4())),
    cursor("a", "b", str(uuid4())),
    cursor("2026-01-01T00:00:00", str(uuid4())),
    cursor("2026-01-01T00:00:00+00:00", str(uuid4())),
    cursor("0001-01-01T00:00:00+14:00", str(uuid4())),
    cursor("9999-12-31T23:59:59-14:00", str(uuid4())),
    cursor("2026-01-01", 5),
    cursor(None, None),
    cursor({}, {}),
    cursor(*[[]] * 100),
]


@pytest.mark.parametrize("route", WITH_QUERY, ids=named)
def test_no_query_breaks_us(world: World, route: Route) -> None:
    assert route.query is not None
    path = world.path(route)
    values = [*map(str, STRANGE.values()), "a\x00b", "%", "_", "\\", "1e5", "true"]
    for field in route.query.model_fields:
        for value in values:
            never_broken(world.ada.api.get(path, params={field: value[:2_000]}), f"{field}={value[:50]}")
        for raw in ("%00", "%ff", "%ED%A0%80", "%", "%zz", "a&a", ""):
            never_broken(world.ada.api.get(f"{path}?{field}={raw}"), f"{field}={raw}")
    for after in AFTER:
        never_broken(world.ada.api.get(path, params={"after": after}), f"after={after}")
    refused(world.ada.api.get(path, params={"limt": "5"}), 422)
    paged = route.query.model_fields.get("limit")
    # A file has all of a list.
    wrong = ("0", str(paged.metadata[1].le + 1), "-1", "many", "1e2", "9" * 5_000) if paged else ("5",)
    for limit in wrong:
        refused(world.ada.api.get(path, params={"limit": limit}), 422)


@pytest.mark.parametrize(
    "path", ["/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v2/people/members", "/api/v1/people/members/", "/nothing"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_there_is_nothing_at_other_addresses(world: World, method: str, path: str) -> None:
    refused(world.ada.api.request(method, path, headers={"Host": "elsewhere.example"}), 404)


@pytest.mark.parametrize("path", sorted({route.path for route in ROUTES} | {*OWN}))
def test_other_methods_are_not_possible(world: World, path: str) -> None:
    fitting = {route.method for route in ROUTES if route.path == path} or {"GET"}
    address = path.format(**world.ids)
    # A literal path may also fit another route's parameter: `/connections/complete`.
    others = {route.method for route in ROUTES if re.fullmatch(PARAMETER.sub("[^/]+", route.path), address)}
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"):
        if method not in fitting | others:
            refused(world.ada.api.request(method, address), 405)


def test_the_inside_is_not_reached_from_outside(world: World) -> None:
    """Leases are only for services, and the gateway does not route to the owners' probes."""
    for path in ("/internal/v1/leases", "/api/v1/../internal/v1/leases", "/api/v1/internal/v1/leases"):
        refused(world.ada.api.post(path, json={"organization_id": "riverbend", "product": PRODUCT}), 404, 405)
    for service in SERVICES:
        if service != WEBHOOK_GATEWAY:
            lease = f"{world.stack.url(service)}/internal/v1/leases"
            refused(world.ada.api.post(lease, json={"organization_id": "riverbend", "product": PRODUCT}), 401, 404)


def test_live_refuses_topics_that_do_not_exist(world: World) -> None:
    refused(world.ada.api.get("/api/v1/live", params={"topics": "auth.token.v1"}), 422)
    refused(world.ada.api.get("/api/v1/live", params={"topics": "a\x00"}), 422)


def test_no_refused_call_left_a_trace(world: World) -> None:
    """No 5xx and no token in any log, and the church is unchanged."""
    world.ada.eventually(lambda: world.ada.get("/people/status")["connected"], "still connected")
    assert world.ada.get(f"/people/runs/{world.ids['run_id']}")["state"] == "done"
    assert world.ada.get("/conflicts/count")["open"] == 1
    assert world.sam.get("/people/settings") == world.ada.get("/people/settings")
    token = world.stack.token("ada")
    for service in SERVICES:
        log = world.stack.process(service).log.read_text()
        assert "unexpected error" not in log, service
        assert "Traceback" not in log, service
        assert token.split(".")[0] not in log, service
