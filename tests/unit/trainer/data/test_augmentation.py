from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.augmentation import ImageAugmentation, TextAugmentation
from trainer.errors import DataError

EVERYTHING = ImageAugmentation(shift=2, rotate=15, zoom=0.2, flip=0.5, erase=0.5, fill=7)


def images(count, *, channels=1, height=9, width=7, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (count, channels, height, width), dtype=np.uint8))


def apply(augmentation, pixels, *, seed=0, epoch=0, indices=None):
    indices = np.arange(len(pixels)) if indices is None else np.asarray(indices)
    return augmentation(pixels, seed=seed, epoch=epoch, indices=indices)


@settings(max_examples=30)
@given(
    st.lists(st.integers(0, 39), min_size=1, max_size=40),
    st.integers(0, 3),
    st.sampled_from([(1, 9, 7), (3, 5, 12), (1, 1, 1), (3, 33, 17)]),
)
def test_image_comes_out_the_same_in_every_batch(chosen, epoch, shape):
    channels, height, width = shape
    pixels = images(40, channels=channels, height=height, width=width)
    whole = apply(EVERYTHING, pixels, epoch=epoch)

    part = apply(EVERYTHING, pixels[chosen], epoch=epoch, indices=chosen)

    assert torch.equal(part, whole[chosen])


def test_image_comes_out_the_same_with_any_number_of_threads():
    pixels = images(64, channels=3, height=40, width=40)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = apply(EVERYTHING, pixels)
        torch.set_num_threads(2)
        two = apply(EVERYTHING, pixels)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one, two)


def test_image_changes_with_seed_and_epoch():
    pixels = images(8)
    outcomes = [
        apply(EVERYTHING, pixels),
        apply(EVERYTHING, pixels, epoch=1),
        apply(EVERYTHING, pixels, seed=1),
    ]
    assert len({outcome.numpy().tobytes() for outcome in outcomes}) == 3


def test_augmentation_keeps_shape_and_type_and_leaves_its_input_alone():
    pixels = images(8, channels=3)
    before = pixels.clone()

    changed = apply(EVERYTHING, pixels)

    assert changed.shape == pixels.shape
    assert changed.dtype == torch.uint8
    assert torch.equal(pixels, before)


def test_nothing_changes_when_everything_is_off():
    pixels = images(8)
    assert not ImageAugmentation().active
    assert apply(ImageAugmentation(), pixels) is pixels


def test_shift_moves_whole_pixels_as_far_as_it_says():
    pixels = torch.zeros(500, 1, 11, 11, dtype=torch.uint8)
    pixels[:, :, 5, 5] = 200

    moved = apply(ImageAugmentation(shift=2), pixels)

    assert torch.all(moved.sum(dim=(1, 2, 3)) == 200), "the bright pixel is whole"
    places = moved.nonzero()[:, 2:]
    assert {(int(row), int(column)) for row, column in places} == {
        (row, column) for row in range(3, 8) for column in range(3, 8)
    }


def test_flip_mirrors_exactly_about_as_often_as_it_says():
    pixels = images(400)

    flipped = apply(ImageAugmentation(flip=0.25), pixels)

    mirrored = (flipped == pixels.flip(-1)).flatten(1).all(dim=1)
    same = (flipped == pixels).flatten(1).all(dim=1)
    assert torch.all(mirrored | same)
    assert 60 < mirrored.sum() < 140


@pytest.mark.parametrize("fill", [0, 255])
def test_rotation_keeps_the_centre_and_fills_from_outside(fill):
    pixels = torch.full((50, 1, 21, 21), 100, dtype=torch.uint8)

    turned = apply(ImageAugmentation(rotate=45, fill=fill), pixels)

    assert torch.all(turned[:, :, 10, 10] == 100)
    corners = turned[:, 0, 0, 0].float()
    assert (corners == fill).any()


