import torch

from learngene_hub.data.image_set import ImageSet
from learngene_hub.data.preview import contact_sheet


def coloured() -> ImageSet:
    images = torch.zeros(6, 3, 8, 8, dtype=torch.uint8)
    images[:3, 0] = 250
    images[3:, 1] = 250
    return ImageSet(images, torch.tensor([0, 0, 0, 1, 1, 1]), ("U+0041", "green"))


def test_a_sheet_shows_as_many_images_of_each_class_as_asked_for():
    sheet = contact_sheet(coloured(), rows=2, columns=3, seed=0)
    counts = {colour: count for count, colour in sheet.getcolors(1 << 16)}
    assert counts[250, 0, 0] == counts[0, 250, 0] == 3 * 64 * 64


def test_a_class_with_the_name_of_no_character_is_shown_by_its_name():
    images = ImageSet(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.tensor([0]), ("U+FFFFFF",))
    assert contact_sheet(images, rows=1, columns=1, seed=0).size[0] > 64


def test_fewer_classes_than_rows_give_a_smaller_sheet():
    assert (
        contact_sheet(coloured(), rows=9, columns=1, seed=0).size
        == contact_sheet(coloured(), rows=2, columns=1, seed=0).size
    )
