"""Build a TensorRT plan of an ONNX graph, by the interface of TensorRT 11.

Networks are strongly typed: every layer computes in the types that the graph names. So a float16
plan comes from a float16 graph and an int8 plan from one with symmetric Q/DQ nodes; nothing here
chooses a precision. The result depends on the TensorRT and on the GPU (`PlanKey`), and is not the
same bytes every time: TensorRT picks kernels by timing them.
"""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bundle.atomic_file import staged
from bundle.engine.plan import PlanKey, explain, load_tensorrt, message_log
from optimize.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bundle.engine.profile import ShapeProfile
    from optimize.passes.base import Material

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TensorRTPass:
    """ONNX bytes → the bytes of a plan."""

    learns: ClassVar[bool] = False
    key: PlanKey
    """Of this machine: `PlanKey.here()`."""
    profile: ShapeProfile
    """The sizes that the plan will run."""
    workspace_mb: int = 4096
    """Most GPU memory that a layer may use while it runs, in MiB."""
    timing_cache: Path | None = None
    """A file that remembers what was timed, so that a second build is short; None: none."""

    @property
    def name(self) -> str:
        return "tensorrt"

    @property
    def version(self) -> int:
        return 1

    def parameters(self) -> Mapping[str, Any]:
        return {
            **asdict(self.key),
            "profile": self.profile.to_dict(),
            "workspace_mb": self.workspace_mb,
        }

    def run(self, graph: bytes, material: Material | None = None) -> bytes:  # noqa: ARG002 # a plan learns from no samples
        """Raises PlanError, or EngineError where TensorRT cannot be used."""
        return self.build(graph)

    def build(self, model: bytes | Path) -> bytes:
        """The plan of a graph, or of a file, whose weights may lie in others beside it."""
        trt = load_tensorrt()
        log = message_log(trt)
        try:
            builder = trt.Builder(log)
        except TypeError as error:  # what its binding raises where CUDA cannot be started
            raise PlanError(f"TensorRT cannot start: {explain(log)}") from error
        network = builder.create_network()
        parser = trt.OnnxParser(network, log)
        parsed = (
            parser.parse(model) if isinstance(model, bytes) else parser.parse_from_file(str(model))
        )
        if not parsed:
            raise PlanError(f"TensorRT cannot read the graph: {explain(log, *_errors(parser))}")
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, self.workspace_mb * 2**20)
        self._read_timings(config)
        self._set_profile(builder, config)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise PlanError(f"TensorRT cannot build a plan: {explain(log, *_errors(parser))}")
        self._write_timings(config)
        return bytes(plan)

    def _set_profile(self, builder: Any, config: Any) -> None:
        if not self.profile.shapes:
            return
        profile = builder.create_optimization_profile()
        try:
            for name, (least, best, most) in self.profile.shapes.items():
                profile.set_shape(name, least, best, most)
        except RuntimeError as error:
            raise PlanError(f"TensorRT refuses the shapes of {name!r}: {error}") from error
        if config.add_optimization_profile(profile) < 0:
            raise PlanError(f"TensorRT refuses the shapes {self.profile.to_dict()}")

    def _read_timings(self, config: Any) -> None:
        """Start from the file's timings, or from none where it is of another GPU or TensorRT."""
        if self.timing_cache is None:
            return
        known = b""
        with _only_a_speed_up(self.timing_cache):
            known = self.timing_cache.read_bytes() if self.timing_cache.is_file() else b""
        cache = config.create_timing_cache(known)
        if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
            config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)

    def _write_timings(self, config: Any) -> None:
        if self.timing_cache is None:
            return
        content = bytes(config.get_timing_cache().serialize())
        with _only_a_speed_up(self.timing_cache):
            self.timing_cache.parent.mkdir(parents=True, exist_ok=True)
            with staged(self.timing_cache) as written:
                with written.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                written.replace(self.timing_cache)


@contextlib.contextmanager
def _only_a_speed_up(path: Path) -> Iterator[None]:
    """What the disk refuses of the timings is logged: minutes of building are not lost to it."""
    try:
        yield
    except OSError as error:
        _LOGGER.warning("TensorRT's timings in %s are left out: %s", path, error.strerror or error)


def _errors(parser: Any) -> list[str]:
    return [str(parser.get_error(index)) for index in range(parser.num_errors)]
