from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from bundle.errors import InputError
from bundle.preprocessing.config import ImageConfig
from bundle.preprocessing.image import FORMATS, ImagePreprocessor
from tests.tiny_bundle import encode

RGB = ImagePreprocessor(ImageConfig(height=6, width=5))
GREY = ImagePreprocessor(ImageConfig(height=6, width=5, channels=1))


def tensor(preprocessor, sample):
    (array,) = preprocessor(sample).values()
    return array


def save(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name, data):
    body = name + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png(width, height, *, data=b"", depth=8, colour=2):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


RANDOM = np.random.default_rng(0).integers(0, 256, (12, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@given(
    pixels=npst.arrays(
        np.uint8,
        st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3, 4])),
    )
)
def test_image_is_the_same_tensor_from_a_file_a_picture_or_an_array(
    channels, resize, interpolation, pixels
):
    preprocessor = ImagePreprocessor(
        ImageConfig(
            height=6, width=5, channels=channels, resize=resize, interpolation=interpolation
        )
    )
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)

    result = tensor(preprocessor, pixels)

    assert (result.shape, result.dtype) == ((channels, 6, 5), np.uint8)
    assert result.flags.c_contiguous
    assert result.flags.writeable
    for sample in (picture, save(picture), bytearray(save(picture)), memoryview(save(picture))):
        np.testing.assert_array_equal(tensor(preprocessor, sample), result)
    if pixels.shape[2] == 1:
        np.testing.assert_array_equal(tensor(preprocessor, pixels[:, :, 0]), result)


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@given(pixels=npst.arrays(np.uint8, (6, 5, 3)))
def test_image_of_the_right_size_is_not_resampled(resize, pixels):
    preprocessor = ImagePreprocessor(ImageConfig(height=6, width=5, resize=resize))

    np.testing.assert_array_equal(tensor(preprocessor, pixels), pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 5), (6, 500), (2, 3)])
def test_image_of_one_colour_keeps_it_whatever_its_size(size, resize):
    preprocessor = ImagePreprocessor(ImageConfig(height=6, width=5, resize=resize))
    pixels = np.full((*size, 3), (10, 120, 250), np.uint8)

    result = tensor(preprocessor, pixels).reshape(3, -1).T  # (pixels, 3)

    colours = {tuple(pixel) for pixel in result.tolist()}
    assert (10, 120, 250) in colours
    assert colours <= {(10, 120, 250)} | ({(0, 0, 0)} if resize == "pad" else set())


def test_crop_keeps_the_centre_and_the_aspect_ratio():
    pixels = np.zeros((4, 12, 3), np.uint8)
    pixels[:, 4:8] = 255
    preprocessor = ImagePreprocessor(ImageConfig(height=4, width=4, resize="crop"))

    assert tensor(preprocessor, pixels).min() == 255


