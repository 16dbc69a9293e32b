"""Calls to the products without HTTP, tokens and pacing: for tests of their rules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson

from pco_simulator import current
from pco_simulator.calendar import api as calendar
from pco_simulator.calendar.kind import ROOT as CALENDAR
from pco_simulator.exchange import ApiRequest, ApiResponse, Caller
from pco_simulator.people import api as people
from pco_simulator.webhooks import api as webhooks
from pco_simulator.webhooks.kind import ROOT as WEBHOOKS
from pco_simulator.world import Clock, World


class SetClock(Clock):
    """A clock that moves only with `advance`."""

    def __init__(self, at: datetime) -> None:
        super().__init__()
        self.at = at
        self.seconds = 1_000.0

    def now(self) -> datetime:
        """The time set, skewed by `offset`."""
        return self.at + self.offset

    def elapsed(self) -> float:
        """Seconds that only `advance` adds to."""
        return self.seconds

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self.at += timedelta(seconds=seconds)
        self.seconds += seconds


@dataclass(frozen=True, slots=True)
class Answer:
    """A product's answer."""

    status: int
    content_type: str
    headers: Mapping[str, str]
    text: bytes

    @property
    def body(self) -> Any:
        """The decoded JSON document."""
        return orjson.loads(self.text)

    @property
    def data(self) -> Any:
        """Primary data of the document."""
        return self.body["data"]

    @property
    def ids(self) -> list[str]:
        """Ids of the primary data of a collection."""
        return [row["id"] for row in self.data]

    @property
    def error(self) -> Any:
        """The first entry of `errors`."""
        return self.body["errors"][0]


@dataclass(slots=True)
class Direct:
    """Calls made as one person of one church."""

    world: World
    organization_id: str
    person_id: str
    version: str | None = "2026-06-04"
    base_url: str = "https://api.planningcenteronline.com"
    scopes: Sequence[str] = field(default=("people",))

    def get(self, url: str) -> Answer:
        """GET; `url` is a path with its query, or a whole link."""
        return self.call("GET", url)

    def post(self, url: str, attributes: Mapping[str, Any], **relationships: Any) -> Answer:
        """POST; relationships are linkage: `person=("Person", "1")`, or a list of such pairs."""
        return self.call("POST", url, _document(attributes, relationships))

    def patch(self, url: str, attributes: Mapping[str, Any], **relationships: Any) -> Answer:
        """PATCH; arguments as for `post`."""
        return self.call("PATCH", url, _document(attributes, relationships))

    def delete(self, url: str) -> Answer:
        """DELETE one record."""
        return self.call("DELETE", url)

    def call(self, method: str, url: str, body: Any = None) -> Answer:
        """Any call; `body` is bytes or becomes JSON."""
        parts = urlsplit(url)
        raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        caller = Caller(self.organization_id, self.person_id, "client", "HTTPBasic", frozenset(self.scopes))
        request = ApiRequest(
            method=method,
            path=parts.path,
            query=tuple(parse_qsl(parts.query, keep_blank_values=True)),
            body=raw,
            version=self.version,
            caller=caller,
            now=self.world.clock.now().astimezone(UTC),
            base_url=self.base_url,
        )
        handle = people.handle
        if parts.path.startswith(current.ROOT):
            handle = current.handle
        elif parts.path.startswith(CALENDAR):
            handle = calendar.handle
        elif parts.path.startswith(WEBHOOKS):
            handle = webhooks.handle
        answer: ApiResponse = handle(self.world, request)
        return Answer(answer.status, answer.content_type, answer.headers, answer.body)


def _document(attributes: Mapping[str, Any], relationships: Mapping[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {"attributes": dict(attributes)}
    if relationships:
        data["relationships"] = {name: {"data": _linkage(value)} for name, value in relationships.items()}
    return {"data": data}


def _linkage(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, list):
        return [_linkage(one) for one in value]
    return {"type": value[0], "id": value[1]}
