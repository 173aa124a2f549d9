"""Founders that were raised before, kept so that recipes which differ only after them raise them once (ours)."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save

from learngene_hub.errors import StorageError
from learngene_hub.evolution.shard import Raised, Setting, Shard
from learngene_hub.files import atomic_path, read_file, read_json, sweep
from learngene_hub.gene.folder import read_tensors, write_tensors

FORMAT = 1  # raise it when the same plan gives another founder
UNTOUCHED_BY = ("evolution.selection=tournament", "evolution.mutation_rate=0")  # a lone individual knows neither
GENE_NAME, RECORD_NAME = "gene.safetensors", "record.json"
MOST_GENE, MOST_RECORD = 10**9, 10**5  # bytes


@dataclass(frozen=True)
class Founders:
    """Founders on disk, each under a hash of everything that shapes it.

    Attributes:
        folder: they are kept in.
        images: hash of those of the run.
    """

    folder: Path
    images: str

    def find(self, shard: Shard, setting: Setting) -> tuple[Raised, float] | None:
        """The founder that `shard` would raise, and the seconds that it took; None: it has to be raised."""
        place = self._place(shard, setting)
        try:
            sweep(self.folder, place.name)
            record = read_json(place / RECORD_NAME, most=MOST_RECORD)
            gene = read_tensors(read_file(place / GENE_NAME, most=MOST_GENE))
            raised = Raised(gene, float(record["loss"]), float(record["fitness"]))
            return raised, float(record["seconds"])
        except (OSError, StorageError, ValueError, KeyError, TypeError, SafetensorError):
            return None  # not there, or damaged

    def keep(self, shard: Shard, setting: Setting, raised: Raised, seconds: float) -> None:
        """Keep what `shard` has raised in so many seconds; one that failed is not kept."""
        if math.isnan(raised.fitness):
            return
        with atomic_path(self._place(shard, setting)) as folder:
            folder.mkdir()
            write_tensors(folder / GENE_NAME, raised.gene)
            record = {"loss": raised.loss, "fitness": raised.fitness, "seconds": seconds}
            (folder / RECORD_NAME).write_text(json.dumps(record, indent=2), encoding="utf-8")

    def _place(self, shard: Shard, setting: Setting) -> Path:
        shaped = {
            "format": FORMAT,
            "recipe": setting.recipe.changed(*UNTOUCHED_BY).model_dump(mode="json"),
            "images": self.images,
            "generation": shard.generation,
            "manner": asdict(shard.manner),
            "parents": [None if one is None else hashlib.sha256(save(dict(one))).hexdigest() for one in shard.parents],
        }
        return self.folder / hashlib.sha256(json.dumps(shaped, sort_keys=True).encode()).hexdigest()[:24]
