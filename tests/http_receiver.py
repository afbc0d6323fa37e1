"""A receiver of what is posted over HTTP, on a free port of this machine."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def http_receiver(
    take: Callable[[BaseHTTPRequestHandler, bytes], bytes], *, media_type: str = "text/plain"
) -> Iterator[str]:
    """Its address. `take` is given each request with its body, and gives the answer's."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer = take(self, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
