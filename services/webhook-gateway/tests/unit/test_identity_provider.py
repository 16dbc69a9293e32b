"""While the identity provider hangs, callers with a known key do not wait for it."""

import asyncio

import httpx
import pytest
from cryptography.fernet import Fernet
from joserfc.jwk import ECKey

from servicekit.errors import Unavailable
from servicekit.testing import KeyRing, eventually
from webhook_gateway.config import Settings
from webhook_gateway.identity.bearer import ProviderKeys
from webhook_gateway.identity.provider import Provider

KEY = ECKey.generate_key("P-256", {"kid": "one"})
ISSUER = "https://id.example"
DISCOVERY = {"issuer": ISSUER, "authorization_endpoint": f"{ISSUER}/a", "token_endpoint": f"{ISSUER}/t"}


class Hanging:
    """A provider that answers at once; while `hangs` is set it answers only when released, and with an error."""

    def __init__(self) -> None:
        self.hangs = False
        self.asked = 0
        self.gives_up = asyncio.Event()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.hangs:
            await self.gives_up.wait()
            return httpx.Response(503)
        return httpx.Response(200, json={"keys": [KEY.as_dict(private=False)]} | DISCOVERY)


async def test_known_keys_stay_in_use_without_waiting() -> None:
    hanging = Hanging()
    async with httpx.AsyncClient(transport=httpx.MockTransport(hanging)) as http:
        keys = ProviderKeys(http, ISSUER, every=0)
        assert await keys.key("one")
        hanging.hangs, keys._reading.tried_at = True, float("-inf")
        assert all(await asyncio.gather(*(keys.key("one") for _ in range(20))))
        unknown = asyncio.create_task(keys.key("two"))
        await eventually(lambda: hanging.asked == 2)
        assert not unknown.done(), "an unknown key is waited for"
        hanging.gives_up.set()
        assert await unknown is None
        assert hanging.asked == 2


@pytest.mark.parametrize("known", [True, False])
async def test_concurrent_callers_share_one_read_of_the_discovery_document(known: bool, keys: KeyRing) -> None:
    owners = dict.fromkeys(("auth_service_url", "people_sync_url", "conflict_service_url", "calendar_sync_url"), ISSUER)
    identity = {"identity_issuer": ISSUER, "identity_jwks_url": ISSUER, "identity_audience": "a"}
    settings = keys.settings(
        Settings,
        database_url="postgresql+asyncpg://x",
        kafka="x",
        console_client_id="c",
        webhook_encryption_keys=Fernet.generate_key().decode(),
        **owners,
        **identity,
    )
    hanging = Hanging()
    async with httpx.AsyncClient(transport=httpx.MockTransport(hanging)) as http:
        provider = Provider(http, settings, every=0)
        if known:
            await provider.console_settings()
        hanging.hangs, provider._reading.tried_at = True, float("-inf")
        asking = asyncio.gather(*(provider.console_settings() for _ in range(20)), return_exceptions=True)
        await eventually(lambda: hanging.asked == 1 + known)
        if not known:
            assert not asking.done()
            hanging.gives_up.set()
        assert {type(answer) is Unavailable for answer in await asking} == {not known}
        assert hanging.asked == 1 + known
        hanging.gives_up.set()
