"""The platform API's OpenAPI document, made from the table of routes.

FastAPI describes a second application that is never served: its functions have the signatures that the table gives,
so parameters, bodies and answers appear with their models while the real routes only pass bytes on.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, FastAPI, Header, Path, Query, Security
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPBearer

from contracts.http.auth import Product
from contracts.http.common import Problem
from contracts.http.problems import PROBLEM_TYPES
from contracts.routes import IDEMPOTENCY_KEY, KEY_HOURS, KEY_PATTERN, ROUTES, Route
from contracts.topics import TOPICS
from contracts.values import WEBHOOK_GATEWAY
from webhook_gateway.api.examples import example_of
from webhook_gateway.api.payloads import payloads
from webhook_gateway.usecases.live import LIVE_TOPICS, reads_about

PROBLEMS = {
    401: "No valid sign-in",
    403: "Not for this person's role",
    404: "Not there, or another organization's",
    409: "Not possible in the present state",
    413: "Too large",
    422: "Not acceptable; `errors` names the fields",
    429: "Too many requests of this user, organization or address; `Retry-After` says until when",
    503: "The owner of this part is away; `Retry-After` says for how long",
    504: "The owner of this part did not answer in time",
}
BODY_PROBLEMS = {
    400: "The body is no JSON that can be read",
    408: "The body did not arrive in time",
    415: "Not sent with `Content-Type: application/json`",
}
DESCRIPTION = (
    "Members and families in two-way sync with Planning Center, and events. Every call needs a bearer token (JWT) of "
    "the platform's identity provider. Errors are problem documents (RFC 9457), whose `type` is the address of a page "
    "about it; `/problems` lists them. Lists are paged by `after` and `next`. `GET /api/v1/live` streams changes; "
    "`/api/v1/asyncapi.json` describes the same facts on Kafka. A POST with an "
    "`Idempotency-Key` can be sent again when its answer was lost."
)
PARAMETERS: Final = {
    "bulk_id": "Id of the bulk answer, as it was shown.",
    "conflict_id": "Id of the conflict.",
    "entry_id": "Id of the change in the member's history.",
    "erasure_id": "Id of the erasure.",
    "event_id": "Id of the event.",
    "family_id": "Id of the family.",
    "field": "Name of the field.",
    "held_id": "Id of the held match.",
    "key": "Key of the occurrence, or the day that it begins with, such as 20260405.",
    "member_id": "Id of the member.",
    "number": "Number of the delivery in the log.",
    "product": "The Planning Center product.",
    "replay_id": "Id of the replay.",
    "rule_id": "Id of the rule.",
    "run_id": "Id of the run.",
    "sync_id": "Id that the call which asked for the sync answered with.",
}
"""Descriptions of path parameters by name. `make lint` finds entries missing here, in `TAGS` or in the samples."""
_PATH_TYPES: Final[dict[str, Any]] = {"product": Product}
"""Path parameters with a restricted schema."""
TAGS: Final = {
    "Sign-in": "Who is signed in, and how.",
    "Connections": "Consent to, and disconnect from, Planning Center.",
    "Members": "Members and children of the church.",
    "Families": "Families: households in Planning Center.",
    "Bulk": "Members and families that the platform already has.",
    "Syncs": "Runs of the sync, their plans and questions, undo, and the nightly proof.",
    "Held matches": "People who may be the same person, and wait for an answer.",
    "Conflicts": "Edits on both sides that a person settles.",
    "Rules": "Rules that settle conflicts, shown before they are on.",
    "Settings": "Numbers for the card, and what an administrator chose.",
    "Calendar": "Events of the church, single or series, and their occurrences.",
    "Activity": "What Planning Center tells at once: its subscriptions, deliveries, and what became of them.",
    "Live": "Changes as they happen.",
}
_TAG_OF: Final = (
    ("connections", "Connections"),
    ("people/members", "Members"),
    ("people/families", "Families"),
    ("people/bulk", "Bulk"),
    ("people/held-matches", "Held matches"),
    ("people/merged", "Held matches"),
    ("people/status", "Settings"),
    ("people/settings", "Settings"),
    ("people", "Syncs"),
    ("conflicts/rules", "Rules"),
    ("conflicts", "Conflicts"),
    ("calendar", "Calendar"),
    ("webhooks", "Activity"),
)
_PROBLEM: Final = {"$ref": "#/components/schemas/Problem"}
_SCHEME: Final = "platform-token"
PUBLIC: Final = ("/api/v1/console-settings",)
"""Routes answered without a token."""
_OWN: Final = {
    "/api/v1/me": (401, 429),
    "/api/v1/console-settings": (429, 503),
    "/api/v1/live": (401, 403, 422, 429),
}
"""The gateway's own routes, with the problems of each."""


