"""Fault scripts: each matches requests and acts on some of them.

A script matches requests to the API and to OAuth (never the control API or the pages). Its matches are counted
from 1 in the order of arrival; `nth`, `every` and `probability` choose among them and `times` bounds how often
it acts. Several scripts may hit one request: they act in the order in which they were added.
"""

import asyncio
import random
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pco_simulator.exchange import Caller
from pco_simulator.jsonapi import Refused, duplicate, forbidden_attribute, invalid, parse_write

When = Literal["before", "after"]
"""Relative to serving the request: a write is stored `after`, and not yet `before`."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Turns(_Model):
    """Chooses among the matches of a script, which are counted from 1; the default is every match."""

    nth: Annotated[int, Field(ge=1)] | None = None
    """Only the n-th match."""
    skip: Annotated[int, Field(ge=0)] = 0
    """Number of first matches left alone; `every` counts from there."""
    every: Annotated[int, Field(ge=1)] = 1
    """Each k-th match."""
    probability: Annotated[float, Field(ge=0, le=1)] = 1
    seed: int = 0
    """Seed of the random choice by `probability`."""
    times: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of times the script acts."""


class Match(Turns):
    """Selects requests; an absent criterion matches every request."""

    method: str | None = None
    """One method, or several with `|` between them."""
    path: str | None = None
    """Regular expression searched in the decoded path."""
    query: str | None = None
    """Regular expression searched in the decoded query (`where[updated_at][gte]=...&offset=25`)."""
    organization_id: str | None = None
    person_id: str | None = None
    client_id: str | None = None


class Latency(_Model):
    """Delay the request before it is served."""

    kind: Literal["latency"] = "latency"
    ms: Annotated[int, Field(ge=0)]
    jitter_ms: Annotated[int, Field(ge=0)] = 0
    when: When = "before"


class Respond(_Model):
    """Answer with this status: instead of serving the request, or (`after`) once it is served."""

    kind: Literal["respond"] = "respond"
    status: Annotated[int, Field(ge=200, le=599)]
    body: Literal["errors", "empty", "html"] = "errors"
    """`errors`: a JSON:API errors document; `html`: the page of a proxy that gave up."""
    title: str | None = None
    detail: str | None = None
    code: str | None = None
    retry_after: int | None = None
    when: When = "before"


class TooManyRequests(_Model):
    """A 429 with the recorded body at any request count. The refused call counts like any other."""

    kind: Literal["too_many_requests"] = "too_many_requests"
    retry_after: Annotated[int, Field(ge=0)] = 1


class Truncate(_Model):
    """Serve the request and send only the first part of the answer."""

    kind: Literal["truncate"] = "truncate"
    keep: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the body that is sent."""
    mode: Literal["connection", "length"] = "connection"
    """`connection`: the connection breaks in the middle of the announced length; `length`: the length is that of
    the part sent, so only the JSON is broken."""


class Reset(_Model):
    """Reset the connection (RST), before serving or after: then the write is stored and its answer lost."""

    kind: Literal["reset"] = "reset"
    when: When = "before"


class Hold(_Model):
    """Hold the request until it is released.

    A client that goes away meanwhile loses its answer (`after`) or, as `if_gone` says, the request (`before`), even
    when it goes at the very moment of the release.
    """

    kind: Literal["hold"] = "hold"
    when: When = "before"
    if_gone: Literal["lost", "carried_out"] = "lost"
    """`lost`: the request never reached the vendor. `carried_out`: the vendor already has the request, holds it on
    after its client is gone, and carries it out when released, unless the release says otherwise."""


class ChangeSettings(_Model):
    """Change live settings before the request is judged, e.g. `{"rate_limit": 10}`."""

    kind: Literal["settings"] = "settings"
    values: dict[str, Any]


class EndToken(_Model):
    """Revoke or expire tokens of the grant that the request was sent with, before it is judged."""

    kind: Literal["end_token"] = "end_token"
    op: Literal["revoke", "expire"] = "revoke"
    which: Literal["access", "refresh", "both"] = "both"


class Mutation(_Model):
    """One change by staff at Planning Center.

    Ids may be `$1`, `$2`, ...: groups of the script's `path` expression; `random` is some person of the church, or some
    row of a type of Calendar; `last` is the person, or event, created last by a mutation.
    """

    op: Literal["create", "edit", "delete", "merge", "move", "set_raw"]
    """`create` also makes a `Household` of `name` and `person_ids`, the first of whom is its primary contact, an
    `Event` with its instances, a further `EventInstance` of the event `id`, and by `EventRequest` a pending event that
    a form asks for. `edit` of `CalendarAccess` sets the `role` of the person `id`.

    `move` takes a person (`id`) to `household_id`, out of `from_household_id` or else of all others; null: to none.
    `set_raw` edits past every rule: what the vendor has from elsewhere and delivers though it would refuse it, such as
    a NUL or half a surrogate pair in a name, `0000-00-00`, a read-only value.
    """
    type: str = "Person"
    id: str = "random"
    """The row that is edited or deleted; with `merge` the person kept; with `create` of a contact its person."""
    remove_id: str = "random"
    """With `merge`: the person that goes."""
    attributes: dict[str, Any] = Field(default_factory=dict)
    organization_id: str | None = None
    """Default: the caller's organization."""


