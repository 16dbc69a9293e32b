"""Persistence across restarts and SIGKILL; starting and stopping."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from pco_simulator.testing import USER_AGENT, SimulatorError, SimulatorProcess

PEOPLE = "/people/v2/people"
REDIRECT = "https://platform.example/callback"
PLATFORM = f"platform:secret:{REDIRECT}"


def _grant(simulator: SimulatorProcess) -> dict[str, str]:
    church = simulator.control.organizations()[0]
    login = f"{church['id']}:{church['logins'][0]['person_id']}"
    request = {"client_id": "platform", "redirect_uri": REDIRECT, "response_type": "code", "scope": "people"}
    answer = httpx.post(f"{simulator.base_url}/oauth/authorize", data={**request, "login": login, "decision": "allow"})
    code = httpx.URL(answer.headers["location"]).params["code"]
    return _token(simulator, grant_type="authorization_code", code=code, redirect_uri=REDIRECT)


def _token(simulator: SimulatorProcess, **form: str) -> dict[str, str]:
    answer = httpx.post(f"{simulator.base_url}/oauth/token", data=form, auth=("platform", "secret"))
    assert answer.status_code == 200, answer.text
    tokens: dict[str, str] = answer.json()
    return tokens


@pytest.mark.parametrize("kill", [False, True])
def test_rows_grants_and_tokens_survive(tmp_path: Path, kill: bool) -> None:
    with SimulatorProcess(people=30, state=tmp_path, oauth_clients=[PLATFORM]) as simulator:
        first = _token(simulator, grant_type="refresh_token", refresh_token=_grant(simulator)["refresh_token"])
        bearer = {"Authorization": f"Bearer {first['access_token']}", "User-Agent": USER_AGENT}
        body = {"data": {"type": "Person", "attributes": {"first_name": "Sur", "last_name": "Vivor"}}}
        made = httpx.post(simulator.base_url + PEOPLE, json=body, headers=bearer).json()["data"]["id"]
        church = simulator.control.organizations()[0]["id"]
        kept = simulator.control.dump(church)
        keys = httpx.get(f"{simulator.base_url}/oauth/discovery/keys").json()
        before = simulator.personal_access_token, simulator.base_url

        simulator.restart(kill=kill)

        assert (simulator.personal_access_token, simulator.base_url) == before
        assert simulator.control.dump(church) == kept
        assert httpx.get(f"{simulator.base_url}/oauth/discovery/keys").json() == keys
        assert httpx.get(f"{simulator.base_url}{PEOPLE}/{made}", headers=bearer).status_code == 200
        assert _token(simulator, grant_type="refresh_token", refresh_token=first["refresh_token"])


def test_sigterm_ends_with_status_0_even_while_requests_hang(tmp_path: Path) -> None:
    with SimulatorProcess(people=10, state=tmp_path) as simulator:
        simulator.control.add_fault({"kind": "hold"})
        with simulator.api() as api, pytest.raises(httpx.ReadTimeout):
            api.get(PEOPLE, timeout=0.2)
        assert simulator.stop() == 0
        simulator.start()


def test_credentials_are_known_from_the_seed() -> None:
    with SimulatorProcess(people=10, seed=3) as one, SimulatorProcess(people=10, seed=3) as two:
        assert one.personal_access_token == two.personal_access_token
        assert one.oauth_client == two.oauth_client
        assert one.base_url != two.base_url


def test_settings_of_the_command_line_hold_again_after_a_restart() -> None:
    with SimulatorProcess(people=10, settings={"rate_limit": 7, "rate_period_style": "words"}) as simulator:
        simulator.restart()
        with simulator.api() as api:
            headers = api.get(PEOPLE).headers
        assert headers["x-pco-api-request-rate-limit"] == "7"
        assert headers["x-pco-api-request-rate-period"] == "20 seconds"


def test_reset_forgets(tmp_path: Path) -> None:
    with SimulatorProcess(people=10, state=tmp_path) as simulator:
        church = simulator.control.organizations()[0]["id"]
        simulator.control.create_person(church, first_name="For", last_name="Gotten")
    with SimulatorProcess(people=10, state=tmp_path) as simulator:
        assert simulator.control.truth(church)["people"] == 11
    with SimulatorProcess(people=10, state=tmp_path, arguments=["--reset"]) as simulator:
        assert simulator.control.truth(church)["people"] == 10


def test_a_kept_state_outlives_other_arguments_and_says_so(tmp_path: Path) -> None:
    with SimulatorProcess(people=10, seed=3, state=tmp_path) as simulator:
        church = simulator.control.organizations()[0]["id"]
        simulator.control.create_person(church, first_name="For", last_name="Ever")
        credentials = simulator.personal_access_token, simulator.oauth_client
    with SimulatorProcess(people=300, seed=4, state=tmp_path) as simulator:
        assert simulator.control.truth(church)["people"] == 11
        assert (simulator.personal_access_token, simulator.oauth_client) == credentials
        assert "first church was made with 10 people, seed 3" in simulator.said
        assert "--reset makes room for another" in simulator.said
    with SimulatorProcess(people=10, seed=3, state=tmp_path) as simulator:
        assert "is kept" not in simulator.said


def test_a_state_of_another_version_is_one_plain_sentence_and_stays(tmp_path: Path) -> None:
    with SimulatorProcess(people=10, state=tmp_path):
        pass
    with sqlite3.connect(tmp_path / "world.sqlite3") as world:
        world.execute("""UPDATE documents SET body = '{"format": 0}' WHERE bucket = 'world' AND key = 'shape'""")
    ended = _run("--people=10", f"--state={tmp_path}")
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"{tmp_path} was written by another version and cannot be read: --reset forgets it")
    assert ended.stderr.count("\n") == 1
    assert (tmp_path / "world.sqlite3").stat().st_size > 4096


@pytest.mark.parametrize("people", ["-3", "abc", "1.5"])
def test_a_number_of_people_that_is_none_is_refused(people: str) -> None:
    ended = _run(f"--people={people}")
    assert ended.returncode == 2
    assert "expected a whole number of people" in ended.stderr


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pco_simulator", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_bad_settings_are_refused_at_the_start() -> None:
    with pytest.raises(SimulatorError, match="rate_limits"):
        SimulatorProcess(people=10, settings={"rate_limits": 7}).start()


def test_a_taken_port_is_one_plain_sentence() -> None:
    with SimulatorProcess(people=10) as running:
        port = running.base_url.rsplit(":", 1)[1]
        second = _run("--people=10", f"--port={port}")
    assert second.returncode == 1
    assert second.stderr.strip() == f"Port {port} of 127.0.0.1 is taken; choose another with --port."
    assert second.stdout == ""