def test_pad_puts_the_whole_picture_between_black_bars():
    pixels = np.full((2, 8, 3), 255, np.uint8)
    preprocessor = ImagePreprocessor(ImageConfig(height=8, width=8, resize="pad"))

    rows = tensor(preprocessor, pixels)[0].mean(axis=1)

    assert rows.tolist() == [0, 0, 0, 255, 255, 0, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_image_is_turned_upright_as_its_exif_says(orientation):
    upright = Image.fromarray(RANDOM)
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(back[orientation]) if orientation in back else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = tensor(RGB, upright)

    for kind in ("PNG", "TIFF", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = save(stored, kind, exif=exif, **options)
        np.testing.assert_array_equal(tensor(RGB, data), expected, err_msg=kind)
        with Image.open(io.BytesIO(data)) as picture:
            np.testing.assert_array_equal(tensor(RGB, picture), expected, err_msg=kind)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_image_stays_as_it_is_when_its_exif_makes_no_sense(value):
    exif = Image.Exif()
    exif[0x0112] = value

    data = save(Image.fromarray(RANDOM), exif=exif)

    np.testing.assert_array_equal(tensor(RGB, data), tensor(RGB, RANDOM))


def test_image_is_decoded_when_its_exif_is_damaged():
    data = save(Image.fromarray(RANDOM), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")

    np.testing.assert_array_equal(tensor(RGB, data), tensor(RGB, RANDOM))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparent_pixels_become_white(mode):
    picture = Image.new("RGBA", (5, 6), (255, 0, 0, 0)).convert(mode)

    assert tensor(RGB, picture).min() == 255
    if mode != "PA":
        assert tensor(RGB, save(picture)).min() == 255
        assert tensor(GREY, save(picture)).min() == 255


def test_half_transparent_black_becomes_grey():
    picture = Image.new("RGBA", (5, 6), (0, 0, 0, 128))

    assert np.unique(tensor(RGB, save(picture))).tolist() == [127]


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_the_colour_that_a_png_declares_transparent_becomes_white(mode):
    picture = Image.new("RGB", (5, 6)).convert(mode)
    transparency = (0, 0, 0) if mode == "RGB" else 0

    assert tensor(RGB, save(picture, transparency=transparency)).min() == 255


def test_palette_image_has_its_colours():
    picture = Image.fromarray(RANDOM).quantize(16)

    np.testing.assert_array_equal(tensor(RGB, save(picture)), tensor(RGB, picture.convert("RGB")))


def test_one_bit_image_is_black_and_white():
    picture = Image.fromarray(np.arange(30).reshape(6, 5) % 2 == 0)

    assert picture.mode == "1"
    assert np.unique(tensor(GREY, save(picture))).tolist() == [0, 255]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_keeps_its_high_byte(kind):
    values = np.arange(30, dtype=np.uint16).reshape(6, 5) * 2184
    picture = Image.fromarray(values)

    result = tensor(GREY, save(picture, kind))

    np.testing.assert_array_equal(result[0], values >> 8)


def test_32_bit_grey_is_refused_when_its_range_is_not_that_of_16_bits():
    picture = Image.fromarray(np.full((6, 5), 70_000, np.int32))

    with pytest.raises(InputError, match="70000"):
        RGB(picture)


def test_floating_point_image_is_refused():
    with pytest.raises(InputError, match="floating-point"):
        RGB(save(Image.new("F", (5, 6)), "TIFF"))


@pytest.mark.parametrize("preprocessor", [RGB, GREY])
@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "RGBX", "LAB"])
def test_image_of_other_colour_spaces_becomes_rgb_or_grey(mode, preprocessor):
    picture = Image.new("LAB", (8, 12), (90, 3, 200))
    if mode != "LAB":
        picture = Image.fromarray(RANDOM).convert(mode)

    expected = tensor(preprocessor, picture.convert("RGB"))

    np.testing.assert_array_equal(tensor(preprocessor, picture), expected)


def test_16_bit_colour_keeps_its_high_byte():
    values = np.random.default_rng(2).integers(0, 2**16, (6, 5, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    result = tensor(RGB, png(5, 6, data=rows, depth=16))

    np.testing.assert_array_equal(result.transpose(1, 2, 0), values >> 8)


def test_cmyk_jpeg_is_decoded():
    data = save(Image.new("CMYK", (5, 6), (0, 255, 255, 0)), "JPEG")

    assert tensor(RGB, data)[0].min() > 200
    assert tensor(RGB, data)[1:].max() < 50


def test_image_is_refused_when_its_colour_space_cannot_become_rgb():
    with pytest.raises(InputError, match="mode La cannot become RGB"):
        RGB(Image.new("La", (5, 6)))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animated_image_gives_its_first_frame(kind):
    first, *others = (Image.new("RGB", (5, 6), colour) for colour in ("red", "lime", "blue"))
    options = {"lossless": True} if kind == "WEBP" else {}

    data = save(first, kind, save_all=True, append_images=others, **options)

    np.testing.assert_array_equal(tensor(RGB, data), tensor(RGB, first))


@pytest.mark.parametrize("kind", FORMATS)
def test_every_listed_format_is_decoded(kind):
    data = save(Image.fromarray(RANDOM), kind)

    assert tensor(RGB, data).shape == (3, 6, 5)


def test_picture_of_two_jpegs_gives_the_first():
    first, second = Image.new("RGB", (5, 6), "red"), Image.new("RGB", (5, 6), "blue")

    data = save(first, "MPO", save_all=True, append_images=[second])

    assert tensor(RGB, data)[0].min() > 200


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 64,
        b"not an image",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"GIF89a",
        b"II*\0\xff\xff\xff\xff",
        png(0, 5),
        png(5, 0),
        png(5, 6, depth=3),
        png(5, 6, data=b"\0"),
    ],
)
def test_bytes_that_are_no_image_are_refused(data):
    with pytest.raises(InputError) as found:
        RGB(data)

    assert found.value.field == "image"
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM"])
def test_truncated_image_is_refused_wherever_it_is_cut(kind):
    data = save(
        Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 30, 3), np.uint8)), kind
    )

    for share in (0.1, 0.3, 0.5, 0.7):
        with pytest.raises(InputError):
            RGB(data[: int(len(data) * share)])


@given(data=st.data())
def test_corrupt_image_gives_a_tensor_or_a_clear_refusal(data):
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000"]))
    content = bytearray(save(Image.fromarray(RANDOM), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))

    try:
        result = tensor(RGB, bytes(content))
    except InputError:
        return
    assert (result.shape, result.dtype) == ((3, 6, 5), np.uint8)


