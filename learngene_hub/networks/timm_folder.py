"""A trained network as a folder that timm loads: `config.json` and `model.safetensors`, in timm's own layout.

`timm.create_model("local-dir:FOLDER", pretrained=True)` gives the network back once this package is imported, since
importing it registers the network's name.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import timm
from safetensors import SafetensorError
from timm.models import save_for_hf

from learngene_hub.errors import NetworkError
from learngene_hub.networks.build import NETWORKS, walkable
from learngene_hub.networks.walk import LearngeneNetwork

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"


def save_timm_folder(network: LearngeneNetwork, folder: Path, *, class_names: Sequence[str]) -> None:
    """Write `network` into an existing `folder`.

    The config says to scale the whole centre square of a picture, as images are cut here (`decode_image`).

    Args:
        network: on the CPU, its tensors contiguous; with as many outputs as there are names.
        folder: where the two files go.
        class_names: of the outputs, in order.
    """
    save_for_hf(
        network,
        str(folder),
        model_config={"label_names": list(class_names)},
        data_config={"crop_pct": 1.0, "crop_mode": "center", "interpolation": "bicubic"},
        safe_serialization=True,
    )


def load_timm_folder(folder: Path) -> LearngeneNetwork:
    """The network in `folder`, in eval mode, on the CPU; every weight must fit.

    Raises:
        NetworkError: a file is missing or damaged, or the network is none of `NETWORKS`.
    """
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if not (folder / name).is_file():
            raise NetworkError(f"{folder}: expected {CONFIG_NAME} and {WEIGHTS_NAME}, found no {name}")
    _check_architecture(folder / CONFIG_NAME)
    try:
        network = timm.create_model(f"local-dir:{folder}", pretrained=True)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NetworkError(f"{folder}: the network cannot be loaded, so a file was altered or cut: {first}") from None
    return walkable(network).eval()


def _check_architecture(config: Path) -> None:
    try:
        found = json.loads(config.read_text(encoding="utf-8"))["architecture"]
    except (ValueError, KeyError, TypeError):
        raise NetworkError(f"{config}: expected JSON that names an `architecture`, found none") from None
    if found not in NETWORKS:
        raise NetworkError(f"{config}: expected one of the networks {', '.join(NETWORKS)}, found {found!r}")