class Mutate(_Model):
    """Staff at Planning Center change the church right before or right after the request is served."""

    kind: Literal["mutate"] = "mutate"
    when: When = "before"
    mutations: Annotated[list[Mutation], Field(min_length=1)]


class Omit(_Model):
    """Serve the request and omit one element of the answer. Only answers that carry the element count as matches.

    Exactly one of `relationship`, `data_of`, `attribute` and `included` names the element.
    """

    kind: Literal["omit"] = "omit"
    type: str | None = None
    """Type of the resource that loses the element, anywhere in the document; default: any type."""
    id: str | None = None
    """Id of that resource; with `included` the id of the omitted row."""
    relationship: str | None = None
    """Name of a relationship to omit whole."""
    data_of: str | None = None
    """Name of a relationship that loses only `data`; its links stay."""
    attribute: str | None = None
    included: str | None = None
    """Type of the rows to omit from `included` (`*`: every row); an emptied `included` is omitted as well."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if len([one for one in (self.relationship, self.data_of, self.attribute, self.included) if one]) != 1:
            raise ValueError("exactly one of relationship, data_of, attribute and included must name what to omit")
        return self

    def carried(self, document: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The resources of an answer that carry the element to omit."""
        rows = document.get("included") or []
        if self.included is not None:
            return [row for row in rows if self.included in {"*", row["type"]} and self.id in {None, row["id"]}]
        data = document.get("data")
        rows = [*(data if isinstance(data, list) else [data] if data else []), *rows]
        rows = [row for row in rows if self.type in {None, row["type"]} and self.id in {None, row["id"]}]
        if self.attribute is not None:
            return [row for row in rows if self.attribute in row.get("attributes", {})]
        if self.data_of is not None:
            return [row for row in rows if "data" in row.get("relationships", {}).get(self.data_of, {})]
        return [row for row in rows if self.relationship in row.get("relationships", {})]

    def leave_out(self, document: dict[str, Any], carried: list[dict[str, Any]]) -> None:
        """Remove the element from the resources that carry it."""
        if self.included is not None:
            document["included"] = [row for row in document["included"] if row not in carried]
            if not document["included"]:
                del document["included"]
        for row in carried:
            if self.attribute is not None:
                del row["attributes"][self.attribute]
            elif self.data_of is not None:
                del row["relationships"][self.data_of]["data"]
            elif self.relationship is not None:
                del row["relationships"][self.relationship]


class Refuse(_Model):
    """Refuse writes that name an attribute or relationship. Other writes do not count as matches."""

    kind: Literal["refuse"] = "refuse"
    attribute: Annotated[str, Field(min_length=1)]
    value: str | None = None
    """Regular expression searched in the value; default: any value."""
    error: Literal["forbidden_attribute", "duplicate", "validation"] = "forbidden_attribute"
    """422 `Forbidden Attribute`, 409 `Duplicate Record`, or 422 `Validation Error`."""
    detail: str | None = None
    """Replaces the vendor's `detail`."""

    def concerns(self, body: bytes) -> bool:
        """Whether a write names the attribute or relationship, with a matching value."""
        try:
            attributes, relationships = parse_write(body)
        except Refused:
            return False
        given = {**relationships, **attributes}
        if self.attribute not in given:
            return False
        value = given[self.attribute]
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
        return self.value is None or re.search(self.value, text) is not None

    def refusal(self, body: bytes) -> Refused:
        """The error document in the vendor's words."""
        match self.error:
            case "forbidden_attribute":
                refused = forbidden_attribute(self.attribute)
            case "duplicate":
                refused = duplicate()
            case "validation":
                type_ = orjson.loads(body)["data"].get("type") or "Person"
                refused = invalid(type_, self.attribute, "is invalid")
        if self.detail is None:
            return refused
        return Refused(refused.status, {**refused.errors[0], "detail": self.detail})


Action = Annotated[
    Latency | Respond | TooManyRequests | Truncate | Reset | Hold | ChangeSettings | EndToken | Mutate | Omit | Refuse,
    Field(discriminator="kind"),
]


class Fault(_Model):
    """A script: a match and an action."""

    match: Match = Field(default_factory=Match)
    action: Action


class FaultState(Fault):
    """A script with its counts."""

    id: str
    matched: int
    acted: int
    holding: int
    """Number of requests held now."""


class Counted:
    """A script that counts its matches and chooses among them."""

    def __init__(self, turns: Turns) -> None:
        self.matched = 0
        self.acted = 0
        self._turns = turns
        self._random = random.Random(turns.seed)  # noqa: S311 - which matches fail, not a secret

    def count(self) -> bool:
        """Count one more match; gives whether the script acts on it."""
        self.matched += 1
        chosen = self._chosen()
        self.acted += chosen
        return chosen

    def _chosen(self) -> bool:
        turns = self._turns
        if turns.times is not None and self.acted >= turns.times:
            return False
        if turns.nth is not None and self.matched != turns.nth:
            return False
        turn = self.matched - turns.skip
        if turn < 1 or turn % turns.every:
            return False
        return turns.probability >= 1 or self._random.random() < turns.probability


