"""The health check of every container."""

import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "healthcheck.py"


def check(port: int) -> subprocess.CompletedProcess[str]:
    """Run the check like a container."""
    environment = {**os.environ, "HEALTH_PORT": str(port), "HEALTH_PATH": "/livez"}
    command = [sys.executable, "-I", "-S", str(SCRIPT)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(("status", "path", "expected"), [(200, "/livez", 0), (503, "/livez", 1), (200, "/other", 1)])
def test_healthy_is_200_and_nothing_else(status: int, path: str, expected: int) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == path else 404)
            self.end_headers()
            self.wfile.write(b'{"silent": {"relay": 61.2}}')

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        done = check(server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert done.returncode == expected
    assert "relay" in done.stdout  # docker inspect shows why


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        done = check(taken.getsockname()[1])
    assert done.returncode == 1
    assert "refused" in done.stdout


def test_one_who_never_answers() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        done = check(silent.getsockname()[1])
    assert done.returncode == 1
    assert "timed out" in done.stdout
