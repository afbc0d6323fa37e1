"""PreprocessingConfig: everything that decides how a raw sample becomes tensors."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bundle.errors import ManifestError, RequestError
from bundle.fields import Fields, canonical_json, parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping

RESIZES = ("stretch", "crop", "pad")
INTERPOLATIONS = ("bilinear", "bicubic", "nearest")
LARGEST_MAX_PIXELS = 89_478_485
"""Pillow's own bound: above it Pillow warns, and what becomes of a warning is not ours to say."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, kw_only=True)
class PreprocessingConfig(ABC):
    """Frozen and hashed: two equal configs prepare every sample identically."""

    kind: ClassVar[str]

    @abstractmethod
    def __post_init__(self) -> None:
        """Raise RequestError, naming the field, if a value cannot be."""

    @classmethod
    @abstractmethod
    def from_fields(cls, fields: Fields) -> PreprocessingConfig:
        """Read the fields of this kind; `kind` itself has been taken."""

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, **asdict(self)}

    def to_json(self) -> str:
        return canonical_json(self.to_dict())

    @property
    def sha256(self) -> str:
        """The hash of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @staticmethod
    def from_dict(value: Mapping[str, Any], *, path: str = "preprocessing") -> PreprocessingConfig:
        """The config that `to_dict` wrote. Raises ManifestError, naming the field under `path`."""
        fields = Fields(value, path)
        kind = _KINDS[fields.choice("kind", tuple(_KINDS))]
        try:
            config = kind.from_fields(fields)
        except RequestError as error:
            field = fields.path(error.field or "")
            raise ManifestError(f"{path}: {error}", field=field) from error
        fields.done()
        return config

    @staticmethod
    def from_json(text: str) -> PreprocessingConfig:
        return PreprocessingConfig.from_dict(parse_json(text, name="the preprocessing config"))


@dataclass(frozen=True, kw_only=True)
class ImageConfig(PreprocessingConfig):
    """How a picture becomes bytes of shape (channels, height, width)."""

    kind: ClassVar[str] = "image"

    height: int
    """Rows of the tensor, in pixels."""
    width: int
    """Columns of the tensor, in pixels."""
    channels: int = 3
    """3 for RGB, 1 for grey."""
    resize: str = "stretch"
    """stretch: ignore the aspect ratio; crop: cut the centre; pad: black bars."""
    interpolation: str = "bilinear"
    """Filter of the resize: bilinear, bicubic or nearest."""
    max_pixels: int = 50_000_000
    """Largest picture accepted, in pixels, checked before it is decoded."""

    def __post_init__(self) -> None:
        _check_integer("height", self.height, 1, 65_535)
        _check_integer("width", self.width, 1, 65_535)
        _check_integer("max_pixels", self.max_pixels, 1, LARGEST_MAX_PIXELS)
        _check_choice("channels", self.channels, (1, 3))
        _check_choice("resize", self.resize, RESIZES)
        _check_choice("interpolation", self.interpolation, INTERPOLATIONS)

    @classmethod
    def from_fields(cls, fields: Fields) -> ImageConfig:
        return cls(
            height=fields.integer("height"),
            width=fields.integer("width"),
            channels=fields.integer("channels"),
            resize=fields.text("resize"),
            interpolation=fields.text("interpolation"),
            max_pixels=fields.integer("max_pixels"),
        )


@dataclass(frozen=True, kw_only=True)
class TextConfig(PreprocessingConfig):
    """How a text becomes token ids."""

    kind: ClassVar[str] = "text"

    max_length: int
    """Most tokens of one text, special tokens included; what is longer is cut."""
    tokenizer: str = "tokenizer.json"
    """Name of the tokenizer's file among the bundle's files."""
    tokenizer_sha256: str
    """sha256 of that file, in hexadecimal."""
    pad_to_multiple_of: int = 1
    """A batch's length is rounded up to a multiple of this, but never over max_length."""

    def __post_init__(self) -> None:
        _check_integer("max_length", self.max_length, 1, 1_000_000)
        _check_integer("pad_to_multiple_of", self.pad_to_multiple_of, 1, 1_000_000)
        if not _FILE_NAME.fullmatch(self.tokenizer):
            raise RequestError(
                f"tokenizer={self.tokenizer!r} is not a plain file name", field="tokenizer"
            )
        if not _SHA256.fullmatch(self.tokenizer_sha256):
            raise RequestError(
                f"tokenizer_sha256={self.tokenizer_sha256!r} is not 64 hexadecimal digits",
                field="tokenizer_sha256",
            )

    @classmethod
    def from_fields(cls, fields: Fields) -> TextConfig:
        return cls(
            max_length=fields.integer("max_length"),
            tokenizer=fields.text("tokenizer"),
            tokenizer_sha256=fields.text("tokenizer_sha256"),
            pad_to_multiple_of=fields.integer("pad_to_multiple_of"),
        )


_KINDS: dict[str, type[ImageConfig] | type[TextConfig]] = {
    ImageConfig.kind: ImageConfig,
    TextConfig.kind: TextConfig,
}


def _check_integer(field: str, value: int, minimum: int, maximum: int) -> None:
    if type(value) is not int or not minimum <= value <= maximum:
        raise RequestError(
            f"{field}={value!r} must be an integer from {minimum} to {maximum}", field=field
        )


def _check_choice(field: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        known = ", ".join(str(choice) for choice in choices)
        raise RequestError(f"{field}={value!r} must be one of {known}", field=field)
