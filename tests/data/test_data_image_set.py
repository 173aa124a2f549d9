import pytest
import torch

from learngene_hub.core.errors import DataError
from learngene_hub.data.extras import optional_module
from learngene_hub.data.image_set import Normalisation, measure_normalisation


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


def test_a_mean_in_pixel_values_is_refused():
    with pytest.raises(DataError, match=r"must lie in \[0, 1\]"):
        Normalisation((125.3, 0.5, 0.5), (0.2, 0.2, 0.2))


def test_a_missing_library_says_how_to_install_it():
    with pytest.raises(DataError, match=r'pip install "learngene-hub\[evolve\]"'):
        optional_module("no_such_library.part")
