import pytest
import torch
import torch.nn.functional as F

from learngene_hub.core.rng import generator
from learngene_hub.data.batches import Images
from learngene_hub.data.image_set import ImageSet, Normalisation

SIZE, PADDING = 6, 2
PLAIN = Normalisation((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))  # batches hold pixel values
TYPICAL = Normalisation((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


def random_images(count: int = 9) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def labelled(images: torch.Tensor) -> ImageSet:
    return ImageSet(images, torch.zeros(len(images), dtype=torch.int64), ("noise",))


def windows(image: torch.Tensor, *, flip: bool) -> list[torch.Tensor]:
    """Every crop that may come out, by plain slicing."""
    padded = F.pad(image.float(), [PADDING] * 4)
    crops = [
        padded[:, top : top + SIZE, left : left + SIZE]
        for top in range(2 * PADDING + 1)
        for left in range(2 * PADDING + 1)
    ]
    return crops + [crop.flip(2) for crop in crops] if flip else crops


@pytest.mark.parametrize("flip", [False, True])
def test_every_crop_is_a_window_of_its_padded_image_and_every_window_occurs(flip):
    images = random_images(2)
    batches = Images.build(labelled(images), PLAIN, padding=PADDING, flip=flip)
    expected = windows(images[1], flip=flip)
    crops = batches.train(torch.ones(1500, dtype=torch.int64), generator(0, "crops")).round()
    distinct = torch.unique(crops.contiguous(), dim=0)
    assert {tuple(crop.flatten().tolist()) for crop in distinct} == {tuple(e.flatten().tolist()) for e in expected}


@pytest.mark.parametrize("size", [1, 5, 6, 8])
def test_a_batch_is_what_slicing_and_mirroring_one_image_after_another_give(size):
    images = torch.randint(0, 256, (9, 3, size, size), dtype=torch.uint8, generator=generator(0, "pixels"))
    index = torch.tensor([3, 8, 3, 0, 5, 5, 7])
    batch = Images.build(labelled(images), PLAIN, padding=PADDING, flip=True).train(index, generator(0, "batch"))
    draws = generator(0, "batch")
    tops, lefts = torch.randint(0, 2 * PADDING + 1, (2, len(index)), generator=draws).tolist()
    mirrored = torch.randint(0, 2, (len(index),), generator=draws).tolist()
    padded = F.pad(images.float(), [PADDING] * 4)
    expected = [
        padded[image, :, top : top + size, left : left + size].flip([2] * mirror)
        for image, top, left, mirror in zip(index.tolist(), tops, lefts, mirrored, strict=True)
    ]
    assert {0, 1} == set(mirrored)
    assert torch.equal(batch.round(), torch.stack(expected))


def test_a_plain_batch_is_the_normalised_images_in_the_order_of_the_index():
    images, index = random_images(), torch.tensor([4, 0, 4])
    batch = Images.build(labelled(images), TYPICAL, padding=PADDING, flip=True).plain(index)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (TYPICAL.mean, TYPICAL.std))
    torch.testing.assert_close(batch, (images[index] / 255 - mean) / std, check_stride=False)


def test_training_without_padding_and_flip_is_plain():
    batches, index = Images.build(labelled(random_images()), TYPICAL, padding=0, flip=False), torch.arange(9)
    assert torch.equal(batches.train(index, generator(0)), batches.plain(index))


def test_batches_are_channels_last_floats():
    batches = Images.build(labelled(random_images()), TYPICAL, padding=PADDING, flip=True)
    for batch in (batches.train(torch.arange(4), generator(0)), batches.plain(torch.arange(4))):
        assert batch.shape == (4, 3, SIZE, SIZE)
        assert batch.dtype == torch.float32
        assert batch.is_contiguous(memory_format=torch.channels_last)


def test_making_batches_leaves_the_data_as_they_were():
    images = random_images()
    batches, before = Images.build(labelled(images), TYPICAL, padding=0, flip=True), images.clone()
    batches.train(torch.arange(9), generator(0))
    assert torch.equal(images, before)
    assert torch.equal(batches.padded, before.permute(0, 2, 3, 1))


def test_an_empty_batch_is_empty():
    batches = Images.build(labelled(random_images()), TYPICAL, padding=PADDING, flip=True)
    assert batches.train(torch.zeros(0, dtype=torch.int64), generator(0)).shape == (0, 3, SIZE, SIZE)


@pytest.mark.parametrize(("side", "most"), [(28, 500), (84, 500), (168, 125)])
def test_images_of_more_pixels_are_tested_in_smaller_parts(side, most):
    images = torch.zeros(1, 3, side, side, dtype=torch.uint8)
    batches = Images.build(labelled(images), TYPICAL, padding=0, flip=False)
    assert [len(part) for part in batches.parts(torch.arange(most + 1))] == [most, 1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")  # a prototype, torch says once
def test_a_cuda_device_makes_batches_without_a_wait():
    batches = Images.build(labelled(random_images()), TYPICAL, padding=PADDING, flip=True, device="cuda")
    try:
        torch.cuda.set_sync_debug_mode("error")
        batches.train(torch.arange(9), generator(0, "batch"))
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_cuts_the_same_crops():
    index = torch.arange(9)
    here, there = (
        Images.build(labelled(random_images()), TYPICAL, padding=PADDING, flip=True, device=device).train(
            index, generator(0, "batch")
        )
        for device in ("cpu", "cuda")
    )
    torch.testing.assert_close(there.cpu(), here)
