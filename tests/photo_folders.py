"""Folders of photos, and a network fine-tuned on them."""

import json

import pytest
from PIL import Image

from learngene_hub.core.progress import SilentReporter
from learngene_hub.data.glyphs import draw_glyphs, glyph_classes
from learngene_hub.finetuning import Settings, finetune
from learngene_hub.finetuning.folder import RECORD_NAME
from learngene_hub.finetuning.photos import load_photos
from learngene_hub.networks import save_timm_folder

QUICK = Settings(method="full", epochs=1, batch_size=8, lr=0.05)
CLASSES = glyph_classes()[:3]


def write_photos(folder, count, *, seed=0, classes=CLASSES, size=30):
    """Class folders of PNG files."""
    drawn = draw_glyphs(classes, image_size=size, images_per_class=count, seed=seed)
    for number, (pixels, label) in enumerate(zip(drawn.images, drawn.labels.tolist(), strict=True)):
        file = folder / drawn.class_names[label] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file)
    return folder


def load(photos, *, seed=0):
    return load_photos(photos, image_size=28, seed=seed, reporter=SilentReporter())


def write_tuned(folder, network, classes=CLASSES):
    """The folder of a fine-tuning, without a card and pictures, and with no more in its record than is read."""
    folder.mkdir()
    save_timm_folder(network, folder, class_names=classes)
    cfg = network.pretrained_cfg
    known = {"name": network.network_name, "width": network.width, "depth": network.depth}
    seen = {"image_size": cfg["input_size"][-1], "mean": list(cfg["mean"]), "std": list(cfg["std"])}
    (folder / RECORD_NAME).write_text(json.dumps({"network": known | seen, "classes": list(classes)}))
    return folder


@pytest.fixture
def photos(tmp_path):
    """Three class folders of five images each, for tests that change them."""
    return write_photos(tmp_path / "photos", 5)


@pytest.fixture(scope="session")
def tuned(tiny_run, tmp_path_factory):
    """A finished fine-tuning with a comparison and test images; read its folder, do not change it."""
    folder = tmp_path_factory.mktemp("tuned")
    for number, (role, count) in enumerate({"train": 7, "val": 4, "test": 5}.items()):
        write_photos(folder / "photos" / role, count, seed=number)
    settings = Settings(method="full", epochs=2, batch_size=8, compare="scratch")
    return finetune(tiny_run, folder / "photos", out=folder / "model", settings=settings)
