"""Fine-tuned networks, and checkpoints of a user's own."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from attacks.engine import Kind, Target
from attacks.genes import hostile_header, lay
from attacks.mutate import altered, scrambled, text_of
from learngene_hub import from_learngene
from learngene_hub.evaluation.candidates import Candidate, load_candidates
from learngene_hub.evaluation.checkpoints import load_checkpoints
from learngene_hub.finetuning import Predictor
from learngene_hub.genome.birth import Body
from learngene_hub.networks import save_timm_folder

CLASSES = ("cat", "dog", "emu")


def targets(run: Path) -> list[Target]:
    """Those of this module, on networks made from the gene in the folder `run`."""
    network = from_learngene(run, num_classes=len(CLASSES))
    with TemporaryDirectory() as folder:
        save_timm_folder(network.eval(), Path(folder), class_names=CLASSES)
        files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    files |= {"classes.json": json.dumps(CLASSES).encode(), "finetune.json": b"{}"}
    kinds = [Kind("config", _config, 3), Kind("weights", _weights), Kind("class names", _classes)]
    (first,) = load_candidates([run], data=None)
    own = [Kind("weights", lambda rng, folder: _checkpoint(rng, folder, network.width, first))]
    return [
        Target("fine-tuned network", 3, kinds, lambda folder: lay(folder, files)),
        Target("checkpoint of a user", 1, own, lambda folder: lay(folder, files)),
    ]


def _config(rng: random.Random, folder: Path) -> Callable[[], object]:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    match rng.randrange(6):
        case 0:
            config["model_args"] = config.get("model_args", {}) | rng.choice(
                (
                    {"width": 1e6},
                    {"depth": 10**9},
                    {"in_chans": 10**9},
                    {"num_classes": 10**9},
                    {"checkpoint_path": "/etc/passwd"},
                    {"pretrained_strict": False},
                    {"pretrained_custom_load": True},
                    {"pretrained_cfg": {"file": "/etc/passwd"}},
                    {"features_only": True},
                    {"exportable": 7},
                )
            )
        case 1:
            config["pretrained_cfg"] |= rng.choice(
                (
                    {"custom_load": True},
                    {"custom_load": "hf"},
                    {"file": "/etc/passwd", "source": "file"},
                    {"url": "http://127.0.0.1:9/x.pth", "source": ""},
                    {"hf_hub_id": "a/b", "source": "hf-hub"},
                    {"mean": ["x"]},
                    {"std": [0, 0, 0]},
                    {"input_size": [3, 10**6, 10**6]},
                    {"input_size": 7},
                    {"num_classes": 10**9},
                )
            )
        case 2:
            path.write_text(text_of(rng, config))
            return lambda: _load(folder)
        case _:
            config = altered(rng, config)
    path.write_text(json.dumps(config))
    return lambda: _load(folder)


def _weights(rng: random.Random, folder: Path) -> Callable[[], object]:
    path = folder / "model.safetensors"
    path.write_bytes(rng.choice((hostile_header, scrambled))(rng, path.read_bytes()))
    return lambda: _load(folder)


def _classes(rng: random.Random, folder: Path) -> Callable[[], object]:
    path = folder / "classes.json"
    names = altered(rng, list(CLASSES)) if rng.random() < 0.6 else list(CLASSES)
    path.write_text(text_of(rng, names))
    return lambda: _load(folder)


def _load(folder: Path) -> bool:
    """The predictor, and what it says of an image that is none."""
    predictor = Predictor.load(folder)
    prediction = next(iter(predictor.predict([folder / "classes.json"])))
    return len(predictor.class_names) == predictor.network.num_classes and prediction.fault is not None


def _checkpoint(rng: random.Random, folder: Path, width: float, first: Candidate) -> Callable[[], object]:
    path = folder / "model.safetensors"
    path.write_bytes(rng.choice((hostile_header, scrambled))(rng, path.read_bytes()))
    return lambda: bool(load_checkpoints([folder], Body("lg_vgg11", width, 11), first))
