import pytest
import torch

from learngene_hub.core.errors import DataError
from learngene_hub.data.glyphs import draw_glyphs, glyph_classes


def test_there_are_hundreds_of_classes_and_no_lookalikes_of_a_latin_letter():
    names = glyph_classes()
    assert len(set(names)) == len(names) >= 260
    assert "U+0041" in names  # Latin A
    assert not {"U+0391", "U+0410"} & set(names)  # Greek and Cyrillic A
    assert len({"U+0030", "U+004F", "U+006F"} & set(names)) == 1  # 0, O and o


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    def draw(seed):
        return draw_glyphs(["U+0041"], image_size=16, images_per_class=5, seed=seed).images

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_images_of_a_class_do_not_depend_on_the_other_classes():
    names = glyph_classes()
    together = draw_glyphs(names[10:13], image_size=16, images_per_class=4, seed=3)
    alone = draw_glyphs(names[12:13], image_size=16, images_per_class=4, seed=3)
    assert torch.equal(together.images[together.labels == 2], alone.images)


@pytest.mark.parametrize("size", [8, 28, 33])
def test_any_size_can_be_drawn(size):
    drawn = draw_glyphs(glyph_classes()[:2], image_size=size, images_per_class=3, seed=0)
    assert drawn.images.shape == (6, 3, size, size)
    assert drawn.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_every_image_has_strokes_that_stand_out():
    drawn = draw_glyphs(glyph_classes()[::10], image_size=32, images_per_class=10, seed=0)
    levels = drawn.images.float().mean(dim=1).flatten(1)  # (n, pixels)
    contrast = levels.quantile(0.99, dim=1) - levels.quantile(0.01, dim=1)
    assert float(contrast.min()) > 40


def test_images_of_one_class_all_differ():
    drawn = draw_glyphs(glyph_classes()[:1], image_size=16, images_per_class=50, seed=0)
    assert len(torch.unique(drawn.images.flatten(1), dim=0)) == 50


def test_an_unknown_glyph_is_named():
    with pytest.raises(DataError, match="No such glyph class: 'A'"):
        draw_glyphs(["A"], image_size=16, images_per_class=1, seed=0)
