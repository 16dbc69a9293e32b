"""Consent in the browser, tokens between servers."""

import base64
import hashlib
import re
import secrets
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from pco_simulator.testing import USER_AGENT, Control, Credentials, SimulatorProcess

REDIRECT = "https://platform.example/callback"
INVALID_GRANT = {
    "error": "invalid_grant",
    "error_description": "The provided authorization grant is invalid, expired, revoked, does not match the"
    " redirection URI used in the authorization request, or was issued to another client.",
}


class Application:
    """The platform's side of the authorization code flow, step by step."""

    def __init__(self, simulator: SimulatorProcess, credentials: Credentials) -> None:
        self.credentials = credentials
        self.browser = httpx.Client(base_url=simulator.base_url)
        self.server = httpx.Client(base_url=simulator.base_url, headers={"User-Agent": USER_AGENT})
        self.verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(self.verifier.encode()).digest()
        self.request = {
            "client_id": credentials.id,
            "redirect_uri": REDIRECT,
            "response_type": "code",
            "scope": "openid people",
            "state": "s-1 +&",
            "nonce": "n-1",
            "prompt": "select_account",
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }

    def decide(self, decision: str = "allow", login: str | None = None, **changes: str) -> dict[str, str]:
        """Press a button on the consent page; gives the query of the redirect."""
        page = self.browser.get("/oauth/authorize", params={**self.request, **changes})
        assert page.status_code == 200, page.text
        fields = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
        fields = {name: value.replace("&amp;", "&") for name, value in fields.items()}
        chosen = login or re.findall(r'name="login" value="([^"]+)"', page.text)[0]
        answer = self.browser.post("/oauth/authorize", data={**fields, "login": chosen, "decision": decision})
        assert answer.status_code == 302, answer.text
        target = urlsplit(answer.headers["location"])
        assert f"{target.scheme}://{target.netloc}{target.path}" == REDIRECT
        return {name: values[0] for name, values in parse_qs(target.query).items()}

    def post(self, path: str, **values: str) -> httpx.Response:
        """A server call with `client_secret_post`."""
        form = {"client_id": self.credentials.id, "client_secret": self.credentials.secret, **values}
        return self.server.post(path, data=form)

    def exchange(self, code: str, **changes: str) -> httpx.Response:
        values = {"code": code, "redirect_uri": REDIRECT, "code_verifier": self.verifier, **changes}
        return self.post("/oauth/token", grant_type="authorization_code", **values)

    def connect(self, **changes: str) -> dict[str, Any]:
        answer = self.exchange(self.decide(**changes)["code"])
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens

    def refresh(self, token: str) -> httpx.Response:
        return self.post("/oauth/token", grant_type="refresh_token", refresh_token=token)

    def call(self, token: str, path: str = "/people/v2/people") -> httpx.Response:
        return self.server.get(path, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def application(simulator: SimulatorProcess, control: Control) -> Iterator[Application]:
    made = Application(simulator, control.register_client(REDIRECT))
    with made.browser, made.server:
        yield made


def test_consent_code_tokens_and_a_call(application: Application, church: str) -> None:
    back = application.decide()
    assert back["state"] == "s-1 +&"
    answer = application.exchange(back["code"])
    assert answer.headers["cache-control"] == "no-store"
    tokens = answer.json()
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 7200
    assert tokens["scope"].split() == ["openid", "people"]
    listed = application.call(tokens["access_token"])
    assert listed.status_code == 200
    assert listed.headers["x-pco-api-auth-method"] == "OAuth2"
    assert listed.json()["meta"]["parent"]["id"] == church
    assert application.exchange(back["code"]).json() == INVALID_GRANT


def test_id_token_userinfo_and_discovery_agree(application: Application, church: str) -> None:
    tokens = application.connect()
    discovery = application.server.get("/.well-known/openid-configuration").json()
    keys = KeySet.import_key_set(application.server.get(discovery["jwks_uri"]).json())
    claims = jwt.decode(tokens["id_token"], keys, algorithms=["RS256"]).claims
    assert claims["iss"] == discovery["issuer"]
    assert claims["aud"] == application.credentials.id
    assert claims["nonce"] == "n-1"
    assert claims["exp"] - claims["iat"] == 3600
    info = application.server.get(
        discovery["userinfo_endpoint"], headers={"Authorization": f"Bearer {tokens['access_token']}"}
    ).json()
    assert info["organization_id"] == church
    assert set(info) == {"sub", "name", "email", "organization_id", "organization_name"}
    assert {name: claims[name] for name in info} == info


def test_denied_consent_comes_back_as_access_denied(application: Application) -> None:
    back = application.decide("deny")
    assert (back["error"], back["state"]) == ("access_denied", "s-1 +&")
    assert "code" not in back


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "people nonsense"}, "invalid_scope"),
        ({"scope": ""}, "invalid_scope"),
        ({"code_challenge_method": "plain"}, "invalid_code_challenge_method"),
        ({"prompt": "none"}, "login_required"),
    ],
)
def test_bad_requests_of_a_known_application_go_back_to_it(
    application: Application, changes: dict[str, str], error: str
) -> None:
    answer = application.browser.get("/oauth/authorize", params={**application.request, **changes})
    assert answer.status_code == 302
    assert parse_qs(urlsplit(answer.headers["location"]).query)["error"] == [error]


