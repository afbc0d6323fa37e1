"""nn.Module → ONNX, through either of PyTorch's two exporters.

`torchscript` (the older one) traces: it is several times faster, and only what it writes for a BERT
with `eager` attention is recognised by ONNX Runtime's transformer fusion. `dynamo` is PyTorch's
default; it refuses control flow that a trace would freeze silently. Either may write another opset
than it was asked for, so what was written is checked, never assumed.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import warnings
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import onnx
import torch
from torch import Tensor, nn
from torch.onnx.errors import OnnxExporterWarning

from bundle.errors import first_line
from optimize.errors import ExportError, OpsetError
from optimize.passes.strip import strip, to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bundle.manifest import TensorSpec

# Both exporters tell by logging what they do; only what is known to be noise is held back.
_QUIET_LOGGERS = {
    "onnx_ir": logging.WARNING,
    "onnxscript": logging.WARNING,
    # Whether the opset was converted is found by reading the graph.
    "onnxscript.version_converter": logging.CRITICAL,
    "torch.onnx._internal.exporter._compat": logging.CRITICAL,
    # Operators of torchvision, which no model uses, cannot be registered.
    "torch.onnx._internal.exporter._registration": logging.CRITICAL,
}
_AXES = ("batch", "sequence")


class Lane(StrEnum):
    """Which of PyTorch's exporters writes the graph."""

    torchscript = "torchscript"
    dynamo = "dynamo"


