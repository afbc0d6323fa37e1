"""Guard: who may ask for what. Without keys everybody may predict, and nobody administrate."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundle.quotation import quoted, shorten
from serving.errors import ForbiddenError, QuotaError, SettingsError, UnauthorizedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

VARIABLE = "TRAINYARD_API_KEYS"
"""Holds keys as NAME:SCOPE+SCOPE:KEY, separated by commas, where a file would be a nuisance."""
PREDICT, METRICS, ADMIN = "predict", "metrics", "admin"
SCOPES = (PREDICT, METRICS, ADMIN)
SHORTEST_KEY = 16
_NOBODY = contextlib.nullcontext("")
_TABLES = "write a table [[key]] with name, scopes and sha256 for each key: see docs/serving.md"
_FIELDS = ("name", "key", "sha256", "scopes", "max_in_flight")


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key as the server keeps it: never the key itself."""

    name: str
    digest: bytes
    """sha256 of the key."""
    scopes: frozenset[str]
    max_in_flight: int | None = None
    """Requests of this key that one API process answers at once; None is no limit."""


class Guard:
    """Checks keys in a time that does not depend on them."""

    def __init__(self, keys: tuple[ApiKey, ...] = ()) -> None:
        self._keys = keys
        self._in_flight = dict.fromkeys((key.name for key in keys), 0)

    def passing(self, headers: Mapping[str, str], scope: str) -> AbstractContextManager[str]:
        """The name of the key, empty without one, while its request is answered.

        Raises UnauthorizedError, ForbiddenError or QuotaError.
        """
        key = self._check(headers, scope) if scope else None
        return _NOBODY if key is None else self._counted(key)

    def name(self, headers: Mapping[str, str]) -> str:
        """Of the key that a request came with, whatever it allows; empty without a valid one."""
        key = self._find(_presented(headers))
        return "" if key is None else key.name

    @contextlib.contextmanager
    def _counted(self, key: ApiKey) -> Iterator[str]:
        if key.max_in_flight is not None and self._in_flight[key.name] >= key.max_in_flight:
            raise QuotaError(
                f"the key {key.name!r} has {key.max_in_flight} requests in flight, its quota"
            )
        self._in_flight[key.name] += 1
        try:
            yield key.name
        finally:
            self._in_flight[key.name] -= 1

    def _check(self, headers: Mapping[str, str], scope: str) -> ApiKey | None:
        if not self._keys:
            if scope == ADMIN:
                raise ForbiddenError(
                    "administration is off", remedy="start the server with a key of scope admin"
                )
            return None
        key = self._find(_presented(headers))
        if key is None:
            raise UnauthorizedError("a valid API key is needed")
        if scope not in key.scopes:
            raise ForbiddenError(
                f"the key {key.name!r} has no scope {scope!r}",
                remedy=f"use a key with the scope {scope}",
            )
        return key

    def _find(self, presented: str) -> ApiKey | None:
        digest = hashlib.sha256(presented.encode()).digest()
        found = None
        for key in self._keys:  # all of them, whichever it is
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found if presented else None


def any_admin(keys: tuple[ApiKey, ...]) -> bool:
    """Whether anybody may administrate."""
    return any(ADMIN in key.scopes for key in keys)


def read_keys(file: str, environment: Mapping[str, str]) -> tuple[ApiKey, ...]:
    """The keys of a TOML file and of TRAINYARD_API_KEYS. Raises SettingsError.

    The file has a table `[[key]]` for each: `name`, `scopes`, and `key` or its `sha256`;
    `max_in_flight` if there is a quota.
    """
    keys = [*_from_file(Path(file))] if file else []
    for number, entry in enumerate(environment.get(VARIABLE, "").split(","), start=1):
        if not entry:
            continue
        name, _, rest = entry.strip().partition(":")
        listed, colon, secret = rest.partition(":")
        scopes = listed.split("+")
        if not colon or not set(scopes) <= set(SCOPES):
            # Nothing of it is repeated: any part may be the key.
            raise _wrong(
                f"{VARIABLE}: entry {number} is not NAME:SCOPE+SCOPE:KEY with scopes of"
                f" {', '.join(SCOPES)}; a key has no comma in it",
                remedy="write it as shop:predict+metrics:KEY",
            )
        fields = {"name": name, "scopes": scopes, "key": secret}
        keys.append(_key(fields, source=VARIABLE))
    names = [key.name for key in keys]
    for name in names:
        if names.count(name) > 1:
            raise _wrong(
                f"two API keys are called {quoted(name)}", remedy="give each a name of its own"
            )
    return tuple(keys)


