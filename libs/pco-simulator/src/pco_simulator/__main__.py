"""`python -m pco_simulator`: a Planning Center on this machine."""

import argparse
import errno
import socket
import sys
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import uvloop
from pydantic import ValidationError

from pco_simulator.app import Edge
from pco_simulator.server import Server
from pco_simulator.simulator import Simulator
from pco_simulator.state import OtherFormat
from pco_simulator.tokens import Client, derived
from pco_simulator.world import Shape

_DEFAULT_REDIRECT_URIS = ("http://localhost:8080/oauth/callback", "http://127.0.0.1:8080/oauth/callback")
_STATE_FILES = "*.sqlite3*"
_NEW = Shape()


def _client(text: str) -> Client:
    """`[NAME=]ID:SECRET:REDIRECT_URI[,REDIRECT_URI]`; an empty secret makes a public client."""
    first, _, rest = text.partition(":")
    name, _, id_ = first.rpartition("=")
    secret, _, uris = rest.partition(":")
    redirect_uris = [uri for uri in uris.split(",") if uri]
    if not id_ or not redirect_uris:
        raise argparse.ArgumentTypeError("expected [NAME=]ID:SECRET:REDIRECT_URI[,REDIRECT_URI]")
    return Client(id_, secret or None, redirect_uris, name or f"Application at {urlsplit(redirect_uris[0]).netloc}")


def _setting(text: str) -> tuple[str, object]:
    """`name=value`; the value is JSON, or plain text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError("expected name=value")
    try:
        return name, orjson.loads(value)
    except orjson.JSONDecodeError:
        return name, value


def _people(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError("expected a whole number of people")
    return int(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m pco_simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090, help="0: any free port (see the ready line)")
    new = "of a new state; one that is kept stays as it is (default: %s)"
    parser.add_argument("--people", type=_people, help=f"people of the first church {new % _NEW.people}")
    parser.add_argument("--churches", type=int, help=f"churches {new % _NEW.churches}")
    parser.add_argument(
        "--time-zones", help=f"IANA names with commas: of churches behind the third, in turn {new % _NEW.time_zones}"
    )
    parser.add_argument("--seed", type=int, help=f"the same gives the same people and credentials {new % _NEW.seed}")
    parser.add_argument("--state", type=Path, help="folder that keeps the state across restarts; default: memory only")
    parser.add_argument("--reset", action="store_true", help="forget the state kept in --state and seed again")
    parser.add_argument(
        "--oauth-client",
        type=_client,
        action="append",
        default=[],
        metavar="[NAME=]ID:SECRET:REDIRECT_URI[,REDIRECT_URI]",
        help="register a further OAuth application, by the name that its consent page shows (repeatable)",
    )
    parser.add_argument("--public-url", help="issuer of id tokens, when browsers see another address than this one")
    parser.add_argument(
        "--set",
        type=_setting,
        action="append",
        default=[],
        dest="settings",
        metavar="NAME=VALUE",
        help="a live setting, see /_sim/settings (repeatable): --set rate_limit=0 --set latency_ms=250",
    )
    return parser.parse_args()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _announce(simulator: Simulator, first: Client, host: str, port: int) -> None:
    base = f"http://{'127.0.0.1' if host in {'0.0.0.0', '::'} else host}:{port}"  # noqa: S104 - compared only
    _say(f"Planning Center simulator: pages {base}/  control API {base}/_sim/openapi.json")
    tokens = []
    for organization in simulator.world.organizations.values():
        people = [login for login in simulator.world.logins if login.organization_id == organization.id]
        admin = next(login for login in people if login.organization_administrator)
        token = next(
            token
            for token in simulator.store.personal_access_tokens.values()
            if (token.organization_id, token.person_id) == (admin.organization_id, admin.person_id)
        )
        tokens.append(f"{token.id}:{token.secret}")
        _say(f"Personal access token of {organization.name} ({organization.id}): {tokens[-1]}")
    for client in simulator.store.clients.values():
        _say(f"OAuth client {client.id}:{client.secret or ''} redirect URIs {' '.join(client.redirect_uris)}")
    _say(
        f"Ready: {base} personal_access_token={tokens[0]} oauth_client={first.id}:{first.secret}"
        f" redirect_uri={first.redirect_uris[0]}"
    )


def _listener(host: str, port: int) -> socket.socket:
    """A listening socket, bound before the church is seeded so that a taken port fails at once (`OSError`)."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    arguments = _arguments()
    if arguments.reset and arguments.state is not None:
        for file in arguments.state.glob(_STATE_FILES):
            file.unlink()
    try:
        listener = _listener(arguments.host, arguments.port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        sys.stderr.write(f"Port {arguments.port} of {arguments.host} is taken; choose another with --port.\n")
        return 1
    asked = {name: getattr(arguments, name) for name in asdict(_NEW) if getattr(arguments, name) is not None}
    try:
        simulator = Simulator.open(
            arguments.state,
            **(asdict(_NEW) | asked),
            settings=dict(arguments.settings),
            public_url=arguments.public_url,
        )
    except ValidationError as error:
        sys.stderr.write(f"--set: {error}\n")
        return 2
    except OtherFormat:
        sys.stderr.write(
            f"{arguments.state} was written by another version and cannot be read: --reset forgets it, "
            "another --state leaves it alone.\n"
        )
        return 1
    kept = simulator.world.shape
    if asked != {name: getattr(kept, name) for name in asked}:
        _say(
            f"The state in {arguments.state} is kept: its first church was made with {kept.people:,} people, seed "
            f"{kept.seed}, as one of {kept.churches}. --reset makes room for another."
        )
    seed = kept.seed
    default = Client(
        derived(seed, "oauth-client"),
        f"pco_app_{derived(seed, 'oauth-client-secret')}",
        list(_DEFAULT_REDIRECT_URIS),
        "Example application",
    )
    for client in [default, *arguments.oauth_client]:
        simulator.store.register_client(client)
    server = Server(
        Edge(simulator),
        on_ready=lambda port: _announce(simulator, default, arguments.host, port),
    )
    uvloop.run(server.serve(sockets=[listener]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
