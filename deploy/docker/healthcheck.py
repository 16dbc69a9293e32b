"""The container's health check: exit status 0 if its program answers 200.

Imports only modules that Python loads anyway, since the check runs every few seconds in every container.
"""

import os
import socket
import sys

TIMEOUT_SECONDS = 8.0


def main() -> int:
    """Request `HEALTH_PATH` at `HEALTH_PORT` of this container."""
    request = f"GET {os.environ['HEALTH_PATH']} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", int(os.environ["HEALTH_PORT"])), TIMEOUT_SECONDS) as connection:
            connection.sendall(request.encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    except OSError as error:
        print(error)
        return 1
    print(answer.decode(errors="replace").replace("\r", "")[:2000])
    return 0 if answer.split(b" ", 2)[1:2] == [b"200"] else 1


if __name__ == "__main__":
    sys.exit(main())
