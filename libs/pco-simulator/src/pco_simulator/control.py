"""The control API under `/_sim/`: settings, fault scripts, journal, truth, mutations, tokens, applications.

Described by its own OpenAPI, `/_sim/openapi.json`. It asks for no credentials.
"""

import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import orjson
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pco_simulator.faults import ChangeSettings, Fault, FaultState, Mutation, Refuse, Script
from pco_simulator.feeds import Outcome
from pco_simulator.journal import Entry
from pco_simulator.settings import Settings
from pco_simulator.simulator import Simulator
from pco_simulator.tokens import Client, Grant, PersonalAccessToken, Token
from pco_simulator.webhooks.control import add_webhooks


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewClient(_Model):
    """An OAuth application; what is left out is made up."""

    id: str | None = None
    secret: str | None = None
    public: bool = False
    """Without a secret: must use PKCE."""
    redirect_uris: Annotated[list[str], Field(min_length=1)]
    name: str = "Example application"


class NewPersonalAccessToken(_Model):
    """A personal access token of somebody who can log in; what is left out is made up."""

    organization_id: str
    person_id: str
    id: str | None = None
    secret: str | None = None
    name: str = "Test client"


class EndGrants(_Model):
    """Selects the tokens to end by kind, organization, person and application."""

    op: Literal["revoke", "expire"] = "revoke"
    which: Literal["access", "refresh", "both"] = "both"
    organization_id: str | None = None
    person_id: str | None = None
    client_id: str | None = None


class NewFeed(_Model):
    """An iCal feed to subscribe to."""

    url: str
    name: str = "iCal feed"
    published: bool = True
    """Whether its events are visible in Church Center."""


class GrantState(_Model):
    """A consent and how its tokens stand; token values are not shown."""

    id: str
    client_id: str
    organization_id: str
    person_id: str
    scopes: list[str]
    created_at: float
    live_access_tokens: int
    live_refresh_tokens: int


class Done(_Model):
    """Number of tokens or requests that a call affected."""

    count: int


def control_api(simulator: Simulator) -> FastAPI:
    """The control API over one simulator."""
    api = FastAPI(
        title="Planning Center simulator: control API",
        version="1",
        description=__doc__ or "",
        openapi_url="/_sim/openapi.json",
        docs_url=None,  # FastAPI's page loads its scripts from a CDN, so it stays empty on a machine without internet
        redoc_url=None,
    )
    api.add_exception_handler(RequestValidationError, _refused)
    _add_settings(api, simulator)
    _add_faults(api, simulator)
    _add_journal(api, simulator)
    _add_world(api, simulator)
    _add_calendar(api, simulator)
    _add_tokens(api, simulator)
    add_webhooks(api, simulator.world, simulator.webhooks)
    return api


async def _refused(_request: Request, error: Exception) -> Response:
    """422 with message and location of each error; the rejected input is left out because it may not be valid text."""
    assert isinstance(error, RequestValidationError)
    detail = [{name: one[name] for name in ("type", "loc", "msg")} for one in error.errors()]
    return JSONResponse({"detail": detail}, 422)


def _add_settings(api: FastAPI, simulator: Simulator) -> None:
    @api.get("/_sim/health", tags=["settings"])
    async def health() -> dict[str, str]:
        """Answers as soon as requests are served."""
        return {"status": "ok"}

    @api.get("/_sim/settings", tags=["settings"])
    async def get_settings() -> Settings:
        """The settings as they are."""
        return simulator.settings

    @api.patch("/_sim/settings", tags=["settings"])
    async def change_settings(values: Settings) -> Settings:
        """Change the settings that are given, all or none; the others stay as they are."""
        return simulator.change_settings(values.model_dump(exclude_unset=True))

    @api.post("/_sim/settings/reset", tags=["settings"])
    async def reset_settings() -> Settings:
        """Every setting back to its default, and every rate-limit window empty."""
        simulator.pacer.reset()
        return simulator.change_settings(Settings().model_dump())

    @api.post("/_sim/rate-windows/reset", tags=["settings"], status_code=204)
    async def reset_windows() -> None:
        """Forget how many requests were sent."""
        simulator.pacer.reset()


