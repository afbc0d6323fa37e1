"""What a connection adds to the ASGI scope of its requests, by name."""

from __future__ import annotations

ANSWER = "trainyard.answer"
"""What takes the whole response, where that is possible."""
DEPARTURE = "trainyard.departure"
"""The connection's end, and who is told of it."""
REFUSED = "trainyard.refused"
"""The error that ends the request, where something is wrong with how its body is sent."""
WHOLE = "trainyard.whole_body"
"""The body, where all of it came along with the headers; until the request is answered."""