def test_rotation_turns_about_the_centre_by_the_angle_it_says():
    pixels = torch.zeros(300, 1, 41, 41, dtype=torch.uint8)
    pixels[:, :, 20, 33:36] = 255  # right of the centre

    turned = apply(ImageAugmentation(rotate=30), pixels).float().squeeze(1)

    rows = torch.arange(41.0)[:, None] - 20
    columns = torch.arange(41.0)[None, :] - 20
    total = turned.sum(dim=(1, 2))
    down, right = (
        (turned * rows).sum(dim=(1, 2)) / total,
        (turned * columns).sum(dim=(1, 2)) / total,
    )
    angles = torch.rad2deg(torch.atan2(down, right))
    assert torch.allclose(torch.hypot(down, right), torch.tensor(14.0), atol=0.3)
    assert angles.min() < -25
    assert angles.max() > 25
    assert angles.abs().max() < 31


def test_zoom_grows_and_shrinks_as_far_as_it_says():
    pixels = torch.zeros(300, 1, 41, 41, dtype=torch.uint8)
    pixels[:, :, 10:31, 10:31] = 255

    zoomed = apply(ImageAugmentation(zoom=0.2), pixels)

    sides = (zoomed.float() / 255).sum(dim=(1, 2, 3)).sqrt() / 21
    assert 0.78 < sides.min() < 0.85
    assert 1.15 < sides.max() < 1.22


def test_erase_paints_one_rectangle_black_about_as_often_as_it_says():
    pixels = torch.full((400, 3, 20, 20), 9, dtype=torch.uint8)

    erased = apply(ImageAugmentation(erase=0.5, erase_size=0.25), pixels)

    hit = erased == 0
    assert torch.equal(hit[:, 0], hit[:, 1])
    touched = hit[:, 0].flatten(1).any(dim=1)
    assert 150 < touched.sum() < 250
    tall, wide = hit[:, 0].any(dim=2).sum(dim=1), hit[:, 0].any(dim=1).sum(dim=1)
    assert torch.equal(tall * wide, hit[:, 0].sum(dim=(1, 2)))
    assert max(tall.max(), wide.max()) <= 5


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"shift": -1}, "shift"),
        ({"rotate": -1.0}, "rotate"),
        ({"zoom": 1.0}, "zoom"),
        ({"flip": 1.1}, "flip"),
        ({"erase": -0.1}, "erase"),
        ({"erase_size": 2.0}, "erase_size"),
        ({"fill": 256}, "fill"),
    ],
)
def test_image_augmentation_names_the_field_that_cannot_be(options, field):
    with pytest.raises(DataError, match=rf"data\.augmentation\.{field}="):
        ImageAugmentation(**options).check()


def drop(rows, *, rate=0.5, epoch=0, indices=None):
    rows = [np.asarray(row) for row in rows]
    return TextAugmentation(token_dropout=rate)(
        rows,
        mask_id=4,
        protected=np.array([0, 1, 2, 3, 4]),
        seed=0,
        epoch=epoch,
        indices=np.arange(len(rows)) if indices is None else np.asarray(indices),
    )


def test_token_dropout_replaces_about_as_many_as_it_says_but_no_special_token():
    row = [2, *range(10, 2010), 3]

    (changed,) = drop([row], rate=0.2)

    assert (changed[0], changed[-1], len(changed)) == (2, 3, len(row))
    replaced = changed != row
    assert 320 < replaced.sum() < 480
    assert set(changed[replaced].tolist()) == {4}


def test_token_dropout_of_a_text_is_the_same_in_every_batch():
    rows = [[2, *range(10, 20 + number), 3] for number in range(6)]
    whole = drop(rows, epoch=3)

    part = drop([rows[4], rows[1]], epoch=3, indices=[4, 1])

    assert np.array_equal(part[0], whole[4])
    assert np.array_equal(part[1], whole[1])


def test_token_dropout_changes_nothing_when_it_is_off():
    assert not TextAugmentation().active
    (row,) = drop([[2, 10, 3]], rate=0.0)
    assert row.tolist() == [2, 10, 3]


def test_text_augmentation_names_the_field_that_cannot_be():
    with pytest.raises(DataError, match=r"data\.augmentation\.token_dropout=2"):
        TextAugmentation(token_dropout=2).check()
