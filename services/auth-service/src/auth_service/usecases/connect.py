"""Connecting a product: begin the consent, accept its answer, store the grant.

The answer is processed in steps, each a transaction of its own, because requests to Planning Center lie between them:
the attempt is used up first (even if the rest fails), the connection is stored last. The tokens of a refused consent
are revoked, so that no access remains.
"""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.config import Settings
from auth_service.domain.consent import (
    Attempt,
    AttemptProblem,
    attempt_problem,
    calendar_role_problem,
    people_role_problem,
    products_granted,
    scope_to_ask,
)
from auth_service.domain.receipt import NAMES
from auth_service.errors import AuthorizationRefused, GrantRefused, PlanningCenterAway, StateForbids, VendorAway
from auth_service.planning_center import Identity, PlanningCenter, Tokens, new_code_verifier
from auth_service.storage import queries
from auth_service.storage.tables import AuthorizationAttempt, Connection, OAuthGrant, PcoBinding
from auth_service.usecases.cards import card, other_product
from auth_service.usecases.facts import move
from auth_service.usecases.refresh import Refresher, give_back
from contracts.events.auth_connection_v1 import ConnectionAuthorized
from contracts.http.auth import (
    AuthorizationCompleted,
    AuthorizationStarted,
    CompleteAuthorization,
    ForgetOrganization,
    Product,
)
from contracts.identity import UserIdentity
from servicekit.clock import Clock
from servicekit.db.retention import forget
from servicekit.db.sessions import Sessions
from servicekit.errors import Invalid, is_outage
from servicekit.kafka import outbox
from servicekit.vault import Vault

log = structlog.get_logger(__name__)

_START_AGAIN: Final = "Nothing was stored. Start again from the Integrations page."
_PROBLEMS: Final = {
    AttemptProblem.UNKNOWN: f"This answer from Planning Center belongs to no sign-in of yours. {_START_AGAIN}",
    AttemptProblem.USED: "This sign-in was completed or cancelled before. Nothing was changed; look at the card, and "
    "start again from the Integrations page if it is not connected.",
    AttemptProblem.EXPIRED: f"The sign-in took longer than ten minutes. {_START_AGAIN}",
    AttemptProblem.OTHER_BROWSER: f"This sign-in was begun in another browser. {_START_AGAIN}",
}


@dataclass(frozen=True, slots=True)
class Begun:
    """An attempt, and the secret that binds it to the browser."""

    answer: AuthorizationStarted
    browser: str


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


