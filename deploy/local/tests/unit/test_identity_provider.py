"""The development identity provider behaves towards the console as a real one does."""

import base64
import hashlib
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import ECKey, KeySet

from local_stack.identity_provider import IdentityProvider, create_app, load_key, people_of

ISSUER = "http://localhost:8091"
CONSOLE = "http://localhost:8080"
VERIFIER = secrets.token_urlsafe(48)
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
ASKED = {
    "response_type": "code",
    "client_id": "console",
    "redirect_uri": f"{CONSOLE}/signed-in",
    "scope": "openid profile",
    "state": "a state & more",
    "nonce": "once",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    provider = IdentityProvider(issuer=ISSUER, key=load_key(tmp_path), console_origins=[CONSOLE])
    transport = httpx.ASGITransport(create_app(provider))
    async with httpx.AsyncClient(transport=transport, base_url=ISSUER) as client:
        yield client


async def code_for(browser: httpx.AsyncClient, username: str) -> str:
    answer = await browser.post("/authorize", data={**ASKED, "username": username})
    assert answer.status_code == 303
    back = urlsplit(answer.headers["location"])
    query = parse_qs(back.query)
    assert f"{back.scheme}://{back.netloc}{back.path}" == ASKED["redirect_uri"]
    assert (query["state"], query["iss"]) == ([ASKED["state"]], [ISSUER])
    return query["code"][0]


def redeeming(code: str, **changed: str) -> dict[str, str]:
    return {
        "grant_type": "authorization_code",
        "client_id": "console",
        "redirect_uri": ASKED["redirect_uri"],
        "code": code,
        "code_verifier": VERIFIER,
        **changed,
    }


async def test_from_the_page_to_a_token_the_platform_can_verify(browser: httpx.AsyncClient) -> None:
    metadata = (await browser.get("/.well-known/openid-configuration")).json()
    assert metadata["issuer"] == ISSUER
    page = await browser.get(metadata["authorization_endpoint"], params=ASKED)
    names = re.findall(r"<button[^>]*><strong>([^<]+)", page.text)
    assert names == ["Ada Moreno", "Sam Whitfield", "Olga Brandt"]
    assert "a state &amp; more" in page.text

    code = await code_for(browser, "sam")
    answer = await browser.post(metadata["token_endpoint"], data=redeeming(code))
    assert answer.headers["cache-control"] == "no-store"
    tokens = answer.json()
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 3600)
    keys = KeySet.import_key_set((await browser.get(metadata["jwks_uri"])).json())
    claims = jwt.decode(tokens["access_token"], keys, algorithms=["ES256"]).claims
    assert claims["aud"] == "church-platform"
    assert claims["exp"] - claims["iat"] == 3600
    assert {name: claims[name] for name in ("iss", "sub", "name", "organization_id", "organization_name", "roles")} == {
        "iss": ISSUER,
        "sub": "sam",
        "name": "Sam Whitfield",
        "organization_id": "riverbend",
        "organization_name": "Riverbend Community Church",
        "roles": ["staff"],
    }
    about = jwt.decode(tokens["id_token"], keys, algorithms=["ES256"]).claims
    assert (about["aud"], about["nonce"]) == ("console", "once")
    told = await browser.get("/userinfo", headers={"authorization": f"Bearer {tokens['access_token']}"})
    assert told.json()["email"] == "sam@riverbend.example"


async def test_a_code_works_once_and_only_for_who_asked(browser: httpx.AsyncClient) -> None:
    code = await code_for(browser, "ada")
    assert (await browser.post("/token", data=redeeming(code))).status_code == 200
    again = await browser.post("/token", data=redeeming(code))
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    for changed in ({"code_verifier": VERIFIER[:-1] + "."}, {"code_verifier": ""}, {"redirect_uri": f"{CONSOLE}/"}):
        spent = await code_for(browser, "ada")
        assert (await browser.post("/token", data=redeeming(spent, **changed))).json()["error"] == "invalid_grant"
        # A failed attempt spends the code.
        assert (await browser.post("/token", data=redeeming(spent))).json()["error"] == "invalid_grant"
    other = await browser.post("/token", data=redeeming(await code_for(browser, "ada"), client_id="other"))
    assert (other.status_code, other.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize(
    "changed",
    [
        {"client_id": "other"},
        {"redirect_uri": f"{CONSOLE}/signed-in/"},
        {"redirect_uri": f"{CONSOLE}.example/signed-in"},
        {"redirect_uri": "https://elsewhere.example/signed-in"},
    ],
)
async def test_an_unknown_client_or_address_is_never_redirected(
    browser: httpx.AsyncClient, changed: dict[str, str]
) -> None:
    for answer in (
        await browser.get("/authorize", params={**ASKED, **changed}),
        await browser.post("/authorize", data={**ASKED, **changed, "username": "ada"}),
    ):
        assert answer.status_code == 400
        assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"prompt": "none"}, "login_required"),
    ],
)
async def test_other_mistakes_go_back_to_the_console(
    browser: httpx.AsyncClient, changed: dict[str, str], error: str
) -> None:
    answer = await browser.get("/authorize", params={**ASKED, **changed})
    assert answer.status_code == 303
    assert parse_qs(urlsplit(answer.headers["location"]).query)["error"] == [error]


