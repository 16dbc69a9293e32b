"""The round-robin proxy in front of real processes."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from local_stack.processes import ProcessBook, StackProcess
from local_stack.stack import quiet
from servicekit.local import free_port
from servicekit.local.process import port_is_free, wait_until
from servicekit.testing.time import PATIENCE_SECONDS

REPLICA = """
import asyncio, sys, uvicorn
name = sys.argv[2]
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = (await receive())["body"]
    kind = scope["raw_path"].decode() + "?" + scope["query_string"].decode()
    host = dict(scope["headers"])[b"host"].decode()
    cookies = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    headers = [(b"x-replica", name.encode()), (b"x-host", host.encode()), *cookies]
    await send({"type": "http.response.start", "status": 207, "headers": headers})
    if scope["path"] == "/stream":
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await asyncio.sleep(600)
    await send({"type": "http.response.body", "body": scope["method"].encode() + b" " + kind.encode() + b" " + body})
uvicorn.run(app, port=int(sys.argv[1]), log_level="critical", lifespan="off")
"""


class Farm:
    def __init__(self, folder: Path) -> None:
        self.book = ProcessBook(folder / "processes.json")
        self.folder = folder
        self.ports = [free_port() for _ in range(3)]
        listen, *upstreams = self.ports
        route = f"{listen}={','.join(map(str, upstreams))}"
        self.proxy = self.program("proxy", "-m", "local_stack.proxy", "--route", route)
        self.replicas = [self.program(f"r{i}", "-c", REPLICA, str(port), f"r{i}") for i, port in enumerate(upstreams)]
        self.url = f"http://127.0.0.1:{listen}"

    def program(self, label: str, *arguments: str) -> StackProcess:
        return StackProcess(
            label,
            [sys.executable, *arguments],
            environment={},
            log=self.folder / f"{label}.log",
            book=self.book,
            say=quiet,
            supervised=False,
        )


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    farm = Farm(tmp_path)
    with ExitStack() as stack:
        for process in (*farm.replicas, farm.proxy):
            process.start()
            stack.callback(process.stop, within=5)
        assert wait_until(lambda: not any(port_is_free(port) for port in farm.ports), within=PATIENCE_SECONDS)
        yield farm


def test_each_request_goes_to_the_next_replica_unchanged(farm: Farm) -> None:
    with httpx.Client(base_url=farm.url) as client:
        answers = [client.post("/a%2Fb/ü?x=1&x=%20", content=b"\x00body") for _ in range(10)]
    assert Counter(answer.headers["x-replica"] for answer in answers) == {"r0": 5, "r1": 5}
    assert {answer.status_code for answer in answers} == {207}
    assert {answer.content for answer in answers} == {b"POST /a%2Fb/%C3%BC?x=1&x=%20 \x00body"}
    assert answers[0].headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert answers[0].headers["x-host"] == farm.url.removeprefix("http://")


def test_a_dead_replica_is_passed_over_and_taken_up_again(farm: Farm) -> None:
    farm.replicas[0].kill()
    with httpx.Client(base_url=farm.url) as client:
        assert {client.get("/").headers.get("x-replica") for _ in range(6)} == {"r1"}
        farm.replicas[1].kill()
        assert client.get("/").status_code == 503
        for replica in farm.replicas:
            replica.start()
        assert wait_until(lambda: not any(port_is_free(port) for port in farm.ports), within=PATIENCE_SECONDS)
        assert {client.get("/").headers["x-replica"] for _ in range(6)} == {"r0", "r1"}


def test_a_stream_arrives_as_it_is_sent_and_ends_with_its_replica(farm: Farm) -> None:
    with httpx.Client(base_url=farm.url) as client, client.stream("GET", "/stream") as answer:
        parts = answer.iter_raw()
        assert next(parts) == b"first"
        farm.replicas[int(answer.headers["x-replica"][1])].kill()
        with pytest.raises(httpx.RemoteProtocolError):
            list(parts)
