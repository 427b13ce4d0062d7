"""Random changes of images: what they change, what they keep, and where chance comes from."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skdcec import ConvAutoencoder
from skdcec.augmentation import (
    ColorJitter,
    Compose,
    RandomAffine,
    RandomFlip,
    RandomGrayscale,
    RandomResizedCrop,
    digit_augmentation,
    painting_augmentation,
)

AUGMENTATIONS = [
    RandomAffine(zoom=0.2),
    RandomFlip(vertical=0.5),
    RandomResizedCrop(),
    ColorJitter(hue=0.5),
    RandomGrayscale(0.5),
    digit_augmentation(),
    painting_augmentation(),
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_batch(*shape, low=0.0):
    return torch.rand(shape, generator=generator(1)) * (1 - low) + low


def each(test):
    ids = [f"{i}-{type(augmentation).__name__}" for i, augmentation in enumerate(AUGMENTATIONS)]
    return pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=ids)(test)


@each
@pytest.mark.parametrize("shape", [(5, 3, 8, 8), (5, 1, 7, 4), (5, 4, 1, 9), (1, 2, 1, 1)], ids=str)
@pytest.mark.parametrize("low", [0.0, -1.0])
def test_shape_dtype_and_range_are_kept_for_images_of_any_shape(augmentation, shape, low):
    batch = random_batch(*shape, low=low)
    before = batch.clone()
    changed = augmentation(batch, generator=generator())
    assert changed.shape == batch.shape
    assert changed.dtype == batch.dtype
    assert changed.isfinite().all()
    assert low <= changed.min()
    assert changed.max() <= 1
    assert torch.equal(batch, before)


@each
def test_equal_generators_give_equal_changes_and_the_global_one_is_not_used(
    augmentation, untouched_global_rng
):
    batch = random_batch(16, 3, 8, 8)
    first, again = (augmentation(batch, generator=generator(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, augmentation(batch, generator=generator(4)))


@each
def test_each_image_is_changed_in_its_own_way(augmentation):
    batch = random_batch(1, 3, 8, 8).expand(16, -1, -1, -1)
    assert len(augmentation(batch, generator=generator()).unique(dim=0)) > 1


@each
def test_they_can_be_pickled_cloned_and_nested(augmentation):
    batch = random_batch(4, 3, 8, 8)
    wanted = augmentation(batch, generator=generator())
    copies = [pickle.loads(pickle.dumps(augmentation)), clone(augmentation)]
    for copy in copies:
        assert torch.equal(copy(batch, generator=generator()), wanted)
    params = ConvAutoencoder(augmentation=augmentation).get_params()
    names = augmentation.get_params(deep=False)
    assert {f"augmentation__{name}" for name in names} <= set(params)


def test_nothing_changes_where_every_range_is_empty():
    batch = random_batch(6, 3, 9, 6)
    for augmentation in (
        RandomAffine(shift=0, rotation=0),
        RandomFlip(horizontal=0),
        RandomResizedCrop(scale=(1, 1), ratio=(1, 1)),
        ColorJitter(0, 0, 0, 0),
        RandomGrayscale(0),
    ):
        changed = augmentation(batch, generator=generator())
        assert torch.allclose(changed, batch, atol=1e-5), augmentation


def test_a_shift_is_at_most_its_share_of_the_side():
    batch = torch.zeros(200, 1, 21, 41)
    batch[:, :, 10, 20] = 1
    moved = RandomAffine(shift=0.2, rotation=0)(batch, generator=generator())[:, 0]
    rows, columns = (moved.sum(dim=d).argmax(dim=1) for d in (2, 1))
    assert 3 <= (rows - 10).abs().max() <= 4
    assert 7 <= (columns - 20).abs().max() <= 8


@pytest.mark.parametrize(("height", "width"), [(41, 41), (41, 61), (61, 41)])
def test_a_turn_keeps_distances_also_in_images_that_are_not_square(height, width):
    batch = torch.zeros(100, 1, height, width)
    y, x = height // 2, width // 2
    batch[:, :, y, x + 15] = 1
    turned = RandomAffine(shift=0, rotation=90)(batch, generator=generator())[:, 0]
    grid = torch.stack(
        torch.meshgrid(torch.arange(height) - y, torch.arange(width) - x, indexing="ij")
    ).float()
    middle = (turned[:, None] * grid).sum(dim=(2, 3)) / turned.sum(dim=(1, 2))[:, None]
    assert torch.allclose(middle.norm(dim=1), torch.tensor(15.0), atol=0.6)
    assert middle[:, 0].abs().max() > 12


def test_a_zoom_is_at_most_its_factor():
    batch = torch.zeros(100, 1, 40, 40)
    batch[:, :, 10:30, 10:30] = 1
    area = RandomAffine(shift=0, rotation=0, zoom=0.5)(batch, generator=generator()).sum((1, 2, 3))
    assert 400 / 1.5**2 * 0.95 < area.min() < 250
    assert 750 < area.max() < 400 * 1.5**2 * 1.05


@pytest.mark.parametrize("ground", [0.0, 0.3, 1.0])
def test_what_comes_in_from_outside_is_the_background(ground):
    batch = torch.full((50, 3, 12, 12), ground)
    # A stroke that touches the edge is not drawn out, as padding with the border would.
    batch[:, :, 0, 6] = 1 - ground
    moved = RandomAffine(shift=0.3, rotation=0)(batch, generator=generator())
    assert ((moved - ground).abs().sum((1, 2, 3)) <= 3 * abs(1 - 2 * ground) + 1e-4).all()


def test_flips_mirror_the_share_asked_for():
    batch = random_batch(400, 1, 4, 4)
    flipped = RandomFlip(0.25)(batch, generator=generator())
    mirrored = (flipped == batch.flip(3)).all(dim=(1, 2, 3))
    assert torch.equal(flipped[~mirrored], batch[~mirrored])
    assert 0.17 < mirrored.float().mean() < 0.33
    assert torch.equal(RandomFlip(0, vertical=1)(batch, generator=generator()), batch.flip(2))


@pytest.mark.parametrize(("size", "expected"), [(5, (5, 5)), ((3, 7), (3, 7)), (None, (16, 12))])
def test_parts_come_in_the_size_asked_for_and_from_within_the_image(size, expected):
    rows = torch.linspace(0, 1, 16)[:, None].expand(16, 12)
    batch = torch.stack([rows, rows * 0]).expand(100, 2, 16, 12)
    parts = RandomResizedCrop(size, scale=(0.1, 0.2))(batch, generator=generator())
    assert parts.shape == (100, 2, *expected)
    assert (parts[:, 1] == 0).all()
    # The parts are small and lie all over the image.
    heights = parts[:, 0].amax((1, 2)) - parts[:, 0].amin((1, 2))
    assert heights.max() < 0.65
    assert parts[:, 0].mean((1, 2)).min() < 0.3
    assert parts[:, 0].mean((1, 2)).max() > 0.7


def test_colours_change_as_their_names_say():
    batch = random_batch(50, 3, 6, 6) * 0.4 + 0.3
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]

    def gray(colours):
        return (colours * luma).sum(dim=1)

    def change(**amounts):
        params = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.0) | amounts
        return ColorJitter(**params)(batch, generator=generator())

    brighter = change(brightness=0.3) / batch
    assert torch.allclose(brighter, brighter[:, :1, :1, :1].expand_as(brighter), atol=1e-4)
    contrast = change(contrast=0.3)
    assert torch.allclose(gray(contrast).mean((1, 2)), gray(batch).mean((1, 2)), atol=1e-4)
    assert not torch.allclose(contrast, batch, atol=0.01)
    for colours in (change(saturation=0.3), change(hue=0.1)):
        assert torch.allclose(gray(colours), gray(batch), atol=1e-4)
        assert not torch.allclose(colours, batch, atol=0.01)


def test_gray_images_have_equal_channels_and_their_luma():
    batch = random_batch(100, 3, 4, 4)
    changed = RandomGrayscale(0.3)(batch, generator=generator())
    gray = (changed[:, :1] == changed).all(dim=(1, 2, 3))
    assert 0.15 < gray.float().mean() < 0.45
    assert torch.equal(changed[~gray], batch[~gray])
    wanted = (batch[gray] * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1)
    assert torch.allclose(changed[gray, 0], wanted, atol=1e-6)


def test_composition_runs_in_order_and_takes_any_callable():
    def invert(batch, *, generator):
        return 1 - batch

    batch = random_batch(3, 1, 4, 4)
    both = Compose([invert, RandomFlip(1.0)])(batch, generator=generator())
    assert torch.equal(both, 1 - batch.flip(3))


@pytest.mark.parametrize(
    ("augmentation", "name"),
    [
        (RandomAffine(shift=-0.1), "shift"),
        (RandomAffine(shift=10), "shift"),
        (RandomAffine(rotation=181), "rotation"),
        (RandomAffine(zoom=-1), "zoom"),
        (RandomAffine(zoom=float("nan")), "zoom"),
        (RandomAffine(padding="edge"), "padding"),
        (RandomFlip(1.5), "horizontal"),
        (RandomFlip(vertical=-1), "vertical"),
        (RandomResizedCrop(0), "size"),
        (RandomResizedCrop((3, 4, 5)), "size"),
        (RandomResizedCrop("big"), "size"),
        (RandomResizedCrop(scale=(0, 1)), "scale"),
        (RandomResizedCrop(scale=(0.5, 1.5)), "scale"),
        (RandomResizedCrop(scale=0.5), "scale"),
        (RandomResizedCrop(ratio=(2, 1)), "ratio"),
        (ColorJitter(brightness=2), "brightness"),
        (ColorJitter(hue=0.6), "hue"),
        (RandomGrayscale("often"), "probability"),
        (Compose([3]), "augmentations"),
    ],
    ids=str,
)
def test_a_parameter_out_of_range_is_named_with_its_value(augmentation, name):
    with pytest.raises(ValueError, match=f"{name}=.*must"):
        augmentation(random_batch(2, 3, 4, 4), generator=generator())


@each
def test_vectors_are_a_clear_error(augmentation):
    with pytest.raises(ValueError, match=r"takes images.*got shape \(5, 8\)"):
        augmentation(torch.zeros(5, 8), generator=generator())


def test_training_with_a_preset_is_repeatable_and_differs_from_training_without(images):
    def embedding(augmentation):
        encoder = ConvAutoencoder(
            4, filters=(4, 8), max_epochs=2, augmentation=augmentation, random_state=0
        )
        return encoder.fit(images).transform(images)

    first, again = embedding(digit_augmentation()), embedding(digit_augmentation())
    assert np.array_equal(first, again)
    assert not np.allclose(first, embedding(None))


@pytest.mark.parametrize("wrong", [lambda x, draws: x, lambda: None, lambda *, generator: None])
def test_what_cannot_be_called_with_a_batch_says_how_it_is_called(wrong):
    encoder = ConvAutoencoder(2, filters=(2,), max_epochs=1, augmentation=wrong)
    with pytest.raises(TypeError, match=r"takes \(.* it is called with a batch, and .* generator"):
        encoder.fit(np.zeros((4, 8, 8), np.uint8))


@pytest.mark.parametrize(
    "right", [lambda x: x, lambda x, generator: x, lambda x, scale=1: x, lambda *args: args[0]]
)
def test_what_can_be_called_with_a_batch_is(right):
    encoder = ConvAutoencoder(2, filters=(2,), max_epochs=1, augmentation=right, random_state=0)
    assert encoder.fit(np.zeros((4, 8, 8), np.uint8)).n_iter_ == 1