def _add_faults(api: FastAPI, simulator: Simulator) -> None:
    def script(fault_id: str) -> Script:
        found = simulator.faults.get(fault_id)
        if found is None:
            raise HTTPException(404, f"There is no fault script {fault_id}.")
        return found

    @api.get("/_sim/faults", tags=["faults"])
    async def list_faults() -> list[FaultState]:
        """All scripts with their counts, in the order added."""
        return [each.state() for each in simulator.faults.all()]

    @api.post("/_sim/faults", tags=["faults"], status_code=201)
    async def add_fault(fault: Fault) -> FaultState:
        """Add a script."""
        if isinstance(fault.action, ChangeSettings):
            _check_settings(simulator, fault.action.values)
        _check_expressions(fault)
        return simulator.faults.add(fault).state()

    @api.get("/_sim/faults/{fault_id}", tags=["faults"])
    async def get_fault(fault_id: str) -> FaultState:
        """One script with its counts."""
        return script(fault_id).state()

    @api.post("/_sim/faults/{fault_id}/release", tags=["faults"])
    async def release(fault_id: str, carry_out: bool | None = None) -> Done:
        """Release the requests held by a `hold`; later ones are held again.

        `carry_out`: whether they are carried out, even when their clients are gone; default: as the script says.
        """
        return Done(count=script(fault_id).release(carry_out=carry_out))

    @api.delete("/_sim/faults/{fault_id}", tags=["faults"], status_code=204)
    async def remove_fault(fault_id: str) -> None:
        """Stop a script and release the requests it holds."""
        script(fault_id)
        simulator.faults.remove(fault_id)

    @api.delete("/_sim/faults", tags=["faults"], status_code=204)
    async def clear_faults() -> None:
        """Stop all scripts."""
        simulator.faults.clear()


def _check_settings(simulator: Simulator, values: dict[str, Any]) -> None:
    try:
        Settings.model_validate({**simulator.settings.model_dump(), **values})
    except ValidationError as error:
        raise HTTPException(422, orjson.loads(error.json(include_url=False, include_context=False))) from error


def _check_expressions(fault: Fault) -> None:
    value = fault.action.value if isinstance(fault.action, Refuse) else None
    for expression in (fault.match.path, fault.match.query, value):
        _check_expression(expression)


def _check_expression(expression: str | None) -> None:
    if expression is None:
        return
    try:
        re.compile(expression)
    except re.error as error:
        raise HTTPException(422, f"{expression!r} is no regular expression: {error}") from error


def _add_journal(api: FastAPI, simulator: Simulator) -> None:
    @api.get("/_sim/journal", tags=["journal"])
    async def journal(
        after: Annotated[int, Query(ge=0)] = 0,
        method: str | None = None,
        path: str | None = None,
        limit: Annotated[int, Query(ge=1, le=100_000)] = 1_000,
    ) -> list[Entry]:
        """The newest kept requests with a sequence number above `after`, oldest first.

        `path` is a regular expression. Writes are kept longer than reads; counters cover everything.
        """
        _check_expression(path)
        return simulator.journal.entries(after=after, method=method, path=path, limit=limit)

    @api.get("/_sim/journal/kinds", tags=["journal"])
    async def kinds() -> dict[str, int]:
        """Requests since the mark per kind, such as `POST /people/v2/people/{id}/emails`."""
        return simulator.journal.kinds()

    @api.get("/_sim/journal/summary", tags=["journal"])
    async def summary() -> dict[str, int | dict[str, int]]:
        """`last_seq`, `marked_at`, `requests` and `statuses` since the mark."""
        return simulator.journal.summary()

    @api.post("/_sim/journal/mark", tags=["journal"])
    async def mark() -> dict[str, int]:
        """Start the counters afresh; `seq` is the last request before the mark (use it as `after`)."""
        return {"seq": simulator.journal.mark()}


