import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learngene_hub.core.errors import DataError
from learngene_hub.core.rng import generator
from learngene_hub.data.tasks import Task, sample_task

LABELS = torch.tensor([0] * 4 + [2] * 6 + [5] * 5)  # classes 1, 3 and 4 have no image


@st.composite
def problems(draw):
    """Shuffled labels, and numbers that can be met."""
    n_shot, n_query = draw(st.integers(1, 4)), draw(st.integers(0, 4))
    counts = draw(st.lists(st.integers(n_shot + n_query, 12), min_size=1, max_size=6))
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator(draw(st.integers(0, 99)), "shuffle"))]
    return labels, draw(st.integers(1, len(counts))), n_shot, n_query, draw(st.integers(0, 10**6))


def same(first: Task, second: Task) -> bool:
    tensors = ("support", "support_labels", "query", "query_labels")
    return first.classes == second.classes and all(
        torch.equal(getattr(first, name), getattr(second, name)) for name in tensors
    )


@given(problems())
def test_support_and_query_are_disjoint_balanced_and_rightly_labelled(problem):
    labels, n_way, n_shot, n_query, seed = problem
    task = sample_task(labels, n_way=n_way, n_shot=n_shot, n_query=n_query, generator=generator(seed, "task"))
    used = task.support.tolist() + task.query.tolist()
    assert len(set(used)) == len(used) == n_way * (n_shot + n_query)
    assert len(set(task.classes)) == task.n_way == n_way
    assert task.support_labels.bincount(minlength=n_way).tolist() == [n_shot] * n_way
    assert task.query_labels.bincount(minlength=n_way).tolist() == [n_query] * n_way
    original = torch.tensor(task.classes)
    assert torch.equal(original[task.support_labels], labels[task.support])
    assert torch.equal(original[task.query_labels], labels[task.query])


@given(problems())
def test_the_same_address_draws_the_same_task(problem):
    labels, n_way, n_shot, n_query, seed = problem
    first, second = (
        sample_task(labels, n_way=n_way, n_shot=n_shot, n_query=n_query, generator=generator(seed, "task"))
        for _ in range(2)
    )
    assert same(first, second)


def test_an_ancestry_task_takes_all_images_of_its_classes():
    task = sample_task(LABELS, n_way=2, n_shot=None, n_query=0, generator=generator(0, "ancestry"))
    assert torch.isin(LABELS, torch.tensor(task.classes)).nonzero().flatten().tolist() == sorted(task.support.tolist())
    assert len(task.query) == 0


def test_the_rest_can_be_the_support():
    task = sample_task(LABELS, n_way=3, n_shot=None, n_query=3, generator=generator(0, "task"))
    assert (len(task.support), len(task.query)) == (len(LABELS) - 9, 9)


def test_draws_differ_between_addresses():
    tasks = {
        sample_task(LABELS, n_way=1, n_shot=1, n_query=1, generator=generator(0, "task", number)).classes
        for number in range(30)
    }
    assert tasks == {(0,), (2,), (5,)}


def test_too_few_classes_are_refused_with_numbers():
    with pytest.raises(DataError, match="A 4-way task needs 4 classes, but only 3 have images"):
        sample_task(LABELS, n_way=4, n_shot=1, n_query=1, generator=generator(0))


def test_too_few_images_are_refused_with_the_class_and_numbers():
    with pytest.raises(DataError, match="needs at least 5 images of every class; the class with label 0 has 4"):
        sample_task(LABELS, n_way=1, n_shot=3, n_query=2, generator=generator(0))
