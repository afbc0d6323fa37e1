"""WebhookSignature: who may ring, shown by a signature over the message and its time.

As MLflow signs its webhooks, which is how standardwebhooks.com has it but for the headers' names:

    X-MLflow-Delivery-Id: any text
    X-MLflow-Timestamp:   seconds since the epoch
    X-MLflow-Signature:   v1,base64(HMAC-SHA256(secret, "ID.TIMESTAMP.BODY"))
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from pathlib import Path
from typing import TYPE_CHECKING

from serving.errors import SettingsError, SignatureError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

VARIABLE = "TRAINYARD_WEBHOOK_SECRET"
SHORTEST_SECRET = 16
TOLERANCE_SECONDS = 300.0
"""How far the sender's clock may be from ours: later, what was overheard is of no use."""
MAX_DIGITS = 12
"""Of a time: with more it is later than the year 30,000, and maybe no number that fits anywhere."""
ID, TIMESTAMP, SIGNATURE = "X-MLflow-Delivery-Id", "X-MLflow-Timestamp", "X-MLflow-Signature"
VERSION = "v1"
HEADERS = "latin-1"
"""What bytes of a header are read as, so that these are the ones that were signed."""


class WebhookSignature:
    """Checks in a time that does not depend on how much of a signature is right."""

    def __init__(self, secret: str, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret.encode()
        self._clock = clock

    def check_head(self, headers: Mapping[str, str]) -> None:
        """Raises SignatureError where no body could be signed by these."""
        if f"{VERSION}," not in headers.get(SIGNATURE, ""):
            raise SignatureError(f"{SIGNATURE} does not sign anything: it has no {VERSION},…")
        moment = headers.get(TIMESTAMP, "")
        if not _is_time(moment) or abs(self._clock() - int(moment)) > TOLERANCE_SECONDS:
            raise SignatureError(
                f"{TIMESTAMP} is not within {TOLERANCE_SECONDS:g} s of this server's clock"
            )

    def check(self, headers: Mapping[str, str], body: bytes) -> None:
        """Raises SignatureError. Of several signatures, one in a word, any one will do."""
        self.check_head(headers)
        delivery, moment = headers.get(ID, ""), headers.get(TIMESTAMP, "")
        content = f"{delivery}.{moment}.".encode(HEADERS) + body
        digest = hmac.new(self._secret, content, hashlib.sha256).digest()
        expected = f"{VERSION},{base64.b64encode(digest).decode()}".encode()
        given = headers.get(SIGNATURE, "").split()
        right = [hmac.compare_digest(expected, one.encode()) for one in given]
        if not any(right):
            raise SignatureError(f"{SIGNATURE} does not sign this body, id and time")


def _is_time(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS


def read_secret(file: str, environment: Mapping[str, str]) -> str:
    """The secret of the file, else of TRAINYARD_WEBHOOK_SECRET; empty for none.

    Raises SettingsError.
    """
    source, secret = VARIABLE, environment.get(VARIABLE, "")
    if file:
        source = f"--webhook-secret-file {file}"
        try:
            secret = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise _wrong(f"{source} cannot be read: {error}") from error
    if (file or secret) and len(secret) < SHORTEST_SECRET:
        raise _wrong(f"the secret of {source} is shorter than {SHORTEST_SECRET} characters")
    return secret


def _wrong(message: str) -> SettingsError:
    return SettingsError(message, field="webhook_secret_file")
