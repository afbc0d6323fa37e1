"""Golden answers: inputs and outputs that travel with a bundle and prove it where it is loaded."""

from __future__ import annotations

import base64
import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bundle.errors import EngineError, InputError, IntegrityError, ManifestError
from bundle.fields import Fields, canonical_json, parse_json
from bundle.finite import all_finite
from bundle.golden_entry import Golden, GoldenAnswers
from bundle.preprocessing.preprocessor import Array, DataPreprocessor

if TYPE_CHECKING:
    from bundle.archive import Bundle
    from bundle.engine.base import InferenceEngine

TENSORS = "golden.npz"
SAMPLES = "golden.json"

_SIDES = ("input", "output")
_INDEX = re.compile(r"[0-9]{1,18}")

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
    files = {TENSORS: _pack(batches, _SIDES)}
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


def write_answers(
    variant: str, outputs: Sequence[Mapping[str, Array]], *, atol: float, rtol: float
) -> tuple[GoldenAnswers, dict[str, bytes]]:
    """Another variant's outputs of every batch: its entry, and the file's content by name."""
    name = f"golden-{variant}.npz"
    content = _pack([(tensors,) for tensors in outputs], _SIDES[1:])
    return GoldenAnswers(tensors=name, atol=atol, rtol=rtol), {name: content}


def _pack(batches: Sequence[Sequence[Mapping[str, Array]]], sides: Sequence[str]) -> bytes:
    arrays = {
        f"{index}/{side}/{name}": array.astype(str) if array.dtype == object else array
        for index, batch in enumerate(batches)
        for side, tensors in zip(sides, batch, strict=True)
        for name, array in tensors.items()
    }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def read_golden(bundle: Bundle) -> list[tuple[dict[str, Array], dict[str, Array]]]:
    """The batches of the bundle, none if it has no golden answers. Raises IntegrityError."""
    golden = bundle.manifest.golden
    if golden is None:
        return []
    batches = _unpack(bundle, golden.tensors, golden.count, _SIDES)
    return [(inputs, outputs) for inputs, outputs in batches]


def _unpack(
    bundle: Bundle, file: str, count: int, sides: Sequence[str]
) -> list[tuple[dict[str, Array], ...]]:
    batches: list[tuple[dict[str, Array], ...]] = [tuple({} for _ in sides) for _ in range(count)]
    for key, array in _read_arrays(bundle, file).items():
        number, _, rest = key.partition("/")
        side, _, name = rest.partition("/")
        if not _INDEX.fullmatch(number) or int(number) >= count or side not in sides:
            raise IntegrityError(f"{file} has an unknown array {key!r}", field="golden")
        batches[int(number)][sides.index(side)][name] = array
    for index, batch in enumerate(batches):
        if not all(batch):
            raise IntegrityError(f"{file} has no batch {index}", field="golden.count")
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

    Of a variant that has no golden answers of its own only shapes and types are compared.
    With a preprocessor the raw samples must become the tensors of batch 0, byte for byte.
    """
    golden = bundle.manifest.golden
    if golden is None:
        return
    batches = read_golden(bundle)
    if preprocessor is not None:
        _check_samples(read_samples(bundle), preprocessor, batches[0][0])
    limits: Golden | GoldenAnswers | None = golden
    answers = [outputs for _, outputs in batches]
    if variant not in (None, bundle.manifest.default_variant):
        limits = golden.answers.get(str(variant))
        if limits is not None:
            unpacked = _unpack(bundle, limits.tensors, golden.count, _SIDES[1:])
            answers = [outputs for (outputs,) in unpacked]
    for index, ((inputs, _), expected) in enumerate(zip(batches, answers, strict=True)):
        try:
            actual = engine.predict_batch(inputs)
        except (InputError, EngineError) as error:
            raise IntegrityError(f"golden batch {index} cannot be run: {error}") from error
        for name, array in expected.items():
            if name not in actual:
                raise IntegrityError(f"golden batch {index} has no output {name!r}", field=name)
            problem = _difference(array, actual[name], limits)
            if problem is not None:
                raise IntegrityError(
                    f"golden batch {index}, output {name!r}: {problem}",
                    field=name,
                    remedy="export the model again, or run it on the provider it was verified for",
                )


def _difference(
    expected: Array, actual: Array, limits: Golden | GoldenAnswers | None
) -> str | None:
    """What is wrong; without limits the values may be any."""
    if expected.dtype.kind == "U":  # strings, which a runtime returns as objects
        expected = expected.astype(object)
    if expected.shape != actual.shape:
        return f"shape {list(actual.shape)}, expected {list(expected.shape)}"
    if expected.dtype != actual.dtype:
        return f"dtype {actual.dtype}, expected {expected.dtype}"
    if expected.dtype.kind != "f":
        same = limits is None or np.array_equal(expected, actual)
        return None if same else "other values than expected"
    if not all_finite(actual):
        return "NaN or infinite values"
    if limits is None or np.allclose(actual, expected, rtol=limits.rtol, atol=limits.atol):
        return None
    largest = np.abs(actual.astype(np.float64) - expected.astype(np.float64)).max()
    return f"differs by up to {largest:.3g}, allowed are atol={limits.atol}, rtol={limits.rtol}"


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
