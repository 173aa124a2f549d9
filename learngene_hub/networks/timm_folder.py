"""A trained network as a folder that timm loads: `config.json` and `model.safetensors`, in timm's own layout.

`timm.create_model("local-dir:FOLDER", pretrained=True)` gives the network back once this package is imported, since
importing it registers the network's name.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from timm.models import save_for_hf

from learngene_hub.core.errors import NetworkError
from learngene_hub.core.files import explain_write_errors
from learngene_hub.networks.build import as_supported
from learngene_hub.networks.network import LearngeneNetwork

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"


def save_timm_folder(network: LearngeneNetwork, folder: str | Path, *, class_names: Sequence[str]) -> None:
    """Write `network` into an existing `folder`.

    The config says to scale the whole centre square of a picture, as images are cut here (`decode_image`).

    Args:
        network: its tensors contiguous, with as many outputs as there are names.
        folder: where the two files go.
        class_names: of the outputs, in order.

    Raises:
        NetworkError: the network is not supported, the number of outputs is wrong, or tensors are not contiguous.
        StorageError: no space, or no permission.
    """
    if not 1 <= as_supported(network).num_classes == len(class_names):
        raise NetworkError(
            f"expected 1 class or more and a name for each, found {network.num_classes} and {len(class_names)} names"
        )
    if not all(tensor.is_contiguous() for tensor in network.state_dict().values()):
        raise NetworkError(
            "expected only contiguous tensors, found others; call `.to(memory_format=torch.contiguous_format)`"
        )
    with explain_write_errors(Path(folder)):
        save_for_hf(
            network,
            str(folder),
            model_config={"label_names": list(class_names)},
            data_config={"crop_pct": 1.0, "crop_mode": "center", "interpolation": "bicubic"},
            safe_serialization=True,
        )
    shutil.copymode(Path(folder, CONFIG_NAME), Path(folder, WEIGHTS_NAME))  # safetensors lets nobody else read it
