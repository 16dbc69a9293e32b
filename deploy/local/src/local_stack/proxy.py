"""A round-robin proxy in front of several replicas: ``python -m local_stack.proxy --route 8080=9001,9002``.

Each request goes to the next replica; an unreachable one is skipped, which is safe because no byte was sent to it
yet. A replica that dies during a request gives 502, as behind any proxy.
Answers are streamed, live updates included.
"""

import argparse
import itertools
import socket
from collections.abc import AsyncIterator, Mapping, Sequence

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from servicekit.http.outgoing import no_cookies

# Hop-by-hop headers (RFC 9110, 7.6.1).
_HOP = {
    *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
    *(b"te", b"trailer", b"transfer-encoding", b"upgrade"),
}
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def create_app(routes: Mapping[int, Sequence[int]]) -> Starlette:
    """Forward requests at a port of ``routes`` to the ports behind it, all on loopback."""
    turns = {listen: itertools.count() for listen in routes}
    client = httpx.AsyncClient(
        timeout=httpx.Timeout(None, connect=2),
        # Shorter than the 5 s after which uvicorn closes an idle connection.
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=200, keepalive_expiry=2),
        trust_env=False,
        cookies=no_cookies(),
    )

    async def forward(request: Request) -> Response:
        listen = request.scope["server"][1]
        try:
            body = await request.body()
        except ClientDisconnect:
            return Response(status_code=400)
        headers = [(name, value) for name, value in request.headers.raw if name not in _HOP]
        query = request.scope["query_string"].decode()
        target = request.scope["raw_path"].decode() + (f"?{query}" if query else "")
        replicas = routes[listen]
        first = next(turns[listen])
        for offset in range(len(replicas)):
            upstream = f"http://127.0.0.1:{replicas[(first + offset) % len(replicas)]}"
            sent = client.build_request(request.method, upstream + target, headers=headers, content=body)
            try:
                answer = await client.send(sent, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
            except httpx.HTTPError as error:
                return PlainTextResponse(f"The replica went away: {type(error).__name__}\n", 502)
            return _streamed(answer)
        return PlainTextResponse("No replica answers\n", 503, {"retry-after": "1"})

    return Starlette(routes=[Route("/{path:path}", forward, methods=_METHODS)])


def _streamed(answer: httpx.Response) -> Response:
    async def body() -> AsyncIterator[bytes]:
        try:
            async for part in answer.aiter_raw():
                yield part
        finally:
            await answer.aclose()

    streamed = StreamingResponse(body(), answer.status_code)
    kept = [(name.lower(), value) for name, value in answer.headers.raw]
    streamed.raw_headers = [(name, value) for name, value in kept if name not in _HOP]
    return streamed


def _route(text: str) -> tuple[int, list[int]]:
    listen, _, replicas = text.partition("=")
    try:
        return int(listen), [int(port) for port in replicas.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError("expected PORT=PORT[,PORT]") from None


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser("python -m local_stack.proxy", description=__doc__)
    parser.add_argument("--route", type=_route, action="append", required=True, metavar="PORT=PORT[,PORT]")
    routes = dict(parser.parse_args().route)
    config = uvicorn.Config(
        create_app(routes),
        log_level="critical",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[_listen(port) for port in routes])


if __name__ == "__main__":
    main()
