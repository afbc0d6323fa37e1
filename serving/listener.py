"""The listening socket, which all API processes share."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import socket
import struct

from serving.errors import StartError

_SO_ATTACH_FILTER = 26
"""Linux's number: Python has no name for it."""
_NO_SYN = (
    (0x30, 0, 0, 13),  # take byte 13 of the TCP header: its flags
    (0x45, 0, 1, 0x02),  # if SYN is not among them, go over the next step
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 2**32 - 1),  # keep all of it
)
"""In classic BPF: an operation, how far to jump if it holds and if not, an operand."""


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


def let_nobody_in(listener: socket.socket) -> None:
    """New clients are not heard from now on, in all processes that share it. A kernel takes clients
    until a socket is closed, and resets those that nobody has accepted by then. Where it cannot be
    told not to (only Linux can), nothing changes.
    """
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in _NO_SYN))
    program = struct.pack("@HP", len(_NO_SYN), ctypes.addressof(code))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def url(listener: socket.socket, host: str) -> str:
    """How clients reach it."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"
