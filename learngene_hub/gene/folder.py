"""The gene folder: its files, how it is written, and all checks made before it is loaded.

`learngene.safetensors` holds the tensors under the network's own names, `config.json` everything else. Nothing is
loaded in part: a folder that fails a check is refused, and the message names the check.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from learngene_hub.core.errors import GeneFileError, NetworkError, first_fault
from learngene_hub.core.files import atomic_path, file_sha256, leads_out, parse_json, read_file, write_text
from learngene_hub.gene.config import SCHEMA_VERSION, Dtype, GeneConfig, config_text
from learngene_hub.networks import plan_structure
from learngene_hub.networks.timm_folder import WEIGHTS_NAME as TIMM_WEIGHTS

WEIGHTS_NAME = "learngene.safetensors"
CONFIG_NAME = "config.json"
RECIPE_NAME = "recipe.yaml"
METRICS_NAME = "metrics.jsonl"
PICTURE_NAME = "evolution.png"
CARD_NAME = "README.md"
EVALUATIONS = tuple(f"evaluation{end}.png" for end in ("", *(f"-{number}" for number in range(2, 10))))
MORE_FILES = (CARD_NAME, RECIPE_NAME, METRICS_NAME, PICTURE_NAME, *EVALUATIONS)  # that a folder may have
GENE_FOLDER = "gene"  # inside the folder of a run
MOST_CONFIG = 16 * 10**6  # bytes of `config.json`
MOST_HEADER = 10**6  # bytes of a weights file that are no weights
LARGEST = 10.0**4  # of a weight: times a normalised input, at most 6 or so, it is a number in float16 (65,504) too
MOST_BESIDE = 50 * 10**6  # bytes of a file of `MORE_FILES`
AGAIN = "fetch it again (learngene pull NAME --force-download --out NEW), or ask its owner to push it again"
DTYPES: Mapping[Dtype, torch.dtype] = {"float32": torch.float32, "float16": torch.float16}
PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}


def read_tensors(content: bytes) -> dict[str, Tensor]:
    """Name -> tensor of a safetensors file, sorted by name; copies, so that later changes of the file do not matter.

    Raises:
        SafetensorError: `content` is not a safetensors file.
    """
    return dict(sorted(load(content).items()))


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write a safetensors file whose bytes depend only on `tensors`, and return its sha256."""
    path.write_bytes(_packed(tensors))  # `save_file` would hide the file from everybody else
    return file_sha256(path)


def _packed(tensors: Mapping[str, Tensor]) -> bytes:
    return save({name: tensors[name].contiguous().cpu() for name in sorted(tensors)}, metadata={"format": "pt"})


def write_gene(folder: Path, tensors: Mapping[str, Tensor], config: GeneConfig) -> GeneConfig:
    """Write weights and config into an existing `folder`; return the config with the sha256 of the weights.

    Raises:
        GeneFileError: a tensor has values that are not finite, or larger than `LARGEST`, or a variance below zero.
    """
    _check_values(tensors)
    with atomic_path(folder / WEIGHTS_NAME) as path:
        config = config.model_copy(update={"sha256": write_tensors(path, stored(tensors, config.dtype))})
    write_text(folder / CONFIG_NAME, config_text(config))
    return config


def signed(tensors: Mapping[str, Tensor], config: GeneConfig) -> GeneConfig:
    """The config that `write_gene` would return, with the sha256 of these tensors, without writing a file.

    Raises:
        GeneFileError: as for `stored`.
    """
    sha256 = hashlib.sha256(_packed(stored(tensors, config.dtype))).hexdigest()
    return config.model_copy(update={"sha256": sha256})


def stored(tensors: Mapping[str, Tensor], dtype: Dtype) -> dict[str, Tensor]:
    """The tensors as a file keeps them: kernels in `dtype`, vectors in float32.

    Raises:
        GeneFileError: a tensor has values that are not finite.
    """
    if infinite := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise GeneFileError(f"{infinite[0]}: expected finite values, found NaN or infinity")
    return {name: tensor.to(stored_dtype(tensor, dtype)) for name, tensor in tensors.items()}


def stored_dtype(tensor: Tensor, dtype: Dtype) -> torch.dtype:
    """The type in which a file of `dtype` stores `tensor`."""
    return DTYPES[dtype] if tensor.ndim > 1 else torch.float32


def find_gene(path: Path) -> Path:
    """The gene folder at `path`: `path` itself, or `gene/` in the folder of a run.

    Raises:
        GeneFileError: `path` holds no gene folder.
    """
    with _readable(path):
        home = path.parent if path.is_file() and path.name in {CONFIG_NAME, WEIGHTS_NAME} else path
        for folder in (home, home / GENE_FOLDER):
            if (folder / CONFIG_NAME).is_file() or (folder / WEIGHTS_NAME).is_file():
                return folder
        if not path.exists():
            raise GeneFileError(f"{path}: no such folder; expected a gene folder, or a run of `learngene evolve`")
        if (home / RECIPE_NAME).is_file():
            raise GeneFileError(f"{path}: this evolution is not finished: repeat its `learngene evolve` with --resume")
    raise GeneFileError(f"{path}: expected a gene folder with {CONFIG_NAME} and {WEIGHTS_NAME}, found neither")


