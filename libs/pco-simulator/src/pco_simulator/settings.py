"""Settings that can change while the simulator runs: pace, delays, token lifetimes, and disputed behaviours.

Where public sources do not settle how Planning Center behaves, the default is the behaviour harder on a client,
and a setting selects the other one.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pco_simulator.jsonapi import FIRST_VERSION, Refused, resolve_version
from pco_simulator.people.rules import PERSON_STRINGS

Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


def _is_a_range(span: tuple[int, int]) -> tuple[int, int]:
    if span[0] > span[1]:
        raise ValueError("must begin with the smallest")
    return span


Milliseconds = Count | Annotated[tuple[Count, Count], AfterValidator(_is_a_range)]
Seconds = Annotated[float, Field(gt=0, le=2**31 - 1)]


def _is_a_version(text: str) -> str:
    try:
        resolve_version(text, text, (FIRST_VERSION,))
    except Refused as refused:
        raise ValueError("must be a date from 2018-08-01 on, or LATEST") from refused
    return text


def _is_text_of_a_person(name: str) -> str:
    if name not in PERSON_STRINGS or name == "people_permissions":
        raise ValueError("must be an attribute of a person that takes any text")
    return name


class Settings(BaseModel):
    """Live settings. They are lost on restart: give them again with `--set name=value`."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    latency_ms: Count = 0
    """Delay of every API and OAuth answer, half before and half after serving the request."""
    latency_jitter_ms: Count = 0
    """Additional random delay up to this, evenly distributed."""

    rate_limit: Count = 100
    """Requests per person in a sliding window of `rate_period_seconds`; 0 is no limit."""
    rate_period_seconds: Annotated[int, Field(ge=1, le=2**31 - 1)] = 20
    rate_period_style: Literal["recorded", "number", "words"] = "recorded"
    """The form of `X-PCO-API-Request-Rate-Period`: `20`, `20 seconds`, or as recorded by pypco's cassettes:
    a number from a product, words from the edge in front of the products (unknown paths, refusals)."""
    deep_offset: Count = 30_000
    """Lists with a larger `offset` are held to `deep_offset_limit`."""
    deep_offset_limit: Count = 75
    """Limit at deep offsets: 75 by the vendor's page; 10 was seen in March 2026 (planningcenter/developers#1449). 0: as
    `rate_limit`."""

    require_user_agent: bool = True
    """A missing or generic `User-Agent` gets a bare 403 from the API."""
    error_hints: bool = False
    """Whether a 401 or 403 of the edge carries the vendor's hint (`BABOON`, `PELICAN`, ...) as `code` in a JSON
    body; recorded answers have an empty one."""

    access_token_seconds: Seconds = 7200
    refresh_token_seconds: Seconds = 90 * 86_400
    """Counted from the issue of the access token in the same pair, not from the last use."""
    authorization_code_seconds: Seconds = 600
    refresh_ends_access_token: bool = True
    """Whether a refresh also ends the access token issued with the refresh token that was used."""
    revoke_ends_both_tokens: bool = False
    """Whether revoking one token of a pair ends the other as well."""
    second_consent_ends_first_grant: bool = False
    """Whether a person's second consent to the same application ends the earlier grant."""
    numeric_organization_id: bool = False
    """Whether the claim `organization_id` is a number; both a number and a string were seen."""

    clock_offset_seconds: Annotated[float, Field(ge=-1e9, le=1e9)] = 0
    """The vendor's clock minus the real one, in every timestamp. Token lifetimes ignore it."""
    lists_lag_ms: Milliseconds = 0
    filters_lag_ms: Milliseconds = 0
    """Lag of lists with a filter."""
    singles_lag_ms: Milliseconds = 0
    """How far single reads stay behind writes (seconds to minutes, measured by a public People mirror). Every lag is a
    number, or `[smallest, largest]`: then each request draws its own."""
    includes_lag_ms: Milliseconds = 0
    """How much further behind `included` is: a relationship may name a row that `included` does not carry yet
    (measured by a public People mirror, minutes after a write)."""
    includes_lag_relationships: bool = False
    """Whether the relationships to what lags in `included` lag with it: then nothing in the answer shows that the
    contacts are older than the person (unconfirmed)."""
    mergers_lag_ms: Milliseconds = 0
    """How much further behind the log of mergers is: the removed person is not found before the log says why
    (unconfirmed)."""
    created_lag_ms: Milliseconds = 0
    """How much longer a person, event or instance just created is not found by its id, while changes of known ones show
    (unconfirmed: that filters lag 30 to 90 s after a create is in public notes, that single reads do is not)."""
    lag_seed: int = 0
    """Seed of the lags drawn from a range; setting it restarts the sequence."""
    lag_past_ms: Count = 0
    """How far a lag set later can reach back; without it, as far as the lags set at the time of the write."""
    contacts_touch_person: bool = False
    """Whether a change of an email, phone number or address moves `Person.updated_at`."""
    administrator_refusal: Literal["reported", "403", "422", "off"] = "reported"
    """The refusal when a caller who is no organization administrator edits an administrator's record. `reported`: the
    422 of planningcenter/developers#1139 for a PATCH of the person, 403 for other writes (unconfirmed)."""
    early_birthdates: Literal["null", "refused"] = "refused"
    """Whether a birthdate before 1885-01-01 is refused with 400 `invalid_data` (planningcenter/developers#454), or
    becomes null with 200, as other invalid dates do (unconfirmed)."""
    household_roles: bool = False
    """Whether memberships have a `household_role`."""
    default_version: Annotated[str, AfterValidator(_is_a_version)] = "2025-11-10"
    """People version for a request without `X-PCO-API-Version` (the application's console setting)."""

    calendar_default_version: Annotated[str, AfterValidator(_is_a_version)] = "2022-07-07"
    """Calendar version for a request without `X-PCO-API-Version`."""
    calendar_writes: Literal["read-only", "writable"] = "read-only"
    """Whether events can be written through the API. `read-only`: POST is refused as recorded
    (planningcenter/developers#1433, #1468, #1481), PATCH and DELETE are no routes. `writable`: events and instances
    can be created, changed and deleted, as their schemas promise; everything about that world is unconfirmed."""
    content_touches_updated_at: bool = False
    """Whether a change of name, location or description moves `updated_at` of events and their instances
    (planningcenter/developers#1385: not of instances; of events unconfirmed)."""
    all_day_times: Literal["local_midnight", "last_second", "utc_midnight"] = "local_midnight"
    """How all-day instances written from now on stand in UTC (unconfirmed): from local midnight to local midnight,
    until the second before it, or from midnight to midnight UTC, whatever the church's zone."""

    webhooks_default_version: Annotated[str, AfterValidator(_is_a_version)] = "2018-08-01"
    """Webhooks version for a request without `X-PCO-API-Version`; before 2022-10-20 the paths are others."""
    webhooks_clock_factor: Annotated[float, Field(gt=0, le=1e9)] = 1
    """How many seconds of the retry schedule pass in one real second."""
    webhooks_timeout_seconds: Seconds = 10
    """How long a delivery waits for an answer (unconfirmed: planningcenter/developers#760 asks)."""
    webhooks_concurrency: Annotated[int, Field(ge=1, le=1_000)] = 10
    """Number of deliveries of one church that are under way at the same time (unconfirmed)."""
    webhooks_kept: Annotated[int, Field(ge=1, le=2**31 - 1)] = 5_000
    """Number of events kept per subscription; those that wait to be sent are always kept."""
    memberships_update_household: bool = True
    """Whether a change of its members sends `household.updated` (unconfirmed; memberships have no events)."""
    calendar_event_hints: bool = False
    """Whether `calendar.v2.events.event.*` and `event_instance.*` can be subscribed to. The vendor has no such events
    (planningcenter/developers#1376); the names and shapes are unconfirmed."""

    background_edits_per_second: Annotated[float, Field(ge=0, le=1000)] = 0
    """Edits per second by a background editor: random people of every church get a new value in
    `background_edit_attribute`."""
    background_edit_attribute: Annotated[str, AfterValidator(_is_text_of_a_person)] = "middle_name"

    journal_requests: Count = 2_000
    """How many of the last requests are kept in full; counters are kept for all."""
    journal_writes: Count = 20_000
    """How many of the last writes (POST, PATCH, PUT, DELETE) are kept in full."""