@pytest.mark.parametrize(
    "changes", [{"client_id": "nobody"}, {"redirect_uri": REDIRECT + "/"}, {"redirect_uri": "https://evil.example"}]
)
def test_unknown_application_or_address_is_never_redirected(application: Application, changes: dict[str, str]) -> None:
    answer = application.browser.get("/oauth/authorize", params={**application.request, **changes})
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert 'role="alert"' in answer.text


@pytest.mark.parametrize(
    "changes", [{"code_verifier": "x" * 43}, {"code_verifier": ""}, {"redirect_uri": REDIRECT + "2"}]
)
def test_code_needs_its_verifier_and_redirect_uri(application: Application, changes: dict[str, str]) -> None:
    code = application.decide()["code"]
    answer = application.exchange(code, **changes)
    assert (answer.status_code, answer.json()) == (400, INVALID_GRANT)


def test_a_verifier_that_was_not_announced_is_refused(application: Application) -> None:
    announced = [name for name in application.request if name.startswith("code_challenge")]
    for name in announced:
        del application.request[name]
    code = application.decide()["code"]
    assert application.exchange(code).json() == INVALID_GRANT
    assert application.exchange(code, code_verifier="").status_code == 200


def test_organization_id_may_be_a_number(application: Application, control: Control, church: str) -> None:
    control.change_settings(numeric_organization_id=True)
    token = application.connect()["access_token"]
    assert application.call(token, "/oauth/userinfo").json()["organization_id"] == int(church)


def test_code_expires_and_belongs_to_its_application(
    simulator: SimulatorProcess, application: Application, control: Control
) -> None:
    other = Application(simulator, control.register_client(REDIRECT))
    other.verifier = application.verifier
    assert other.exchange(application.decide()["code"]).json() == INVALID_GRANT
    control.change_settings(authorization_code_seconds=0.000001)
    assert application.exchange(application.decide()["code"]).json() == INVALID_GRANT


def test_wrong_client_secret_is_invalid_client(application: Application) -> None:
    application.credentials = Credentials(application.credentials.id, "wrong")
    answer = application.refresh("anything")
    assert answer.status_code == 401
    assert answer.json() == {
        "error": "invalid_client",
        "error_description": "Client authentication failed due to unknown client, no client authentication"
        " included, or unsupported authentication method.",
    }