def read_config(folder: Path, *, is_snapshot: bool = False) -> GeneConfig:
    """Read and check `config.json` of a gene folder; `is_snapshot` as in `read_gene`.

    Raises:
        GeneFileError: absent, not JSON, of a newer schema, or with missing or malformed fields.
    """
    try:
        content = _read(folder, CONFIG_NAME, MOST_CONFIG, is_snapshot)
    except FileNotFoundError:
        raise GeneFileError(f"{folder}: {CONFIG_NAME} is missing; this is not a gene folder") from None
    except OSError as error:
        raise GeneFileError(f"{folder / CONFIG_NAME}: cannot be read: {error}") from None
    return _parse_config(content, folder / CONFIG_NAME)


def _parse_config(content: bytes, path: Path) -> GeneConfig:
    try:
        fields = parse_json(content.decode("utf-8"))
    except ValueError as error:
        raise GeneFileError(f"{path}: expected JSON, found something else: {error}; {AGAIN}") from None
    _check_schema(fields, path)
    try:
        return GeneConfig.model_validate(fields)
    except ValidationError as error:
        raise GeneFileError(f"{path}: {first_fault(error)}") from None


def _read(folder: Path, name: str, most: int, is_snapshot: bool) -> bytes:
    if not is_snapshot:
        _refuse_links(folder, (name,))
    return read_file(folder / name, most=most)


def read_gene(folder: Path, *, is_snapshot: bool = False) -> tuple[dict[str, Tensor], GeneConfig]:
    """Tensors (float32) and config of a gene folder, after every check has passed.

    `is_snapshot` says that huggingface_hub put the files there: they may be links, beside files of no gene.

    Raises:
        GeneFileError: the first check that fails, with the file or tensor, what was expected and what was found.
    """
    _, tensors, config = _read_checked(folder, is_snapshot)
    return {name: tensor.float() for name, tensor in tensors.items()}, config


def read_whole_gene(folder: Path, *, is_snapshot: bool = False) -> tuple[dict[str, bytes], GeneConfig]:
    """Name -> content of all files of a gene, and its config; exactly these bytes passed every check.

    Raises:
        GeneFileError: a check fails, or a file beside the weights is too large or cannot be read.
    """
    beside = read_beside(folder, is_snapshot=is_snapshot)
    content, _, config = _read_checked(folder, is_snapshot)
    return content | beside, config


def read_beside(folder: Path, *, is_snapshot: bool = False) -> dict[str, bytes]:
    """Name -> content of the further files of a gene folder, such as card and recipe.

    Raises:
        GeneFileError: one is too large, is a link out of the folder, or cannot be read.
    """
    return read_files(folder, dict.fromkeys(MORE_FILES, MOST_BESIDE), is_snapshot=is_snapshot)


def read_files(folder: Path, most: Mapping[str, int], *, is_snapshot: bool = False) -> dict[str, bytes]:
    """Name -> content of the existing files of `folder` that `most` lists (name -> largest size in bytes).

    Raises:
        GeneFileError: one is too large, is a link out of the folder, or cannot be read.
    """
    names = [name for name in most if (folder / name).is_file()]
    for name in names:
        if (size := (folder / name).stat().st_size) > most[name]:
            raise GeneFileError(
                f"{folder / name}: expected at most {most[name] / 1e6:g} MB, found {size / 1e6:,.1f} MB: remove it, or "
                "replace it with a smaller file"
            )
    with _readable(folder):
        return {name: _read(folder, name, most[name], is_snapshot) for name in names}


def _instead(folder: Path) -> str:
    """The end of a message: what was found instead of a gene folder."""
    if (folder / TIMM_WEIGHTS).is_file():
        return f"found {TIMM_WEIGHTS}, a whole network, as `learngene finetune` makes it for `learngene predict`"
    return "this is not a whole gene folder"


def _refuse_links(folder: Path, names: Sequence[str]) -> None:
    """Refuse links out of the folder: a push would publish what they lead to."""
    for path in (folder / name for name in names):
        if path.exists() and leads_out(path, folder):
            raise GeneFileError(f"{path}: is a link to a place outside the folder; replace it with the file itself")


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """Turn an `OSError` into a `GeneFileError`."""
    try:
        yield
    except OSError as error:
        raise GeneFileError(f"{folder}: a file cannot be read: {error}") from None


def _read_checked(folder: Path, is_snapshot: bool) -> tuple[dict[str, bytes], dict[str, Tensor], GeneConfig]:
    """Content of the two files, tensors and config; every check has passed."""
    weights = folder / WEIGHTS_NAME
    with _readable(folder):
        _check_folder(folder, is_snapshot)
        content = {CONFIG_NAME: _read(folder, CONFIG_NAME, MOST_CONFIG, is_snapshot)}
        config = _parse_config(content[CONFIG_NAME], folder / CONFIG_NAME)
        shapes = _expected_shapes(config, folder / CONFIG_NAME)
        content[WEIGHTS_NAME] = _read(folder, WEIGHTS_NAME, _most_weights(weights, shapes), is_snapshot)
    _check_sha256(content[WEIGHTS_NAME], config, weights)
    try:
        tensors = read_tensors(content[WEIGHTS_NAME])
        _check_tensors(tensors, shapes, config.dtype)
    except (SafetensorError, ValueError) as error:
        raise GeneFileError(f"{weights}: expected safetensors, found something else: {error}") from None
    except GeneFileError as error:
        raise GeneFileError(f"{weights}: {error}") from None
    return content, tensors, config