def _from_file(path: Path) -> Iterator[ApiKey]:
    source = f"--api-keys-file {path}"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _wrong(
            f"{source} cannot be read: {error.strerror}",
            remedy="check the path and who may read it",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _wrong(f"{source} is not TOML: {error}", remedy=_TABLES) from error
    entries = document.pop("key", None)
    tables = isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)
    if document or not tables or not entries:
        raise _wrong(f"{source} must hold tables [[key]], and nothing else", remedy=_TABLES)
    for entry in entries:
        yield _key(entry, source=source)


def _key(entry: Mapping[str, Any], *, source: str) -> ApiKey:
    name = entry.get("name")
    if not isinstance(name, str) or not name or not name.isprintable():
        raise _wrong(
            f"{source}: an API key has no name",
            remedy='give it one that can be printed: name = "shop"',
        )
    where = f"{source}: the API key {quoted(name)}"
    for field in entry:
        if field not in _FIELDS:
            raise _wrong(
                f"{where} has an unknown field {quoted(field)}",
                remedy=f"the fields are {', '.join(_FIELDS)}",
            )
    scopes = entry.get("scopes")
    if not isinstance(scopes, list) or not scopes or not set(map(str, scopes)) <= set(SCOPES):
        raise _wrong(
            f"{where} has scopes {shorten(repr(scopes))}",
            remedy=f"give a list of some of {', '.join(SCOPES)}",
        )
    quota = entry.get("max_in_flight")
    if quota is not None and (type(quota) is not int or quota < 1):
        raise _wrong(
            f"{where} has max_in_flight={shorten(repr(quota))}; it must be 1 or more",
            remedy="give a whole number, or leave it out for no quota",
        )
    return ApiKey(
        name=name,
        digest=_digest(entry, where),
        scopes=frozenset(scopes),
        max_in_flight=quota,
    )


def _digest(entry: Mapping[str, Any], where: str) -> bytes:
    key, sha256 = entry.get("key"), entry.get("sha256")
    if (key is None) == (sha256 is None):
        raise _wrong(
            f"{where} needs either key or sha256",
            remedy="give one of them: sha256 keeps the key out of the file",
        )
    if sha256 is not None:
        try:
            digest = bytes.fromhex(sha256)
        except (ValueError, TypeError):
            digest = b""
        if len(digest) != hashlib.sha256().digest_size:
            raise _wrong(
                f"{where} has a sha256 that is not 64 hexadecimal digits",
                remedy="give what `printf %s KEY | sha256sum` prints",
            )
        return digest
    if not isinstance(key, str):
        raise _wrong(f"{where} has a key that is not a string", remedy="put it into quotes")
    if len(key) < SHORTEST_KEY:
        raise _wrong(
            f"{where} has a key that is shorter than {SHORTEST_KEY} characters",
            remedy="make one with `openssl rand -hex 16`",
        )
    if not key.isascii() or not key.isprintable():
        raise _wrong(
            f"{where} has a key that no header can carry", remedy="use printable ASCII characters"
        )
    return hashlib.sha256(key.encode()).digest()


def _presented(headers: Mapping[str, str]) -> str:
    """From `Authorization: Bearer KEY` or `X-API-Key: KEY`."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    return headers.get("x-api-key", "").strip()


def _wrong(message: str, *, remedy: str) -> SettingsError:
    return SettingsError(message, field="api_keys_file", remedy=remedy)
