"""The gene folder: its files, how it is written, and all checks made before it is loaded.

`learngene.safetensors` holds the tensors under the network's own names, `config.json` everything else. Nothing is
loaded in part: a folder that fails a check is refused, and the message names the check.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
from learngene_hub.hub.address import PREFIX as HUB_PREFIX
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
INDEPENDENT = {"no pickle", "sha256"}  # checks whose failure does not keep the later ones from being made
MOST_CONFIG = 16 * 10**6  # bytes of `config.json`
MOST_HEADER = 10**6  # bytes of a weights file that are no weights
LARGEST = 10.0**4  # of a weight: times a normalised input, at most 6 or so, it is a number in float16 (65,504) too
MOST_BESIDE = 50 * 10**6  # bytes of a file of `MORE_FILES`
Files = Mapping[str, bytes]  # name -> content of a gene's files that were read already: its folder is for messages only
DTYPES: Mapping[Dtype, torch.dtype] = {"float32": torch.float32, "float16": torch.float16}
PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}


@dataclass(frozen=True)
class Check:
    """One check of a gene folder: its name, and why it failed; None if it passed."""

    name: str
    fault: str | None


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
    for name, tensor in tensors.items():
        if fault := value_fault(name, tensor):
            raise GeneFileError(f"{name}: {fault}")
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
    raise GeneFileError(f"{path}: expected a gene folder with {CONFIG_NAME} and {WEIGHTS_NAME}, found neither")


def read_config(folder: Path, files: Files | None = None) -> GeneConfig:
    """Read and check `config.json` of a gene folder, or of its `files`.

    Raises:
        GeneFileError: absent, not JSON, of a newer schema, or with missing or malformed fields.
    """
    try:
        content = _read(folder, CONFIG_NAME, files, most=MOST_CONFIG)
    except FileNotFoundError:
        raise GeneFileError(f"{folder}: {CONFIG_NAME} is missing; this is not a gene folder") from None
    except OSError as error:
        raise GeneFileError(f"{folder / CONFIG_NAME}: cannot be read: {error}") from None
    return _parse_config(content, folder / CONFIG_NAME, is_hub=files is not None)


def _parse_config(content: bytes, path: Path, *, is_hub: bool) -> GeneConfig:
    try:
        fields = parse_json(content.decode("utf-8"))
    except ValueError as error:
        raise GeneFileError(f"{path}: expected JSON, found something else: {error}") from None
    _check_schema(fields, path, is_hub=is_hub)
    try:
        return GeneConfig.model_validate(fields)
    except ValidationError as error:
        raise GeneFileError(f"{path}: {first_fault(error)} ({error.error_count()} faults in all)") from None


def _read(folder: Path, name: str, files: Files | None, *, most: int) -> bytes:
    """Content of a file of a gene folder, from `files` if it was read already."""
    if files is not None:
        return files[name]
    _refuse_links(folder, (name,))
    return read_file(folder / name, most=most)


def read_gene(folder: Path, files: Files | None = None) -> tuple[dict[str, Tensor], GeneConfig]:
    """Read tensors (float32) and config of a gene folder, or of its `files`, after every check has passed.

    Raises:
        GeneFileError: the first check that fails, with the file or tensor, what was expected and what was found.
    """
    reader = _checked(folder, files)
    return {name: tensor.float() for name, tensor in reader.tensors.items()}, reader.config


def read_whole_gene(folder: Path, files: Files | None = None) -> tuple[dict[str, bytes], GeneConfig]:
    """Name -> content of all files of a gene, and its config; exactly these bytes passed every check.

    Raises:
        GeneFileError: a check fails, or a file beside the weights is too large or cannot be read.
    """
    beside = read_beside(folder, files)
    reader = _checked(folder, files)
    return reader.content | beside, reader.config


def read_beside(folder: Path, files: Files | None = None) -> dict[str, bytes]:
    """Name -> content of the further files of a gene folder, such as card and recipe.

    Raises:
        GeneFileError: one is too large, is a link out of the folder, or cannot be read.
    """
    if files is not None:
        return {name: files[name] for name in MORE_FILES if name in files}
    return read_files(folder, dict.fromkeys(MORE_FILES, MOST_BESIDE))


def read_files(folder: Path, most: Mapping[str, int]) -> dict[str, bytes]:
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
        return {name: _read(folder, name, None, most=most[name]) for name in names}


def _checked(folder: Path, files: Files | None) -> "_Reader":
    reader = _Reader(folder, files)
    for _, check in reader.checks():
        with _readable(folder):
            check()
    return reader


def verify(folder: Path, files: Files | None = None) -> list[Check]:
    """Run every check of a gene folder in order; after a fault, only checks that do not depend on it still run."""
    results: list[Check] = []
    for name, check in _Reader(folder, files).checks():
        try:
            with _readable(folder):
                check()
            results.append(Check(name, None))
        except GeneFileError as error:
            results.append(Check(name, str(error)))
            if name not in INDEPENDENT:
                break
    return results


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


class _Reader:
    """One reading of one folder; each check may use what the checks before it found."""

    def __init__(self, folder: Path, files: Files | None) -> None:
        self.folder = folder
        self.files = files
        self.weights = folder / WEIGHTS_NAME
        self.config: GeneConfig
        self.content: dict[str, bytes] = {}  # what was checked
        self.tensors: dict[str, Tensor] = {}
        self._expected: dict[str, tuple[int, ...]] = {}
        self._most_weights = 0  # bytes of the weights' file

    def checks(self) -> list[tuple[str, Callable[[], None]]]:
        return [
            ("files", self._files),
            ("no pickle", self._no_pickle),
            ("config and schema", self._read_config),
            ("network and channels", self._expect),
            ("size", self._size),
            ("sha256", self._sha256),
            ("safetensors", self._open),
            ("tensor names", self._names),
            ("shapes and dtypes", self._shapes),
            ("finite values", self._finite),
        ]

    def _files(self) -> None:
        for name in (CONFIG_NAME, WEIGHTS_NAME):
            if not ((self.folder / name).is_file() if self.files is None else name in self.files):
                raise GeneFileError(f"{self.folder}: {name} is missing; {_instead(self.folder)}")
        if self.files is None:
            _refuse_links(self.folder, (CONFIG_NAME, WEIGHTS_NAME, *MORE_FILES))

    def _no_pickle(self) -> None:
        if self.files is not None:  # whatever else lies in the folder is not of this gene
            return
        pickles = sorted(path.name for path in self.folder.iterdir() if path.suffix.lower() in PICKLES)
        if pickles:
            raise GeneFileError(
                f"{self.folder}: found {', '.join(pickles)}; pickles can run code; genes are safetensors only"
            )

    def _read_config(self) -> None:
        content = self.content[CONFIG_NAME] = _read(self.folder, CONFIG_NAME, self.files, most=MOST_CONFIG)
        self.config = _parse_config(content, self.folder / CONFIG_NAME, is_hub=self.files is not None)

    def _expect(self) -> None:
        """Plan the thin network of exactly the gene's channels, and check the numbers in the config."""
        config, file = self.config, self.folder / CONFIG_NAME
        try:
            structure = plan_structure(config.network, depth=config.depth, channels=config.channels)
        except NetworkError as error:
            raise GeneFileError(f"{file}: {error}") from None
        self._expected = structure.shapes(in_chans=config.in_chans)
        self._most_weights = 4 * sum(map(math.prod, self._expected.values())) + MOST_HEADER
        parameters = structure.parameters(in_chans=config.in_chans)
        if config.parameters != parameters:
            raise GeneFileError(f"{file}: expected parameters: {parameters:,}, found {config.parameters:,}")
        full = plan_structure(config.network, width=config.width, depth=config.depth).channels
        whole, held = sum(full.values()), sum(config.channels.values())
        if abs(config.fraction * whole - held) > len(full):  # early genes state it before channels were rounded
            raise GeneFileError(f"{file}: expected fraction: {held / whole:.4g}, found {config.fraction:.4g}")

    def _size(self) -> None:
        expected = self._most_weights - MOST_HEADER
        size = self.weights.stat().st_size if self.files is None else len(self.files[WEIGHTS_NAME])
        if size > self._most_weights:
            raise GeneFileError(
                f"{self.weights}: expected {expected / 1e6:.1f} MB of weights, as {CONFIG_NAME} says, found "
                f"{size / 1e6:.1f} MB: not a gene, or the wrong {CONFIG_NAME}"
            )

    def _sha256(self) -> None:
        content = self.content[WEIGHTS_NAME] = _read(self.folder, WEIGHTS_NAME, self.files, most=self._most_weights)
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 != self.config.sha256:
            advice = "fetch it again" if self.files is None else "the owner must push it again"
            raise GeneFileError(
                f"{self.weights}: expected the sha256 of {CONFIG_NAME}, {self.config.sha256[:12] or '(none)'}, found "
                f"{sha256[:12]}: the file was altered or cut; {advice}"
            )

    def _open(self) -> None:
        try:
            self.tensors = read_tensors(self.content.get(WEIGHTS_NAME, b""))
        except (SafetensorError, ValueError) as error:
            raise GeneFileError(f"{self.weights}: expected safetensors, found something else: {error}") from None

    def _names(self) -> None:
        missing, extra = self._expected.keys() - self.tensors.keys(), self.tensors.keys() - self._expected.keys()
        for kind, names in (("missing", sorted(missing)), ("unexpected", sorted(extra))):
            if names:
                raise GeneFileError(f"{self.weights}: {len(names)} {kind} tensors: {', '.join(names[:3])}")

    def _shapes(self) -> None:
        for name, shape in self._expected.items():
            tensor = self.tensors[name]
            if tuple(tensor.shape) != shape:
                raise GeneFileError(f"{self.weights}: {name}: expected shape {shape}, found {tuple(tensor.shape)}")
            if tensor.dtype != (expected := stored_dtype(tensor, self.config.dtype)):
                raise GeneFileError(f"{self.weights}: {name}: expected {expected}, found {tensor.dtype}")

    def _finite(self) -> None:
        for name, tensor in self.tensors.items():
            if fault := value_fault(name, tensor):
                raise GeneFileError(f"{self.weights}: {name}: {fault}")


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


def _check_schema(content: Any, path: Path, *, is_hub: bool) -> None:  # noqa: ANN401
    if isinstance(content, dict) and "architecture" in content:
        repo = path.parent.as_posix().removeprefix(HUB_PREFIX).partition("@")[0]
        name = repo.rpartition("/")[2]
        use = f"hf download {repo} --local-dir {name} && learngene predict {name} photo.jpg"
        raise GeneFileError(
            f"{path}: expected the config of a learngene, found that of a whole network: load it with timm, or, if "
            f"`learngene finetune` made it, run `{use if is_hub else 'learngene predict'}`"
        )
    if not isinstance(content, dict) or type(content.get("schema_version")) is not int:
        raise GeneFileError(f"{path}: expected a learngene config with `schema_version`, found none")
    if content["schema_version"] > SCHEMA_VERSION:
        raise GeneFileError(
            f"{path}: schema version {content['schema_version']} is newer than the {SCHEMA_VERSION} this package "
            "reads; upgrade: pip install -U learngene-hub"
        )