class Script(Counted):
    """One fault script at work."""

    def __init__(self, id_: str, fault: Fault) -> None:
        super().__init__(fault.match)
        self.id = id_
        self.fault = fault
        self.holding = 0
        match = fault.match
        self._methods = frozenset(match.method.upper().split("|")) if match.method else None
        self._path = re.compile(match.path) if match.path else None
        self._query = re.compile(match.query) if match.query else None
        self._held: set[asyncio.Future[bool | None]] = set()

    def state(self) -> FaultState:
        """As shown by the control API."""
        return FaultState(
            id=self.id,
            match=self.fault.match,
            action=self.fault.action,
            matched=self.matched,
            acted=self.acted,
            holding=self.holding,
        )

    def hits(self, method: str, path: str, query: str, caller: Caller | None) -> "Hit | None":
        """Count the request if it matches; gives the hit if the script acts on it.

        A script that inspects the request or its answer calls `count` later, once it has found its element.
        """
        match = self.fault.match
        if self._methods is not None and method not in self._methods:
            return None
        found = self._path.search(path) if self._path else None
        if self._path is not None and found is None:
            return None
        if self._query is not None and self._query.search(query) is None:
            return None
        if not _is_caller(match, caller):
            return None
        hit = Hit(self, tuple(group or "" for group in found.groups()) if found else ())
        return hit if isinstance(self.fault.action, Omit | Refuse) or self.count() else None

    def release(self, *, carry_out: bool | None = None) -> int:
        """Release the held requests; gives their number. Later requests are held again.

        `carry_out`: whether they are carried out, with their clients still connected or not; None: as the script says.
        """
        held = len(self._held)
        while self._held:
            self._held.pop().set_result(carry_out)
        return held

    async def hold(self, gone: "asyncio.Future[None]", is_gone: Callable[[], bool]) -> bool:
        """Hold the request until it is released; gives whether it is carried out.

        `gone` ends when the client has gone. Its end can arrive later than the release, so `is_gone` is asked as
        well: a client that died before the release is never served.
        """
        outlives = isinstance(self.fault.action, Hold) and self.fault.action.if_gone == "carried_out"
        released: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
        self._held.add(released)
        self.holding += 1
        waited: set[asyncio.Future[Any]] = {released} if outlives else {released, gone}
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            carry_out = released.result() if released.done() else None
            return (outlives or not is_gone()) if carry_out is None else carry_out
        finally:
            self._held.discard(released)
            self.holding -= 1


class Hit:
    """A script that acts on one request."""

    def __init__(self, script: Script, groups: tuple[str, ...]) -> None:
        self.script = script
        self.groups = groups
        """Groups of the path expression: what `$1` stands for."""

    @property
    def action(self) -> Action:
        """The script's action."""
        return self.script.fault.action

    @property
    def label(self) -> str:
        """Label in the journal, such as `reset:after`."""
        when = getattr(self.action, "when", None)
        return f"{self.action.kind}:{when}" if when else self.action.kind


def _is_caller(match: Match, caller: Caller | None) -> bool:
    wanted = (match.organization_id, match.person_id, match.client_id)
    if wanted == (None, None, None):
        return True
    if caller is None:
        return False
    have = (caller.organization_id, caller.person_id, caller.client_id)
    return all(want is None or want == has for want, has in zip(wanted, have, strict=True))


F = TypeVar("F")
S = TypeVar("S")


class Scripts(Generic[F, S]):
    """Running scripts by id. `script` makes one of its id and its fault."""

    def __init__(self, script: Callable[[str, F], S]) -> None:
        self._make = script
        self._scripts: dict[str, S] = {}
        self._number = 0

    def add(self, fault: F) -> S:
        """Add a script."""
        self._number += 1
        id_ = str(self._number)
        self._scripts[id_] = self._make(id_, fault)
        return self._scripts[id_]

    def get(self, id_: str) -> S | None:
        """A script by id, or None."""
        return self._scripts.get(id_)

    def all(self) -> list[S]:
        """All scripts in the order added."""
        return list(self._scripts.values())

    def remove(self, id_: str) -> bool:
        """Stop a script."""
        return self._scripts.pop(id_, None) is not None

    def clear(self) -> None:
        """Stop all scripts."""
        for id_ in list(self._scripts):
            self.remove(id_)


class Faults(Scripts[Fault, Script]):
    """All scripts for requests."""

    def __init__(self) -> None:
        super().__init__(Script)

    def remove(self, id_: str) -> bool:
        """Stop a script and release the requests it holds."""
        script = self.get(id_)
        if script is not None:
            script.release()
        return super().remove(id_)

    def hits(self, method: str, path: str, query: str, caller: Caller | None) -> list[Hit]:
        """The scripts that act on a request that has just arrived."""
        if not self._scripts:
            return []
        hits = (script.hits(method, path, query, caller) for script in self._scripts.values())
        return [hit for hit in hits if hit is not None]