def test_client_may_authenticate_by_basic_or_json(application: Application) -> None:
    refresh = application.connect()["refresh_token"]
    used = application.credentials
    by_basic = application.server.post(
        "/oauth/token",
        auth=(used.id, used.secret),
        data={"grant_type": "refresh_token", "refresh_token": refresh},
    )
    assert by_basic.status_code == 200
    by_json = application.server.post(
        "/oauth/token",
        json={
            "grant_type": "refresh_token",
            "refresh_token": by_basic.json()["refresh_token"],
            "client_id": used.id,
            "client_secret": used.secret,
        },
    )
    assert by_json.status_code == 200


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=x", b"y"),
        ("application/json", b"{"),
        ("application/json", b"[]"),
        ("text/plain", b"grant_type=refresh_token"),
        ("application/x-www-form-urlencoded", b"\xff=%ff"),
    ],
)
def test_bodies_other_than_forms_are_refused(application: Application, content_type: str, body: bytes) -> None:
    headers = {"Content-Type": content_type}
    for path in ("/oauth/token", "/oauth/introspect"):
        answer = application.server.post(path, content=body, headers=headers)
        assert answer.json()["error"] == ("invalid_client" if answer.status_code == 401 else "invalid_request")
    assert application.server.post("/oauth/revoke", content=body, headers=headers).status_code == 200
    assert application.browser.post("/oauth/authorize", content=body, headers=headers).status_code == 400


def test_public_client_must_use_pkce(simulator: SimulatorProcess, control: Control) -> None:
    application = Application(simulator, control.register_client(REDIRECT, public=True))
    request = {k: v for k, v in application.request.items() if not k.startswith("code_challenge")}
    refused = application.browser.get("/oauth/authorize", params=request)
    assert "error=invalid_request" in refused.headers["location"]
    assert application.connect()["refresh_token"]


def test_refresh_rotates_and_the_old_tokens_die_at_once(application: Application) -> None:
    first = application.connect()
    second = application.refresh(first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    again = application.refresh(first["refresh_token"])
    assert (again.status_code, again.json()) == (400, INVALID_GRANT)
    assert application.call(first["access_token"]).status_code == 401
    assert application.call(second["access_token"]).status_code == 200


def test_in_the_kinder_world_the_old_access_token_lives_on(application: Application, control: Control) -> None:
    control.change_settings(refresh_ends_access_token=False)
    first = application.connect()
    assert application.refresh(first["refresh_token"]).status_code == 200
    assert application.call(first["access_token"]).status_code == 200


def test_expiry_of_access_and_refresh_tokens(application: Application, control: Control) -> None:
    tokens = application.connect()
    control.end_tokens(op="expire", client_id=application.credentials.id, which="access")
    answer = application.call(tokens["access_token"])
    assert (answer.status_code, answer.content) == (401, b"")
    assert "expired" in answer.headers["www-authenticate"]
    tokens = application.refresh(tokens["refresh_token"]).json()
    control.end_tokens(op="expire", client_id=application.credentials.id, which="refresh")
    dead = application.refresh(tokens["refresh_token"])
    assert (dead.status_code, dead.json()) == (
        400,
        {"error": "invalid_request", "error_description": "The refresh token is no longer valid"},
    )


def test_token_lifetime_is_a_setting(application: Application, control: Control) -> None:
    control.change_settings(access_token_seconds=60)
    assert application.connect()["expires_in"] == 60


def test_revoking_ends_one_token_and_answers_200_always(application: Application) -> None:
    tokens = application.connect()
    assert application.post("/oauth/revoke", token="unknown").status_code == 200
    assert application.post("/oauth/revoke", token=tokens["refresh_token"]).status_code == 200
    assert application.post("/oauth/introspect", token=tokens["refresh_token"]).json() == {"active": False}
    assert application.refresh(tokens["refresh_token"]).json() == INVALID_GRANT
    assert application.call(tokens["access_token"]).status_code == 200
    active = application.post("/oauth/introspect", token=tokens["access_token"]).json()
    assert active["active"] is True
    assert active["client_id"] == application.credentials.id
    application.post("/oauth/revoke", token=tokens["access_token"])
    assert application.call(tokens["access_token"]).status_code == 401


def test_revoking_needs_the_right_client(application: Application) -> None:
    tokens = application.connect()
    right = application.credentials
    application.credentials = Credentials(right.id, "wrong")
    assert application.post("/oauth/revoke", token=tokens["access_token"]).status_code == 200
    application.credentials = right
    assert application.call(tokens["access_token"]).status_code == 200


@pytest.mark.parametrize("ends", [True, False])
def test_second_consent_may_end_the_first_grant(application: Application, control: Control, ends: bool) -> None:
    control.change_settings(second_consent_ends_first_grant=ends)
    first = application.connect()
    second = application.connect(scope="openid calendar")
    assert application.call(first["access_token"]).status_code == (401 if ends else 200)
    assert application.refresh(first["refresh_token"]).status_code == (400 if ends else 200)
    assert application.call(second["access_token"], "/current/v2/me").status_code == 200


def test_scope_of_the_product_is_needed(application: Application) -> None:
    token = application.connect(scope="calendar")["access_token"]
    answer = application.call(token)
    assert answer.status_code == 403
    assert answer.json()["errors"][0]["detail"] == "You do not have access to this resource"
    assert application.call(token, "/current/v2/me").status_code == 200
    assert "id_token" not in application.connect(scope="calendar")


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        ("people", {"People: Manager", "People: Editor", "People: Viewer", "People: no access"}),
        ("calendar", {"Calendar: Administrator", "Calendar: Editor", "Calendar: no access"}),
        ("openid", set()),
    ],
)
def test_chooser_shows_the_role_in_the_requested_product(application: Application, scope: str, words: set[str]) -> None:
    page = application.browser.get("/oauth/authorize", params={**application.request, "scope": scope}).text
    assert set(re.findall(r"(?:People|Calendar): [\w ]+", page)) == words


