"""A trained network as a folder that timm loads: `config.json` and `model.safetensors`, in timm's own layout.

`timm.create_model("local-dir:FOLDER", pretrained=True)` gives the network back once this package is imported, since
importing it registers the network's name.
"""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import timm
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from timm.models import save_for_hf

from learngene_hub.core.errors import NetworkError, first_fault
from learngene_hub.core.files import read_json, written
from learngene_hub.families import NetworkName
from learngene_hub.networks.axes import CLASSES
from learngene_hub.networks.build import built_by, plan_structure, walkable
from learngene_hub.networks.layers import LAYERS
from learngene_hub.networks.network import LearngeneNetwork
from learngene_hub.networks.structure import MOST_WIDTH

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"
MOST_CONFIG = 16 * 10**6  # bytes of `config.json`
MOST_HEADER = 10**6  # bytes of a weights file that are no weights
Positive = Annotated[float, Field(gt=0, le=100)]


class _Arguments(BaseModel):
    """What timm passes on to the network."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)

    num_classes: int = Field(ge=1, le=10**6)
    in_chans: int = Field(3, ge=1, le=64)
    width: float = Field(1.0, gt=0, le=MOST_WIDTH)
    depth: int
    global_pool: Literal["avg", "max", "avgmax", "catavgmax", "layers"] = "avg"


class _Pictures(BaseModel):
    """How pictures are shown to the network; of all else timm is told, only what loads weights matters."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    custom_load: Literal[False] = False
    input_size: tuple[int, Annotated[int, Field(ge=1, le=4096)], int]
    mean: tuple[Annotated[float, Field(ge=0, le=1)], ...]
    std: tuple[Positive, ...]

    @model_validator(mode="after")
    def _agree(self) -> Self:
        channels, height, width = self.input_size
        if height != width or not channels == len(self.mean) == len(self.std):
            raise ValueError("input_size: expected square images with as many channels as mean and std have values")
        return self


class _Config(BaseModel):
    """`config.json`."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())  # pydantic 2.9 wants no field `model_...`

    architecture: NetworkName
    num_classes: int
    model_args: _Arguments
    pretrained_cfg: _Pictures

    @model_validator(mode="before")
    @classmethod
    def _as_family(cls, config: Any) -> Any:  # noqa: ANN401
        """The family, width and depth that timm's own names and arguments stand for."""
        match config:
            case {"architecture": str(architecture), "model_args": dict(arguments)}:
                network, arguments = built_by(architecture, arguments)
                return {**config, "architecture": network, "model_args": arguments}
        return config

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.num_classes != self.model_args.num_classes:
            raise ValueError("num_classes: expected the same number in config and model_args")
        return self


def save_timm_folder(network: LearngeneNetwork, folder: str | Path, *, class_names: Sequence[str]) -> None:
    """Write `network` into an existing `folder`.

    The config says to scale the whole centre square of a picture, as images are cut here (`decode_image`).

    Args:
        network: in float32, its tensors contiguous, with as many outputs as there are names.
        folder: where the two files go.
        class_names: of the outputs, in order.

    Raises:
        NetworkError: the network is not supported, the number of outputs is wrong, or weights are not float32.
        StorageError: no space, or no permission.
    """
    _check_savable(walkable(network), class_names)
    with written(Path(folder)):
        save_for_hf(
            network,
            str(folder),
            model_config={"label_names": list(class_names)},
            data_config={"crop_pct": 1.0, "crop_mode": "center", "interpolation": "bicubic"},
            safe_serialization=True,
        )
    shutil.copymode(Path(folder, CONFIG_NAME), Path(folder, WEIGHTS_NAME))  # safetensors lets nobody else read it


def _check_savable(network: LearngeneNetwork, class_names: Sequence[str]) -> None:
    if not 1 <= network.num_classes == len(class_names):
        raise NetworkError(
            f"expected 1 class or more and a name for each, found {network.num_classes} and {len(class_names)} names"
        )
    if odd := {weight.dtype for weight in network.parameters()} - {torch.float32}:
        raise NetworkError(f"expected a network in float32, found {odd.pop()}; call `.float()` first")
    if not all(tensor.is_contiguous() for tensor in network.state_dict().values()):
        raise NetworkError(
            "expected only contiguous tensors, found others; call `.to(memory_format=torch.contiguous_format)`"
        )


def load_timm_folder(folder: Path) -> LearngeneNetwork:
    """The network in `folder`, in eval mode, on the CPU; every weight must fit.

    Raises:
        NetworkError: a file is missing or damaged, or this package does not support the network.
    """
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if not (folder / name).is_file():
            raise NetworkError(f"{folder}: expected {CONFIG_NAME} and {WEIGHTS_NAME}, found no {name}")
    _checked(folder)
    try:
        network = timm.create_model(f"local-dir:{folder}", pretrained=True)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NetworkError(f"{folder}: the network cannot be loaded, so a file was altered or cut: {first}") from None
    return walkable(network).eval()


def _checked(folder: Path) -> None:
    """Refuse what timm would build or load but a fine-tuning does not write.

    Raises:
        NetworkError: the config asks for other networks, arguments or loaders, or its network is not of the size of
            the weights.
    """
    config = folder / CONFIG_NAME
    try:
        checked = _Config.model_validate(read_json(config, most=MOST_CONFIG))
    except ValidationError as error:
        raise NetworkError(
            f"{config}: expected the config of a fine-tuned network, found a fault: {first_fault(error)}"
        ) from None
    except (OSError, ValueError) as error:
        raise NetworkError(f"{config}: expected JSON, found something else: {error}") from None
    _check_size(folder / WEIGHTS_NAME, checked)


def _check_size(weights: Path, config: _Config) -> None:
    """A small file must not ask for a huge network, nor the other way round."""
    asked = config.model_args
    structure = plan_structure(config.architecture, width=asked.width, depth=asked.depth)
    shapes = [*structure.shapes(in_chans=asked.in_chans).values()]
    if asked.global_pool == LAYERS:
        shapes += [(asked.num_classes, structure.layer_features), (2, structure.layer_features)]
    else:
        shapes.append(structure.classifier.shape({CLASSES: asked.num_classes, **structure.channels}))
    expected = 4 * sum(map(math.prod, shapes))
    size = weights.stat().st_size
    if not expected <= size <= expected + MOST_HEADER:
        raise NetworkError(
            f"{weights}: expected {expected / 1e6:.1f} MB, as {CONFIG_NAME} says, found {size / 1e6:.1f} MB: the "
            "network cannot be loaded, so a file was altered or cut"
        )
