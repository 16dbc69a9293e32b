"""The simulator for tests of other packages: a real process, reached over HTTP.

with SimulatorProcess(people=200) as simulator:
    simulator.control.change_settings(rate_limit=10, rate_period_seconds=1)
    simulator.control.add_fault({"kind": "reset", "when": "after"}, method="POST", nth=1)
"""

import json
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import orjson

USER_AGENT = "pco-simulator-tests (https://example.org)"
Span = int | tuple[int, int]
"""Milliseconds, or the smallest and the largest of a range."""
_READY_SECONDS = 120.0


class SimulatorError(RuntimeError):
    """The process did not start, or the control API refused a call."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """An id and its secret: a personal access token or an OAuth application."""

    id: str
    secret: str


class Control:
    """The control API, typed. Every method raises `SimulatorError` with the API's own words when refused."""

    def __init__(self, base_url: str) -> None:
        self.client = httpx.Client(base_url=f"{base_url}/_sim", timeout=60)

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Any call of the control API; gives the JSON answer, None without a body."""
        response = self.client.request(method, path, **options)
        if response.is_error:
            raise SimulatorError(f"{method} {path}: {response.status_code} {response.text}")
        return orjson.loads(response.content) if response.content else None

    # -- settings -------------------------------------------------------------------------------------------

    def settings(self) -> dict[str, Any]:
        """The settings as they are; the names are the fields of `pco_simulator.settings.Settings`."""
        settings: dict[str, Any] = self.call("GET", "/settings")
        return settings

    def change_settings(self, **values: Any) -> dict[str, Any]:
        """Change some settings, all or none."""
        settings: dict[str, Any] = self.call("PATCH", "/settings", json=values)
        return settings

    def set_lag(
        self,
        *,
        singles_ms: Span = 0,
        lists_ms: Span = 0,
        filters_ms: Span = 0,
        includes_ms: Span = 0,
        mergers_ms: Span = 0,
        created_ms: Span = 0,
        includes_lag_relationships: bool = False,
        seed: int | None = None,
    ) -> None:
        """Set how far reads stay behind writes from now on; a kind of read not given does not lag.

        A pair is a range from which each request draws, by `seed`. With the setting `lag_past_ms` the lag also
        applies to rows written under a smaller one.
        """
        values: dict[str, Any] = {
            "singles_lag_ms": singles_ms,
            "lists_lag_ms": lists_ms,
            "filters_lag_ms": filters_ms,
            "includes_lag_ms": includes_ms,
            "mergers_lag_ms": mergers_ms,
            "created_lag_ms": created_ms,
            "includes_lag_relationships": includes_lag_relationships,
        }
        self.change_settings(**values, **({} if seed is None else {"lag_seed": seed}))

    def reset(self) -> None:
        """Default settings, empty rate windows, no fault scripts, counters at zero."""
        self.call("DELETE", "/faults")
        self.call("DELETE", "/webhooks/faults")
        self.call("POST", "/settings/reset")
        self.mark()

    # -- fault scripts --------------------------------------------------------------------------------------

    def add_fault(self, action: Mapping[str, Any], **match: Any) -> str:
        """Add a script; gives its id. See `pco_simulator.faults` for actions and what `match` may hold."""
        fault_id: str = self.call("POST", "/faults", json={"match": match, "action": dict(action)})["id"]
        return fault_id

    def refuse(
        self, attribute: str, error: str = "forbidden_attribute", *, value: str | None = None, **match: Any
    ) -> str:
        """Refuse the next writes that name an attribute or relationship; gives the script's id.

        `error`: `forbidden_attribute` (422), `duplicate` (409) or `validation` (422); `value`: a regular expression.
        """
        return self.add_fault({"kind": "refuse", "attribute": attribute, "error": error, "value": value}, **match)

    def omit(
        self,
        *,
        relationship: str | None = None,
        data_of: str | None = None,
        attribute: str | None = None,
        included: str | None = None,
        type: str | None = None,  # noqa: A002 - the member's name in the document
        id: str | None = None,  # noqa: A002
        **match: Any,
    ) -> str:
        """Omit one element from the next answers that carry it (`times=2`: the next two); gives the script's id.

        `omit(relationship="people", type="Household", id="17", times=2)`; `data_of` keeps the links of a
        relationship; `included="Email"` omits rows of that type (with `id`: that row).
        """
        what = {"relationship": relationship, "data_of": data_of, "attribute": attribute, "included": included}
        return self.add_fault({"kind": "omit", "type": type, "id": id, **what}, **match)

    def fault(self, fault_id: str) -> dict[str, Any]:
        """A script's counts: `matched`, `acted`, `holding`."""
        state: dict[str, Any] = self.call("GET", f"/faults/{fault_id}")
        return state

    def release(self, fault_id: str, *, carry_out: bool | None = None) -> int:
        """Release the requests of a `hold`; gives their number. `carry_out`: whether they are carried out, even when
        their client is gone; False resets connections still open. None: as the script says."""
        query = {} if carry_out is None else {"carry_out": carry_out}
        count: int = self.call("POST", f"/faults/{fault_id}/release", params=query)["count"]
        return count

    def remove_fault(self, fault_id: str) -> None:
        """Stop a script."""
        self.call("DELETE", f"/faults/{fault_id}")

    def clear_faults(self) -> None:
        """Stop all scripts."""
        self.call("DELETE", "/faults")

    # -- journal --------------------------------------------------------------------------------------------

    def journal(self, **query: Any) -> list[dict[str, Any]]:
        """Kept requests, oldest first; `after`, `method`, `path` (regular expression), `limit`."""
        entries: list[dict[str, Any]] = self.call("GET", "/journal", params=query)
        return entries

    def kinds(self) -> dict[str, int]:
        """Requests since the mark per kind: `POST /people/v2/people/{id}/emails`."""
        kinds: dict[str, int] = self.call("GET", "/journal/kinds")
        return kinds

    def summary(self) -> dict[str, Any]:
        """`last_seq`, `marked_at`, `requests`, `statuses` since the mark."""
        summary: dict[str, Any] = self.call("GET", "/journal/summary")
        return summary

    def mark(self) -> int:
        """Start the counters afresh; gives the sequence number to use as `after`."""
        seq: int = self.call("POST", "/journal/mark")["seq"]
        return seq

    # -- the churches ---------------------------------------------------------------------------------------

    def organizations(self) -> list[dict[str, Any]]:
        """The churches with their logins."""
        organizations: list[dict[str, Any]] = self.call("GET", "/organizations")
        return organizations

    def truth(self, organization_id: str) -> dict[str, int]:
        """Counts per kind as they are now."""
        truth: dict[str, int] = self.call("GET", f"/organizations/{organization_id}/truth")
        return truth

    def dump(self, organization_id: str) -> list[dict[str, Any]]:
        """Every row as it is now."""
        response = self.client.get(f"/organizations/{organization_id}/dump")
        if response.is_error:
            raise SimulatorError(f"dump: {response.status_code} {response.text}")
        return [orjson.loads(line) for line in response.content.splitlines()]

    def mutate(self, organization_id: str, *mutations: Mapping[str, Any]) -> list[dict[str, str]]:
        """Apply changes as staff at Planning Center; see `pco_simulator.faults.Mutation`."""
        path = f"/organizations/{organization_id}/mutations"
        # Escaped: no encoding represents half a surrogate pair.
        body = json.dumps([dict(mutation) for mutation in mutations])
        headers = {"Content-Type": "application/json"}
        done: list[dict[str, str]] = self.call("POST", path, content=body, headers=headers)
        return done

    def create_person(self, organization_id: str, **attributes: Any) -> str:
        """Staff create a person; gives the id."""
        return self.mutate(organization_id, {"op": "create", "attributes": attributes})[0]["id"]

    def edit_person(self, organization_id: str, person_id: str, **attributes: Any) -> None:
        """Staff edit a person."""
        self.mutate(organization_id, {"op": "edit", "id": person_id, "attributes": attributes})

    def set_role(
        self,
        organization_id: str,
        person_id: str,
        people_permissions: str | None,
        *,
        organization_administrator: bool = False,
    ) -> None:
        """Staff set a person's permission: `Manager`, `Editor`, `Viewer` (writes get 403), None (all calls get 403)."""
        self.edit_person(
            organization_id,
            person_id,
            people_permissions=people_permissions,
            site_administrator=organization_administrator,
        )

    def create_household(self, organization_id: str, name: str, *person_ids: str) -> str:
        """Staff create a household, the first person its primary contact; gives the id."""
        attributes = {"name": name, "person_ids": person_ids}
        household = {"op": "create", "type": "Household", "attributes": attributes}
        return self.mutate(organization_id, household)[0]["id"]

    def move_person(self, organization_id: str, person_id: str, to: str | None, *, left: str | None = None) -> None:
        """Staff move a person to a household (None: to none), out of `left` or else out of all others. An emptied
        household stays."""
        attributes = {"household_id": to, "from_household_id": left}
        self.mutate(organization_id, {"op": "move", "id": person_id, "attributes": attributes})

    def set_raw(self, organization_id: str, type_: str, id_: str, **attributes: Any) -> None:
        """Store values bypassing every rule; lists and single reads deliver them unchanged.

        `set_raw(church, "Person", id, first_name="A\\0da", birthdate="0000-00-00", login_identifier="a@example.org",
        name_suffix="Jr.")`; half a surrogate pair such as `"\\ud83d"` is delivered as that escape.
        """
        self.mutate(organization_id, {"op": "set_raw", "type": type_, "id": id_, "attributes": attributes})

    def delete_person(self, organization_id: str, person_id: str) -> None:
        """Staff delete a person."""
        self.mutate(organization_id, {"op": "delete", "id": person_id})

    def merge_people(self, organization_id: str, keep_id: str, remove_id: str) -> str:
        """Staff merge two people; gives the merger's id."""
        merge = {"op": "merge", "id": keep_id, "remove_id": remove_id}
        return self.mutate(organization_id, merge)[0]["id"]

    # -- calendar -------------------------------------------------------------------------------------------

    def create_event(
        self, organization_id: str, name: str, starts_at: str, ends_at: str | None = None, **attributes: Any
    ) -> str:
        """Staff create an event with one instance; gives the event's id.

        Times: an instant with an offset (`2026-11-01T13:00:00Z`), a time on the church's clock without one, or a date.
        Others: `all_day_event`, `location`, `summary`, `description`, `visible_in_church_center`, `kind`
        (`blockout`), `setup_minutes`, `teardown_minutes`, `tag_ids`, `owner_id`, `approval_status`, ...
        """
        event = {"name": name, "starts_at": starts_at, "ends_at": ends_at, **attributes}
        return self.mutate(organization_id, {"op": "create", "type": "Event", "attributes": event})[0]["id"]

    def create_series(
        self,
        organization_id: str,
        name: str,
        starts_at: str,
        repeats: str,
        *,
        count: int | None = None,
        until: str | None = None,
        interval: int = 1,
        **attributes: Any,
    ) -> str:
        """Staff create a series from its first occurrence, with `count` of them or `until` a day; gives the event's id.

        `repeats`: `daily`, `weekly`, `monthly` or `monthly_by_weekday`; others as for `create_event`.
        """
        series = {"repeats": repeats, "interval": interval, "count": count, "until": until}
        return self.create_event(organization_id, name, starts_at, **{**attributes, **series})

    def create_instance(self, organization_id: str, event_id: str, starts_at: str, **attributes: Any) -> str:
        """Staff add an occurrence to an event; gives its id."""
        instance = {"starts_at": starts_at, **attributes}
        mutation = {"op": "create", "type": "EventInstance", "id": event_id, "attributes": instance}
        return self.mutate(organization_id, mutation)[0]["id"]

    def request_event(self, organization_id: str, name: str, starts_at: str, **attributes: Any) -> str:
        """Somebody (`person_id`) asks for an event by a form; gives the pending event's id."""
        asked = {"name": name, "starts_at": starts_at, **attributes}
        return self.mutate(organization_id, {"op": "create", "type": "EventRequest", "attributes": asked})[0]["id"]

    def edit_event(self, organization_id: str, event_id: str, **attributes: Any) -> None:
        """Staff edit an event and all its occurrences: `starts_at` moves the first there and the others as far,
        `repeats`, `interval`, `count`, `until` change the series, `reissue=True` gives every occurrence a new id,
        `approval_status` (`A`, `P`, `R`) approves or rejects."""
        self.mutate(organization_id, {"op": "edit", "type": "Event", "id": event_id, "attributes": attributes})

    def edit_instance(self, organization_id: str, instance_id: str, **attributes: Any) -> None:
        """Staff edit one occurrence: `starts_at`, `ends_at`, `all_day_event`, `location`, `name` (None: that of the
        event)."""
        edit = {"op": "edit", "type": "EventInstance", "id": instance_id, "attributes": attributes}
        self.mutate(organization_id, edit)

    def delete_event(self, organization_id: str, event_id: str) -> None:
        """Staff delete an event with its instances."""
        self.mutate(organization_id, {"op": "delete", "type": "Event", "id": event_id})

    def delete_instance(self, organization_id: str, instance_id: str) -> None:
        """Staff delete one occurrence."""
        self.mutate(organization_id, {"op": "delete", "type": "EventInstance", "id": instance_id})

    def events(self, organization_id: str) -> list[dict[str, Any]]:
        """Events as they are now, each with `instances` by start; values as stored, absent ones omitted."""
        events: list[dict[str, Any]] = self.call("GET", f"/organizations/{organization_id}/events")
        return events

    def event(self, organization_id: str, event_id: str) -> dict[str, Any] | None:
        """One of `events`, or None."""
        path = f"/organizations/{organization_id}/events"
        found: list[dict[str, Any]] = self.call("GET", path, params={"event_id": event_id})
        return found[0] if found else None

    def set_calendar_role(self, organization_id: str, person_id: str, role: str) -> None:
        """An administrator sets a person's role in Calendar: `No Access` (all calls get 403), `Viewer` (writes get
        403), `Editor`, `Administrator`."""
        edit = {"op": "edit", "type": "CalendarAccess", "id": person_id, "attributes": {"role": role}}
        self.mutate(organization_id, edit)

    def subscribe_feed(self, organization_id: str, url: str, name: str = "iCal feed", *, published: bool = True) -> str:
        """Staff subscribe to an iCal feed, which is read by `refresh_feed`; gives the feed's id."""
        feed = {"url": url, "name": name, "published": published}
        feed_id: str = self.call("POST", f"/organizations/{organization_id}/feeds", json=feed)["id"]
        return feed_id

    def refresh_feed(self, organization_id: str, feed_id: str) -> dict[str, int]:
        """Planning Center reads a feed; gives the number of events `created`, `updated`, `deleted`."""
        path = f"/organizations/{organization_id}/feeds/{feed_id}/refresh"
        outcome: dict[str, int] = self.call("POST", path)
        return outcome

    def unsubscribe_feed(self, organization_id: str, feed_id: str) -> None:
        """Staff end a subscription; its events are deleted."""
        self.call("DELETE", f"/organizations/{organization_id}/feeds/{feed_id}")

    # -- webhooks -------------------------------------------------------------------------------------------

    def subscriptions(self, organization_id: str) -> list[dict[str, Any]]:
        """A church's subscriptions, whoever made them: `id`, `name`, `url`, `active`, `authenticity_secret`,
        `application_id`, `person_id`, `created_at`, `updated_at`."""
        found: list[dict[str, Any]] = self.call("GET", f"/organizations/{organization_id}/subscriptions")
        return found

    def set_subscription_active(self, organization_id: str, subscription_id: str, *, active: bool) -> None:
        """Activate a subscription, or deactivate it silently."""
        path = f"/organizations/{organization_id}/subscriptions/{subscription_id}"
        self.call("PATCH", path, json={"active": active})

    def remove_subscription(self, organization_id: str, subscription_id: str) -> None:
        """Remove a subscription with its events."""
        self.call("DELETE", f"/organizations/{organization_id}/subscriptions/{subscription_id}")

    def rotate_subscription_secret(self, organization_id: str, subscription_id: str) -> str:
        """Give a subscription another secret, which is returned."""
        path = f"/organizations/{organization_id}/subscriptions/{subscription_id}/rotate_secret"
        secret: str = self.call("POST", path)["authenticity_secret"]
        return secret

    def deliveries(self, organization_id: str, **query: Any) -> list[dict[str, Any]]:
        """Kept hints, oldest first: `id`, `uuid`, `name`, `status`, `attempts`, `subscription_id`, `resource_type`,
        `resource_id`, `payload`, `event_time`, `due`, `created_at` and `deliveries`, which has each attempt's `status`
        (None: no answer), `attempt`, `timing`, `response_body`. `query`: `after` (an id), `status`, `name` (its end),
        `subscription_id`, `limit`."""
        found: list[dict[str, Any]] = self.call("GET", f"/organizations/{organization_id}/hints", params=query)
        return found

    def delivery_counts(self, organization_id: str) -> dict[str, int]:
        """Number of kept hints per status: `pending`, `delivered`, `failed`, `skipped`, ..."""
        counts: dict[str, int] = self.call("GET", f"/organizations/{organization_id}/hints/counts")
        return counts

    def send_hints(self, organization_id: str, name: str, ids: Sequence[str], *, times: int = 1) -> int:
        """Send hints about rows that did not change, `times` for each in turn; gives how many were made.

        `send_hints(church, "people.v2.events.person.updated", ids_of_500_people, times=20)` is a storm of 10,000.
        """
        hints = {"name": name, "ids": [int(id_) for id_ in ids], "times": times}
        count: int = self.call("POST", f"/organizations/{organization_id}/hints", json=hints)["count"]
        return count

    def redeliver(self, organization_id: str, hint_id: str) -> None:
        """Send a hint once more, under its own id."""
        self.call("POST", f"/organizations/{organization_id}/hints/{hint_id}/redeliver")

    def hurry(self, *, factor: float | None = None, seconds: float = 0) -> None:
        """Let the retry schedule pass `factor` times as fast from now on, or skip `seconds` of it (for which each hint
        has at most one attempt). 5.4 days of retries take half a second by `factor=1e6`."""
        if factor is not None:
            self.change_settings(webhooks_clock_factor=factor)
        if seconds:
            self.call("POST", "/webhooks/clock/advance", json={"seconds": seconds})

    def add_webhook_fault(self, action: Mapping[str, Any], **match: Any) -> str:
        """Add a script for deliveries; gives its id. See `pco_simulator.webhooks.faults` for actions (`duplicate`,
        `delay`, `reorder`, `drop`, `storm`, `resend`, `wrong_signature`, `truncate`, `deactivate`, `remove`, `rotate`)
        and what `match` may hold: `name`, `url`, `organization_id`, `subscription_id`, `nth`, `times`, ..."""
        fault = {"match": match, "action": dict(action)}
        fault_id: str = self.call("POST", "/webhooks/faults", json=fault)["id"]
        return fault_id

    def webhook_fault(self, fault_id: str) -> dict[str, Any]:
        """Counts of a script for deliveries: `matched`, `acted`."""
        state: dict[str, Any] = self.call("GET", f"/webhooks/faults/{fault_id}")
        return state

    def remove_webhook_fault(self, fault_id: str) -> None:
        """Stop a script for deliveries."""
        self.call("DELETE", f"/webhooks/faults/{fault_id}")

    # -- tokens ---------------------------------------------------------------------------------------------

    def register_client(self, *redirect_uris: str, **options: Any) -> Credentials:
        """Register an OAuth application; `id`, `secret`, `public`, `name`."""
        client = self.call("POST", "/clients", json={"redirect_uris": redirect_uris, **options})
        return Credentials(client["id"], client["secret"] or "")

    def personal_access_token(self, organization_id: str, *, people_permissions: str | None = "Manager") -> Credentials:
        """The first token of a login of this church that has this People permission."""
        for organization in self.organizations():
            for login in organization["logins"]:
                if organization["id"] == organization_id and login["people_permissions"] == people_permissions:
                    return self._token_of(organization_id, login["person_id"])
        raise SimulatorError(f"no login of {organization_id} has People permission {people_permissions}")

    def _token_of(self, organization_id: str, person_id: str) -> Credentials:
        for token in self.call("GET", "/personal-access-tokens"):
            if (token["organization_id"], token["person_id"]) == (organization_id, person_id):
                return Credentials(token["id"], token["secret"])
        raise SimulatorError(f"person {person_id} of {organization_id} has no personal access token")

    def grants(self) -> list[dict[str, Any]]:
        """All consents with the number of their live tokens."""
        grants: list[dict[str, Any]] = self.call("GET", "/grants")
        return grants

    def end_tokens(self, **which: Any) -> int:
        """Revoke or expire tokens: `op`, `which`, `organization_id`, `person_id`, `client_id`; gives how many."""
        count: int = self.call("POST", "/grants/end", json=which)["count"]
        return count


