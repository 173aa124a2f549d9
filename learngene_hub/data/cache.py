"""Decoded images on disk, so that a data set is decoded once per machine.

One entry is a safetensors file and a JSON file that says what it was made from. Entries are found by a digest of that
description: anything that changes the pixels must be part of it.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from learngene_hub.data.image_set import ImageSet
from learngene_hub.errors import BusyError, DataError
from learngene_hub.files import atomic_path, claim_new, expanded, read_json, sweep, write_text

_MOST = 10**8  # bytes of a description
Origin = Mapping[str, object]  # what an image set was made from, in JSON types


def cache_folder() -> Path:
    """Where entries lie: `$LEARNGENE_CACHE`, else `$XDG_CACHE_HOME/learngene`, else `~/.cache/learngene`.

    Raises:
        DataError: there is no home, as in a container without a user.
    """
    if chosen := os.environ.get("LEARNGENE_CACHE"):
        return expanded(chosen)
    shared = os.environ.get("XDG_CACHE_HOME")
    place = (Path(shared) if shared else expanded("~/.cache")) / "learngene"
    if place.parts[0] == "~":
        raise DataError("There is no home folder to keep images in: set LEARNGENE_CACHE to a folder")
    return place


def find_cached(origin: Origin, folder: Path) -> tuple[ImageSet, str] | None:
    """The image set made from `origin`, and what was left out of it, in words.

    None if there is no entry, or one that is damaged and must be made anew.
    """
    tensors, sidecar = _entry(origin, folder)
    try:
        described = read_json(sidecar, most=_MOST)
        if described["origin"] != json.loads(_canonical(origin)):
            return None
        loaded = load_file(tensors)
        images = ImageSet(loaded["images"], loaded["labels"], tuple(described["class_names"]))
        return images, str(described["left_out"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, DataError):
        return None


def store(image_set: ImageSet, origin: Origin, folder: Path, *, left_out: str = "") -> Path:
    """Write an entry, or replace it; a reader sees all of a file or none of it. What a kill left of it goes first.

    Returns:
        The safetensors file; the JSON file beside it has the same stem.

    Raises:
        OSError: the folder cannot be written.
    """
    tensors, sidecar = _entry(origin, folder)
    description = {
        "class_names": image_set.class_names,
        "images": len(image_set),
        "left_out": left_out,
        "origin": origin,
    }
    with suppress(BusyError), claim_new(tensors):  # or another process is storing the same
        sweep(folder, sidecar.name)
        write_text(sidecar, json.dumps(description, indent=1) + "\n")
        with atomic_path(tensors) as path:
            save_file({"images": image_set.images, "labels": image_set.labels}, path)
            shutil.copymode(sidecar, path)  # safetensors lets nobody else read it
    return tensors


def size(folder: Path) -> int:
    """Bytes of the images kept in `folder`; a file that goes meanwhile, or may not be seen, counts nothing."""
    kept = 0
    for file in folder.glob("*.safetensors"):
        with suppress(OSError):
            kept += file.stat().st_size
    return kept


def _entry(origin: Origin, folder: Path) -> tuple[Path, Path]:
    digest = hashlib.sha256(_canonical(origin).encode()).hexdigest()[:32]
    return folder / f"{digest}.safetensors", folder / f"{digest}.json"


def _canonical(origin: Origin) -> str:
    return json.dumps(origin, sort_keys=True)