def _add_world(api: FastAPI, simulator: Simulator) -> None:
    world = simulator.world

    def known(organization_id: str) -> str:
        if organization_id not in world.organizations:
            raise HTTPException(404, f"There is no organization {organization_id}.")
        return organization_id

    @api.get("/_sim/organizations", tags=["world"])
    async def organizations() -> list[dict[str, Any]]:
        """The churches, each with those who can log in."""
        return [
            {
                "id": church.id,
                "name": church.name,
                "subdomain": church.subdomain,
                "time_zone": church.time_zone,
                "country_code": church.country_code,
                "logins": [
                    {
                        "person_id": login.person_id,
                        "name": login.name,
                        "email": login.email,
                        "people_permissions": login.people_permissions,
                        "organization_administrator": login.organization_administrator,
                        "products": sorted(login.products),
                        "calendar_role": login.calendar_role,
                    }
                    for login in world.logins
                    if login.organization_id == church.id
                ],
            }
            for church in world.organizations.values()
        ]

    @api.get("/_sim/organizations/{organization_id}/truth", tags=["world"])
    async def truth(organization_id: str) -> dict[str, int]:
        """Counts per kind as they are now, whatever lag the API shows."""
        return world.truth(known(organization_id))

    @api.get("/_sim/organizations/{organization_id}/dump", tags=["world"])
    async def dump(organization_id: str) -> StreamingResponse:
        """Every row as it is now, one JSON object per line: `{"type", "id", "attributes", ...}`."""
        known(organization_id)
        # Collected at once: the church must not change between two lines.
        rows = [orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in world.dump(organization_id)]

        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(rows), 1_000):
                yield b"".join(rows[start : start + 1_000])

        return StreamingResponse(chunks(), media_type="application/x-ndjson")

    @api.post("/_sim/organizations/{organization_id}/mutations", tags=["world"], status_code=201)
    async def mutate(organization_id: str, mutations: list[Mutation]) -> list[dict[str, str]]:
        """Change rows as staff at Planning Center would; gives `{"op", "type", "id"}` per mutation, in order.

        Mutations before a refused one stay applied.
        """
        known(organization_id)
        with _told():
            return [simulator.mutator.apply(each, organization_id) for each in mutations]


def _add_calendar(api: FastAPI, simulator: Simulator) -> None:
    world, feeds = simulator.world, simulator.feeds

    def known(organization_id: str) -> str:
        if organization_id not in world.organizations:
            raise HTTPException(404, f"There is no organization {organization_id}.")
        return organization_id

    @api.get("/_sim/organizations/{organization_id}/events", tags=["calendar"])
    async def events(organization_id: str, event_id: int | None = None) -> list[dict[str, Any]]:
        """Events as they are now, each with its `instances` by start; values as stored, absent ones omitted."""
        view = world.view(known(organization_id))
        rows = [row for (id_,) in view.entries("Event", ()) if (row := view.get("Event", id_)) is not None]
        return [
            {
                "id": str(row.id),
                **row.attrs,
                "instances": [
                    {"id": str(each.id), **each.attrs}
                    for each in sorted(
                        view.children("EventInstance", "event_id", row.id),
                        key=lambda each: (each.attrs.get("starts_at") or "", each.id),
                    )
                ],
            }
            for row in rows
            if event_id in {None, row.id}
        ]

    @api.get("/_sim/organizations/{organization_id}/feeds", tags=["calendar"])
    async def list_feeds(organization_id: str) -> list[dict[str, Any]]:
        """The feeds of a church, those of other products included."""
        view = world.view(known(organization_id))
        return [{"id": str(row.id), **row.attrs} for row in view.all("Feed")]

    @api.post("/_sim/organizations/{organization_id}/feeds", tags=["calendar"], status_code=201)
    async def subscribe(organization_id: str, new: NewFeed) -> dict[str, str]:
        """Subscribe to an iCal feed as staff of a church would; it is read by `refresh`."""
        with _told():
            return {"id": feeds.subscribe(known(organization_id), new.url, new.name, published=new.published)}

    @api.post("/_sim/organizations/{organization_id}/feeds/{feed_id}/refresh", tags=["calendar"])
    async def refresh(organization_id: str, feed_id: str) -> Outcome:
        """Read a feed now; gives how many events that changed."""
        with _told():
            return await feeds.refresh(known(organization_id), feed_id)

    @api.delete("/_sim/organizations/{organization_id}/feeds/{feed_id}", tags=["calendar"], status_code=204)
    async def unsubscribe(organization_id: str, feed_id: str) -> None:
        """End a subscription and delete its events."""
        with _told():
            feeds.end(known(organization_id), feed_id)