class SimulatorProcess:
    """`python -m pco_simulator` on a free port. Settings given here hold again after `restart`."""

    def __init__(
        self,
        *,
        people: int = 100,
        seed: int = 1,
        churches: int = 2,
        state: Path | None = None,
        port: int = 0,
        host: str = "127.0.0.1",
        oauth_clients: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self._arguments = [f"--people={people}", f"--seed={seed}", f"--churches={churches}", f"--host={host}"]
        if state is not None:
            self._arguments.append(f"--state={state}")
        for client in oauth_clients:
            self._arguments += ["--oauth-client", client]
        for name, value in (settings or {}).items():
            self._arguments += ["--set", f"{name}={orjson.dumps(value).decode()}"]
        self._arguments += arguments
        self._port = port
        self._process: subprocess.Popen[str] | None = None
        self._control: Control | None = None
        self.base_url = ""
        """Scheme, host and port, without a trailing slash."""
        self.personal_access_token = Credentials("", "")
        """Credentials of the first church's administrator."""
        self.oauth_client = Credentials("", "")
        """Credentials of the example application."""
        self.redirect_uri = ""
        """The example application's first redirect URI."""
        self.said = ""
        """The process's last lines of output up to the ready line."""

    @property
    def control(self) -> Control:
        """The control API of the running process."""
        if self._control is None:
            raise SimulatorError("the simulator is not running; call start()")
        return self._control

    @property
    def pid(self) -> int:
        """Id of the running process."""
        if self._process is None:
            raise SimulatorError("the simulator is not running; call start()")
        return self._process.pid

    def start(self) -> Self:
        """Start the process and wait for its ready line."""
        command = [sys.executable, "-m", "pco_simulator", f"--port={self._port}", *self._arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # noqa: S603
        ready = self._ready_line(self._process)
        _, self.base_url, *pairs = ready.split()
        values = dict(pair.split("=", 1) for pair in pairs)
        self.personal_access_token = Credentials(*values["personal_access_token"].split(":", 1))
        self.oauth_client = Credentials(*values["oauth_client"].split(":", 1))
        self.redirect_uri = values["redirect_uri"]
        self._port = int(self.base_url.rsplit(":", 1)[1])
        self._control = Control(self.base_url)
        return self

    def stop(self) -> int:
        """SIGTERM; gives the exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL; gives the exit status."""
        return self._end(signal.SIGKILL)

    def restart(self, *, kill: bool = False) -> Self:
        """End the process (`kill`: by SIGKILL) and start it again on the same port."""
        self._end(signal.SIGKILL if kill else signal.SIGTERM)
        return self.start()

    def api(self, credentials: Credentials | None = None) -> httpx.Client:
        """A client of the API with Basic auth (default: the first church's administrator)."""
        used = credentials or self.personal_access_token
        return httpx.Client(
            base_url=self.base_url,
            auth=(used.id, used.secret),
            headers={"User-Agent": USER_AGENT},
            timeout=60,
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self.stop()

    def _end(self, how: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            raise SimulatorError("the simulator is not running")
        self.control.close()
        self._control = None
        process.send_signal(how)
        try:
            status = process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        return status

    def _ready_line(self, process: subprocess.Popen[str]) -> str:
        output = _Output(process)
        if not output.ready.wait(_READY_SECONDS):
            process.kill()
            raise SimulatorError(f"the simulator was not ready within {_READY_SECONDS} s:\n{output.text}")
        if not output.ready_line:
            raise SimulatorError(f"the simulator ended with {process.wait()}:\n{output.text}")
        self.said = output.text
        return output.ready_line


class _Output:
    """Drains a process's output, so that the process never blocks on a full pipe; keeps the last lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.ready = threading.Event()
        """Set once the ready line is read or the process has ended without one."""
        self.ready_line = ""
        self._lines: deque[str] = deque(maxlen=200)
        threading.Thread(target=self._read, args=(process,), daemon=True).start()

    @property
    def text(self) -> str:
        """The last lines."""
        return "".join(self._lines)

    def _read(self, process: subprocess.Popen[str]) -> None:
        if process.stdout is None:
            raise SimulatorError("the process has no output to read")
        with process.stdout as lines:
            for line in lines:
                self._lines.append(line)
                if line.startswith("Ready: "):
                    self.ready_line = line
                    self.ready.set()
        self.ready.set()
