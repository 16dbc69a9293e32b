"""While the identity provider hangs, whoever can be known without it does not wait for it."""

import asyncio
import time

import httpx
import pytest
from joserfc.jwk import ECKey

from servicekit.errors import Unavailable
from servicekit.testing import KeyRing
from webhook_gateway.api.bearer import ProviderKeys
from webhook_gateway.api.provider import Provider
from webhook_gateway.config import Settings

KEY = ECKey.generate_key("P-256", {"kid": "one"})
ISSUER = "https://id.example"
DISCOVERY = {"issuer": ISSUER, "authorization_endpoint": f"{ISSUER}/a", "token_endpoint": f"{ISSUER}/t"}


class Slow:
    """Answers at once, or not for a second and then badly."""

    def __init__(self) -> None:
        self.hangs = False
        self.asked = 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.hangs:
            await asyncio.sleep(1)
            return httpx.Response(503)
        return httpx.Response(200, json={"keys": [KEY.as_dict(private=False)]} | DISCOVERY)


async def test_known_keys_stay_in_use_without_waiting() -> None:
    slow = Slow()
    async with httpx.AsyncClient(transport=httpx.MockTransport(slow)) as http:
        keys = ProviderKeys(http, ISSUER, every=0)
        assert await keys.key("one")
        slow.hangs, keys._reading.tried_at = True, float("-inf")
        began = time.monotonic()
        assert all(await asyncio.gather(*(keys.key("one") for _ in range(20))))
        assert time.monotonic() - began < 0.5
        assert await keys.key("two") is None, "an unknown key is waited for"
        assert slow.asked == 2


@pytest.mark.parametrize("known", [True, False])
async def test_how_to_sign_in_is_read_once_however_many_ask(known: bool, keys: KeyRing) -> None:
    owners = dict.fromkeys(("auth_service_url", "people_sync_url", "conflict_service_url", "calendar_sync_url"), ISSUER)
    identity = {"identity_issuer": ISSUER, "identity_jwks_url": ISSUER, "identity_audience": "a"}
    settings = keys.settings(
        Settings, database_url="postgresql+asyncpg://x", kafka="x", console_client_id="c", **owners, **identity
    )
    slow = Slow()
    async with httpx.AsyncClient(transport=httpx.MockTransport(slow)) as http:
        provider = Provider(http, settings, every=0)
        if known:
            await provider.console_settings()
        slow.hangs, provider._reading.tried_at = True, float("-inf")
        began = time.monotonic()
        answers = await asyncio.gather(*(provider.console_settings() for _ in range(20)), return_exceptions=True)
        assert {type(answer) is Unavailable for answer in answers} == {not known}
        assert time.monotonic() - began < (0.5 if known else 1.5)
        assert slow.asked == 1 + known