@contextmanager
def _told() -> Iterator[None]:
    """Refusals as errors of HTTP."""
    try:
        yield
    except KeyError as error:
        raise HTTPException(404, f"Not found: {error.args[0] if error.args else error}") from error
    except ValueError as error:
        raise HTTPException(422, str(error)) from error


def _add_tokens(api: FastAPI, simulator: Simulator) -> None:
    store = simulator.store

    @api.get("/_sim/clients", tags=["tokens"])
    async def clients() -> list[Client]:
        """The OAuth applications, secrets included: nothing here is real."""
        return list(store.clients.values())

    @api.post("/_sim/clients", tags=["tokens"], status_code=201)
    async def register(new: NewClient) -> Client:
        """Register an application, or replace the one with this id."""
        secret = None if new.public else new.secret or f"pco_app_{secrets.token_hex(32)}"
        client = Client(new.id or secrets.token_hex(32), secret, new.redirect_uris, new.name)
        store.register_client(client)
        return client

    @api.get("/_sim/personal-access-tokens", tags=["tokens"])
    async def personal_access_tokens() -> list[PersonalAccessToken]:
        """All personal access tokens: one per login from the start."""
        return list(store.personal_access_tokens.values())

    @api.post("/_sim/personal-access-tokens", tags=["tokens"], status_code=201)
    async def add_personal_access_token(new: NewPersonalAccessToken) -> PersonalAccessToken:
        """Add a personal access token; all tokens of a person share one rate limit."""
        if simulator.world.login(new.organization_id, new.person_id) is None:
            raise HTTPException(422, f"Person {new.person_id} of {new.organization_id} has no login.")
        token = PersonalAccessToken(
            new.id or secrets.token_hex(32),
            new.secret or f"pco_pat_{secrets.token_hex(32)}",
            new.organization_id,
            new.person_id,
            new.name,
        )
        store.add_personal_access_token(token)
        return token

    @api.get("/_sim/grants", tags=["tokens"])
    async def grants() -> list[GrantState]:
        """All consents, ended ones included."""
        return [_grant_state(grant, store.tokens_of(grant.id)) for grant in store.grants.values()]

    @api.post("/_sim/grants/end", tags=["tokens"])
    async def end(which: EndGrants) -> Done:
        """Revoke or expire the live tokens of the grants that match; gives how many tokens."""
        tokens = [
            token
            for grant in store.grants.values()
            if _concerns(which, grant)
            for token in store.tokens_of(grant.id)
            if which.which in {"both", token.kind} and token.state() == "live"
        ]
        if which.op == "revoke":
            store.revoke(tokens)
        else:
            store.expire(tokens)
        return Done(count=len(tokens))


def _concerns(which: EndGrants, grant: Grant) -> bool:
    return (
        which.organization_id in {None, grant.organization_id}
        and which.person_id in {None, grant.person_id}
        and which.client_id in {None, grant.client_id}
    )


def _grant_state(grant: Grant, tokens: list[Token]) -> GrantState:
    live = [token.kind for token in tokens if token.state() == "live"]
    return GrantState(
        id=grant.id,
        client_id=grant.client_id,
        organization_id=grant.organization_id,
        person_id=grant.person_id,
        scopes=grant.scopes,
        created_at=grant.created_at,
        live_access_tokens=live.count("access"),
        live_refresh_tokens=live.count("refresh"),
    )
