"""Networks and genes given by the user as further starts, beside the evolved genes."""

import os
from collections.abc import Mapping, Sequence
from itertools import chain, count
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from learngene_hub.core.errors import LearngeneError
from learngene_hub.core.files import expanded, read_json, refuse_missing
from learngene_hub.evaluation.candidates import Candidate, check_comparable
from learngene_hub.evaluation.starts import Start
from learngene_hub.gene.config import DataRecord, seen_of
from learngene_hub.gene.folder import CONFIG_NAME, GENE_FOLDER, MOST_CONFIG, WEIGHTS_NAME, read_config
from learngene_hub.gene.names import shipped_folder, shipped_genes
from learngene_hub.genome.birth import Body
from learngene_hub.genome.genome import Genome
from learngene_hub.networks import family, plan_structure
from learngene_hub.networks.timm_folder import CONFIG_NAME as TIMM_CONFIG
from learngene_hub.networks.timm_folder import WEIGHTS_NAME as TIMM_WEIGHTS
from learngene_hub.report.results import CHECKPOINT, Cost


def load_checkpoints(paths: Sequence[Path], body: Body, first: Candidate) -> list[Start]:
    """The networks or genes at `paths`: safetensors files, folders with such a file, runs, or genes of the package.

    They must belong to the family of the descendant `body`; images are normalised as for the `first` gene.

    Raises:
        LearngeneError: a path has no network or gene, a layer lacks tensors, or a gene cannot be compared with `first`.
        GeneFileError: the config of a gene is not valid.
    """
    return [_checkpoint(path, name, body, first) for path, name in zip(paths, _names(paths), strict=True)]


def _names(paths: Sequence[Path]) -> list[str]:
    """`checkpoint` for one alone; for several `checkpoint:NAME`, those of equal names with a number."""
    if len(paths) == 1:
        return [CHECKPOINT]
    names: list[str] = []
    for path in paths:
        name = f"{CHECKPOINT}:{_file_name(path)}"
        wanted = chain([name], (f"{name}-{number}" for number in count(2)))
        names.append(next(one for one in wanted if one not in names))
    return names


def _file_name(path: Path) -> str:
    return Path(os.path.abspath(path)).name


def _checkpoint(path: Path, name: str, body: Body, first: Candidate) -> Start:
    file = _file_at(path)
    data: tuple[DataRecord, ...] = ()
    cost = None
    if file.name == WEIGHTS_NAME and (file.parent / CONFIG_NAME).is_file():
        check_comparable(str(path), config := read_config(file.parent), first)
        data, cost = config.all_data, config.origin.cost if config.origin else None
    elif file.name == TIMM_WEIGHTS and (file.parent / TIMM_CONFIG).is_file():
        data = (_learned(path, file.parent / TIMM_CONFIG, first),)
    loaded = _read(file)
    structure = plan_structure(body.network, depth=max(family(body.network).depths))  # has the layers of all depths
    tensors = {axes.name: loaded[axes.name].float().clone() for axes in structure.tensors if axes.name in loaded}
    if not tensors:
        others = ", ".join(loaded)[:80]
        raise LearngeneError(f"{path}: expected tensors of a network {body.network}, found others: {others}")
    for layer in structure.layers:
        lost = [axes.name for axes in layer.tensors if axes.name not in tensors]
        if 0 < len(lost) < len(layer.tensors):
            raise LearngeneError(f"{path}: expected whole layers, found {layer.name} without {', '.join(lost)}")
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise LearngeneError(f"{path}: expected finite values, found NaN or infinity")
    genome = Genome(tensors, structure.sizes_in(tensors))
    known = Cost() if cost is None else Cost(images=cost.images, seconds=cost.seconds, device=cost.device)
    words = f"the checkpoint {_file_name(path)}{'; its cost is not known' if cost is None else ''}"
    return Start(name, words, genome, known, data=data)


def _learned(path: Path, config: Path, first: Candidate) -> DataRecord:
    """The classes that a network tells apart, by its config, as classes that it was trained on.

    Raises:
        LearngeneError: some of them are novel to the `first` gene, or held out from it.
    """
    try:
        names = tuple(map(str, read_json(config, most=MOST_CONFIG).get("label_names") or ()))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise LearngeneError(f"{config}: cannot be read: {error}") from None
    record = first.data.model_copy(update={"base": names, "held_out": (), "novel": ()})
    novel, held_out = seen_of([record], first.data.novel, first.data.held_out)
    if seen := novel | held_out:
        raise LearngeneError(
            f"{path}: was trained on {len(seen)} of the classes that are novel to {first.start} or held out from it, "
            f"such as {min(seen)!r}; give a network that has not seen them"
        )
    return record


def _file_at(path: Path) -> Path:
    path = expanded(path)
    if not path.exists() and path.as_posix() in shipped_genes():
        return shipped_folder(path.as_posix()) / WEIGHTS_NAME
    refuse_missing(path, f"a safetensors file, or a folder with {TIMM_WEIGHTS} or {WEIGHTS_NAME}", Path.exists)
    if not path.is_dir():
        return path
    for name in (TIMM_WEIGHTS, WEIGHTS_NAME, f"{GENE_FOLDER}/{WEIGHTS_NAME}"):
        if (path / name).is_file():
            return path / name
    raise LearngeneError(f"{path}: expected a folder with {TIMM_WEIGHTS} or {WEIGHTS_NAME}, found neither")


def _read(file: Path) -> Mapping[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise LearngeneError(
            f"{file}: expected a safetensors file, or a folder with {TIMM_WEIGHTS} or {WEIGHTS_NAME}: {error}"
        ) from None