@dataclass(frozen=True, slots=True)
class Connecting:
    """The consent flow."""

    _settings: Settings
    _sessions: Sessions
    _vendor: PlanningCenter
    _vault: Vault
    _refresher: Refresher
    _clock: Clock

    async def begin(self, session: AsyncSession, user: UserIdentity, product: Product, browser: str | None) -> Begun:
        """The consent page's address. `browser`: secret of an earlier attempt, which then stays valid too."""
        church = await queries.church(session, user.organization_id)
        connection = church.connections.get(product)
        if connection and connection.state == "connected":
            raise StateForbids(f"{NAMES[product]} is connected already. Disconnect it first.", slug="connected")
        if connection and connection.state == "closing":
            raise StateForbids(_closing(product), slug="closing")
        state, verifier, browser = secrets.token_urlsafe(32), new_code_verifier(), browser or secrets.token_urlsafe(32)
        one_grant = church.binding is not None and church.binding.one_grant
        scope = scope_to_ask(product, one_grant=one_grant, webhooks=self._settings.pco_webhooks_scope)
        now = self._clock.now()
        session.add(
            AuthorizationAttempt(
                state_hash=_hash(state),
                product=product,
                organization_id=user.organization_id,
                user_id=user.user_id,
                browser_hash=_hash(browser),
                code_verifier=self._vault.seal(verifier),
                scope=scope,
                created_at=now,
            )
        )
        url = self._vendor.authorize_url(scope=scope, state=state, code_verifier=verifier)
        return Begun(AuthorizationStarted(authorize_url=url, expires_at=now + self._settings.attempt_lifetime), browser)

    async def complete(
        self, user: UserIdentity, answer: CompleteAuthorization, browser: str | None
    ) -> AuthorizationCompleted:
        """Process Planning Center's answer. AuthorizationRefused or VendorAway: nothing is stored."""
        attempt = await self._use_up(user, answer, browser)
        product = _product(attempt)
        if answer.error is not None or answer.code is None:
            raise _cancelled(answer.error)
        tokens = await self._exchange(answer.code, self._vault.open(attempt.code_verifier))
        try:
            identity = await self._identify(tokens, product)
            async with self._sessions.begin() as session:
                reconnected = await self._store(session, user, product, tokens, identity)
        except BaseException:
            await give_back(self._vendor, tokens)
            raise
        await self._look_at_earlier_grant(user.organization_id, product)
        async with self._sessions.begin() as session:
            church = await queries.church(session, user.organization_id)
        return AuthorizationCompleted(card=card(church, product), reconnected=reconnected)

    async def _use_up(
        self, user: UserIdentity, answer: CompleteAuthorization, browser: str | None
    ) -> AuthorizationAttempt:
        now = self._clock.now()
        async with self._sessions.begin() as session:
            row = await session.get(AuthorizationAttempt, _hash(answer.state), with_for_update=True)
            problem = attempt_problem(
                _attempt(row) if row else None,
                organization_id=user.organization_id,
                user_id=user.user_id,
                browser_hash=_hash(browser) if browser else None,
                now=now,
                lifetime=self._settings.attempt_lifetime,
            )
            if problem is not None or row is None:
                problem = problem or AttemptProblem.UNKNOWN
                raise AuthorizationRefused(_PROBLEMS[problem], slug=problem.value)
            row.used_at = now
            return row

    async def _exchange(self, code: str, verifier: str) -> Tokens:
        try:
            return await self._vendor.exchange(code, verifier)
        except GrantRefused as error:
            raise AuthorizationRefused(
                f"Planning Center did not accept the sign-in. {_START_AGAIN}", slug="authorization-refused"
            ) from error
        except PlanningCenterAway as error:
            raise _away() from error

    async def _identify(self, tokens: Tokens, product: Product) -> Identity:
        """The consenting person; refused if the scope or the person's role is not enough."""
        granted = products_granted(tokens.scope)
        if product not in granted:
            raise AuthorizationRefused(
                f"Planning Center did not grant access to {NAMES[product]}. {_START_AGAIN}", slug="scope-missing"
            )
        try:
            identity = await self._vendor.identity(tokens.access_token)
            if "people" in granted:
                person = await self._vendor.person(tokens.access_token)
                if sentence := people_role_problem(person, identity.person_name):
                    raise AuthorizationRefused(sentence, slug="role-missing")
            if "calendar" in granted:
                opens = await self._vendor.opens_calendar(tokens.access_token)
                if sentence := calendar_role_problem(identity.person_name, opens=opens):
                    raise AuthorizationRefused(sentence, slug="role-missing")
        except GrantRefused as error:
            raise AuthorizationRefused(
                f"Planning Center took the sign-in back at once. {_START_AGAIN}", slug="authorization-refused"
            ) from error
        except PlanningCenterAway as error:
            raise _away() from error
        return identity

    async def _store(
        self, session: AsyncSession, user: UserIdentity, product: Product, tokens: Tokens, identity: Identity
    ) -> bool:
        """Bind the church, store the grant and move its connections. Gives whether the product was connected before, to
        the same Planning Center organization."""
        await queries.lock_organization(session, user.organization_id)
        church = await queries.church(session, user.organization_id)
        if (own := church.connections.get(product)) and own.state == "closing":
            raise StateForbids(_closing(product), slug="closing")
        await self._bind(session, church, user, identity)
        grant = OAuthGrant(
            organization_id=user.organization_id,
            pco_person_id=identity.person_id,
            scope=tokens.scope,
            access_token=self._vault.seal(tokens.access_token),
            refresh_token=self._vault.seal(tokens.refresh_token),
            token_generation=await queries.next_token_generation(session),
            granted_at=self._clock.now(),
            issued_at=tokens.issued_at,
            expires_at=tokens.expires_at,
            refresh_expires_at=tokens.issued_at + self._settings.refresh_token_lifetime,
        )
        session.add(grant)
        await session.flush()
        reconnected = own is not None and own.pco_organization_id == identity.organization_id
        facts = [
            self._authorize(session, church, name, user, identity, grant)
            for name in self._covered(church, product, tokens)
        ]
        await outbox.append_all(session, facts)
        return reconnected

    def _covered(self, church: queries.Church, product: Product, tokens: Tokens) -> list[Product]:
        """The requested product, and the other one if it is in use and one grant serves both."""
        other = other_product(product)
        connection = church.connections.get(other)
        shares = (
            church.binding is not None
            and church.binding.one_grant
            and other in products_granted(tokens.scope)
            and connection is not None
            and connection.state in {"connected", "reconnect_required"}
        )
        return [product, other] if shares else [product]

    async def _bind(
        self, session: AsyncSession, church: queries.Church, user: UserIdentity, identity: Identity
    ) -> None:
        binding = church.binding
        if binding is not None and binding.pco_organization_id != identity.organization_id:
            raise _other_organization(binding, identity, _live(church))
        if binding is None:
            binding = PcoBinding(organization_id=user.organization_id, pco_organization_id=identity.organization_id)
            session.add(binding)
        binding.pco_organization_name = identity.organization_name
        binding.in_use = True
        try:
            await session.flush()
        except IntegrityError as error:
            # uq_pco_binding_in_use: another church has this organization; the answer must not name that church.
            raise AuthorizationRefused(
                f"{identity.organization_name} at Planning Center is connected to another organization here. Nothing "
                "was stored. If that should not be so, ask the support of this platform.",
                slug="organization-taken",
            ) from error

    def _authorize(
        self,
        session: AsyncSession,
        church: queries.Church,
        product: Product,
        user: UserIdentity,
        identity: Identity,
        grant: OAuthGrant,
    ) -> ConnectionAuthorized:
        now = self._clock.now()
        connection = church.connections.get(product)
        if connection is None:
            connection = Connection(
                organization_id=user.organization_id, product=product, state="disconnected", version=0, generation=0
            )
            session.add(connection)
        connection.generation += 1
        connection.grant_id = grant.id
        connection.pco_organization_id = identity.organization_id
        connection.pco_organization_name = identity.organization_name
        connection.pco_person_id = identity.person_id
        connection.pco_person_name = identity.person_name
        connection.connected_by_id = user.user_id
        connection.connected_by_name = user.name
        connection.connected_at = now
        return move(connection, "connected", ConnectionAuthorized, now)

    async def _look_at_earlier_grant(self, organization_id: str, product: Product) -> None:
        """Check whether this consent ended the other product's grant, so that its card shows it now, not in two hours.

        Planning Center's behaviour is unconfirmed, so both outcomes are handled. Only a refresh tells for certain; if
        its answer is lost, the next lease finds out.
        """
        async with self._sessions.begin() as session:
            church = await queries.church(session, organization_id)
            own, other = (church.connections.get(name) for name in (product, other_product(product)))
            if own is None or other is None or other.grant_id is None or other.grant_id == own.grant_id:
                return
            earlier = await queries.grant(session, other.grant_id)
        if earlier is None or earlier.ended_at or earlier.pco_person_id != own.pco_person_id:
            return
        try:
            await self._refresher.refresh(earlier.id, earlier.token_generation)
        except Exception as error:
            if not (isinstance(error, PlanningCenterAway) or is_outage(error)):
                raise
            log.info("the earlier grant could not be checked", cause=type(error).__name__)


