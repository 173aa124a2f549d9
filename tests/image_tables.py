"""Small tables of images, as the Hub has them."""

import io
from pathlib import Path

import datasets
import pytest
from listener import Listener  # noqa: F401 - tests of tables listen too
from PIL import Image

from learngene_hub.data.source import DataSource

CLASSES = ("ant", "bee", "cat")


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """No test touches the caches of the user."""
    monkeypatch.setenv("LEARNGENE_CACHE", str(tmp_path / "cache"))


def png(level: int, size: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (level, level, level)).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(path: Path, rows, *, columns=("image", "label"), names=CLASSES):
    """`rows` are (grey level or bytes, label or None); the schema is that of the Hub."""
    image, label = columns
    cells = [{"bytes": png(x) if isinstance(x, int) else x, "path": f"{n}.png"} for n, (x, _) in enumerate(rows)]
    features = {image: datasets.Image(), label: datasets.ClassLabel(names=list(names))}
    table = {image: cells, label: [None if y is None else names.index(y) for _, y in rows]}
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(table, features=datasets.Features(features)).to_parquet(path)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two splits which number the same classes differently."""
    write_parquet(tmp_path / "data" / "train-00000.parquet", [(10, "ant"), (20, "bee"), (30, "ant"), (40, "cat")])
    write_parquet(tmp_path / "data" / "test-00000.parquet", [(50, "ant"), (60, "bee")], names=("bee", "ant"))
    return tmp_path / "data"


def levels(image_set) -> list[tuple[int, str]]:
    """(grey level, class name) of each image, sorted."""
    labels = image_set.labels.tolist()
    return sorted((int(x[0, 0, 0]), image_set.class_names[y]) for x, y in zip(image_set.images, labels, strict=True))


def local(path: Path, **options) -> DataSource:
    return DataSource(None, str(path), 8, **options)
