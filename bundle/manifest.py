"""Manifest: what a bundle holds, what it can do, and the hash of every file (manifest.json)."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from bundle.errors import ManifestError, NotFoundError, UnsafePathError
from bundle.fields import Fields, canonical_json, parse_json
from bundle.golden_entry import Golden, GoldenAnswers
from bundle.model_name import check_model_name
from bundle.paths import check_relative_name
from bundle.preprocessing.config import PreprocessingConfig
from bundle.tensor import DYNAMIC, TensorSpec
from bundle.variant import FORMATS, FileEntry, GateResult, Variant

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "FORMATS",
    "SCHEMA",
    "TASKS",
    "FileEntry",
    "GateResult",
    "Golden",
    "GoldenAnswers",
    "Manifest",
    "TensorSpec",
    "Variant",
]

SCHEMA = 3
"""The newest that is read. A manifest is written in the oldest that can express it."""
SCHEMA_WITHOUT_LIMITS = 2
SCHEMA_WITHOUT_ANSWERS = 1
TASKS = ("image-classification", "text-classification", "tensor")
UNLABELLED_TASK = "tensor"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Immutable and consistent by construction; `files` is empty until the bundle is written."""

    name: str
    task: str
    labels: tuple[str, ...] = ()
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocessing: PreprocessingConfig | None = None
    default_variant: str
    variants: tuple[Variant, ...]
    golden: Golden | None = None
    lineage: dict[str, Any] = field(default_factory=dict)
    """Where the weights come from, as JSON: run, checkpoint, data, versions, metrics."""
    files: dict[str, FileEntry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_model_name(self.name)
        if self.task not in TASKS:
            raise ManifestError(
                f"task={self.task!r} must be one of {', '.join(TASKS)}", field="task"
            )
        self._check_labels()
        for name, specs in (("inputs", self.inputs), ("outputs", self.outputs)):
            if not specs:
                raise ManifestError(f"{name} is empty", field=name)
            _check_unique(name, (spec.name for spec in specs))
        _check_unique("variants", (variant.name for variant in self.variants))
        default = next((v for v in self.variants if v.name == self.default_variant), None)
        if default is None or default.file is None:
            raise ManifestError(
                f"default_variant={self.default_variant!r} is not a variant that has a file",
                field="default_variant",
            )
        self._check_answers()
        for name in (*self.files, *self.referenced_files()):
            try:
                check_relative_name(name)
            except UnsafePathError as error:
                raise UnsafePathError(f"manifest.json: {error}", field="files") from error

    def _check_answers(self) -> None:
        """Golden answers are of variants that can be run, and the default's are elsewhere."""
        with_files = {variant.name for variant in self.variants if variant.file is not None}
        for name in () if self.golden is None else self.golden.answers:
            if name not in with_files or name == self.default_variant:
                raise ManifestError(
                    f"golden.answers has {name!r}, which is not another variant that has a file",
                    field="golden.answers",
                )

    def _check_labels(self) -> None:
        _check_unique("labels", self.labels)
        if (self.task == UNLABELLED_TASK) == bool(self.labels):
            expected = "no labels" if self.labels else "labels"
            raise ManifestError(
                f"a model of task {self.task!r} has {expected}, got {len(self.labels)}",
                field="labels",
            )
        if self.labels and self.outputs:
            shape = self.outputs[0].shape
            if len(shape) != 2 or shape[1] not in (DYNAMIC, len(self.labels)):
                raise ManifestError(
                    f"the first output has shape {list(shape)}, "
                    f"expected (batch, {len(self.labels)}) for {len(self.labels)} labels",
                    field="outputs",
                )

    def variant(self, name: str) -> Variant:
        for variant in self.variants:
            if variant.name == name:
                return variant
        known = ", ".join(variant.name for variant in self.variants)
        raise NotFoundError(
            f"model {self.name!r} has no variant {name!r}",
            field="variant",
            remedy=f"choose one of {known}",
        )

    def referenced_files(self) -> tuple[str, ...]:
        """The files that a field names: variants, tokenizer, golden answers."""
        names = [variant.file for variant in self.variants]
        names.append(getattr(self.preprocessing, "tokenizer", None))
        if self.golden is not None:
            names += [self.golden.tensors, self.golden.samples]
            names += [answers.tensors for answers in self.golden.answers.values()]
        return tuple(dict.fromkeys(name for name in names if name is not None))

    def check_files(self) -> None:
        """Raise ManifestError where `files` and the fields that name files disagree."""
        for name in self.referenced_files():
            if name not in self.files:
                raise ManifestError(f"{name} is named, but is not among files", field="files")
        for variant in self.variants:
            if variant.file is None:
                continue
            entry = self.files[variant.file]
            if (variant.sha256, variant.bytes) != (entry.sha256, entry.bytes):
                raise ManifestError(
                    f"variant {variant.name!r} and files disagree about {variant.file}",
                    field="variants.sha256",
                )

    def to_dict(self) -> dict[str, Any]:
        """The manifest's document; every value is JSON."""
        return {
            "schema": self._schema(),
            "name": self.name,
            "task": self.task,
            "labels": list(self.labels),
            "inputs": [spec.to_dict() for spec in self.inputs],
            "outputs": [spec.to_dict() for spec in self.outputs],
            "preprocessing": None if self.preprocessing is None else self.preprocessing.to_dict(),
            "default_variant": self.default_variant,
            "variants": [variant.to_dict() for variant in self.variants],
            "golden": None if self.golden is None else self.golden.to_dict(),
            "lineage": self.lineage,
            "files": {name: asdict(entry) for name, entry in self.files.items()},
        }

    def _schema(self) -> int:
        if any(variant.gate.has_limits for variant in self.variants):
            return SCHEMA
        answers = self.golden is not None and self.golden.answers
        return SCHEMA_WITHOUT_LIMITS if answers else SCHEMA_WITHOUT_ANSWERS

    def to_json(self) -> str:
        try:
            return canonical_json(self.to_dict())
        except (TypeError, ValueError) as error:
            raise ManifestError(f"lineage is not JSON: {error}", field="lineage") from error

    @classmethod
    def from_dict(cls, value: object, *, bare: bool = False) -> Manifest:
        """The manifest that `to_dict` wrote. Raises ManifestError, naming the field.

        `bare`: whether it may be that of a bare file, whose tensors need not have a shape.
        """
        fields = Fields(value)
        read = partial(TensorSpec.from_fields, bare=bare)
        schema = fields.integer("schema", minimum=1)
        if schema > SCHEMA:
            raise ManifestError(
                f"schema={schema} is newer than the {SCHEMA} that this version reads",
                field="schema",
                remedy="upgrade trainyard",
            )
        manifest = cls(
            name=fields.text("name"),
            task=fields.choice("task", TASKS),
            labels=fields.texts("labels"),
            inputs=tuple(map(read, fields.nested_list("inputs"))),
            outputs=tuple(map(read, fields.nested_list("outputs"))),
            preprocessing=fields.optional(
                "preprocessing", lambda key: PreprocessingConfig.from_dict(fields.object(key))
            ),
            default_variant=fields.text("default_variant"),
            variants=tuple(map(Variant.from_fields, fields.nested_list("variants"))),
            golden=fields.optional("golden", lambda key: Golden.from_fields(fields.nested(key))),
            lineage=fields.object("lineage"),
            files=_read_files(fields.nested("files")),
        )
        fields.done()
        manifest.check_files()
        return manifest

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        return cls.from_dict(parse_json(text, name="manifest.json"))


def _read_files(fields: Fields) -> dict[str, FileEntry]:
    return {name: FileEntry.from_fields(fields.nested(name)) for name in fields}


def _check_unique(name: str, values: Iterable[str]) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ManifestError(f"{name} has {twice[0]!r} more than once", field=name)
