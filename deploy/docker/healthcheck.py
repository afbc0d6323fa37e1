#!/opt/trainyard/bin/python
"""Exit code 0 if the server of this container is ready, by the settings that it was given."""

from __future__ import annotations

import http.client
import os
import sys

from serving.flags import read_command_line

SECONDS = 4.0
EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with


def main() -> int:
    """One line for the container's log of its health."""
    settings = read_command_line([], os.environ).settings
    host = EVERYWHERE.get(settings.host, settings.host)
    connection = http.client.HTTPConnection(host, settings.port, timeout=SECONDS)
    try:
        connection.request("GET", "/health/ready")
        response = connection.getresponse()
        print(response.status, response.read().decode())
    except OSError as error:
        print(f"{host}:{settings.port}: {error}")
        return 1
    return 0 if response.status == http.HTTPStatus.OK else 1


if __name__ == "__main__":
    sys.exit(main())
