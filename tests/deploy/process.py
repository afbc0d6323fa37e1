"""Programs that run beside a test: Prometheus, Alertmanager, an exporter, PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.deploy.absence import absent
from tests.mlflow_server import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PATIENCE = 60.0


def program(name: str, package: str) -> str:
    """Its path; skips the test where it is not installed."""
    found = shutil.which(name)
    if found is None:
        absent(f"{name} is not installed (Debian: {package})")
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
def postgresql(database: str) -> Iterator[str]:
    """A PostgreSQL of its own, without a password; its address `postgresql://…/database`."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    binaries = found[-1].parent if found else Path(program("pg_ctl", "postgresql")).parent
    # It refuses to run as root, and its user cannot enter pytest's folders.
    account = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="postgresql-") as folder:
        if account:
            shutil.chown(folder, "postgres")
        data = ("--pgdata", f"{folder}/data")

        def run(name: str, *arguments: str) -> None:
            done = subprocess.run(
                [*account, str(binaries / name), *arguments],
                check=False,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert done.returncode == 0, done.stderr

        run("initdb", *data, "--username", "trainyard", "--auth", "trust", "--no-sync")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        run("pg_ctl", *data, "--log", f"{folder}/log", "-w", "-o", options, "start")
        try:
            run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "trainyard", database)
            yield f"postgresql://trainyard@127.0.0.1:{port}/{database}"
        finally:
            run("pg_ctl", *data, "-m", "immediate", "stop")
