"""The platform API's OpenAPI document, made from the table of routes.

FastAPI describes a second application that is never served: its functions have the signatures that the table gives,
so parameters, bodies and answers appear with their models while the real routes only pass bytes on.
"""

import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Path, Query, Security
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPBearer

from contracts.http.common import Problem
from contracts.routes import ROUTES, Route

PROBLEMS = {
    401: "No valid sign-in",
    403: "Not for this person's role",
    404: "Not there, or another organization's",
    409: "Not possible in the present state",
    413: "Too large",
    422: "Not acceptable; `errors` names the fields",
    503: "The owner of this part is away; `Retry-After` says for how long",
    504: "The owner of this part did not answer in time",
}
BODY_PROBLEMS = {
    400: "The body is no JSON that can be read",
    415: "Not sent with `Content-Type: application/json`",
}
DESCRIPTION = (
    "Members and families in two-way sync with Planning Center. Every call needs a bearer token (JWT) of the "
    "platform's identity provider. Errors are problem documents (RFC 9457). Lists are paged by `after` and `next`. "
    "`GET /api/v1/live` streams changes."
)
_PARTS = {"connections": "Connections", "people": "People", "conflicts": "Conflicts", "calendar": "Calendar"}


def make_document(own: APIRouter, *, version: str) -> dict[str, Any]:
    """The document: the table's routes, and those that the gateway answers by itself."""
    described = FastAPI(title="Planning Center integration", version=version, description=DESCRIPTION)
    security = HTTPBearer(bearerFormat="JWT", description="Of the platform's identity provider.")
    for route in ROUTES:
        described.add_api_route(
            route.path,
            _signature(route, security),
            methods=[route.method],
            summary=route.summary,
            description="For administrators." if route.role == "admin" else "For staff and administrators.",
            response_model=route.response,
            response_class=Response if route.media else JSONResponse,
            status_code=route.status,
            operation_id=_operation_id(route),
            tags=[_PARTS[route.path.split("/")[3]]],
            responses=_file(route)
            | {
                status: {"description": text, "content": {"application/problem+json": {"schema": _PROBLEM}}}
                for status, text in sorted((PROBLEMS | (BODY_PROBLEMS if route.request else {})).items())
            },
        )
    described.include_router(own)
    document = described.openapi()
    document["components"]["schemas"].setdefault("Problem", Problem.model_json_schema())
    return document


def _file(route: Route) -> dict[int | str, dict[str, Any]]:
    if route.media is None:
        return {}
    return {route.status: {"description": "The file", "content": {route.media: {"schema": {"type": "string"}}}}}


_PROBLEM = {"$ref": "#/components/schemas/Problem"}


def _operation_id(route: Route) -> str:
    words = re.sub(r"[{}]", "", route.path.removeprefix("/api/v1/")).replace("/", "_").replace("-", "_")
    return f"{route.method.lower()}_{words}"


def _signature(route: Route, security: HTTPBearer) -> Callable[..., None]:
    def described() -> None:
        """Never called."""

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(name, keyword, annotation=Annotated[str, Path()])
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    if route.query is not None:
        parameters.append(inspect.Parameter("query", keyword, annotation=Annotated[route.query, Query()]))
    if route.request is not None:
        parameters.append(inspect.Parameter("body", keyword, annotation=route.request))
    parameters.append(inspect.Parameter("token", keyword, annotation=Annotated[Any, Security(security)]))
    described.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    described.__doc__ = None
    return described
