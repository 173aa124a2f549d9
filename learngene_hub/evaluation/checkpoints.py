"""Networks and genes of the user's own as starts, beside the genes that were evolved."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from learngene_hub.birth import Body
from learngene_hub.errors import LearngeneError
from learngene_hub.evaluation.candidates import Candidate, check_images
from learngene_hub.evaluation.starts import Start
from learngene_hub.gene.folder import CONFIG_NAME, GENE_FOLDER, WEIGHTS_NAME, read_config
from learngene_hub.networks import DEPTHS, NORM_TENSORS, ConvSpec, plan_layout
from learngene_hub.networks.timm_folder import WEIGHTS_NAME as TIMM_WEIGHTS
from learngene_hub.results import Cost


def load_checkpoints(paths: Sequence[Path], body: Body, first: Candidate) -> list[Start]:
    """The networks, whole, or genes at `paths`: safetensors files, folders with one, or folders of runs.

    Args:
        paths: where they lie.
        body: of a descendant, whose family they must be of.
        first: the gene they stand beside, as whose their images are normalised.

    Raises:
        LearngeneError: there is none, it lacks a part of a layer, or it is a gene that sees images otherwise.
        GeneFileError: the config beside a gene is none.
    """
    return [
        _checkpoint(path, body, first, f":{number}" if number > 1 else "") for number, path in enumerate(paths, start=1)
    ]


def _checkpoint(path: Path, body: Body, first: Candidate, suffix: str) -> Start:
    file = _file_at(path)
    if file.name == WEIGHTS_NAME and (file.parent / CONFIG_NAME).is_file():
        check_images(str(path), read_config(file.parent), first)
    found, specs = _read(file), _specs(body)
    names = dict.fromkeys(name for spec in specs for name in _tensors_of(spec))
    tensors = {name: found[name].float() for name in names if name in found}
    if not tensors:
        raise LearngeneError(f"{path}: expected a network {body.network}, found other tensors: {', '.join(found)[:80]}")
    for spec in specs:
        lost = [name for name in _tensors_of(spec) if name not in tensors]
        if 0 < len(lost) < 1 + len(NORM_TENSORS):
            raise LearngeneError(f"{path}: expected whole layers, found {spec.conv} without {', '.join(lost)}")
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise LearngeneError(f"{path}: expected finite values, found NaN or infinity")
    return Start(f"checkpoint{suffix}", f"the checkpoint {path.name}; its cost is not known", tensors, Cost())


def _file_at(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in (TIMM_WEIGHTS, WEIGHTS_NAME, f"{GENE_FOLDER}/{WEIGHTS_NAME}"):
        if (path / name).is_file():
            return path / name
    raise LearngeneError(f"{path}: expected a folder with {TIMM_WEIGHTS} or {WEIGHTS_NAME}, found neither")


def _read(file: Path) -> Mapping[str, Tensor]:
    try:
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise LearngeneError(
            f"{file}: expected a safetensors file, or a folder with {TIMM_WEIGHTS} or {WEIGHTS_NAME}: {error}"
        ) from None


def _specs(body: Body) -> list[ConvSpec]:
    """All convolutions that networks of the family of `body` may have, whatever their depth."""
    layouts = [plan_layout(body.network, depth=depth) for depth in DEPTHS[body.network]]
    return list({spec.conv: spec for one in layouts for spec in one.specs}.values())


def _tensors_of(spec: ConvSpec) -> list[str]:
    return [f"{spec.conv}.weight", *(f"{spec.norm}.{name}" for name in NORM_TENSORS)]
