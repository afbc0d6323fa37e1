"""The id of a request: the client's, or one that nobody else has."""

from __future__ import annotations

import random
import re

_ACCEPTABLE = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


def new_request_id() -> str:
    """32 hexadecimal digits, drawn without asking the system for each."""
    return random.getrandbits(128).to_bytes(16).hex()


def choose_request_id(given: str | None) -> str:
    """One from outside is kept if it is short and harmless, else replaced."""
    return given if given is not None and _ACCEPTABLE.fullmatch(given) else new_request_id()
