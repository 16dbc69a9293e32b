"""Connecting: the whole consent by HTTP, and every answer that must be refused."""

import asyncio
from urllib.parse import parse_qs, urlsplit

from auth_support import Auth, Browser, Facts, new_church

from auth_service.main import create_app
from servicekit.testing import eventually, serve


async def test_consent_connects_and_says_so(auth: Auth, facts: Facts) -> None:
    admin = new_church()
    assert (await auth.card(admin))["state"] == "not_connected"
    completed = await auth.connect(admin)
    assert completed["reconnected"] is False
    card = await auth.card(admin)
    assert card == completed["card"]
    assert (card["state"], card["generation"]) == ("connected", 1)
    assert card["pco_organization_name"] == auth.church_name()
    assert card["connected_by_name"] == "Test User"
    assert card["pco_person_name"]
    assert (await auth.card(admin, "calendar"))["state"] == "needs_authorization"

    lease = (await auth.lease(admin)).json()
    assert await auth.works(lease["access_token"])
    assert (lease["connection_generation"], lease["pco_organization_id"]) == (1, auth.login().split(":")[0])

    (fact,) = await facts.names(admin, "people:ConnectionAuthorized")
    assert (fact.version, fact.generation, fact.state) == (1, 1, "connected")
    assert lease["access_token"] not in fact.model_dump_json()


async def test_tokens_are_encrypted_at_rest(auth: Auth) -> None:
    admin = new_church()
    await auth.connect(admin)
    token = (await auth.lease(admin)).json()["access_token"]
    (row,) = await auth.sql("SELECT * FROM oauth_grant")
    assert token.encode() not in row["access_token"]
    assert row["access_token"].startswith(b"gAAAA")


async def test_staff_see_the_cards_and_may_not_connect(auth: Auth) -> None:
    staff = new_church()
    staff.roles = ("staff",)
    assert (await auth.card(staff))["state"] == "not_connected"
    for path in ("/people/authorize", "/people/disconnect"):
        assert (await auth.call(staff, "POST", path, ok=False)).status_code == 403
    body = {"state": "s", "code": "c"}
    assert (await auth.call(staff, "POST", "/complete", body, ok=False)).status_code == 403


async def test_cookie_binds_the_attempt_to_the_browser(auth: Auth) -> None:
    admin = new_church()
    answer = await auth.call(admin, "POST", "/people/authorize")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Path=/api/v1/connections" in cookie
    redirect = await auth.consent(answer.json()["authorize_url"], auth.login())

    elsewhere = Browser(admin.organization_id)
    refused = await auth.complete(elsewhere, redirect, ok=False)
    assert refused.status_code == 409
    assert refused.json()["type"] == "/problems/authorization-other-browser"
    assert (await auth.complete(admin, redirect)).json()["card"]["state"] == "connected"


async def test_two_tabs_of_one_browser_both_stay_good(auth: Auth) -> None:
    admin = new_church()
    first, second = await auth.begin(admin), await auth.begin(admin, "calendar")
    await auth.complete(admin, await auth.consent(first, auth.login()))
    await auth.complete(admin, await auth.consent(second, auth.login()))
    assert (await auth.card(admin, "calendar"))["state"] == "connected"


async def test_refused_answers_store_nothing(auth: Auth, facts: Facts) -> None:
    admin = new_church()

    async def refusal(browser: Browser, answer: dict[str, str]) -> str:
        response = await auth.complete(browser, answer, ok=False)
        problem = response.json()
        assert response.status_code == 409
        assert "stored" in problem["detail"] or "changed" in problem["detail"]
        return str(problem["type"]).removeprefix("/problems/")

    assert await refusal(admin, {"state": "never-issued", "code": "x"}) == "authorization-unknown"

    redirect = await auth.consent(await auth.begin(admin), auth.login())
    colleague = Browser(admin.organization_id, user_id="user-2", cookies=dict(admin.cookies))
    stranger = Browser(new_church().organization_id, cookies=dict(admin.cookies))
    assert await refusal(colleague, redirect) == "authorization-unknown"
    assert await refusal(stranger, redirect) == "authorization-unknown"

    await auth.sql("UPDATE authorization_attempt SET created_at = created_at - interval '601 seconds'")
    assert await refusal(admin, redirect) == "authorization-expired"

    denied = await auth.consent(await auth.begin(admin), auth.login(), decision="deny")
    assert denied["error"] == "access_denied"
    assert await refusal(admin, denied) == "authorization-cancelled"
    assert await refusal(admin, denied) == "authorization-used"

    invented = await auth.consent(await auth.begin(admin), auth.login())
    assert await refusal(admin, {**invented, "code": "invented"}) == "authorization-refused"

    assert (await auth.card(admin))["state"] == "not_connected"
    assert await auth.sql("SELECT * FROM oauth_grant") == []
    assert await auth.sql("SELECT * FROM pco_binding") == []
    assert facts.of(admin) == []


async def test_by_https_the_cookie_is_a_host_cookie(auth: Auth) -> None:
    admin = new_church()
    settings = auth.settings.model_copy(update={"pco_redirect_uri": "https://sync.church.example/oauth/callback"})
    async with serve(create_app(settings), ready=False) as client:
        begun = await client.post("/api/v1/connections/people/authorize", headers=auth.headers(admin))
        name, _, rest = begun.headers["set-cookie"].partition("=")
        secret, *about = rest.split("; ")
        assert name == "__Host-pco_attempt"
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} < set(about)
        assert "domain" not in rest.lower()
        body = {"state": parse_qs(urlsplit(begun.json()["authorize_url"]).query)["state"][0], "code": "x"}
        for cookie, kind in ((f"pco_attempt={secret}", "other-browser"), (f"{name}={secret}", "refused")):
            headers = auth.headers(admin) | {"Cookie": cookie}
            answer = await client.post("/api/v1/connections/complete", json=body, headers=headers)
            assert answer.json()["type"] == f"/problems/authorization-{kind}"


