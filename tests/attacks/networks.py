"""Fine-tuned networks, and checkpoints of a user's own."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from photo_folders import write_tuned

from attacks.engine import Kind, Target
from attacks.genes import hostile_header, lay
from attacks.mutate import altered, scrambled, text_of
from learngene_hub import from_learngene
from learngene_hub.evaluation.candidates import Candidate, load_candidates
from learngene_hub.evaluation.checkpoints import load_checkpoints
from learngene_hub.finetuning import Predictor
from learngene_hub.genome.birth import Body

CLASSES = ("cat", "dog", "emu")


def targets(run: Path) -> list[Target]:
    """Those of this module, on networks made from the gene in the folder `run`."""
    network = from_learngene(run, num_classes=len(CLASSES))
    with TemporaryDirectory() as folder:
        written = write_tuned(Path(folder, "tuned"), network, CLASSES)
        files = {path.name: path.read_bytes() for path in written.iterdir()}
        _load(written)  # so that Pillow imports its plugins here, not in a case that is watched
    kinds = [Kind("record", _record, 3), Kind("weights", _weights)]
    (first,) = load_candidates([run])
    own = [Kind("weights", lambda rng, folder: _checkpoint(rng, folder, network.width, first))]
    return [
        Target("fine-tuned network", 3, kinds, lambda folder: lay(folder, files)),
        Target("checkpoint of a user", 1, own, lambda folder: lay(folder, files)),
    ]


def _record(rng: random.Random, folder: Path) -> Callable[[], object]:
    path = folder / "finetune.json"
    record = json.loads(path.read_text())
    match rng.randrange(4):
        case 0:
            record["network"] |= rng.choice(
                (
                    {"width": 1e6},
                    {"width": 90},
                    {"depth": 10**9},
                    {"name": "../../vgg"},
                    {"mean": ["x"]},
                    {"std": [0, 0, 0]},
                    {"image_size": 10**6},
                )
            )
        case 1:
            path.write_text(text_of(rng, record))
            return lambda: _load(folder)
        case _:
            record = altered(rng, record)
    path.write_text(json.dumps(record))
    return lambda: _load(folder)


def _weights(rng: random.Random, folder: Path) -> Callable[[], object]:
    path = folder / "model.safetensors"
    path.write_bytes(rng.choice((hostile_header, scrambled))(rng, path.read_bytes()))
    return lambda: _load(folder)


def _load(folder: Path) -> bool:
    """The predictor, and what it says of an image that is none."""
    predictor = Predictor.load(folder)
    prediction = next(iter(predictor.predict([folder / "finetune.json"])))
    return prediction.fault is not None


def _checkpoint(rng: random.Random, folder: Path, width: float, first: Candidate) -> Callable[[], object]:
    path = folder / "model.safetensors"
    path.write_bytes(rng.choice((hostile_header, scrambled))(rng, path.read_bytes()))
    return lambda: bool(load_checkpoints([folder], Body("lg_vgg11", width, 11), first))
