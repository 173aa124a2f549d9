import re

import pytest
import torch

from learngene_hub.core.errors import DataError
from learngene_hub.data.extras import optional_module
from learngene_hub.data.image_set import ImageSet, Normalisation, measure_normalisation

torch.set_num_threads(1)

NAMES = ("ant", "bee", "cat")


def numbered(count: int = 6, size: int = 4) -> ImageSet:
    """Image i is filled with the value i; labels go round."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(count, 3, size, size).contiguous()
    return ImageSet(images, torch.arange(count) % len(NAMES), NAMES)


def test_a_set_knows_its_sizes():
    whole = numbered(6, size=5)
    assert (len(whole), whole.num_classes, whole.image_size) == (6, 3, 5)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 3, 4, 4), "(2, 3, 4, 4) torch.float32"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), "(2, 1, 4, 4) torch.uint8"),
        (torch.zeros(2, 3, 4, 5, dtype=torch.uint8), "(2, 3, 4, 5) torch.uint8"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), "(3, 4, 4) torch.uint8"),
    ],
)
def test_images_of_another_shape_or_type_are_refused(images, message):
    with pytest.raises(DataError, match=re.escape(message)):
        ImageSet(images, torch.zeros(2, dtype=torch.int64), NAMES)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(3, dtype=torch.int64), "Labels of 2 images must be"),
        (torch.zeros(2, dtype=torch.int32), "torch.int32"),
        (torch.tensor([0, 3]), "0 to 2 for 3 class names, got 0 to 3"),
        (torch.tensor([-1, 0]), "got -1 to 0"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, message):
    with pytest.raises(DataError, match=message):
        ImageSet(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), labels, NAMES)


def test_a_repeated_class_name_is_refused():
    with pytest.raises(DataError, match="An image set names a class more than once: 'bee'"):
        ImageSet(torch.zeros(0, 3, 4, 4, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64), ("bee", "bee"))


def test_measured_normalisation_equals_the_direct_formula_across_chunks():
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (1500, 3, 5, 5), dtype=torch.uint8, generator=rng)
    measured = measure_normalisation(images)
    direct = images.double() / 255
    assert measured.mean == pytest.approx(direct.mean(dim=(0, 2, 3)).tolist(), abs=1e-14)
    assert measured.std == pytest.approx(direct.std(dim=(0, 2, 3), unbiased=False).tolist(), abs=1e-14)


def test_a_constant_channel_cannot_be_normalised():
    with pytest.raises(DataError, match="a channel that never changes"):
        measure_normalisation(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))


def test_no_images_cannot_be_measured():
    with pytest.raises(DataError, match="at least 1 is needed"):
        measure_normalisation(torch.zeros(0, 3, 4, 4, dtype=torch.uint8))


def test_a_mean_in_pixel_values_is_refused():
    with pytest.raises(DataError, match=r"must lie in \[0, 1\]"):
        Normalisation((125.3, 0.5, 0.5), (0.2, 0.2, 0.2))


def test_a_missing_library_says_how_to_install_it():
    with pytest.raises(DataError, match=r'pip install "learngene-hub\[evolve\]"'):
        optional_module("no_such_library.part")
