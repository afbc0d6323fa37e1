"""What a worker tells of a model of tensors, without there being one."""

from __future__ import annotations

from bundle.manifest import FileEntry, Manifest, Variant
from bundle.tensor import TensorSpec
from serving.served_model import ModelInfo

FILE = FileEntry(sha256="0" * 64, bytes=1)


def tensor_info(name: str, *, width: int) -> ModelInfo:
    """x, one float32 a sample, becomes y, `width` of them, -1 for any number."""
    manifest = Manifest(
        name=name,
        task="tensor",
        inputs=(TensorSpec(name="x", dtype="float32", shape=(-1, 1)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=(-1, width)),),
        default_variant="fp32",
        variants=(Variant(name="fp32", file="model.onnx", sha256=FILE.sha256, bytes=FILE.bytes),),
        files={"model.onnx": FILE},
    )
    return ModelInfo(name, "1", "fp32", "onnxruntime", "cpu", True, "/", manifest.to_dict())
