"""Starts the whole product and keeps it running until Ctrl-C: ``python -m local_stack``."""

import argparse
import os
import signal
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from contracts.values import WEBHOOK_GATEWAY
from local_stack.identity_provider import PEOPLE
from local_stack.stack import IDENTITY_PROVIDER, SERVICES, SIMULATOR, Stack, forget
from pco_simulator.world import FEWEST, Shape
from servicekit.local import LocalStackError

_WIDTH = max(map(len, (*SERVICES, IDENTITY_PROVIDER, SIMULATOR)))
Events = SimpleQueue[signal.Signals | BaseException | None]
"""A received signal, the start's failure, or None once every process is ready. Signal handlers put into it."""
_COLOURS = (32, 33, 34, 35, 36, 92, 93, 94, 95, 96)


class Output:
    """Prints lines of several processes, each with its label; colour only on a terminal."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def __call__(self, label: str, text: str) -> None:
        """Print one line; a closed terminal or pipe does not end the launcher."""
        shown = f"{label:<{_WIDTH}} |"
        if self._colour:
            shown = f"\x1b[{_COLOURS[zlib.crc32(label.encode()) % len(_COLOURS)]}m{shown}\x1b[0m"
        self.plain(f"{shown} {text}")

    def plain(self, text: str) -> None:
        """Print one line without a label."""
        with self._lock:
            try:
                sys.stdout.write(text + "\n")
                sys.stdout.flush()
            except (BrokenPipeError, ValueError):
                return


def main(arguments: list[str] | None = None) -> int:
    """Run until stopped; returns the exit status."""
    output = Output()
    try:
        options = _parse(arguments)
    except argparse.ArgumentError as error:
        output.plain(error.message)
        return 2
    if options.forget:
        return _forget(options.state, output)
    stack = Stack(
        options.state,
        port=options.port,
        simulator_port=options.simulator_port,
        identity_port=options.identity_port,
        people=options.people,
        seed=options.seed,
        replicas=dict(options.replicas),
        supervised=True,
        say=output,
    )
    # An exception raised into the start could hit any line, even a clean-up, so a signal is a message and the start
    # runs in a thread.
    events: Events = SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # SIGINT works even for a background process of a shell; `nohup` keeps its meaning.
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _frame: events.put(signal.Signals(number)))
    return _run(stack, events, output)


def _run(stack: Stack, events: Events, output: Output) -> int:
    """Start, and stop at a signal at any instant; returns the exit status."""

    def start() -> None:
        try:
            stack.start()
        except BaseException as error:  # noqa: BLE001 - raised again in the waiting thread
            events.put(error)
        else:
            events.put(None)

    began = time.monotonic()
    starting = threading.Thread(target=start, name="start", daemon=True)
    starting.start()
    event = events.get()
    ready = event is None
    if ready:
        output.plain(_welcome(stack, time.monotonic() - began))
        event = events.get()
    if isinstance(event, LocalStackError):
        output.plain(str(event))
        return 1
    if isinstance(event, BaseException):
        raise event
    output("stack", "stopping; everything stays as it is until `make clean-run`")
    if ready:
        stack.stop()
    else:
        stack.cancel()
        starting.join(1)
    output("stack", "stopped")
    if not ready:
        # Threads cannot be cancelled, and one may still wait for a download.
        os._exit(0)
    return 0


def _forget(state: Path, output: Output) -> int:
    try:
        forget(state)
    except LocalStackError as error:
        output.plain(str(error))
        return 1
    output.plain("Nothing is left of earlier runs.")
    return 0


def _welcome(stack: Stack, seconds: float) -> str:
    people = "\n".join(
        f"    {person.name:<16}{person.role} of {person.organization_name}" for person in PEOPLE.values()
    )
    kept = f"  {stack.kept_church}\n" if stack.kept_church else ""
    return f"""
Ready after {seconds:.1f} s.

  Console           {stack.url(WEBHOOK_GATEWAY)}/
  API               {stack.url(WEBHOOK_GATEWAY)}/api/v1  (OpenAPI: {stack.url(WEBHOOK_GATEWAY)}/api/v1/openapi.json)
  Planning Center   {stack.url(SIMULATOR)}/  (the simulator; control: {stack.url(SIMULATOR)}/_sim/openapi.json)
  Logs              {stack.state / "logs"}

  Sign in as, without a password:
{people}

  For scripts: curl -d grant_type=password -d username=ada {stack.url(IDENTITY_PROVIDER)}/token
  Ctrl-C stops everything; the data stays until `make clean-run`.
{kept}"""


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m local_stack", description=__doc__, exit_on_error=False)
    parser.add_argument("--state", type=Path, default=Path(".state"), help="folder that keeps everything")
    parser.add_argument("--port", type=_port("PORT"), default=8080, help="console and API")
    parser.add_argument("--simulator-port", type=_port("SIMULATOR_PORT"), default=8090)
    parser.add_argument("--identity-port", type=_port("IDENTITY_PORT"), default=8091, help="where tokens come from")
    parser.add_argument("--people", type=_people, help=f"of a new first church (default: {Shape().people})")
    parser.add_argument("--seed", type=int, help="the same gives the same new church (default: 1)")
    parser.add_argument(
        "--replicas", type=_replicas, action="append", default=[], metavar="SERVICE=N", help="repeatable"
    )
    parser.add_argument("--forget", action="store_true", help="delete what earlier runs kept, and end")
    return parser.parse_args(arguments)


def _port(name: str) -> Callable[[str], int]:
    def port(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= 65535:
            raise argparse.ArgumentTypeError(f"{name} must be a number from 1 to 65535, not {text!r}.")
        return int(text)

    return port


def _people(text: str) -> int:
    if not text.isdecimal() or int(text) < FEWEST:
        raise argparse.ArgumentTypeError(f"PEOPLE must be a whole number from {FEWEST} on, not {text!r}.")
    return int(text)


def _replicas(text: str) -> tuple[str, int]:
    service, _, count = text.partition("=")
    if service not in SERVICES or not count.isdecimal() or int(count) < 1:
        raise argparse.ArgumentTypeError(f"expected SERVICE=N with a service of {', '.join(SERVICES)}")
    return service, int(count)
