"""Errors of Planning Center, each with advice for the caller.

    PlanningCenterError
    ├── Unauthorized          the token is not accepted, a fresh lease neither       → reconnect
    ├── Forbidden             the connected person may not do this (or a wrong path) → ask for the permission
    ├── NotFound              the vendor says: no such record                        → look again, then it is gone
    ├── Conflict              409, the record exists already                         → look again
    ├── Rejected              422, this record's values are refused                  → give up on this record
    ├── BadRequest            400 and other 4xx: we asked wrongly                    → report, it is our mistake
    ├── Unavailable           5xx, HTML, broken JSON, reset, timeout, deadline       → retry later
    ├── UnexpectedAnswer      an answer this library cannot believe                  → report, decide nothing
    │   └── QueryNotSupported a where/order/include the vendor would ignore          → report
    └── LeaseUnavailable      raised by a `LeaseSource` that cannot answer now       → retry later

A 429 is not in the tree: the pacer waits `Retry-After` and sends again, it never fails a call.

The table below maps an answer to an error; `advice` on the class says what to do. Only `Unavailable` may leave the
outcome open: `outcome_unknown` is true when a POST, PATCH or DELETE was sent and its answer was lost. The vendor has
no idempotency key, so look before such a request is repeated.

`str(error)` carries method, path and status but never a query or a body: both can hold personal data, and messages
end up in logs. The vendor's own words are in `problems`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final

import orjson


class Advice(StrEnum):
    """Advice for the caller."""

    RETRY_LATER = "retry_later"
    """The request is fine; the vendor or the network failed: retry later."""
    RECONNECT = "reconnect"
    """The grant is dead or incomplete: a person of the church has to connect again."""
    ASK_PERMISSION = "ask_permission"
    """The connected person lost, or never had, the permission needed in Planning Center."""
    LOOK_AGAIN = "look_again"
    """Read the record again; reads may be stale for a while after a write."""
    SKIP_RECORD = "skip_record"
    """The vendor will never accept this record's values; go on with the others."""
    REPORT = "report"
    """A defect of ours or a change at the vendor: stop and tell a developer."""


class Hint(StrEnum):
    """The vendor's code words for why a token was refused (docs/overview/errors)."""

    BABOON = "token expired"
    CAPUCHIN = "token revoked"
    PELICAN = "scope missing"
    TRASH_PANDA = "the person has no access to this product"
    CHINCHILLA = "client not found"
    FLAMINGO = "the person is gone"
    LEMMING = "the organization is gone"
    BLACKBIRD = "bad kind parameter"


RENEWABLE_HINTS: Final = frozenset({Hint.BABOON, Hint.CAPUCHIN})
"""Refusals that another token of the same grant can cure; every other one needs a person."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One entry of a JSON:API `errors` list; absent members are `None`."""

    parameter: str | None
    title: str | None
    detail: str | None
    code: str | None = None


class PlanningCenterError(Exception):
    """Base of every error this library raises about the vendor."""

    advice: ClassVar[Advice] = Advice.REPORT

    def __init__(
        self,
        message: str,
        *,
        method: str | None = None,
        path: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        problems: tuple[Problem, ...] = (),
    ) -> None:
        where = f" ({method} {path}{f', HTTP {status}' if status else ''})" if method else ""
        super().__init__(message + where)
        self.method = method
        self.path = path
        """Path without the query."""
        self.status = status
        """HTTP status, `None` when no answer came."""
        self.request_id = request_id
        """The vendor's `X-Request-Id`, for a support case."""
        self.problems = problems