def test_chooser_offers_every_church_and_remembers(application: Application, control: Control) -> None:
    other = control.organizations()[1]
    login = f"{other['id']}:{other['logins'][0]['person_id']}"
    tokens = application.connect(login=login)
    assert application.call(tokens["access_token"]).json()["meta"]["parent"]["id"] == other["id"]
    page = application.browser.get("/oauth/authorize", params={**application.request, "prompt": ""}).text
    assert re.findall(r'name="login" value="([^"]+)"', page) == [login]
    assert "Sign in as somebody else" in page


@pytest.mark.parametrize(
    ("op", "refreshed"), [("revoke", 400), ("expire", 400)], ids=["revoked mid-run", "expired mid-run"]
)
def test_tokens_die_in_the_middle_of_a_run(application: Application, control: Control, op: str, refreshed: int) -> None:
    control.add_fault({"kind": "end_token", "op": op}, path="^/people/v2/people$", nth=2)
    tokens = application.connect()
    assert [application.call(tokens["access_token"]).status_code for _ in range(3)] == [200, 401, 401]
    assert application.refresh(tokens["refresh_token"]).status_code == refreshed
    assert [grant["live_access_tokens"] for grant in control.grants()][-1] == 0


def test_hints_stand_in_the_body_when_switched_on(application: Application, control: Control) -> None:
    control.change_settings(error_hints=True)
    tokens = application.connect(scope="calendar")
    assert application.call(tokens["access_token"]).json()["errors"][0]["code"] == "PELICAN"
    church = control.organizations()[0]
    outsider = next(one for one in church["logins"] if one["people_permissions"] is None)
    other = application.connect(login=f"{church['id']}:{outsider['person_id']}")
    assert application.call(other["access_token"]).json()["errors"][0]["code"] == "TRASH_PANDA"
    control.end_tokens(op="revoke", client_id=application.credentials.id)
    assert application.call(tokens["access_token"]).json()["errors"][0]["code"] == "CAPUCHIN"


def test_the_consent_page_says_who_asks_for_what_and_where() -> None:
    client = f"Church Platform=platform:secret:{REDIRECT}"
    with SimulatorProcess(people=20, oauth_clients=[client]) as simulator:
        application = Application(simulator, Credentials("platform", "secret"))
        page = application.browser.get("/oauth/authorize", params=application.request).text
        assert "Allow Church Platform to use Planning Center?" in page
        assert urlsplit(REDIRECT).netloc in page
        assert "See and change people and households in Planning Center People" in page
        assert "in the church of the person you choose and no other church" in page
        application.decide()
        later = application.browser.get("/oauth/authorize", params={**application.request, "prompt": ""}).text
        assert re.search(r"in <strong>[\w ]+</strong> and no other church", later)
