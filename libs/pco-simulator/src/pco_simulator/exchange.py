"""The values that pass between the HTTP edge and the products it serves.

`app.py` turns an HTTP request into an `ApiRequest` (already authenticated, paced and logged) and hands it to
the product named by the first path segment; a product answers with an `ApiResponse` and knows nothing of HTTP
servers, tokens, rate limits or faults.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

JSON_API = "application/vnd.api+json; charset=utf-8"
JSON = "application/json; charset=utf-8"
HTML = "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a request acts for: a person of one organization, through one application."""

    organization_id: str
    person_id: str
    client_id: str
    auth_method: str
    """As in the vendor's header `X-PCO-API-Auth-Method`: `HTTPBasic` for a personal access token, `OAuth2`."""
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One authenticated API call."""

    method: str
    path: str
    """Without host and query, percent-decoded: `/people/v2/people/1/emails`."""
    query: tuple[tuple[str, str], ...]
    """Decoded pairs in the order sent; `where[first_name]` is a key as it stands."""
    body: bytes
    version: str | None
    """The header `X-PCO-API-Version` as sent."""
    caller: Caller
    now: datetime
    """UTC, the simulator's clock (it may be skewed on purpose)."""
    base_url: str
    """Scheme and host for links, without a trailing slash."""


@dataclass(slots=True)
class ApiResponse:
    """A product's answer; `app.py` adds the vendor's request-id and rate headers."""

    status: int
    body: bytes = b""
    content_type: str = JSON_API
    headers: dict[str, str] = field(default_factory=dict)


Product = Callable[[ApiRequest], ApiResponse]