class Unauthorized(PlanningCenterError):
    """401 even with a fresh lease. `hint` is the vendor's code word, if given."""

    advice = Advice.RECONNECT

    def __init__(self, message: str, *, hint: Hint | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.hint = hint

    @property
    def renewable(self) -> bool:
        """Whether another token of the same grant could be accepted.

        False when the vendor names the person, product, scope, client or organization as the reason.
        """
        if self.hint is not None:
            return self.hint in RENEWABLE_HINTS
        return not any("does not have a record in this application" in (p.detail or "") for p in self.problems)


class Forbidden(PlanningCenterError):
    """403. `wrong_path_possible`: the vendor also answers 403 to a POST on a path that cannot create
    (planningcenter/developers#512). `user_agent_possible`: a missing or generic User-Agent gets a bare 403 without
    a JSON body."""

    advice = Advice.ASK_PERMISSION

    def __init__(self, message: str, *, wrong_path_possible: bool, user_agent_possible: bool, **details: Any) -> None:
        super().__init__(message, **details)
        self.wrong_path_possible = wrong_path_possible
        self.user_agent_possible = user_agent_possible


class NotFound(PlanningCenterError):
    """404 with the vendor's JSON body. A new record can be 404 for a while; an unset to-one relationship is 404 too."""

    advice = Advice.LOOK_AGAIN


class Conflict(PlanningCenterError):
    """409 `Duplicate Record`."""

    advice = Advice.LOOK_AGAIN


class Rejected(PlanningCenterError):
    """422. `problems` says which parameter and why."""

    advice = Advice.SKIP_RECORD


class BadRequest(PlanningCenterError):
    """400 and the remaining 4xx: the request itself is wrong."""

    advice = Advice.REPORT


class Reason(StrEnum):
    """Reason for the missing answer."""

    STATUS = "status"
    HTML = "html"
    TRUNCATED = "truncated"
    CONNECTION = "connection"
    TIMEOUT = "timeout"
    DEADLINE = "deadline"


class Unavailable(PlanningCenterError):
    """No usable answer. GETs were already retried; writes never are."""

    advice = Advice.RETRY_LATER

    def __init__(
        self,
        message: str,
        *,
        reason: Reason,
        outcome_unknown: bool,
        retry_after: float | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message, **details)
        self.reason = reason
        self.outcome_unknown = outcome_unknown
        """True when a write was sent and may have taken effect."""
        self.retry_after = retry_after
        """Seconds, when the vendor named them (maintenance)."""


class UnexpectedAnswer(PlanningCenterError):
    """A 2xx with another content than requested, or a collection that contradicts its description."""

    advice = Advice.REPORT


class QueryNotSupported(UnexpectedAnswer):
    """The vendor ignores unknown `where`, `order` and `include` keys with 200 and answers the unfiltered collection;
    `meta.can_query_by`, `can_order_by` and `can_include` of the answer gave it away."""


class LeaseUnavailable(PlanningCenterError):
    """Raised by a `LeaseSource` that cannot answer right now. Tolerated while the held token is still valid."""

    advice = Advice.RETRY_LATER


class AnsweredTooLate(Exception):
    """The vendor accepted a write whose writer had meanwhile lost its lease; `__cause__` is the reason.

    Raised when the callable given to `PlanningCenter.using(answered=...)` raises. Not a `PlanningCenterError`, because
    the vendor is not at fault.
    The receiver may be the only one to know the created id: hand `record` to the record's next writer.
    """

    def __init__(self, method: str, path: str, status: int, body: Any) -> None:
        super().__init__(f"accepted after its writer had lost the lease ({method} {path}, HTTP {status})")
        self.method = method
        self.path = path
        """Path without the query."""
        self.status = status
        self.body = body
        """Decoded JSON of the answer, `None` without a body; `jsonapi.document` reads it."""

    @property
    def record(self) -> tuple[str, str] | None:
        """Type and id of the record in the answer (`("Person", "17")`), `None` if it holds none, as after a DELETE."""
        data = self.body.get("data") if isinstance(self.body, dict) else None
        if not isinstance(data, dict) or not data.get("id"):
            return None
        return str(data.get("type")), str(data["id"])


@dataclass(frozen=True, slots=True)
class Refusal:
    """An unsuccessful answer, as far as it could be parsed."""

    method: str
    path: str
    status: int
    body: bytes
    is_json: bool
    problems: tuple[Problem, ...]
    request_id: str | None = None
    retry_after: float | None = None

    @property
    def details(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "request_id": self.request_id,
            "problems": self.problems,
        }


def _unauthorized(refusal: Refusal) -> PlanningCenterError:
    text = refusal.body.decode("utf-8", "replace")
    hint = next((hint for hint in Hint if hint.name in text), None)
    why = f": {hint.value}" if hint else ""
    return Unauthorized(f"Planning Center does not accept the token{why}", hint=hint, **refusal.details)


def _forbidden(refusal: Refusal) -> PlanningCenterError:
    return Forbidden(
        "Planning Center refuses this to the connected person",
        wrong_path_possible=refusal.method == "POST",
        user_agent_possible=not refusal.is_json,
        **refusal.details,
    )


def _not_found(refusal: Refusal) -> PlanningCenterError:
    return NotFound("Planning Center has no such record", **refusal.details)


def _html_not_found(refusal: Refusal) -> PlanningCenterError:
    # An unrouted path or method, or a proxy's answer: it does not mean that a record is gone.
    return UnexpectedAnswer("404 without the vendor's JSON body: wrong method or path, or a proxy", **refusal.details)


def _conflict(refusal: Refusal) -> PlanningCenterError:
    return Conflict("Planning Center has this record already", **refusal.details)


def _rejected(refusal: Refusal) -> PlanningCenterError:
    parameters = ", ".join(sorted({p.parameter or p.title or "?" for p in refusal.problems})) or "no reason given"
    return Rejected(f"Planning Center rejects the values: {parameters}", **refusal.details)


def _bad_request(refusal: Refusal) -> PlanningCenterError:
    codes = ", ".join(sorted({p.code or p.title or "?" for p in refusal.problems}))
    return BadRequest(f"Planning Center cannot read the request{f': {codes}' if codes else ''}", **refusal.details)


def _unavailable(refusal: Refusal) -> PlanningCenterError:
    return Unavailable(
        "Planning Center is not available",
        reason=Reason.STATUS,
        outcome_unknown=refusal.method != "GET",
        retry_after=refusal.retry_after,
        **refusal.details,
    )


def _redirect(refusal: Refusal) -> PlanningCenterError:
    return UnexpectedAnswer("a redirect, which the API does not use", **refusal.details)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: the first row that fits decides."""

    statuses: range
    json: bool | None
    """Whether the body must be JSON; `None`: either."""
    error: Callable[[Refusal], PlanningCenterError]


TABLE: Final = (
    Row(range(300, 400), None, _redirect),
    Row(range(401, 402), None, _unauthorized),
    Row(range(403, 404), None, _forbidden),
    Row(range(404, 405), True, _not_found),
    Row(range(404, 405), False, _html_not_found),
    Row(range(408, 409), None, _unavailable),
    Row(range(409, 410), None, _conflict),
    Row(range(422, 423), None, _rejected),
    Row(range(400, 500), None, _bad_request),
    Row(range(500, 600), None, _unavailable),
)
"""Status and body to error. 429 is handled before this table."""


def problems_of(body: bytes) -> tuple[bool, tuple[Problem, ...]]:
    """Whether the body is a JSON:API error document, and its entries (OAuth's `error` becomes a code)."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False, ()
    if not isinstance(document, dict):
        return False, ()
    if isinstance(document.get("error"), str):
        return True, (Problem(None, None, document.get("error_description"), document["error"]),)
    entries = document.get("errors")
    if not isinstance(entries, list):
        return False, ()
    return True, tuple(_problem(entry) for entry in entries if isinstance(entry, dict))


def _problem(entry: dict[str, Any]) -> Problem:
    source = entry.get("source")
    parameter = source.get("parameter") or source.get("pointer") if isinstance(source, dict) else None
    return Problem(
        parameter=_text(parameter),
        title=_text(entry.get("title")),
        detail=_text(entry.get("detail")),
        code=_text(entry.get("code")),
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def error_for(
    method: str,
    path: str,
    status: int,
    body: bytes,
    *,
    request_id: str | None = None,
    retry_after: float | None = None,
) -> PlanningCenterError:
    """The error for an answer outside 2xx."""
    is_json, problems = problems_of(body)
    refusal = Refusal(method, path, status, body, is_json, problems, request_id, retry_after)
    for row in TABLE:
        if status in row.statuses and (row.json is None or row.json == is_json):
            return row.error(refusal)
    return UnexpectedAnswer("a status this library does not know", **refusal.details)
