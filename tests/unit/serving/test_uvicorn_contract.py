"""What of uvicorn is called although it is nobody's interface: an upgrade fails here first."""

from __future__ import annotations

import inspect

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from serving.protocol import HttpProtocol

CYCLE = (
    "scope", "transport", "flow", "logger", "access_logger", "access_log", "default_headers",
    "message_event", "expect_100_continue", "keep_alive", "on_response",
)  # fmt: skip
OVERRIDDEN = (
    "_start_asgi_task", "connection_lost", "connection_made", "data_received", "on_body",
    "on_headers_complete", "on_message_begin", "on_message_complete", "on_response_complete",
    "shutdown",
)  # fmt: skip


def test_a_cycle_is_made_of_what_it_always_was():
    assert tuple(inspect.signature(RequestResponseCycle).parameters) == CYCLE


def test_a_connection_has_the_steps_that_ours_takes_in_its_place():
    for name in OVERRIDDEN:
        theirs, ours = (getattr(kind, name) for kind in (HttpToolsProtocol, HttpProtocol))
        assert len(inspect.signature(theirs).parameters) == len(inspect.signature(ours).parameters)
