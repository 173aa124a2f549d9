"""Decoded images on disk, so that a data set is decoded once per machine and version of Pillow.

An entry is a safetensors file, read by mapping it into memory, and a JSON file of its class names. Its key describes
how it was made: everything that changes the pixels must be part of the key.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file

from learngene_hub.core.errors import DataError
from learngene_hub.core.files import expanded, read_json, write_text
from learngene_hub.core.progress import Reporter
from learngene_hub.core.store import KeyedStore
from learngene_hub.data.image_set import ImageSet

IMAGES_FOLDER = "images"
PIXELS_NAME, NAMES_NAME = "images.safetensors", "classes.json"
_MOST = 10**8  # bytes of the names


@dataclass(frozen=True)
class Decoded:
    """Decoded images, and a message about images that were left out."""

    images: ImageSet
    left_out: str


def cache_folder() -> Path:
    """Where all caches lie: `$LEARNGENE_CACHE`, else `$XDG_CACHE_HOME/learngene`, else `~/.cache/learngene`.

    Raises:
        DataError: there is no home folder, as in a container without a user.
    """
    if chosen := os.environ.get("LEARNGENE_CACHE"):
        return expanded(chosen)
    shared = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(shared) if shared else expanded("~/.cache")) / "learngene"
    if folder.parts[0] == "~":
        raise DataError("No home folder for the image cache: set LEARNGENE_CACHE to a folder")
    return folder


MOVE_CACHE = ". Set LEARNGENE_CACHE to another folder"
"""The end of a message about a full or read-only cache."""


def image_store(folder: Path, reporter: Reporter) -> KeyedStore[Decoded]:
    """The decoded images that are kept in the cache `folder`."""
    return KeyedStore(folder / IMAGES_FOLDER, "decoded images", _write, _read, reporter, MOVE_CACHE)


def _write(folder: Path, decoded: Decoded) -> None:
    names = {"class_names": decoded.images.class_names, "left_out": decoded.left_out}
    write_text(folder / NAMES_NAME, json.dumps(names, indent=1) + "\n")
    save_file({"images": decoded.images.images, "labels": decoded.images.labels}, folder / PIXELS_NAME)


def _read(folder: Path) -> Decoded:
    names, tensors = read_json(folder / NAMES_NAME, most=_MOST), load_file(folder / PIXELS_NAME)
    images = ImageSet(tensors["images"], tensors["labels"], tuple(names["class_names"]))
    return Decoded(images, str(names["left_out"]))
