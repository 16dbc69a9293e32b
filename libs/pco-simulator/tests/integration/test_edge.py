"""Authentication, rate limits and headers at the HTTP edge."""

import hashlib
import re
import time

import httpx
import pytest

from pco_simulator.testing import USER_AGENT, Control, SimulatorProcess

PEOPLE = "/people/v2/people"


def test_people_are_listed_with_the_vendors_headers(api: httpx.Client) -> None:
    answer = api.get(PEOPLE, params={"per_page": "2"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/vnd.api+json; charset=utf-8"
    assert answer.headers["x-pco-api-auth-method"] == "HTTPBasic"
    assert answer.headers["x-pco-api-processor"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", answer.headers["x-pco-api-processed-as-version"])
    assert re.fullmatch(r'W/"[0-9a-f]{32}"', answer.headers["etag"])
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", answer.headers["x-request-id"])
    assert answer.headers["x-pco-api-request-rate-limit"] == "100"
    assert answer.headers["x-pco-api-request-rate-period"] == "20"
    assert answer.headers["x-pco-api-request-rate-count"] == "1"
    assert len(answer.json()["data"]) == 2


def test_a_created_record_has_an_etag_and_a_known_one_is_not_sent_again(api: httpx.Client) -> None:
    made = api.post(PEOPLE, json={"data": {"attributes": {"first_name": "Tag"}}})
    assert (made.status_code, made.headers["etag"][:3]) == (201, 'W/"')
    url = f"{PEOPLE}/{made.json()['data']['id']}"
    etag = api.get(url).headers["etag"]
    same = api.get(url, headers={"If-None-Match": etag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    assert same.headers["cache-control"] == "max-age=0, private, must-revalidate"
    assert api.patch(url, json={"data": {"attributes": {"nickname": "T"}}}).headers["etag"] != etag
    assert api.get(url, headers={"If-None-Match": etag}).status_code == 200
    gone = api.delete(url)
    assert (gone.status_code, gone.headers["cache-control"]) == (204, "no-cache")
    assert not {"etag", "content-type"} & set(gone.headers)


def test_browsers_of_other_origins_may_call(simulator: SimulatorProcess, api: httpx.Client) -> None:
    asked = {"Origin": "https://church.example", "Access-Control-Request-Method": "PATCH"}
    preflight = httpx.options(f"{simulator.base_url}{PEOPLE}/1", headers=asked)
    for answer in (preflight, api.get(PEOPLE), api.get(f"{PEOPLE}/1")):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "PATCH" in answer.headers["access-control-allow-methods"]
        assert "X-PCO-API-Version" in answer.headers["access-control-allow-headers"]
        assert answer.headers["access-control-expose-headers"] == "ETag, Link, X-PCO-API-Auth-Method"
    assert preflight.status_code == 200


def test_uploads_need_a_caller_and_a_file_and_do_not_count(simulator: SimulatorProcess, api: httpx.Client) -> None:
    made = api.post("/v2/files", files={"file": ("me.png", b"png", "image/png")})
    assert (made.status_code, made.headers["content-type"]) == (201, "application/json")
    assert made.headers["access-control-allow-methods"] == "GET, POST, OPTIONS"
    assert made.headers["vary"] == "Accept, Accept-Encoding, Origin"
    assert "access-control-expose-headers" not in made.headers
    (file,) = made.json()["data"]
    assert (file["type"], file["id"][:4]) == ("File", "us3-")
    assert file["attributes"] | {"expires_at": ""} == {
        "md5": hashlib.md5(b"png", usedforsecurity=False).hexdigest(),
        "expires_at": "",
        "source_ip": "0.0.0.0",
        "name": "me.png",
        "content_type": "image/png",
        "file_size": 3,
    }
    assert api.post("/v2/files", json={}).status_code == 400
    assert api.post("/v2/files", content=b"x", headers={"Content-Type": "multipart/form-data"}).status_code == 400
    stranger = httpx.post(f"{simulator.base_url}/v2/files", headers={"User-Agent": USER_AGENT}, files={"file": b"x"})
    assert stranger.status_code == 401
    assert api.get(PEOPLE).headers["x-pco-api-request-rate-count"] == "1"
    (entry,) = (entry for entry in simulator.control.journal(path="^/v2/files$") if entry["status"] == 201)
    assert entry["body"] is None


@pytest.mark.parametrize(
    "agent", ["", "python-requests/2.32.3", "python-httpx/0.28.1", "curl/8.5.0", "Python/3.11 aiohttp/3.10"]
)
def test_generic_user_agent_gets_a_bare_403(api: httpx.Client, agent: str) -> None:
    answer = api.get(PEOPLE, headers={"User-Agent": agent})
    assert (answer.status_code, answer.content) == (403, b"")


@pytest.mark.parametrize("agent", ["pypco", "Our Church (it@example.org)", "Sync/1.0 python-httpx/0.28.1"])
def test_descriptive_user_agent_passes(api: httpx.Client, agent: str) -> None:
    assert api.get(PEOPLE, headers={"User-Agent": agent}).status_code == 200


@pytest.mark.parametrize("authorization", [None, "Basic bm86bm8=", "Basic !", "Bearer nonsense", "nonsense"])
def test_bad_credentials_get_401_with_an_empty_html_body(
    simulator: SimulatorProcess, authorization: str | None
) -> None:
    headers = {"User-Agent": USER_AGENT} | ({"Authorization": authorization} if authorization else {})
    answer = httpx.get(simulator.base_url + PEOPLE, headers=headers)
    assert (answer.status_code, answer.content) == (401, b"")
    assert answer.headers["content-type"].startswith("text/html")


def test_unknown_products_are_404_as_recorded(api: httpx.Client) -> None:
    answer = api.get("/bogus")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["x-pco-api-request-rate-period"] == "20 seconds"
    assert answer.json()["errors"] == [
        {"status": "404", "title": "Not Found", "detail": "The resource you requested could not be found"}
    ]
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-headers"].endswith("X-CSRF-Token, X-PCO-API-Version")
    assert answer.headers["vary"] == "Accept-Encoding, Accept, Accept-Encoding, Origin"
    wrong_method = api.put("/services/v2/songs/1", json={})
    assert wrong_method.status_code == 404
    assert wrong_method.headers["content-type"] == "text/html; charset=utf-8"
    assert "x-pco-api-processor" not in wrong_method.headers


def test_refused_calls_count_and_the_window_slides(api: httpx.Client, control: Control) -> None:
    control.change_settings(rate_limit=3, rate_period_seconds=2)
    began = time.monotonic()
    answers = [api.get(PEOPLE, params={"per_page": "1"}) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert [answer.headers["x-pco-api-request-rate-count"] for answer in answers] == list("12345")
    refused = answers[-1]
    assert refused.json() == {
        "errors": [
            {
                "code": "429",
                "title": "Too Many Requests",
                "detail": "Rate limit exceeded: 5 of 3 requests per 2 seconds",
            }
        ]
    }
    assert refused.headers["retry-after"] in {"1", "2"}
    time.sleep(int(refused.headers["retry-after"]))
    again = api.get(PEOPLE, params={"per_page": "1"})
    assert again.status_code == 200
    assert time.monotonic() - began >= 2


def test_all_clients_of_a_person_share_the_window(
    simulator: SimulatorProcess, api: httpx.Client, control: Control, church: str
) -> None:
    person_id = control.organizations()[0]["logins"][0]["person_id"]
    token = control.call("POST", "/personal-access-tokens", json={"organization_id": church, "person_id": person_id})
    assert api.get(PEOPLE).headers["x-pco-api-request-rate-count"] == "1"
    second = api.get(PEOPLE, auth=(token["id"], token["secret"]))
    assert second.headers["x-pco-api-request-rate-count"] == "2"
    other_church = control.organizations()[1]["id"]
    with simulator.api(control.personal_access_token(other_church)) as other:
        assert other.get(PEOPLE).headers["x-pco-api-request-rate-count"] == "1"


def test_limit_moves_mid_run_and_zero_is_none(api: httpx.Client, control: Control) -> None:
    control.change_settings(rate_limit=1)
    assert api.get(PEOPLE).status_code == 200
    assert api.get(PEOPLE).status_code == 429
    control.change_settings(rate_limit=10)
    assert api.get(PEOPLE).status_code == 200
    control.change_settings(rate_limit=0)
    assert {api.get(PEOPLE).status_code for _ in range(20)} == {200}


def test_deep_offsets_have_a_lower_limit(api: httpx.Client, control: Control) -> None:
    control.change_settings(deep_offset_limit=2, deep_offset=100)
    assert api.get(PEOPLE, params={"offset": "100"}).headers["x-pco-api-request-rate-limit"] == "100"
    deep = [api.get(PEOPLE, params={"offset": "101"}) for _ in range(2)]
    assert [answer.status_code for answer in deep] == [200, 429]
    assert deep[1].headers["x-pco-api-request-rate-limit"] == "2"
    assert api.get(PEOPLE).status_code == 200


def test_churches_do_not_see_each_other(simulator: SimulatorProcess, api: httpx.Client, control: Control) -> None:
    person_id = api.get(PEOPLE, params={"per_page": "1"}).json()["data"][0]["id"]
    with simulator.api(control.personal_access_token(control.organizations()[1]["id"])) as other:
        assert other.get(f"{PEOPLE}/{person_id}").status_code == 404


def test_who_am_i_needs_no_scope(api: httpx.Client, church: str) -> None:
    answer = api.get("/current/v2/me", params={"include": "organization"})
    assert answer.status_code == 200
    assert answer.json()["included"][0]["id"] == church


@pytest.mark.parametrize(("style", "served", "refused"), [("recorded", "20", "20 seconds"), ("number", "20", "20")])
def test_period_comes_in_the_forms_that_were_recorded(
    api: httpx.Client, control: Control, style: str, served: str, refused: str
) -> None:
    control.change_settings(rate_limit=1, rate_period_style=style)
    periods = [api.get(PEOPLE).headers["x-pco-api-request-rate-period"] for _ in range(2)]
    assert periods == [served, refused]


def test_permissions_are_those_of_the_person_at_call_time(
    simulator: SimulatorProcess, control: Control, church: str
) -> None:
    body = {"data": {"type": "Person", "attributes": {"first_name": "No", "last_name": "Way"}}}
    with simulator.api(control.personal_access_token(church, people_permissions="Viewer")) as viewer:
        assert viewer.get(PEOPLE).status_code == 200
        assert viewer.post(PEOPLE, json=body).status_code == 403
    with simulator.api(control.personal_access_token(church, people_permissions=None)) as outsider:
        assert outsider.get(PEOPLE).status_code in {401, 403}
        assert outsider.get("/current/v2/me").status_code == 200


def test_credentials_end_with_the_person(simulator: SimulatorProcess, control: Control) -> None:
    church = control.organizations()[1]
    token = control.personal_access_token(church["id"], people_permissions="Viewer")
    person_id = next(each["person_id"] for each in church["logins"] if each["people_permissions"] == "Viewer")
    with simulator.api(token) as viewer:
        assert viewer.get(PEOPLE).status_code == 200
        control.delete_person(church["id"], person_id)
        assert viewer.get(PEOPLE).status_code == 401