@dataclass(frozen=True, kw_only=True)
class ExportPass:
    """Write a model as ONNX bytes that depend on the model and these parameters alone."""

    opset: int = 18
    lane: Lane = Lane.dynamo
    max_length: int | None = None
    """Longest sequence the model takes; None for models without a sequence axis."""

    def run(
        self,
        model: nn.Module,
        example: Mapping[str, Tensor],
        *,
        inputs: Sequence[TensorSpec],
        output: TensorSpec,
    ) -> bytes:
        """Export `model`, whose forward takes the tensors of `inputs` by name.

        `example` is one batch of at least two rows: an axis of length one would be taken for a
        constant. Raises `OpsetError` when the opset cannot be had and `ExportError` for the rest.
        """
        names = _forward_order(model, [spec.name for spec in inputs])
        axes = {spec.name: _dynamic_axes(spec) for spec in inputs}
        # The dynamo exporter takes one tensor given for two inputs for one input.
        values = [example[name].clone() for name in names]
        write = self._dynamo if self.lane is Lane.dynamo else self._torchscript
        with _exporting(model):
            try:
                proto = write(model, values, names, axes, output)
            except OnnxExporterWarning as warning:
                raise self._opset_error("does not support it") from warning
            except (RuntimeError, TypeError, ValueError) as error:
                raise ExportError(
                    f"the {self.lane} exporter cannot write this model with opset {self.opset}: "
                    f"{first_line(error)}",
                    field="optimize.exporter",
                    remedy="use optimize.opset=18, or the other optimize.exporter",
                ) from error
        self._check(proto, names=[spec.name for spec in inputs], output=output.name)
        _order_inputs(proto, [spec.name for spec in inputs])
        strip(proto)
        return to_bytes(proto)

    def _torchscript(
        self,
        model: nn.Module,
        example: Sequence[Tensor],
        names: Sequence[str],
        axes: Mapping[str, Mapping[int, str]],
        output: TensorSpec,
    ) -> onnx.ModelProto:
        buffer = io.BytesIO()
        torch.onnx.export(
            model,
            tuple(example),
            buffer,  # type: ignore[arg-type]  # the older exporter writes to any binary file
            dynamo=False,
            opset_version=self.opset,
            input_names=list(names),
            output_names=[output.name],
            dynamic_axes={**axes, output.name: _dynamic_axes(output)},
        )
        return onnx.load_model_from_string(buffer.getvalue())

    def _dynamo(
        self,
        model: nn.Module,
        example: Sequence[Tensor],
        names: Sequence[str],
        axes: Mapping[str, Mapping[int, str]],
        output: TensorSpec,
    ) -> onnx.ModelProto:
        dims = {
            "batch": torch.export.Dim("batch"),
            "sequence": torch.export.Dim("sequence", max=self.max_length),
        }
        program = torch.onnx.export(
            model,
            tuple(example),
            dynamo=True,
            opset_version=self.opset,
            input_names=list(names),
            output_names=[output.name],
            dynamic_shapes=tuple(
                {axis: dims[label] for axis, label in axes[name].items()} for name in names
            ),
            verbose=False,
        )
        if program is None:
            raise ExportError("the dynamo exporter returned nothing", field="optimize.exporter")
        return program.model_proto

    def _check(self, proto: onnx.ModelProto, *, names: Sequence[str], output: str) -> None:
        written = [entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")]
        if written != [self.opset]:
            raise self._opset_error(f"wrote opset {', '.join(map(str, written)) or 'none'} instead")
        found = [value.name for value in proto.graph.input]
        if sorted(found) != sorted(names):
            raise ExportError(
                f"the exported graph takes {found}, but the preprocessor gives {list(names)}: "
                "the model does not use every input",
                field="inputs",
            )
        if [value.name for value in proto.graph.output] != [output]:
            found = [value.name for value in proto.graph.output]
            raise ExportError(f"the exported graph gives {found} and not ['{output}']")
        try:
            onnx.checker.check_model(proto, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ExportError(
                f"the {self.lane} exporter wrote a graph that onnx.checker refuses: "
                f"{first_line(error)}",
                field="optimize.exporter",
            ) from error

    def _opset_error(self, what: str) -> OpsetError:
        remedy = "use optimize.opset=18"
        if self.lane is Lane.torchscript and self.opset > 18:
            remedy += f" or optimize.exporter={Lane.dynamo}"
        elif self.lane is Lane.dynamo and self.opset < 18:
            remedy += f" or optimize.exporter={Lane.torchscript}"
        return OpsetError(
            f"optimize.opset={self.opset}: the {self.lane} exporter {what}",
            field="optimize.opset",
            remedy=remedy,
        )


def _forward_order(model: nn.Module, names: Sequence[str]) -> list[str]:
    """`names` in the order of forward's parameters: exporters bind by position, we by name."""
    signature = inspect.signature(model.forward)
    try:
        return list(signature.bind(**dict.fromkeys(names)).arguments)
    except TypeError as error:
        raise ExportError(
            f"{type(model).__name__}.forward{signature} does not take the preprocessor's tensors "
            f"{list(names)}: {error}",
            field="inputs",
        ) from error


def _order_inputs(proto: onnx.ModelProto, names: Sequence[str]) -> None:
    """The graph's inputs in the preprocessor's order, which the manifest repeats."""
    values = {value.name: value for value in proto.graph.input}
    ordered = [values[name] for name in names]
    del proto.graph.input[:]
    proto.graph.input.extend(ordered)


def _dynamic_axes(spec: TensorSpec) -> dict[int, str]:
    """The labels of a tensor's dynamic axes: (-1, -1) → {0: "batch", 1: "sequence"}."""
    axes = [axis for axis, size in enumerate(spec.shape) if size == -1]
    if axes[:1] != [0] or len(axes) > len(_AXES):
        raise ExportError(
            f"tensor {spec.name} has shape {list(spec.shape)}; the first axis must be dynamic and "
            "at most one other",
            field=spec.name,
        )
    return dict(zip(axes, _AXES, strict=False))


@contextlib.contextmanager
def _exporting(model: nn.Module) -> Iterator[None]:
    """Everything that an export needs changed, and only while it runs."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(torch.no_grad())
        stack.enter_context(_eval_mode(model))
        stack.enter_context(_eager_attention(model))
        stack.enter_context(_quiet())
        yield


@contextlib.contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextlib.contextmanager
def _eager_attention(model: nn.Module) -> Iterator[None]:
    """Transformers' plain attention: the fused kernels export to what no optimizer recognises."""
    modules: list[Any] = [m for m in model.modules() if hasattr(m, "set_attn_implementation")]
    # The only place where transformers keeps it.
    before = [(module, module.config._attn_implementation) for module in modules]  # noqa: SLF001
    for module, _ in before:
        module.set_attn_implementation("eager")
    try:
        yield
    finally:
        for module, implementation in before:
            module.set_attn_implementation(implementation)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    before = {name: logging.getLogger(name).level for name in _QUIET_LOGGERS}
    for name, level in _QUIET_LOGGERS.items():
        logging.getLogger(name).setLevel(level)
    try:
        with warnings.catch_warnings():
            ignore = warnings.filterwarnings
            # Both lanes are chosen knowingly; that the older one will go is said in the docs.
            ignore("ignore", "You are using the legacy TorchScript-based", DeprecationWarning)
            ignore("ignore", "The feature will be removed", DeprecationWarning)
            # PyTorch's own code calls what PyTorch deprecates.
            ignore("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            ignore("ignore", "# The axis name: ", UserWarning)
            ignore("ignore", "Exporting aten::index operator of advanced indexing", UserWarning)
            # A frozen branch is a wrong answer at some shape: parity at many shapes looks for it.
            ignore("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
            ignore("error", "Exporting to ONNX opset version", OnnxExporterWarning)
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