async def test_scripts_get_tokens_by_name_expired_ones_too(browser: httpx.AsyncClient) -> None:
    fresh = (await browser.post("/token", data={"grant_type": "password", "username": "olga"})).json()
    stale = (
        await browser.post("/token", data={"grant_type": "password", "username": "olga", "lifetime": "-60"})
    ).json()
    assert (await browser.get("/userinfo", headers={"authorization": f"Bearer {fresh['access_token']}"})).is_success
    refused = await browser.get("/userinfo", headers={"authorization": f"Bearer {stale['access_token']}"})
    assert refused.status_code == 401
    nobody = await browser.post("/token", data={"grant_type": "password", "username": "eve"})
    assert (nobody.status_code, nobody.json()["error"]) == (400, "invalid_grant")
    unknown = await browser.post("/token", data={"grant_type": "client_credentials"})
    assert unknown.json()["error"] == "unsupported_grant_type"


async def test_only_the_console_may_read_tokens_from_a_browser(browser: httpx.AsyncClient) -> None:
    for origin, allowed in ((CONSOLE, CONSOLE), ("https://elsewhere.example", None)):
        answer = await browser.post(
            "/token", data={"grant_type": "password", "username": "ada"}, headers={"origin": origin}
        )
        assert answer.headers.get("access-control-allow-origin") == allowed


async def test_signing_out_leads_back_to_the_console_alone(browser: httpx.AsyncClient) -> None:
    back = await browser.get("/end-session", params={"post_logout_redirect_uri": f"{CONSOLE}/", "state": "s"})
    assert back.headers["location"] == f"{CONSOLE}/?state=s"
    elsewhere = await browser.get("/end-session", params={"post_logout_redirect_uri": "https://elsewhere.example/"})
    assert elsewhere.status_code == 400
    assert "location" not in elsewhere.headers


def test_the_key_outlives_a_restart_and_is_private(tmp_path: Path) -> None:
    first, second = load_key(tmp_path), load_key(tmp_path)
    token = jwt.encode({"alg": "ES256", "kid": first.kid}, {"sub": "ada"}, first)
    assert jwt.decode(token, second, algorithms=["ES256"]).claims["sub"] == "ada"
    assert first.kid == second.kid
    with pytest.raises(BadSignatureError):
        jwt.decode(token, ECKey.generate_key("P-256", private=True), algorithms=["ES256"])
    assert [file.stat().st_mode & 0o777 for file in tmp_path.iterdir()] == [0o600]


async def test_further_churches_have_people_of_their_own(tmp_path: Path) -> None:
    provider = IdentityProvider(issuer=ISSUER, key=load_key(tmp_path), console_origins=[CONSOLE], people=people_of(4))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(provider)), base_url=ISSUER) as client:
        names = re.findall(r"<span>([^<]+)", (await client.get("/authorize", params=ASKED)).text)
        assert names[3:] == [
            "Administrator, Church 3",
            "Staff, Church 3",
            "Administrator, Church 4",
            "Staff, Church 4",
        ]
        code = await code_for(client, "sam4")
        tokens = (await client.post("/token", data=redeeming(code))).json()
        about = await client.get("/userinfo", headers={"authorization": f"Bearer {tokens['access_token']}"})
    assert {"organization_id": "church4", "roles": ["staff"], "sub": "sam4"}.items() <= (
        about.json() | {"sub": jwt.decode(tokens["access_token"], load_key(tmp_path)).claims["sub"]}
    ).items()
