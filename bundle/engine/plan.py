"""A TensorRT plan: which TensorRT and which GPU it was built with, and only they can run it."""

from __future__ import annotations

import importlib
import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bundle.engine.cuda import find_gpu
from bundle.errors import EngineError

if TYPE_CHECKING:
    from bundle.engine.cuda import Gpu

SUFFIX = ".plan"
MAJOR = 11
"""The TensorRT whose interface is spoken here: later ones may differ, earlier ones do."""
REMEDY = "install trainyard[trt] on a machine with an NVIDIA GPU, or use an ONNX variant"

_KEPT_MESSAGES = 20


@dataclass(frozen=True, kw_only=True)
class PlanKey:
    """What a plan depends on besides the model."""

    tensorrt: str
    """Its full version: a plan is not promised to load in another one."""
    gpu: str
    capability: str

    @classmethod
    def of(cls, trt: Any, gpu: Gpu) -> PlanKey:
        return cls(tensorrt=str(trt.__version__), gpu=gpu.name, capability=gpu.capability)

    @classmethod
    def here(cls) -> PlanKey:
        """Of the plans that this machine builds. Raises EngineError if it builds none."""
        return cls.of(load_tensorrt(), find_gpu())

    @property
    def slug(self) -> str:
        """As part of a file's name."""
        gpu = re.sub(r"[^a-z0-9]+", "-", self.gpu.lower()).strip("-")
        return f"trt{self.tensorrt}-sm{self.capability.replace('.', '')}-{gpu}"

    @property
    def ending(self) -> str:
        """How the names of such plans end."""
        return f"-{self.slug}{SUFFIX}"

    def file_name(self, variant: str) -> str:
        """What the plan of a variant is called in a bundle."""
        return f"{variant}{self.ending}"

    def check(self, file_name: str) -> None:
        """Raise EngineError if the plan of that name was built for another TensorRT or GPU."""
        if not file_name.endswith(self.ending):
            raise EngineError(
                f"the plan {file_name} was not built for this machine, whose plans end in "
                f"{self.ending}",
                field="variant",
                remedy="export again here with target=tensorrt, or use an ONNX variant",
            )


def load_tensorrt() -> Any:
    """The module `tensorrt`. Raises EngineError where it is missing or of another generation."""
    try:
        trt = importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:  # OSError: its libraries cannot be opened
        raise EngineError(
            f"TensorRT cannot be imported: {error}", field="provider", remedy=REMEDY
        ) from error
    version = str(trt.__version__)
    if version.partition(".")[0] != str(MAJOR):
        raise EngineError(
            f"TensorRT {version} is installed, but {MAJOR}.x is needed",
            field="provider",
            remedy=f"install 'tensorrt>={MAJOR},<{MAJOR + 1}'",
        )
    return trt


def plans_missing() -> str | None:
    """Why this machine can neither build nor run plans; None if it can."""
    try:
        PlanKey.here()
    except EngineError as error:
        return str(error)
    return None


def message_log(trt: Any) -> Any:
    """A logger for TensorRT that keeps its errors in `errors`; its own one prints on stdout."""

    class MessageLog(trt.ILogger):  # type: ignore[misc] # known only where TensorRT is installed
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=_KEPT_MESSAGES)

        def log(self, severity: Any, msg: str) -> None:
            if int(severity) <= int(trt.ILogger.ERROR):  # the graver, the smaller
                self.errors.append(msg)

    return MessageLog()


def explain(log: Any, *more: str) -> str:
    """What TensorRT said went wrong, in one line; `more`: what its parser said."""
    said = [" ".join(text.split()) for text in (*more, *log.errors)]
    return "; ".join(dict.fromkeys(said)) or "TensorRT gives no reason"