async def test_state_is_single_use(auth: Auth) -> None:
    admin = new_church()
    redirect = await auth.consent(await auth.begin(admin), auth.login())
    answers = await asyncio.gather(*(auth.complete(admin, redirect, ok=False) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]


async def test_a_missing_role_is_named_and_nothing_is_stored(auth: Auth) -> None:
    lacking = [("people", "Viewer", "Editor or Manager"), ("people", None, "Editor or Manager")]
    for product, role, needed in [*lacking, ("calendar", "Viewer", "the role Viewer in Calendar")]:
        admin = new_church()
        redirect = await auth.consent(await auth.begin(admin, product), auth.login(people_permissions=role))
        auth.simulator.control.mark()
        refused = await auth.complete(admin, redirect, ok=False)
        assert refused.status_code == 409
        assert refused.json()["type"] == "/problems/role-missing"
        assert needed in refused.json()["detail"]
        assert await auth.sql("SELECT * FROM oauth_grant") == []
        # The consent's tokens are revoked.
        grant = max(auth.simulator.control.grants(), key=lambda each: each["created_at"])
        assert (grant["live_access_tokens"], grant["live_refresh_tokens"]) == (0, 0)


async def test_an_organization_administrator_connects_without_a_role(auth: Auth) -> None:
    admin, login = new_church(), auth.login(people_permissions=None)
    control = auth.simulator.control
    organization_id, person_id = login.split(":")
    control.set_role(organization_id, person_id, None, organization_administrator=True)
    try:
        redirect = await auth.consent(await auth.begin(admin), login)
        await auth.complete(admin, redirect)
        grant = max(control.grants(), key=lambda each: each["created_at"])
        assert grant["live_access_tokens"] == 1
        assert (await auth.card(admin))["state"] == "connected"
    finally:
        control.set_role(organization_id, person_id, None)


async def test_second_product_must_belong_to_the_same_organization(auth: Auth) -> None:
    admin = new_church()
    await auth.connect(admin)
    redirect = await auth.consent(await auth.begin(admin, "calendar"), auth.login(church=1))
    refused = await auth.complete(admin, redirect, ok=False)
    assert refused.json()["type"] == "/problems/organization-mismatch"
    assert auth.church_name(0) in refused.json()["detail"]
    assert auth.church_name(1) in refused.json()["detail"]
    assert (await auth.card(admin, "calendar"))["state"] == "needs_authorization"


async def test_an_organization_belongs_to_one_church_and_the_other_is_not_named(auth: Auth) -> None:
    first, second = new_church(), new_church()
    await auth.connect(first)
    redirect = await auth.consent(await auth.begin(second), auth.login())
    refused = await auth.complete(second, redirect, ok=False)
    assert refused.json()["type"] == "/problems/organization-taken"
    assert first.organization_id not in refused.text
    assert "Test Church" not in refused.text
    assert (await auth.card(second))["state"] == "not_connected"


async def test_two_churches_at_once_one_wins(auth: Auth) -> None:
    churches = [new_church() for _ in range(4)]
    redirects = [await auth.consent(await auth.begin(each), auth.login()) for each in churches]
    answers = await asyncio.gather(
        *(auth.complete(each, redirect, ok=False) for each, redirect in zip(churches, redirects, strict=True))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert len(await auth.sql("SELECT * FROM connection")) == 1


async def test_vendor_away_stores_nothing(auth: Auth) -> None:
    admin = new_church()
    for path in ("/oauth/token", "/oauth/userinfo", "/people/v2/me"):
        for action in (
            {"kind": "respond", "status": 503, "body": "html"},
            {"kind": "reset", "when": "after"},
            {"kind": "truncate", "mode": "length"},
            {"kind": "respond", "status": 429, "retry_after": 1},
        ):
            redirect = await auth.consent(await auth.begin(admin), auth.login())
            fault = auth.simulator.control.add_fault(action, path=f"^{path}$", times=1)
            answer = await auth.complete(admin, redirect, ok=False)
            auth.simulator.control.remove_fault(fault)
            assert answer.status_code == 503, (path, action, answer.text)
            assert "Retry-After" in answer.headers
            assert (await auth.card(admin))["state"] == "not_connected"
    assert await auth.sql("SELECT * FROM oauth_grant") == []
    await auth.connect(admin)
    assert (await auth.card(admin))["state"] == "connected"


async def test_connected_and_closing_cannot_begin_again(auth: Auth) -> None:
    admin = new_church()
    await auth.connect(admin)
    refused = await auth.call(admin, "POST", "/people/authorize", ok=False)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/connected")
    await auth.call(admin, "POST", "/people/disconnect")
    refused = await auth.call(admin, "POST", "/people/authorize", ok=False)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/closing")


async def test_a_newer_consent_replaces_the_old_grant_which_is_ended(auth: Auth) -> None:
    admin = new_church()
    first, second = await auth.begin(admin), await auth.begin(admin)
    await auth.complete(admin, await auth.consent(first, auth.login()))
    old = (await auth.lease(admin)).json()
    await auth.complete(admin, await auth.consent(second, auth.login()))
    new = (await auth.lease(admin)).json()
    assert new["token_generation"] > old["token_generation"]
    assert new["connection_generation"] == 2

    # Another replica's first round of grant care.
    async with serve(create_app(auth.settings), ready=False):

        async def one_left() -> bool:
            return len(await auth.sql("SELECT id FROM oauth_grant")) == 1

        await eventually(one_left)
    assert not await auth.works(old["access_token"])
    assert await auth.works(new["access_token"])