def _check_folder(folder: Path, is_snapshot: bool) -> None:
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if not (folder / name).is_file():
            raise GeneFileError(f"{folder}: {name} is missing; {_instead(folder)}")
    if is_snapshot:
        return
    _refuse_links(folder, (CONFIG_NAME, WEIGHTS_NAME, *MORE_FILES))
    if pickles := sorted(path.name for path in folder.iterdir() if path.suffix.lower() in PICKLES):
        raise GeneFileError(f"{folder}: found {', '.join(pickles)}; pickles can run code; genes are safetensors only")


def _expected_shapes(config: GeneConfig, file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes in the thin network of exactly the gene's channels; the numbers in the config agree with it."""
    try:
        structure = plan_structure(config.network, depth=config.depth, channels=config.channels)
    except NetworkError as error:
        raise GeneFileError(f"{file}: {error}") from None
    parameters = structure.parameters(in_chans=config.in_chans)
    if config.parameters != parameters:
        raise GeneFileError(f"{file}: expected parameters: {parameters:,}, found {config.parameters:,}")
    full = plan_structure(config.network, width=config.width, depth=config.depth).channels
    whole, held = sum(full.values()), sum(config.channels.values())
    if abs(config.fraction * whole - held) > len(full):  # early genes state it before channels were rounded
        raise GeneFileError(f"{file}: expected fraction: {held / whole:.4g}, found {config.fraction:.4g}")
    return structure.shapes(in_chans=config.in_chans)


def _most_weights(weights: Path, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Bytes that the file of weights may have; it has no more."""
    expected, size = 4 * sum(map(math.prod, shapes.values())), weights.stat().st_size
    if size > expected + MOST_HEADER:
        raise GeneFileError(
            f"{weights}: expected {expected / 1e6:.1f} MB of weights, as {CONFIG_NAME} says, found "
            f"{size / 1e6:.1f} MB: not a gene, or the wrong {CONFIG_NAME}"
        )
    return expected + MOST_HEADER


def _check_sha256(content: bytes, config: GeneConfig, weights: Path) -> None:
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != config.sha256:
        raise GeneFileError(
            f"{weights}: expected the sha256 of {CONFIG_NAME}, {config.sha256[:12] or '(none)'}, found "
            f"{sha256[:12]}: the file was altered or cut; {AGAIN}"
        )


def _check_tensors(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], dtype: Dtype) -> None:
    for kind, names in (("missing", shapes.keys() - tensors.keys()), ("unexpected", tensors.keys() - shapes.keys())):
        if names:
            raise GeneFileError(f"{len(names)} {kind} tensors: {', '.join(sorted(names)[:3])}")
    for name, shape in shapes.items():
        tensor = tensors[name]
        if tuple(tensor.shape) != shape:
            raise GeneFileError(f"{name}: expected shape {shape}, found {tuple(tensor.shape)}")
        if tensor.dtype != (expected := stored_dtype(tensor, dtype)):
            raise GeneFileError(f"{name}: expected {expected}, found {tensor.dtype}")
    _check_values(tensors)


def value_fault(name: str, tensor: Tensor) -> str | None:
    """Why the values of a gene's tensor are invalid; None if they are valid."""
    low, high = map(float, torch.aminmax(tensor))  # both NaN if any value is; needs no mask as large as the tensor
    if not (math.isfinite(low) and math.isfinite(high)):
        return "expected finite values, found NaN or infinity"
    is_variance = name.endswith("running_var")
    lowest, highest = (0.0, LARGEST**2) if is_variance else (-LARGEST, LARGEST)
    if lowest <= low and high <= highest:
        return None
    return f"expected values from {lowest:g} to {highest:g}, found {low if low < lowest else high:g}"


def _check_values(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if fault := value_fault(name, tensor):
            raise GeneFileError(f"{name}: {fault}")


def _check_schema(content: Any, path: Path) -> None:  # noqa: ANN401
    if isinstance(content, dict) and "architecture" in content:
        raise GeneFileError(
            f"{path}: expected the config of a learngene, found that of a whole network: load it with timm, or, if "
            "`learngene finetune` made it, with `learngene predict` (from the Hub: after `hf download NAME "
            "--local-dir DIR`)"
        )
    if not isinstance(content, dict) or type(content.get("schema_version")) is not int:
        raise GeneFileError(f"{path}: expected a learngene config with `schema_version`, found none")
    if content["schema_version"] > SCHEMA_VERSION:
        raise GeneFileError(
            f"{path}: schema version {content['schema_version']} is newer than the {SCHEMA_VERSION} this package "
            "reads; upgrade: pip install -U learngene-hub"
        )
