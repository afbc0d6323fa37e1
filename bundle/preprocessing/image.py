"""ImagePreprocessor: encoded bytes, a picture or an array of bytes become uint8 (C, H, W)."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from bundle.errors import InputError
from bundle.preprocessing.preprocessor import Array, DataPreprocessor
from bundle.tensor import DYNAMIC, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bundle.preprocessing.config import ImageConfig

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")
"""What is decoded. Formats that start other programs (EPS) or hold documents are not.

MPO, what some cameras write, is opened as JPEG; Pillow keeps no opener under its own name.
"""

_RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}
_ORIENTATION_TAG = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WIDE_GREY = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_ARRAY_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


class ImagePreprocessor(DataPreprocessor):
    """Transparent pixels are laid on white, 16-bit samples keep their high byte, the first frame
    of an animation is taken, and a picture that has the right size is not resampled.
    """

    sample_field: ClassVar[str] = "image"

    def __init__(self, config: ImageConfig) -> None:
        self._config = config

    @property
    def config(self) -> ImageConfig:
        return self._config

    @property
    def input_specs(self) -> tuple[TensorSpec, ...]:
        config = self._config
        shape = (DYNAMIC, config.channels, config.height, config.width)
        return (TensorSpec(name="image", dtype="uint8", shape=shape),)

    def __call__(self, sample: Any) -> dict[str, Array]:
        """Bytes, a PIL image, or uint8 (H, W) or (H, W, 1..4) → {"image": uint8 (C, H, W)}."""
        if isinstance(sample, (bytes, bytearray, memoryview)):
            with self._opened(bytes(sample)) as opened:
                image = self._decode(opened)
        elif isinstance(sample, Image.Image):
            image = self._decode(sample)
        elif isinstance(sample, np.ndarray):
            image = self._from_array(sample)
        else:
            raise _error(
                f"image must be encoded bytes, a PIL image or a uint8 array, "
                f"got {type(sample).__name__}"
            )
        image = self._resize(self._convert(image))
        pixels = np.asarray(image, dtype=np.uint8)  # (H, W) or (H, W, 3)
        if pixels.ndim == 2:
            pixels = pixels[:, :, np.newaxis]
        # A copy always: Pillow's own memory cannot be written to.
        return {"image": np.array(pixels.transpose(2, 0, 1), order="C")}  # (C, H, W)

    def check_header(self, data: bytes) -> None:
        """Raise InputError for a file of no known format or too many pixels; decodes nothing."""
        with self._opened(data):
            pass

    @contextlib.contextmanager
    def _opened(self, data: bytes) -> Iterator[Image.Image]:
        """The picture, once its header is read; InputError for whatever is wrong then or later."""
        if not data:
            raise _error("image is empty: 0 bytes")
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                self._check_size(*image.size)
                yield image
        except (InputError, MemoryError):
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise _error(f"image is too large: {error}") from error
        except UnidentifiedImageError as error:
            raise _error(
                f"image is of no known format ({len(data)} bytes)",
                remedy=f"send one of {', '.join(FORMATS)}",
            ) from error
        except Exception as error:  # the decoders raise whatever a malformed file leads them to
            raise _error(f"image cannot be decoded: {_reason(error)}") from error

    def _decode(self, image: Image.Image) -> Image.Image:
        """Decode the pixels, once the header has shown that there are not too many, upright."""
        self._check_size(*image.size)
        try:
            image.load()
        except (MemoryError, InputError):
            raise
        except Exception as error:  # the decoders raise whatever a malformed file leads them to
            raise _error(f"image cannot be decoded: {_reason(error)}") from error
        method = _TRANSPOSE.get(_orientation(image))
        return image if method is None else image.transpose(method)

    def _from_array(self, array: Array) -> Image.Image:
        if array.dtype != np.uint8:
            raise _error(
                f"image array has dtype {array.dtype}, expected uint8",
                remedy="scale the values to 0..255 and cast them",
            )
        if array.ndim == 2:
            array = array[:, :, np.newaxis]
        if array.ndim != 3 or array.shape[2] not in _ARRAY_MODES:
            raise _error(
                f"image array has shape {list(array.shape)}, expected (height, width) "
                "or (height, width, channels) with 1 to 4 channels",
                remedy="put the channels last",
            )
        self._check_size(array.shape[1], array.shape[0])
        pixels = np.ascontiguousarray(array[:, :, 0] if array.shape[2] == 1 else array)
        size = (array.shape[1], array.shape[0])
        return Image.frombytes(_ARRAY_MODES[array.shape[2]], size, pixels.tobytes())

    def _check_size(self, width: int, height: int) -> None:
        if width < 1 or height < 1:
            raise _error(f"image has no pixels: {width} x {height}")
        limit = self._config.max_pixels
        # Pillow resamples along the rows first: the picture between has the source's rows.
        if width * height > limit or self._config.width * height > limit:
            raise _error(
                f"image is too large: {width} x {height} pixels, at most {limit} are accepted",
                remedy="send a smaller image",
            )

    def _convert(self, image: Image.Image) -> Image.Image:
        mode = "L" if self._config.channels == 1 else "RGB"
        if image.mode in _WIDE_GREY:
            image = _high_byte(image)
        elif image.mode == "F":
            raise _error("image has floating-point pixels, whose range nothing tells")
        try:
            if image.has_transparency_data:
                image = _on_white(image)
            return image if image.mode == mode else image.convert("RGB").convert(mode)
        except ValueError as error:
            raise _error(f"image of mode {image.mode} cannot become {mode}: {error}") from error

    def _resize(self, image: Image.Image) -> Image.Image:
        target = (self._config.width, self._config.height)
        if image.size == target:
            return image
        resample = _RESAMPLING[self._config.interpolation]
        if self._config.resize == "crop":
            return image.resize(target, resample, box=_centre_box(image.size, target))
        if self._config.resize == "pad":
            inner = _fitted_size(image.size, target)
            fitted = image if inner == image.size else image.resize(inner, resample)
            canvas = Image.new(image.mode, target)
            canvas.paste(fitted, ((target[0] - inner[0]) // 2, (target[1] - inner[1]) // 2))
            return canvas
        return image.resize(target, resample)


def _error(message: str, *, remedy: str | None = None) -> InputError:
    return InputError(message, field=ImagePreprocessor.sample_field, remedy=remedy)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _orientation(image: Image.Image) -> int:
    """1 (upright) where the picture does not say, or says it unreadably."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001 - a damaged EXIF block leaves the pixels whole
        return 1
    return value if isinstance(value, int) else 1


def _high_byte(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise _error(
            f"image has pixel values from {values.min()} to {values.max()}, expected 0 to 65535"
        )
    return Image.fromarray((values >> 8).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    picture = image.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def _centre_box(
    size: tuple[int, int], target: tuple[int, int]
) -> tuple[float, float, float, float]:
    """The largest centred part of the picture that has the target's aspect ratio."""
    scale = min(size[0] / target[0], size[1] / target[1])
    width = min(target[0] * scale, size[0])
    height = min(target[1] * scale, size[1])
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return (left, top, left + width, top + height)


def _fitted_size(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """The largest size of the picture's aspect ratio inside the target."""
    scale = min(target[0] / size[0], target[1] / size[1])
    width = min(target[0], max(1, round(size[0] * scale)))
    height = min(target[1], max(1, round(size[1] * scale)))
    return width, height
