"""Peer: another server of models, in an environment of its own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.servers.bench import plain
from benchmarks.servers.process import Server, running
from benchmarks.servers.wrk import Post, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.servers.bench import Bench
    from benchmarks.servers.loads import Load

FOLDER = Path(__file__).resolve().parent
_INSTALL_SECONDS = 1800


class NotInstalledError(Exception):
    """The message is the reason, in one line."""


@dataclass(frozen=True)
class Peer:
    """`module` is its adapter, run in the environment that `requirements/<name>.txt` describes."""

    name: str
    title: str
    module: str
    post: Callable[[Load], Post]
    needs: tuple[str, ...] = ()
    """Commands that must be there."""

    @property
    def python(self) -> Path:
        return FOLDER / ".venvs" / self.name / "bin" / "python"

    def install(self, python: str) -> None:
        """Once; what was begun and failed is removed. Raises NotInstalledError."""
        for command in self.needs:
            if shutil.which(command) is None:
                raise NotInstalledError(f"{command} is not installed")
        requirements = FOLDER / "requirements" / f"{self.name}.txt"
        folder = self.python.parents[1]
        done = folder / "installed.txt"
        wanted = requirements.read_text(encoding="utf-8")
        if done.is_file() and done.read_text(encoding="utf-8") == wanted:
            return
        shutil.rmtree(folder, ignore_errors=True)
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        for command_line in (
            [python, "-m", "venv", str(folder)],
            [*pip, "--requirement", str(requirements)],
        ):
            ended = _run(command_line)
            if ended:
                shutil.rmtree(folder, ignore_errors=True)
                raise NotInstalledError(ended)
        done.write_text(wanted, encoding="utf-8")

    def version(self) -> str:
        """Of the package that its requirements name first."""
        requirements = FOLDER / "requirements" / f"{self.name}.txt"
        package = re.split(r"[\[<>=]", requirements.read_text(encoding="utf-8"))[0].strip()
        code = f"import importlib.metadata as m; print(m.version({package!r}))"
        done = subprocess.run(
            [str(self.python), "-c", code], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    @contextmanager
    def serving(self, load: Load, bench: Bench) -> Iterator[Server]:
        """Raises NotStartedError."""
        folder = bench.folder / f"{self.name}-{load.name}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        order = bench.order(load)
        libraries = {"LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR"))}
        with running(
            [str(self.python), "-m", self.module],
            self.post(load),
            port=order.port,
            log=folder / "log",
            environment=plain() | libraries | order.environment(),
            folder=folder,
        ) as server:
            yield server


def _run(command: list[str]) -> str | None:
    """None, or the last line of what went wrong."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    lines = (done.stdout + done.stderr).strip().splitlines()
    return next((line for line in reversed(lines) if "ERROR" in line), " ".join(lines[-1:]))


def _plain(path: str) -> Callable[[Load], Post]:
    return lambda load: load.plain(path)


def _lists(load: Load) -> Post:
    """Batches of one."""
    return Post("/predict", encode({"input": [sample]} for sample in load.samples()))


def _protocol(load: Load) -> Post:
    """The Open Inference Protocol, in JSON."""

    def tensor(sample: Any) -> dict[str, Any]:
        if isinstance(sample, str):
            return {"shape": [1, 1], "datatype": "BYTES", "data": [sample]}
        return {"shape": [1, len(sample)], "datatype": "FP32", "data": sample}

    bodies = encode({"inputs": [{"name": "input", **tensor(s)}]} for s in load.samples())
    return Post("/v2/models/subject/infer", bodies)


PEERS = (
    Peer("fastapi", "FastAPI", "benchmarks.peers.adapters.fastapi", _plain("/predict")),
    Peer(
        "torchserve", "TorchServe", "benchmarks.peers.adapters.torchserve",
        _plain("/predictions/subject"), needs=("java",),
    ),
    Peer("triton", "Triton (PyTriton)", "benchmarks.peers.adapters.triton", _protocol),
    Peer("mlserver", "MLServer", "benchmarks.peers.adapters.mlserver", _protocol),
    Peer("bentoml", "BentoML", "benchmarks.peers.adapters.bentoml", _lists),
    Peer("ray-serve", "Ray Serve", "benchmarks.peers.adapters.ray_serve", _plain("/predict")),
)  # fmt: skip