def make_document(own: APIRouter, *, version: str) -> dict[str, Any]:
    """The document of the table's routes and the gateway's own."""
    described = FastAPI(
        title="Planning Center integration",
        version=version,
        description=DESCRIPTION,
        contact={"name": "Whoever runs this installation"},
        servers=[{"url": "/", "description": "The installation that this document comes from."}],
        openapi_tags=[{"name": name, "description": text} for name, text in TAGS.items()],
    )
    for route in ROUTES:
        described.add_api_route(
            route.path,
            _signature(route),
            methods=[route.method],
            summary=route.summary,
            description="For administrators." if route.role == "admin" else "For staff and administrators.",
            response_model=route.response,
            response_class=Response if route.media else JSONResponse,
            status_code=route.status,
            operation_id=_operation_id(route),
            tags=[_tag(route)],
            response_description=_answer(route),
            responses=_file(route),
        )
    described.include_router(own)
    document = described.openapi()
    schemas = document["components"]["schemas"]
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs") | {"Problem": problem}
    for unused in ("HTTPValidationError", "ValidationError"):  # FastAPI's own schemas
        schemas.pop(unused, None)
    for path, statuses in _OWN.items():
        operation = document["paths"][path]["get"]
        operation["security"] = [] if path in PUBLIC else [{_SCHEME: []}]
        _add_problems(document, operation, statuses, WEBHOOK_GATEWAY)
    for route in ROUTES:
        operation = document["paths"][route.path][route.method.lower()]
        _add_problems(document, operation, [*PROBLEMS, *(BODY_PROBLEMS if route.request else ())], route.owner)
    _type_live_facts(document)
    for operation in _operations(document):
        _give_examples(operation, schemas)
    return document


def _add_problems(document: dict[str, Any], operation: dict[str, Any], statuses: Iterable[int], owner: str) -> None:
    """Move equal answers of an owner to the document's shared components."""
    shared = document["components"].setdefault("responses", {})
    for status in sorted(statuses):
        name = f"{owner}-{status}"
        shared.setdefault(name, _problem(status, owner))
        operation["responses"][str(status)] = {"$ref": f"#/components/responses/{name}"}


def _problem(status: int, owner: str) -> dict[str, Any]:
    """Problem types of all services, of the owner and of the gateway, as links to their pages."""
    types = [
        problem
        for problem in PROBLEM_TYPES.values()
        if problem.status == status and (not problem.owners or {owner, WEBHOOK_GATEWAY} & set(problem.owners))
    ]
    example = {
        "type": types[0].path,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": f"{types[0].meaning} {types[0].remedy}",
        "instance": "urn:uuid:01a22a47-44ff-7746-aceb-d106bf9a5463",
    }
    links = ", ".join(f"[{problem.slug}]({problem.path})" for problem in types)
    return {
        "description": f"{(PROBLEMS | BODY_PROBLEMS)[status]}. Types: {links}.",
        "content": {"application/problem+json": {"schema": _PROBLEM, "example": example}},
    }


def _answer(route: Route) -> str:
    if route.media is not None:
        return "The file."
    if route.response is None:
        return "Done; there is nothing to say about it."
    return inspect.cleandoc(route.response.__doc__ or "").partition("\n")[0] or "One page of the list."


def _tag(route: Route) -> str:
    path = route.path.removeprefix("/api/v1/")
    return next((tag for prefix, tag in _TAG_OF if path.startswith(prefix)), path)


def _file(route: Route) -> dict[int | str, dict[str, Any]]:
    if route.media is None:
        return {}
    return {route.status: {"description": "The file", "content": {route.media: {"schema": {"type": "string"}}}}}


