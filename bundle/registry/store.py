"""MlflowStore: the connection to MLflow, with its waits bounded and its errors made readable."""

from __future__ import annotations

import fcntl
import logging
import os
import random
import re
import socket
import sqlite3
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from bundle.address import URI_VARIABLE, sqlite_file, tracking_uri
from bundle.errors import NotFoundError, RegistryError, TrainyardError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

T = TypeVar("T")

QUIET = {
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""MLflow writes into other programs' output unless the environment tells it not to."""

POOL = "MLFLOW_SQLALCHEMYSTORE_"
"""How the variables begin that say how MLflow keeps its connections to a database."""
UNPOOLED = {f"{POOL}POOLCLASS": "NullPool"}
"""A connection that is kept open reads the file that was there, even when it is deleted."""
POOL_LOGGER = "mlflow.store.db.utils"
"""Tells of a pool that was chosen, whenever it connects."""

CONNECT_SECONDS = 5.0
LOCK_SECONDS = 5.0
"""Longest wait for another writer of a sqlite registry, where it is only asked whether one may."""
ATTEMPTS = 12
"""Tries of what another writer may have got in the way of."""

MAX_REASON = 300
"""Characters of another library's message that are passed on."""

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_SQLITE_MAGIC = b"SQLite format 3\0"
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
_NO_NAME = "invalid model name"
"""MLflow's answer about a name that no model can have."""
_INVALID_HOST = "Invalid Host header"
_ALLOW_HOST = "start MLflow with MLFLOW_SERVER_ALLOWED_HOSTS=HOST:PORT, as this address names it"
_EXISTS = "RESOURCE_ALREADY_EXISTS"
_LOCKED = re.compile(r"database (table )?is locked")
"""What SQLite says where another connection writes."""
_STATEMENT = re.compile(r" *(\[SQL: |\(Background on this error at: ).*")
"""What SQLAlchemy adds to a database's message: the statement, its values and a link."""


class MlflowStore:
    """Connects when first used. Reading never creates a registry."""

    def __init__(self, uri: str | None = None) -> None:
        self.uri = tracking_uri(uri)
        self._file = sqlite_file(self.uri)
        self._client: Any = None

    @property
    def is_here(self) -> bool:
        """Whether it is a file, for which no other machine has to be asked."""
        return self._file is not None

    @property
    def artifact_root(self) -> Path | None:
        """Beside a sqlite registry's file, where MLflow itself would take the working directory."""
        return None if self._file is None else self._file.parent.resolve() / "mlruns"

    @property
    def exists(self) -> bool:
        """Whether there is anything to read; of a server it is taken for granted."""
        return self._file is None or _has_content(self._file)

    def check_writable(self) -> None:
        """Raises RegistryError where nothing could be registered now; creates no registry."""
        if self._file is None:
            with self.reading() as client:
                client.search_registered_models(max_results=1)
            return
        self._check_folder()
        if not os.access(self._file.parent, os.W_OK):
            raise RegistryError(
                f"the folder of the registry {self.uri} cannot be written", field=URI_VARIABLE
            )
        if self.exists:
            _check_sqlite(self._file, self.uri)
            _check_unlocked(self._file, self.uri)

    @contextmanager
    def reading(self, *, missing: NotFoundError | None = None) -> Iterator[Any]:
        """The MLflow client. Raises `missing`, for what is not there, or RegistryError."""
        self._check_exists()
        with self._translated(missing):
            yield self._connected()

    @contextmanager
    def writing(
        self, *, missing: NotFoundError | None = None, create: bool = False
    ) -> Iterator[Any]:
        """The client, and for a sqlite registry the only writer among all processes."""
        if not create:
            self._check_exists()
        with self._translated(missing), self._locked():
            yield self._connected()

    def retry(self, call: Callable[[], T]) -> T:
        """The call's result, tried again where another writer was first or holds the database."""
        for attempt in range(ATTEMPTS):
            try:
                return call()
            except MlflowException as error:
                if attempt == ATTEMPTS - 1 or not _is_contention(error):
                    raise
            time.sleep(random.uniform(0, min(2.0, 0.05 * 2**attempt)))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _check_exists(self) -> None:
        if not self.exists:
            raise RegistryError(
                f"there is no registry at {self.uri} yet",
                field=URI_VARIABLE,
                remedy=f"register a bundle first, or set {URI_VARIABLE}",
            )

    def _connected(self) -> Any:
        self._check_reachable()
        if self._client is None:
            for variable, value in QUIET.items():
                os.environ.setdefault(variable, value)
            if self._file is not None:
                _keep_no_connection()
            self._client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        return self._client

    def _check_reachable(self) -> None:
        """Find out at once what MLflow would find out after minutes of trying again."""
        if self._file is not None:
            _check_sqlite(self._file, self.uri)
            return
        parts = urlsplit(self.uri)
        scheme = parts.scheme.partition("+")[0]
        if not parts.hostname or scheme not in _PORTS or scheme in getproxies():
            return
        try:
            port = parts.port or _PORTS[scheme]
            socket.create_connection((parts.hostname, port), timeout=CONNECT_SECONDS).close()
        except (OSError, ValueError) as error:
            raise RegistryError(
                f"the registry {_without_password(self.uri)} cannot be reached: {error}",
                field=URI_VARIABLE,
                remedy=f"start it, or set {URI_VARIABLE}",
            ) from error

    def _check_folder(self) -> None:
        if self._file is not None and not self._file.parent.is_dir():
            raise RegistryError(
                f"the folder of the registry {self.uri} does not exist", field=URI_VARIABLE
            )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._file is None:
            yield
            return
        self._check_folder()
        with self._file.with_name(f"{self._file.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _translated(self, missing: NotFoundError | None) -> Iterator[None]:
        try:
            yield
        except TrainyardError:
            raise
        except MlflowException as error:
            if missing is not None and _is_missing(error):
                raise missing from error
            raise self._failed(error) from error
        except Exception as error:  # the databases' drivers raise errors of their own
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> RegistryError:
        reason = _reason(error)
        uri = _without_password(self.uri)
        if _is_locked(error):
            return _locked_error(uri)
        return RegistryError(
            f"the registry {uri} failed: {reason[:MAX_REASON]}",
            field=URI_VARIABLE,
            remedy=_ALLOW_HOST if _INVALID_HOST in reason else None,
        )


def already_exists(error: MlflowException) -> bool:
    return bool(error.error_code == _EXISTS)


def _is_missing(error: MlflowException) -> bool:
    text = str(error).lower()
    return error.error_code in _MISSING or "not found" in text or _NO_NAME in text


def _is_contention(error: MlflowException) -> bool:
    if already_exists(error):  # its message holds a name, which may read like any of the signs
        return False
    text = str(error).lower()
    signs = ("giving up after", "deadlock", "unique")
    return _is_locked(error) or any(sign in text for sign in signs)


def _is_locked(error: Exception) -> bool:
    """Whether another connection to the sqlite database writes."""
    if isinstance(error, MlflowException) and already_exists(error):
        return False  # the same
    return _LOCKED.search(_reason(error)) is not None


def _reason(error: Exception) -> str:
    """Its message in one line, without the statement that failed."""
    return _STATEMENT.sub("", " ".join(str(error).split())) or type(error).__name__


def _keep_no_connection() -> None:
    """From the next database on, unless the environment asks for a pool of another kind."""
    chosen = {name: value for name, value in os.environ.items() if name.startswith(POOL)}
    if not chosen or chosen == UNPOOLED:
        os.environ.update(UNPOOLED)
        logging.getLogger(POOL_LOGGER).setLevel(logging.WARNING)


def _has_content(file: Path) -> bool:
    """False also where there is no file. Where it may not be looked at, reading it tells why."""
    try:
        return file.stat().st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def _check_sqlite(file: Path, uri: str) -> None:
    try:
        with file.open("rb") as stream:
            head = stream.read(len(_SQLITE_MAGIC))
    except FileNotFoundError:
        return
    except OSError as error:
        raise RegistryError(
            f"the registry {uri} cannot be read: {error.strerror}", field=URI_VARIABLE
        ) from error
    if head and head != _SQLITE_MAGIC:
        raise RegistryError(f"the registry {uri} is not a sqlite database", field=URI_VARIABLE)


def _check_unlocked(file: Path, uri: str) -> None:
    address = f"{file.absolute().as_uri()}?mode=rw"
    try:
        with closing(
            sqlite3.connect(address, uri=True, timeout=LOCK_SECONDS, isolation_level=None)
        ) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
    except sqlite3.Error as error:
        if _is_locked(error):
            raise _locked_error(uri) from error
        raise RegistryError(f"the registry {uri} failed: {error}", field=URI_VARIABLE) from error


def _locked_error(uri: str) -> RegistryError:
    return RegistryError(
        f"the registry {uri} is locked by another process",
        field=URI_VARIABLE,
        remedy="wait until that one is done, and run the same command again",
    )


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    if parts.password is None:
        return uri
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{parts.username}:***@{host}").geturl()
