from itertools import islice

import pytest
import torch
from torch import nn

from learngene_hub.data.batches import Images
from learngene_hub.data.image_set import ImageSet, Normalisation
from learngene_hub.data.tasks import Task
from learngene_hub.training.fewshot import prototype_accuracy, query_accuracy, support_batches


class Colours:
    """A network whose features are the mean colour of an image."""

    def eval(self):
        pass

    def forward_features(self, images):
        return images

    def forward_head(self, maps, *, pre_logits):
        return maps.mean(dim=(2, 3))


def accuracy(support, query, labels):
    """Of queries of two classes, each with two images of one colour to learn from."""
    colours = torch.tensor([*support, *query], dtype=torch.uint8)
    images = ImageSet(colours[:, :, None, None].expand(-1, 3, 2, 2).clone(), torch.zeros(len(colours)).long(), ("all",))
    ready = Images.build(images, Normalisation((0.0,) * 3, (1 / 255,) * 3), padding=0, flip=False)
    places = torch.arange(len(colours))
    task = Task((0, 1), places[:4], torch.tensor([0, 0, 1, 1]), places[4:], torch.tensor(labels))
    return prototype_accuracy(Colours(), ready, task, "float32")


def test_features_that_separate_the_classes_give_every_image_its_class():
    reds, greens = [(90, 0, 0), (110, 0, 0)], [(0, 110, 0), (0, 90, 0)]
    assert accuracy([*reds, *greens], [(60, 10, 0), (10, 60, 0), (250, 0, 0)], [0, 1, 0]) == 1


def test_an_image_has_the_class_of_the_nearest_mean_seen_from_the_mean_of_all():
    support = [(90, 0, 0), (110, 0, 0), (90, 60, 0), (110, 60, 0)]  # all (100, 30), the classes 30 below and above it
    low, high = (200, 10, 0), (200, 40, 0)  # both are more like the lower class, seen from black
    assert accuracy(support, [low, high], [0, 1]) == 1
    assert accuracy(support, [low, high, high, high], [0, 1, 0, 0]) == pytest.approx(1 / 2)


class Watched:
    """Images that keep which of them were trained on and which were tested."""

    device = torch.device("cpu")

    def __init__(self):
        self.trained, self.tested = [], []

    def parts(self, places):
        return (places,)

    def plain(self, places):
        self.tested += places.tolist()
        return torch.zeros(len(places), 3, 2, 2)

    def train(self, places, draws):
        self.trained += places.tolist()
        return torch.zeros(len(places), 3, 2, 2)


def test_a_network_is_trained_on_the_support_images_and_tested_on_the_others():
    images, network = Watched(), nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    task = Task((0, 1), torch.arange(4), torch.tensor([0, 0, 1, 1]), torch.arange(4, 7), torch.tensor([0, 1, 1]))
    for _, labels in islice(support_batches(images, task, 2, torch.Generator()), 6):
        assert set(labels.tolist()) <= {0, 1}
    query_accuracy(network, images, task, "float32")
    assert (set(images.trained), images.tested) == ({0, 1, 2, 3}, [4, 5, 6])