_KEY = Annotated[
    str | None,
    Header(
        alias=IDEMPOTENCY_KEY,
        pattern=KEY_PATTERN,
        description=(
            "Send one with every POST, new for each thing that you want done, such as a UUID. If the answer is lost, "
            f"send the same request with the same key: it is not done again, and within {KEY_HOURS} hours gets the "
            "answer that was lost. Answered 409 (`in-progress`) while the first one is being worked on, and 422 "
            "(`key-reused`) if the key was sent with another request. Without a key a 503 has no `Retry-After` where "
            "it is not known whether something was done."
        ),
        examples=["5f0c8f0e-2f0b-4d0e-9f43-0a3f5b8f6f11"],
    ),
]


def _operation_id(route: Route) -> str:
    words = re.sub(r"[{}]", "", route.path.removeprefix("/api/v1/")).replace("/", "_").replace("-", "_")
    return f"{route.method.lower()}_{words}"


def bearer() -> Any:
    """The security requirement of a call, as a dependency that is described but never called."""
    return Security(HTTPBearer(bearerFormat="JWT", scheme_name=_SCHEME, description="Of the identity provider."))


def _signature(route: Route) -> Callable[..., None]:
    def described() -> None:
        """Never called."""

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(
            name, keyword, annotation=Annotated[_PATH_TYPES.get(name, str), Path(description=PARAMETERS.get(name))]
        )
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    if route.query is not None:
        parameters.append(inspect.Parameter("query", keyword, annotation=Annotated[route.query, Query()]))
    if route.request is not None:
        parameters.append(inspect.Parameter("body", keyword, annotation=route.request))
    if route.keyed:
        parameters.append(inspect.Parameter("idempotency_key", keyword, annotation=_KEY, default=None))
    parameters.append(inspect.Parameter("token", keyword, annotation=Annotated[Any, bearer()]))
    described.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    described.__doc__ = None
    return described


def _type_live_facts(document: dict[str, Any]) -> None:
    """The events of the stream, each with the schema of its `data` line."""
    schemas = document["components"]["schemas"]
    shapes, named = payloads([topic for topic in TOPICS.values() if topic.name in LIVE_TOPICS])
    for name, shape in shapes.items():
        schemas.setdefault(name, shape)
    hello = {
        "type": "object",
        "description": "First, and again whenever facts may have been missed.",
        "properties": {"reread": _paths("Paths to read again.", reads_about("people.record.v1"))},
        "required": ["reread"],
    }
    ended = {"type": "object", "description": "The token has expired: the stream ends."}
    events = [_event("hello", hello), _event("expired", ended)]
    for topic, messages in named.items():
        facts = [
            {
                "type": "object",
                "properties": {
                    "type": {"const": kind, "description": "Which fact it is."},
                    "reread": _paths("Paths whose answers it changes.", reads_about(topic)),
                    "body": {"$ref": f"#/components/schemas/{name}"},
                },
                "required": ["type", "reread", "body"],
            }
            for kind, name in messages.items()
        ]
        events.append(_event(topic, {"description": f"A fact of {topic}, as on Kafka.", "oneOf": facts}))
    schemas["LiveEvent"] = {
        "description": "One server-sent event: what stands behind `event:`, and the JSON behind `data:`.",
        "oneOf": events,
    }
    answer = document["paths"]["/api/v1/live"]["get"]["responses"]["200"]
    answer["content"] = {"text/event-stream": {"schema": {"$ref": "#/components/schemas/LiveEvent"}}}


def _paths(description: str, example: tuple[str, ...]) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string"}, "description": description, "examples": [list(example)]}


def _event(name: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"event": {"const": name, "description": "The event's name."}, "data": data},
        "required": ["event", "data"],
    }


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _give_examples(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    bodies = [operation["requestBody"]] if "requestBody" in operation else []
    for body in [*bodies, *operation["responses"].values()]:  # shared answers already have descriptions
        for media, content in body.get("content", {}).items():
            if media.endswith("json"):
                content["example"] = example_of(content["schema"], schemas, operation["operationId"])
