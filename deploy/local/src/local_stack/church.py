"""A person of a church who uses the platform API: the driver of stories, container checks and benchmarks.

with Stack(tmp_path) as stack, Church.of(stack, "ada") as church:
    church.connect()
    run = church.sync()
    assert run["counts"]["created_here"] == 300
"""

import html
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Self

import httpx

from local_stack.stack import SIMULATOR, Stack
from pco_simulator.testing import Control

ENDED: Final = ("done", "stopped", "failed")
_HIDDEN: Final = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')
_LOGIN: Final = re.compile(r'name="login"[^>]*value="([^"]*)"')


class StoryError(AssertionError):
    """An answer that the caller did not expect."""


class Church:
    """One signed-in person. Every call raises StoryError with the problem document if it is refused."""

    def __init__(self, base_url: str, token: str, control: Control) -> None:
        self.api = httpx.Client(base_url=base_url, headers={"Authorization": f"Bearer {token}"}, timeout=60)
        self.control = control

    @classmethod
    def of(cls, stack: Stack, username: str = "ada") -> Self:
        """The person `username` of the identity provider, in a running stack."""
        return cls(stack.url(), stack.token(username, lifetime=6 * 3600), Control(stack.url(SIMULATOR)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.api.close()
        self.control.close()

    # -- calls -----------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, **options: Any) -> Any:
        """One call under `/api/v1`; the decoded answer. A 503 is retried for a minute: a part may be restarting."""
        deadline = time.monotonic() + 60
        while True:
            try:
                answer = self.api.request(method, f"/api/v1{path}", **options)
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
                continue
            if answer.status_code not in {502, 503, 504} or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        if answer.is_error:
            raise StoryError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def get(self, path: str, **query: Any) -> Any:
        """A GET below `/api/v1`."""
        return self.call("GET", path, params=query)

    def all(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """All items of a list, over all pages."""
        after: str | None = None
        while True:
            page = self.get(path, limit=200, **query, **({"after": after} if after else {}))
            yield from page["items"]
            after = page["next"]
            if after is None:
                return

    # -- connecting ------------------------------------------------------------------------------------------------

    def connect(self, product: str = "people", login: int = 0) -> dict[str, Any]:
        """Consent as the simulator's `login`-th user and finish; the connected card."""
        started = self.call("POST", f"/connections/{product}/authorize")
        answer = self.consent(started["authorize_url"], login)
        card = self.call("POST", "/connections/complete", json=answer)["card"]
        if product == "people":
            self._known_to_people_sync()
        # A sync that begins before the subscriptions is followed by another one, which the caller does not expect.
        self.eventually(
            lambda: self.get("/webhooks/status")[product]["state"] != "waiting", "Planning Center was asked to tell"
        )
        return dict(card)

    @staticmethod
    def consent(authorize_url: str, login: int = 0, decision: str = "allow") -> dict[str, str]:
        """Choose an account on Planning Center's page and allow; gives the redirect's parameters."""
        with httpx.Client(timeout=60) as browser:
            page = browser.get(authorize_url).raise_for_status().text
            form = {name: html.unescape(value) for name, value in _HIDDEN.findall(page)}
            form |= {"login": _LOGIN.findall(page)[login], "decision": decision}
            back = browser.post(authorize_url.partition("?")[0], data=form).headers["location"]
        return dict(httpx.URL(back).params)

    def _known_to_people_sync(self) -> None:
        """Wait until a sync can be started, since the connection's fact travels through Kafka."""
        self.eventually(lambda: self.get("/people/status")["connected"] is True, "people-sync learns of the connection")

    # -- syncing ---------------------------------------------------------------------------------------------------

    def start(self, kind: str = "full", *, preview: bool = False) -> str:
        """Sync Now, or Preview; gives the run's id."""
        return str(self.call("POST", "/people/runs", json={"kind": kind, "preview": preview})["id"])

    def preview(self, kind: str = "full", *, within: float = 300) -> dict[str, Any]:
        """Preview and wait for the run's plan."""
        run_id = self.start(kind, preview=True)
        self.eventually(lambda: self.run(run_id)["question"], "the plan is there", within)
        return self.run(run_id)

    def run(self, run_id: str) -> dict[str, Any]:
        """The present state of a run."""
        return dict(self.get(f"/people/runs/{run_id}"))

    def wait(self, run_id: str, *, answers: Mapping[str, str] | None = None, within: float = 300) -> dict[str, Any]:
        """Wait for a run's end, giving `answers` by question; an unexpected question raises."""
        deadline = time.monotonic() + within
        while True:
            run = self.run(run_id)
            if run["state"] in ENDED:
                return run
            question = run["question"]
            if question is not None:
                kind = question["kind"]
                if kind not in (answers or {}):
                    raise StoryError(f"the run asks {question}")
                answer = {"question": kind, "answer": answers[kind], "digest": question["digest"]}  # type: ignore[index]
                self.call("POST", f"/people/runs/{run_id}/answer", json=answer)
            if time.monotonic() > deadline:
                raise StoryError(f"the run did not end within {within:g} s: {run}")
            time.sleep(0.1)

    def sync(
        self, kind: str = "full", *, answers: Mapping[str, str] | None = None, within: float = 300
    ) -> dict[str, Any]:
        """Sync Now and wait for the end; raises unless done."""
        run = self.wait(self.start(kind), answers=answers, within=within)
        if run["state"] != "done":
            raise StoryError(f"the run ended as {run['state']}: {run['message']}")
        return run

    def eventually(self, true: Any, what: str, within: float = 60) -> None:
        """Wait until `true()` holds."""
        deadline = time.monotonic() + within
        while not true():
            if time.monotonic() > deadline:
                raise StoryError(f"did not happen within {within:g} s: {what}")
            time.sleep(0.1)

    # -- the directory ---------------------------------------------------------------------------------------------

    def members(self, **query: Any) -> list[dict[str, Any]]:
        """All members that fit the filters."""
        return list(self.all("/people/members", **query))

    def families(self, **query: Any) -> list[dict[str, Any]]:
        """All families that fit the filters."""
        return list(self.all("/people/families", **query))

    def add_member(self, **values: Any) -> dict[str, Any]:
        """Add a member."""
        return dict(self.call("POST", "/people/members", json=values))

    def change_member(self, member: Mapping[str, Any], **values: Any) -> dict[str, Any]:
        """Change a member."""
        return dict(self.call("PATCH", f"/people/members/{member['id']}", json=values))

    def add_family(self, name: str, *members: Mapping[str, Any]) -> dict[str, Any]:
        """Add a family."""
        body = {"name": name, "member_ids": [member["id"] for member in members]}
        return dict(self.call("POST", "/people/families", json=body))

    # -- Planning Center -------------------------------------------------------------------------------------------

    def edit_there(self, pco_organization_id: str, pco_id: str, **attributes: Any) -> None:
        """Edit a person in Planning Center; returns once reads show the edit."""
        self.control.edit_person(pco_organization_id, pco_id, **attributes)
        token = self.control.personal_access_token(pco_organization_id)
        address = str(self.control.client.base_url.copy_with(path=f"/people/v2/people/{pco_id}"))
        headers = {"User-Agent": "Stories (developers@platform.example)"}

        def shown() -> bool:
            answer = httpx.get(address, auth=(token.id, token.secret), headers=headers, timeout=30)
            return answer.is_success and attributes.items() <= answer.json()["data"]["attributes"].items()

        self.eventually(shown, "Planning Center shows the edit")

    def differences(self, pco_organization_id: str) -> list[str]:
        """Differences between the directory and Planning Center, a line each; empty if both sides agree.

        Checks that every record on each side is linked, and that values, families and memberships are equal.
        """
        there = _There(self.control.dump(pco_organization_id))
        members, families = self.members(), self.families()
        pco_ids = {member["id"]: member["link"]["pco_id"] for member in members if member["link"]}
        found = _unpaired("person", members, there.people) + _unpaired("household", families, there.households)
        for member in members:
            found += [
                f"{name} of {_name(member)}: {here!r} here, {other!r} there"
                for name, (here, other) in there.apart(member).items()
            ]
        for family in families:
            if family["link"] and family["link"]["pco_id"] in there.households:
                name, people = there.household(family["link"]["pco_id"])
                if (name, people) != (family["name"], sorted(pco_ids.get(id_, id_) for id_ in family["member_ids"])):
                    found.append(f"family {family['name']} has {len(family['member_ids'])} members, {name} {people}")
        return found

    def apart(self, pco_organization_id: str) -> dict[str, list[str]]:
        """Fields with different values here and in Planning Center, by id of a linked member."""
        there = _There(self.control.dump(pco_organization_id))
        found = {member["id"]: list(there.apart(member)) for member in self.members()}
        return {id_: fields for id_, fields in found.items() if fields}

    def writes_since(self, mark: int, pco_organization_id: str | None = None) -> list[tuple[str, str]]:
        """Method and path of every write that Planning Center served since `control.mark()`, for one church or all."""
        return [
            (entry["method"], entry["path"])
            for entry in self.control.journal(after=mark, limit=100_000)
            if entry["method"] != "GET"
            and entry["path"].startswith("/people/")
            and pco_organization_id in {None, entry["organization_id"]}
        ]


class _There:
    """The rows of a Planning Center organization, in the directory's form."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        of_type: dict[str, dict[str, Any]] = defaultdict(dict)
        for row in rows:
            of_type[row["type"]][row["id"]] = row["attributes"]
        self.people = of_type["Person"]
        self.households = of_type["Household"]
        self._memberships = of_type["HouseholdMembership"].values()
        self._contacts: dict[tuple[str, str], list[tuple[int, Mapping[str, Any]]]] = defaultdict(list)
        for type_ in ("Email", "PhoneNumber", "Address"):
            for id_, contact in of_type[type_].items():
                self._contacts[type_, str(contact["person_id"])].append((int(id_), contact))

    def person(self, pco_id: str) -> dict[str, Any]:
        """A person's values without formatting; empty if the person does not exist."""
        if pco_id not in self.people:
            return {}
        return _comparable(
            self.people[pco_id],
            email=self._first("Email", pco_id).get("address"),
            phone=self._first("PhoneNumber", pco_id).get("number"),
            address=self._first("Address", pco_id),
        )

    def apart(self, member: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Differing values of a member and their linked person, by field."""
        here, other = _values(member), self.person(member["link"]["pco_id"] if member["link"] else "")
        return {name: (here[name], other[name]) for name in other if here[name] != other[name]}

    def household(self, pco_id: str) -> tuple[str, list[str]]:
        """Name and people of a household."""
        people = [str(one["person_id"]) for one in self._memberships if str(one["household_id"]) == pco_id]
        return self.households[pco_id]["name"], sorted(people)

    def _first(self, type_: str, pco_id: str) -> Mapping[str, Any]:
        """The primary contact; with none or several, the contact with the lowest id."""
        found = self._contacts[type_, pco_id]
        return min(found, key=lambda each: (not each[1].get("primary"), each[0]))[1] if found else {}


def _values(member: Mapping[str, Any]) -> dict[str, Any]:
    return _comparable(member, email=member["email"], phone=member["phone"], address=member["address"] or {})


def _comparable(
    person: Mapping[str, Any], *, email: str | None, phone: str | None, address: Mapping[str, Any]
) -> dict[str, Any]:
    parts = [" ".join((address.get(name) or "").split()) for name in ("street_line_1", "city", "state", "zip")]
    return {
        "first_name": person.get("first_name") or "",
        "last_name": person.get("last_name") or "",
        "birthdate": person.get("birthdate"),
        "gender": person.get("gender"),
        "child": bool(person.get("child")),
        "email": (email or "").strip().casefold(),
        "phone": "".join(re.findall(r"\d", phone or ""))[-10:],
        "address": parts,
    }


def _name(person: Mapping[str, Any]) -> str:
    return f"{person['first_name']} {person['last_name']}"


def _unpaired(kind: str, here: Iterable[Mapping[str, Any]], there: Mapping[str, Any]) -> list[str]:
    links = Counter(record["link"]["pco_id"] for record in here if record["link"])
    alone = [record for record in here if not record["link"] or record["link"]["pco_id"] not in there]
    return [
        *(f"{kind} {record.get('name') or _name(record)} is only here" for record in alone),
        *(f"{kind} {pco_id} is only there" for pco_id in there.keys() - links.keys()),
        *(f"{kind} {pco_id} is here {count} times" for pco_id, count in links.items() if count > 1),
    ]