async def forget_organization(session: AsyncSession, user: UserIdentity, answer: ForgetOrganization) -> None:
    """Allow another Planning Center organization, once both products are disconnected."""
    await queries.lock_organization(session, user.organization_id)
    church = await queries.church(session, user.organization_id)
    if church.binding is None:
        raise StateForbids("No Planning Center organization is remembered here.", slug="not-connected")
    if any(connection.state != "disconnected" for connection in church.connections.values()):
        raise StateForbids("Disconnect both products first. The links are kept until then.", slug="connected")
    # Browsers collapse runs of blanks, so they are compared as one.
    name = church.binding.pco_organization_name
    if answer.confirmation.split() != name.split():
        raise Invalid(
            "Type the name exactly as it is shown. Nothing was changed.",
            errors=[{"field": "confirmation", "message": f'differs from "{name}"'}],
        )
    await session.delete(church.binding)


async def forget_old_attempts(sessions: Sessions, clock: Clock, settings: Settings) -> None:
    """Delete attempts long after their expiry, in pieces; until then a late answer gets the exact refusal."""
    attempts = AuthorizationAttempt.__table__
    before = clock.now() - 144 * settings.attempt_lifetime
    await forget(sessions, attempts, attempts.c.created_at, [attempts.c.created_at < before])


def _attempt(row: AuthorizationAttempt) -> Attempt:
    return Attempt(row.organization_id, row.user_id, row.browser_hash, row.created_at, used=row.used_at is not None)


def _product(attempt: AuthorizationAttempt) -> Product:
    return "people" if attempt.product == "people" else "calendar"


def _closing(product: Product) -> str:
    return f"{NAMES[product]} is being disconnected, which takes up to a minute. Connect it again after that."


def _cancelled(error: str | None) -> AuthorizationRefused:
    if error == "access_denied":
        return AuthorizationRefused(
            "The sign-in was cancelled at Planning Center. Nothing was stored. Connect again whenever you like.",
            slug="authorization-cancelled",
        )
    return AuthorizationRefused(
        f"Planning Center ended the sign-in without granting access. {_START_AGAIN}", slug="authorization-refused"
    )


def _away() -> VendorAway:
    return VendorAway(f"Planning Center did not answer in time. {_START_AGAIN}", retry_after=30)


def _live(church: queries.Church) -> str:
    """The connected products in words."""
    live = {"connected", "reconnect_required"}
    return " and ".join(NAMES[name] for name, row in church.connections.items() if row.state in live)


def _other_organization(binding: PcoBinding, identity: Identity, live: str) -> AuthorizationRefused:
    ours, theirs = binding.pco_organization_name, identity.organization_name
    if binding.in_use:
        return AuthorizationRefused(
            f"You signed in to {theirs}, but {live or 'the connection that ends'} "
            f"belongs to {ours}. Both products need the same Planning Center organization. Nothing was stored. Connect "
            f"again and choose {ours}.",
            slug="organization-mismatch",
        )
    return AuthorizationRefused(
        f"You signed in to {theirs}, but the links kept here belong to {ours}. Nothing was stored. Connect again and "
        f"choose {ours}; if the church has moved, first press Connect another organization on the card.",
        slug="organization-mismatch",
    )
