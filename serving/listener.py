"""The listening socket, which all API processes share."""

from __future__ import annotations

import errno
import socket

from serving.errors import StartError


def bind(host: str, port: int) -> socket.socket:
    """Bound, not yet listening: connections are refused until an API process is there.

    Port 0 takes a free one. Raises StartError.
    """
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
        )
    except (socket.gaierror, UnicodeError) as error:
        raise StartError(
            f"host={host} is not a name or address of this machine: {error}",
            field="host",
            remedy="use 127.0.0.1 for this machine only, or 0.0.0.0 for every interface",
        ) from error
    # `localhost` is often both ::1 and 127.0.0.1; clients try the latter sooner or later.
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise StartError(
            f"cannot listen on {host} port {port}: {error.strerror or error}",
            field="port",
            remedy="stop what listens there, or choose another --port (0: any free one)"
            if error.errno == errno.EADDRINUSE
            else None,
        ) from error
    return listener


def url(listener: socket.socket, host: str) -> str:
    """How clients reach it."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"
