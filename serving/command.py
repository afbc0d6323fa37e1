"""What `serve.py` does: read the settings, find the models, and serve them."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from serving.errors import SettingsError
from serving.flags import read_command_line
from serving.guard import read_keys
from serving.logs import configure_logging
from serving.resolver import resolve_all
from serving.signals import heeded
from serving.signature import read_secret
from serving.trace_endpoint import check_installed, find_endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
LONGEST_SOCKET_FOLDER = 64
"""A socket's path has at most 107 bytes on Linux, its name included."""


def main() -> int:
    """The command. Returns the exit code; raises TrainyardError."""
    # Until the supervisor listens to signals. Without it process 1 of a container, for which no
    # signal has a default, could not be stopped while it fetches its models.
    for number in heeded():
        if number != signal.SIGINT:  # for which Python has an error of its own
            signal.signal(number, _leave)
    command = read_command_line(sys.argv[1:], os.environ)
    if command.print_settings:
        for warning in command.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        print(command.toml())
        return 0
    settings = command.settings
    if not settings.model:
        raise SettingsError(
            "there is no model to serve",
            field="model",
            remedy="pass --model URI: a bundle folder, models:/NAME, models:/NAME@ALIAS, "
            "models:/NAME/NUMBER, s3://BUCKET/PREFIX or an .onnx file",
        )
    configure_logging(settings.log_level)
    for warning in command.warnings:
        log.warning(warning)
    check_installed(find_endpoint(settings.otlp_endpoint, os.environ))
    keys = read_keys(settings.api_keys_file, os.environ)
    secret = read_secret(settings.webhook_secret_file, os.environ)
    starts = resolve_all(settings.model)
    for warning in filter(None, (start.warning for start in starts)):
        log.warning(warning)
    for refusal in (refusal for start in starts for refusal in start.wanted.refused):
        log.error("a version is refused", extra={"fields": refusal.log_fields()})
    with _private_folder() as directory:
        metrics = directory / "metrics"
        metrics.mkdir()
        os.environ[METRICS_VARIABLE] = str(metrics)
        # Imported here because prometheus_client decides at its import, by the variable, whether
        # metrics are kept in files that all processes share.
        from serving.supervisor import Supervisor

        return Supervisor(settings, starts, directory, keys=keys, secret=secret).run()


def _leave(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    """For sockets and metrics; only this user can enter it, and it goes with the server."""
    base = tempfile.gettempdir()
    if len(base) > LONGEST_SOCKET_FOLDER:
        base = "/tmp"  # noqa: S108 - mkdtemp makes a folder that only this user can enter
    directory = Path(tempfile.mkdtemp(prefix="trainyard-", dir=base))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
