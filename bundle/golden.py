"""Golden answers: inputs and outputs that travel with a bundle and prove it where it is loaded."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bundle.errors import EngineError, InputError, IntegrityError, ManifestError
from bundle.fields import Fields, canonical_json, parse_json
from bundle.manifest import Golden
from bundle.preprocessing.preprocessor import Array, DataPreprocessor

if TYPE_CHECKING:
    from bundle.archive import Bundle
    from bundle.engine.base import InferenceEngine

TENSORS = "golden.npz"
SAMPLES = "golden.json"

_SIDES = ("input", "output")

Batch = tuple[Mapping[str, Array], Mapping[str, Array]]
"""The inputs and the outputs of one batch, batch dimension in front."""


def write_golden(
    batches: Sequence[Batch],
    *,
    samples: Sequence[bytes | str] = (),
    atol: float,
    rtol: float,
) -> tuple[Golden, dict[str, bytes]]:
    """The manifest's entry and the files' contents, by name.

    `samples` are raw: encoded images, or texts, that preprocessing must turn into batch 0.
    """
    arrays = {
        f"{index}/{side}/{name}": array.astype(str) if array.dtype == object else array
        for index, batch in enumerate(batches)
        for side, tensors in zip(_SIDES, batch, strict=True)
        for name, array in tensors.items()
    }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    files = {TENSORS: buffer.getvalue()}
    if samples:
        files[SAMPLES] = canonical_json([_encode_sample(sample) for sample in samples]).encode()
    golden = Golden(
        tensors=TENSORS,
        samples=SAMPLES if samples else None,
        count=len(batches),
        atol=atol,
        rtol=rtol,
    )
    return golden, files


def read_golden(bundle: Bundle) -> list[tuple[dict[str, Array], dict[str, Array]]]:
    """The batches of the bundle, none if it has no golden answers. Raises IntegrityError."""
    golden = bundle.manifest.golden
    if golden is None:
        return []
    arrays = _read_arrays(bundle, golden.tensors)
    batches: list[tuple[dict[str, Array], dict[str, Array]]] = [
        ({}, {}) for _ in range(golden.count)
    ]
    for key, array in arrays.items():
        number, _, rest = key.partition("/")
        side, _, name = rest.partition("/")
        if not number.isdecimal() or int(number) >= golden.count or side not in _SIDES:
            raise IntegrityError(f"{golden.tensors} has an unknown array {key!r}", field="golden")
        batches[int(number)][_SIDES.index(side)][name] = array
    for index, (inputs, outputs) in enumerate(batches):
        if not inputs or not outputs:
            raise IntegrityError(f"{golden.tensors} has no batch {index}", field="golden.count")
    return batches


def read_samples(bundle: Bundle) -> list[bytes | str]:
    """The raw samples of the bundle, none if it has none. Raises IntegrityError."""
    golden = bundle.manifest.golden
    if golden is None or golden.samples is None:
        return []
    try:
        documents = parse_json(bundle.file(golden.samples).read_bytes(), name=golden.samples)
        fields = Fields({"samples": documents}, golden.samples)
        return [_decode_sample(sample) for sample in fields.nested_list("samples")]
    except ManifestError as error:
        raise IntegrityError(str(error), field="golden.samples") from error


def check_golden(
    bundle: Bundle,
    engine: InferenceEngine,
    preprocessor: DataPreprocessor | None = None,
    *,
    variant: str | None = None,
) -> None:
    """Run the golden inputs. Raises IntegrityError where an answer differs.

    The answers are the default variant's: of another one only shapes and types are compared.
    With a preprocessor the raw samples must become the tensors of batch 0, byte for byte.
    """
    golden = bundle.manifest.golden
    if golden is None:
        return
    batches = read_golden(bundle)
    if preprocessor is not None:
        _check_samples(read_samples(bundle), preprocessor, batches[0][0])
    by_value = variant in (None, bundle.manifest.default_variant)
    for index, (inputs, expected) in enumerate(batches):
        try:
            actual = engine.predict_batch(inputs)
        except (InputError, EngineError) as error:
            raise IntegrityError(f"golden batch {index} cannot be run: {error}") from error
        for name, array in expected.items():
            if name not in actual:
                raise IntegrityError(f"golden batch {index} has no output {name!r}", field=name)
            problem = _difference(array, actual[name], golden, by_value=by_value)
            if problem is not None:
                raise IntegrityError(
                    f"golden batch {index}, output {name!r}: {problem}",
                    field=name,
                    remedy="export the model again, or run it on the provider it was verified for",
                )


def _difference(expected: Array, actual: Array, golden: Golden, *, by_value: bool) -> str | None:
    if expected.dtype.kind == "U":  # strings, which a runtime returns as objects
        expected = expected.astype(object)
    if expected.shape != actual.shape:
        return f"shape {list(actual.shape)}, expected {list(expected.shape)}"
    if expected.dtype != actual.dtype:
        return f"dtype {actual.dtype}, expected {expected.dtype}"
    if expected.dtype.kind != "f":
        same = not by_value or np.array_equal(expected, actual)
        return None if same else "other values than expected"
    if not np.isfinite(actual).all():
        return "NaN or infinite values"
    if not by_value or np.allclose(actual, expected, rtol=golden.rtol, atol=golden.atol):
        return None
    largest = np.abs(actual.astype(np.float64) - expected.astype(np.float64)).max()
    return f"differs by up to {largest:.3g}, allowed are atol={golden.atol}, rtol={golden.rtol}"


def _check_samples(
    samples: Sequence[bytes | str], preprocessor: DataPreprocessor, expected: Mapping[str, Array]
) -> None:
    if not samples:
        return
    try:
        batch = preprocessor.collate([preprocessor(sample) for sample in samples])
    except InputError as error:
        raise IntegrityError(
            f"a golden sample is refused by preprocessing: {error}", field="golden.samples"
        ) from error
    for name, array in batch.items():
        if name not in expected or not np.array_equal(array, expected[name]):
            raise IntegrityError(
                f"preprocessing turns the golden samples into another {name!r}",
                field="golden.samples",
                remedy="use the versions of pillow and tokenizers in the bundle's lineage",
            )


def _read_arrays(bundle: Bundle, name: str) -> dict[str, Array]:
    path = bundle.file(name)
    try:
        with zipfile.ZipFile(path) as archive:
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                raise IntegrityError(f"{name} is compressed, so its size is not known", field=name)
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except IntegrityError:
        raise
    except Exception as error:  # numpy and zipfile raise whatever a malformed file leads them to
        raise IntegrityError(f"{name} cannot be read: {error}", field=name) from error


def _encode_sample(sample: bytes | str) -> dict[str, str]:
    if isinstance(sample, str):
        return {"text": sample}
    return {"image": base64.b64encode(sample).decode("ascii")}


def _decode_sample(fields: Fields) -> bytes | str:
    key = next(iter(fields), "")
    if key == "text":
        text = fields.text("text")
        fields.done()
        return text
    image = fields.text("image")
    fields.done()
    try:
        return base64.b64decode(image, validate=True)
    except ValueError as error:
        raise fields.error("image", f"is not base64: {error}") from error
