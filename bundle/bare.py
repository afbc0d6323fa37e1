"""A bare .onnx file as a bundle in memory: tensors in, tensors out, nothing certified."""

from __future__ import annotations

from pathlib import Path

from bundle.archive import Bundle, sha256_file
from bundle.engine.onnx import OnnxEngine
from bundle.errors import NotFoundError
from bundle.manifest import UNLABELLED_TASK, FileEntry, GateResult, Manifest, Variant

VARIANT = "onnx"


def open_bare(path: Path | str, *, name: str | None = None) -> Bundle:
    """The file's signature as a manifest; the model's name is the file's stem unless given.

    Raises NotFoundError, or EngineError if ONNX Runtime refuses the file.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}", field="model")
    path = path.resolve()
    engine = OnnxEngine(path, provider="cpu", threads=1)
    entry = FileEntry(sha256=sha256_file(path), bytes=path.stat().st_size)
    variant = Variant(
        name=VARIANT,
        file=path.name,
        precision="as is",
        bytes=entry.bytes,
        sha256=entry.sha256,
        gate=GateResult(reason="a bare model file: nothing was compared"),
    )
    manifest = Manifest(
        name=name or path.stem,
        task=UNLABELLED_TASK,
        inputs=engine.inputs,
        outputs=engine.outputs,
        default_variant=VARIANT,
        variants=(variant,),
        files={path.name: entry},
    )
    return Bundle(path.parent, manifest)