@given(st.binary(max_size=200))
def test_random_bytes_after_a_known_beginning_are_refused_clearly(tail):
    for head in (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"II*\0", b"BM", b"P6 "):
        try:
            tensor(RGB, head + tail)
        except InputError:
            continue


@pytest.mark.parametrize("size", [(50_000, 50_000), (10_000, 5_001), (2**31 - 1, 2**31 - 1)])
@pytest.mark.parametrize("strict", [True, False])
def test_bomb_is_refused_by_its_header_before_it_takes_memory(size, strict):
    data = png(*size, data=b"\0" * 1_000_000)
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error" if strict else "ignore")
        with pytest.raises(InputError, match="too large"):
            RGB(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 5_000_000


@pytest.mark.parametrize("size", [(1, 40_000_000), (40_000_000, 1)])
def test_a_thread_of_an_image_is_refused_when_resizing_it_would_fill_the_memory(size):
    tall = size[1] > size[0]
    preprocessor = ImagePreprocessor(ImageConfig(height=224, width=224))

    with pytest.raises(InputError, match="too large" if tall else "decoded"):
        preprocessor(png(*size))


def test_pixel_bound_is_exact():
    preprocessor = ImagePreprocessor(ImageConfig(height=2, width=2, max_pixels=100))

    assert tensor(preprocessor, np.zeros((10, 10), np.uint8)).shape == (3, 2, 2)
    for sample in (np.zeros((101, 1), np.uint8), Image.new("L", (101, 1)), png(1, 101)):
        with pytest.raises(InputError, match="at most 100 are accepted"):
            preprocessor(sample)


def test_decompression_bomb_in_a_text_chunk_is_refused():
    bomb = zlib.compress(b"A" * 80_000_000)
    data = encode(RANDOM)
    data = data[:33] + chunk(b"zTXt", b"comment\0\0" + bomb) + data[33:]

    tracemalloc.start()
    with contextlib.suppress(InputError):
        RGB(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 20_000_000


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((6, 5), np.float32), "dtype float32, expected uint8"),
        (np.zeros((6, 5), np.int64), "dtype int64, expected uint8"),
        (np.zeros((6, 5), bool), "dtype bool, expected uint8"),
        (np.zeros((3, 6, 5), np.uint8), r"shape \[3, 6, 5\]"),
        (np.zeros(5, np.uint8), r"shape \[5\]"),
        (np.zeros((1, 6, 5, 3), np.uint8), r"shape \[1, 6, 5, 3\]"),
        (np.zeros((0, 5, 3), np.uint8), "no pixels"),
        (np.zeros((5, 0), np.uint8), "no pixels"),
    ],
)
def test_array_that_is_no_picture_is_refused(array, message):
    with pytest.raises(InputError, match=message):
        RGB(array)


@pytest.mark.parametrize("sample", [None, 7, "path.png", [[1, 2]], {"image": b""}])
def test_sample_that_is_no_image_is_refused_by_its_type(sample):
    with pytest.raises(InputError, match=f"got {type(sample).__name__}"):
        RGB(sample)


@pytest.mark.parametrize("order", ["C", "F"])
def test_array_may_have_any_memory_layout(order):
    view = np.asarray(np.repeat(RANDOM, 2, axis=0), order=order)[::2, ::-1][:, ::-1]

    np.testing.assert_array_equal(tensor(RGB, view), tensor(RGB, RANDOM))


def test_picture_of_the_caller_is_left_as_it_was():
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(io.BytesIO(save(Image.fromarray(RANDOM), exif=exif))) as picture:
        first = tensor(RGB, picture)

        assert picture.size == (8, 12)
        np.testing.assert_array_equal(tensor(RGB, picture), first)


def test_many_threads_get_what_one_gets():
    samples = [
        encode(np.roll(RANDOM, shift, axis=0), kind)
        for shift in range(12)
        for kind in ("PNG", "JPEG")
    ]
    expected = [tensor(RGB, sample) for sample in samples]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda sample: tensor(RGB, sample), samples * 5))

    for index, result in enumerate(results):
        np.testing.assert_array_equal(result, expected[index % len(samples)])


def test_collate_stacks_rows_in_their_order():
    rows = [RGB(np.full((6, 5), value, np.uint8)) for value in (3, 1, 2)]

    batch = RGB.collate(rows)

    assert batch["image"].shape == (3, 3, 6, 5)
    assert batch["image"][:, 0, 0, 0].tolist() == [3, 1, 2]
    (spec,) = RGB.input_specs
    assert (spec.name, spec.dtype, spec.shape) == ("image", "uint8", (-1, 3, 6, 5))


def test_collate_refuses_an_empty_batch():
    with pytest.raises(InputError, match="at least one sample"):
        RGB.collate([])
