"""Subscriptions of churches to iCal feeds, which the simulator reads when it is told to."""

from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import urlsplit

from pco_simulator.calendar import rules as calendar
from pco_simulator.jsonapi import Refused, stamp
from pco_simulator.rows import Row, parse_id
from pco_simulator.world import World

_AGENT = "Planning-Center-Simulator-Feeds/1.0"
_SECONDS = 30.0
_LARGEST = 20 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    """Number of events that a reading of a feed changed."""

    created: int = 0
    updated: int = 0
    deleted: int = 0


def _over_http(url: str) -> str:
    """The address to ask: `webcal` is https, on the own machine http."""
    parts = urlsplit(url)
    if parts.scheme != "webcal":
        return url
    own = parts.hostname in ("localhost", "127.0.0.1", "::1")
    return parts._replace(scheme="http" if own else "https").geturl()


class Feeds:
    """Adds, reads and ends subscriptions as staff of the church do."""

    def __init__(self, world: World) -> None:
        self._world = world

    def subscribe(self, organization_id: str, url: str, name: str, *, published: bool = True) -> str:
        """Subscribe to an address (http, https or webcal) without reading it; gives the feed's id."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https", "webcal") or not parts.netloc:
            raise ValueError("the address of a feed begins with https://, http:// or webcal://")
        owner = self._world.administrator(organization_id)
        with self._world.change(organization_id, "person") as change:
            row = change.create(
                "Feed",
                {
                    "name": name or "iCal feed",
                    "feed_type": "ical",
                    "default_church_center_visibility": "published" if published else "hidden",
                    "event_owner_id": int(owner.person_id),
                    "url": url,
                },
            )
        return str(row.id)

    async def refresh(self, organization_id: str, feed_id: str) -> Outcome:
        """Read a feed and make its events those of the church.

        `KeyError` for an unknown feed; `ValueError`, and nothing changed, if it cannot be read.
        """
        import httpx  # noqa: PLC0415 - a tenth of the time to start, for what most tests never do

        feed = self._feed(organization_id, feed_id)
        url = feed.attrs["url"]
        headers = {"User-Agent": _AGENT, "Accept": "text/calendar"}
        if "etag" in feed.attrs:
            headers["If-None-Match"] = feed.attrs["etag"]
        try:
            jar = CookieJar(DefaultCookiePolicy(allowed_domains=()))  # it stays empty
            async with httpx.AsyncClient(timeout=_SECONDS, follow_redirects=True, cookies=jar) as client:
                answer = await client.get(_over_http(url), headers=headers)
        except httpx.HTTPError as error:
            raise ValueError(f"the feed could not be read: {error or type(error).__name__}") from error
        if answer.status_code == httpx.codes.NOT_MODIFIED:
            return Outcome()
        if answer.status_code != httpx.codes.OK:
            raise ValueError(f"the feed answered {answer.status_code}")
        if len(answer.content) > _LARGEST:
            raise ValueError(f"the feed is larger than {_LARGEST} bytes")
        return self.take(organization_id, feed_id, answer.content, answer.headers.get("etag"))

    def take(self, organization_id: str, feed_id: str, body: bytes, etag: str | None = None) -> Outcome:
        """Make the events of a feed that was read those of the church; `ValueError` if it is no calendar."""
        from pco_simulator.calendar import importer  # noqa: PLC0415 - see above

        feed, world = self._feed(organization_id, feed_id), self._world
        zone = world.church(organization_id).organization.zone
        imported = importer.read(body, zone, world.clock.now())
        try:
            with world.change(organization_id, "feed") as change:
                read = {"imported_at": stamp(change.at), "etag": etag}
                feed = change.update("Feed", feed, read)
                return Outcome(*importer.apply(change, feed, imported))
        except Refused as refused:
            raise ValueError(str(refused)) from refused

    def end(self, organization_id: str, feed_id: str) -> None:
        """End a subscription; its events are deleted with it (unconfirmed)."""
        feed = self._feed(organization_id, feed_id)
        with self._world.change(organization_id, "person") as change:
            calendar.delete(change, "Feed", feed)

    def _feed(self, organization_id: str, feed_id: str) -> Row:
        known = parse_id(feed_id)
        row = None if known is None else self._world.view(organization_id).get("Feed", known)
        if row is None or "url" not in row.attrs:
            raise KeyError(f"Feed {feed_id}")
        return row
