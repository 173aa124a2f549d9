import pytest

from learngene_hub.core.errors import DataError
from learngene_hub.data.splits import PRESETS, preset_split, split_classes

TEN = tuple(f"class {number}" for number in range(10))


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.hub_id])
def test_published_lists_have_64_16_and_20_classes_without_overlap(name):
    split = preset_split(name)
    assert [len(split.base), len(split.held_out), len(split.novel)] == [64, 16, 20]
    assert len({*split.base, *split.held_out, *split.novel}) == 100


def test_drawn_parts_have_the_numbers_asked_for_and_keep_the_order():
    split = split_classes(TEN, base=4, held_out=3, novel=2, seed=0)
    assert [len(split.base), len(split.held_out), len(split.novel)] == [4, 3, 2]
    assert list(split.base) == sorted(split.base)


def test_the_same_seed_draws_the_same_split_and_another_seed_another():
    def draw(seed):
        return split_classes(TEN, base=4, held_out=3, novel=3, seed=seed)

    assert draw(5) == draw(5)
    assert draw(5) != draw(6)


def test_draws_avoid_the_named_classes():
    for seed in range(20):
        split = split_classes(TEN, base=4, held_out=["class 3"], novel=["class 1", "class 0"], seed=seed)
        assert split.novel == ("class 1", "class 0")
        assert not {"class 0", "class 1", "class 3"} & set(split.base)


def test_unknown_classes_are_named():
    with pytest.raises(DataError, match=r"data\.classes: no such class: 'wolf'"):
        split_classes(TEN, base=["wolf"], held_out=1, novel=1, seed=0)


def test_more_classes_than_there_are_is_refused_with_numbers():
    with pytest.raises(DataError, match=r"Cannot draw 6 \+ 4 classes: the data set has 9 besides the 1 that are named"):
        split_classes(TEN, base=6, held_out=4, novel=["class 0"], seed=0)
