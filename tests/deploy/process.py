"""Programs that run beside a test: Prometheus, Alertmanager, an exporter, PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.mlflow_server import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PATIENCE = 60.0


def program(name: str, package: str) -> str:
    """Its path; skips the test where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: {package})")
    return found


@contextmanager
def running(
    command: Sequence[str], *, ready: str, folder: Path, environment: dict[str, str] | None = None
) -> Iterator[None]:
    """The program from when it answers at the address `ready` on; killed at the end."""
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            stdout=stream,
            stderr=stream,
            cwd=folder,
            env={**os.environ, **(environment or {})},
        )
    try:
        _wait(process, ready, log)
        yield
    finally:
        process.kill()  # nothing of it is needed afterwards
        process.wait()


def _wait(process: subprocess.Popen[bytes], ready: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(ready, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{log.name}: not ready\n{log.read_text(errors='replace')}")


@contextmanager
def postgresql(folder: Path, database: str) -> Iterator[str]:
    """A PostgreSQL of its own, without a password; its address `postgresql://…/database`."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    control = str(found[-1]) if found else program("pg_ctl", "postgresql")
    # It refuses to run as root.
    account = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if account:
        shutil.chown(folder, "postgres")
    data, port = folder / "data", free_port()

    def run(name: str, *arguments: str) -> None:
        command = [*account, str(Path(control).with_name(name)), *arguments]
        done = subprocess.run(
            command,
            check=False,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    run("initdb", "--pgdata", str(data), "--username", "trainyard", "--auth", "trust", "--no-sync")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    run("pg_ctl", "--pgdata", str(data), "--log", str(folder / "log"), "-w", "-o", options, "start")
    try:
        run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "trainyard", database)
        yield f"postgresql://trainyard@127.0.0.1:{port}/{database}"
    finally:
        run("pg_ctl", "--pgdata", str(data), "-m", "immediate", "stop")
