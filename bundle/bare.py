"""A bare .onnx file as a bundle in memory: tensors in, tensors out, nothing certified."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bundle.archive import Bundle, sha256_file
from bundle.engine.onnx import OnnxEngine
from bundle.engine.rows import find_batch_dimension
from bundle.engine.scales import scales_by_batch
from bundle.errors import BundleError, EngineError, NotFoundError
from bundle.manifest import UNLABELLED_TASK, FileEntry, GateResult, Manifest, Variant

if TYPE_CHECKING:
    from bundle.engine.base import InferenceEngine

VARIANT = "onnx"


def open_bare(path: Path | str, *, name: str | None = None) -> Bundle:
    """The file's signature as a manifest; the model's name is the file's stem unless given.

    Raises NotFoundError, or a BundleError that names the file if ONNX Runtime refuses it, or it
    has anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}", field="model")
    path = path.resolve()
    try:
        engine = OnnxEngine(path, provider="cpu", batchable=False)
        _check_ends(engine)
        manifest = _manifest(path, engine, name=name or path.stem)
    except BundleError as error:
        raise type(error)(
            f"the model {path} is refused: {error}", field=error.field, remedy=error.remedy
        ) from error
    batch = find_batch_dimension(engine, scales=scales_by_batch(path))
    return Bundle(path.parent, manifest, batch=batch)


def _check_ends(engine: InferenceEngine) -> None:
    for field, specs in (("inputs", engine.inputs), ("outputs", engine.outputs)):
        if not specs:
            raise EngineError(
                f"its graph has no {field}", field=field, remedy=f"export it with {field}"
            )


def _manifest(path: Path, engine: InferenceEngine, *, name: str) -> Manifest:
    entry = FileEntry(sha256=sha256_file(path), bytes=path.stat().st_size)
    variant = Variant(
        name=VARIANT,
        file=path.name,
        precision="as is",
        bytes=entry.bytes,
        sha256=entry.sha256,
        gate=GateResult(reason="a bare model file: nothing was compared"),
    )
    return Manifest(
        name=name,
        task=UNLABELLED_TASK,
        inputs=engine.inputs,
        outputs=engine.outputs,
        default_variant=VARIANT,
        variants=(variant,),
        files={path.name: entry},
    )
