"""Planning Center's Webhooks API: subscriptions and the vendor's own delivery log.

The paths depend on the version: `/webhook_subscriptions` exists in 2022-10-20 only, `/subscriptions` before
(planningcenter/developers#1388, #1494).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pco_client.client import PlanningCenter
from pco_client.errors import (
    Conflict,
    Forbidden,
    Hint,
    NotFound,
    PlanningCenterError,
    Problem,
    Rejected,
    Unavailable,
    UnexpectedAnswer,
)
from pco_client.jsonapi import Resource, document, parse_instant, write_body
from pco_client.query import Query, Where
from pco_client.walk import PER_PAGE, list_all
from webhook_gateway.domain.statement import TITLES, UNTIL_THEN
from webhook_gateway.domain.subscriptions import There

ROOT: Final = "/webhooks/v2"
_NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True)
class _Paths:
    version: str | None
    """None: the one that the client asks for anyway."""
    collection: str
    type: str


_PATHS: Final = (
    _Paths(None, "webhook_subscriptions", "WebhookSubscription"),
    _Paths("2018-08-01", "subscriptions", "Subscription"),
)


@dataclass(frozen=True, slots=True)
class Failed:
    """A delivery that the vendor has given up, with the id of its event."""

    subscription_id: str
    id: str
    created_at: datetime


class Subscriptions:
    """The subscriptions of the connected person. Call `listed` first: it finds out which paths there are.

    Every method raises the errors of `PlanningCenter`.
    """

    def __init__(self, reads: PlanningCenter, writes: PlanningCenter) -> None:
        """writes: the same client, guarded by a job's lease."""
        self._clients = reads, writes
        self._paths = _PATHS[0]

    async def listed(self) -> list[There]:
        """All subscriptions that this person made in this church, through whichever application."""
        first = _PATHS[0]
        for self._paths in _PATHS:
            try:
                page = await list_all(self._reads, self._path())
            except (NotFound, UnexpectedAnswer) as error:
                if error.status != _NOT_FOUND or self._paths is not first:
                    raise
            else:
                return [_there(one) for one in page.data]
        raise AssertionError("the last paths answer or raise")

    async def offered(self) -> frozenset[str]:
        """The names that can be subscribed to."""
        page = await list_all(self._reads, f"{ROOT}/available_events")
        return frozenset(str(one.attributes.get("name") or one.id) for one in page.data)

    async def create(self, name: str, url: str) -> There:
        """Make an active subscription."""
        body = write_body(self._paths.type, {"name": name, "url": url, "active": True})
        return _there((await self._writes.create(self._path(), body)).data)

    async def reactivate(self, pco_id: str) -> There:
        """Turn a subscription on. NotFound if it is gone."""
        body = write_body(self._paths.type, {"active": True}, identity=pco_id)
        return _there((await self._writes.patch(self._path(pco_id), body)).data)

    async def remove(self, pco_id: str) -> None:
        """Delete a subscription, if it is still there."""
        try:
            await self._writes.delete(self._path(pco_id))
        except NotFound:
            return

    async def rotate(self, pco_id: str) -> str:
        """Give a subscription a new secret, which is returned. NotFound if it is gone."""
        answer = await self._writes.post(self._path(pco_id, "rotate_secret"), {})
        secret = _there(document(answer.body).data).secret
        if secret is None:
            raise UnexpectedAnswer("the answer to a rotation has no secret")
        return secret

    async def failed(self, pco_id: str, most: int) -> list[Failed]:
        """Deliveries of a subscription that the vendor has given up, newest first, at most `most`."""
        # By id, because one that fails meanwhile moves the others to the next page.
        found: dict[str, Failed] = {}
        for offset in range(0, most, PER_PAGE):
            query = Query(
                where=(Where("status", "failed"),), order="-created_at", per_page=PER_PAGE, offset=offset or None
            )
            page = await self._reads.list(self._path(pco_id, "events"), query)
            for one in page.data:
                found[one.id] = Failed(pco_id, one.id, parse_instant(one.attributes.get("created_at")))
            if not page.has_next or not page.data:
                break
        return list(found.values())

    async def redeliver(self, failed: Failed) -> None:
        """Ask the vendor to send a delivery again."""
        await self._writes.post(self._path(failed.subscription_id, "events", failed.id, "redeliver"), {})

    def _path(self, *below: str) -> str:
        return "/".join((ROOT, self._paths.collection, *below))

    @property
    def _reads(self) -> PlanningCenter:
        return self._clients[0].using(version=self._paths.version)

    @property
    def _writes(self) -> PlanningCenter:
        return self._clients[1].using(version=self._paths.version)


def _there(found: Resource) -> There:
    value = found.attributes.get
    secret = value("authenticity_secret")
    return There(
        id=found.id,
        name=str(value("name")),
        url=str(value("url")),
        active=value("active") is True,
        secret=secret if isinstance(secret, str) and secret else None,
    )


def refusal(error: PlanningCenterError, product: str) -> str | None:
    """A refusal of one subscription as a sentence for an administrator; None for an error that says nothing about it.

    The vendor names the scope in a 422 (planningcenter/developers#617). Anybody may list subscriptions, so a 403 to
    that means the scope too, for all of Webhooks.
    """
    title, until = TITLES[product], UNTIL_THEN[product]
    if isinstance(error, Unavailable) or (isinstance(error, Forbidden) and error.user_agent_possible):
        return None
    if (isinstance(error, Forbidden) and error.method == "GET") or any(map(_is_scope, error.problems)):
        return (
            f"The consent given when {title} was connected does not cover this. Disconnect {title} on the Integrations "
            f"page and connect it once more to get changes at once. {until}"
        )
    if isinstance(error, Forbidden):
        return (
            f"Planning Center does not let the person who connected {title} ask for these messages. Let one of its "
            f"organization administrators connect {title}. {until}"
        )
    if isinstance(error, Conflict):
        return (
            "Planning Center says that it sends these messages already, but does not list them. It is asked again with "
            f"every check. {until}"
        )
    if isinstance(error, Rejected):
        return f"Planning Center does not offer messages about this. It is asked again with every check. {until}"
    return None


def _is_scope(problem: Problem) -> bool:
    return problem.code == Hint.PELICAN.name or "scope" in (problem.detail or "").lower()
