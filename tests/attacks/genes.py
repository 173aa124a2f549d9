"""Gene folders: header, offsets, types and values of the weights, the config, links and names, the card."""

import json
import os
import random
import shutil
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from attacks.engine import Kind, Target
from attacks.mutate import NAMES, altered, scrambled, text_of
from learngene_hub import from_learngene
from learngene_hub.core.files import file_sha256
from learngene_hub.gene.card import addressed_card, check_card
from learngene_hub.gene.folder import CARD_NAME, CONFIG_NAME, WEIGHTS_NAME, read_gene
from learngene_hub.gene.listing import read_gain
from learngene_hub.gene.sharing import files_to_push
from learngene_hub.hub.push import marked

DTYPES = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64]
DTYPES += [torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16]
INHERITED = 0.05  # share of the cases in which a whole network is made too
STRINGS = ("F32", "F16", "F64", "I8", "BOOL", "F8_E4M3", "F4", "F6_E2M3", "C64", "f32", "", "F128", 7, None)


def targets(run: Path) -> list[Target]:
    """Those of this module, on copies of the gene in the folder `run`."""
    gene = {path.name: path.read_bytes() for path in (run / "gene").iterdir()}
    small = {name: gene[name] for name in (CONFIG_NAME, WEIGHTS_NAME, CARD_NAME)}
    kinds = [
        Kind("header of the weights", _header, 3),
        Kind("bytes of the weights", _bytes, 2),
        Kind("types of tensors", _types),
        Kind("values", _values),
        Kind("fields of the config", _fields, 4),
        Kind("text of the config", _text, 2),
        Kind("huge shapes", _shapes, 2),
        Kind("links, folders and pipes", _links),
        Kind("names of sources", _sources),
    ]
    cards = [Kind("text of the card", _card), Kind("metadata of the card", _metadata), Kind("huge cards", _bomb, 0.05)]
    return [
        Target("gene folder", 30, kinds, lambda folder: lay(folder, small)),
        Target("card", 8, cards, lambda folder: lay(folder, small)),
    ]


def lay(folder: Path, files: dict[str, bytes]) -> None:
    """Make `folder` anew with `files`."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def rehash(folder: Path) -> None:
    """Give the config the sha256 of the weights, so that later checks are reached."""
    path = folder / CONFIG_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sha256": file_sha256(folder / WEIGHTS_NAME)}))


def header_of(content: bytes) -> tuple[dict, bytes]:
    """Header and data of a safetensors file."""
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def with_header(header: str, data: bytes, *, length: int | None = None) -> bytes:
    """A safetensors file with any header."""
    encoded = header.encode("utf-8", errors="surrogatepass")
    return struct.pack("<Q", len(encoded) if length is None else length) + encoded + data


def hostile_header(rng: random.Random, content: bytes) -> bytes:
    """The same weights under a header that lies about them."""
    header, data = header_of(content)
    tensors = [value for name, value in header.items() if name != "__metadata__"]
    one, other = rng.choice(tensors), rng.choice(tensors)
    match rng.randrange(8):
        case 0:
            one["dtype"] = rng.choice(STRINGS)
        case 1:
            one["shape"] = rng.choice(([2**31, 2**31], [2**63], [-1], [], [0], [1] * 100, [1.5], other["shape"]))
        case 2:
            one["data_offsets"] = rng.choice(([0, 2**63], [-4, 0], [8, 4], other["data_offsets"], [0, len(data)], []))
        case 3:
            header["__metadata__"] = rng.choice(({"format": "np"}, {"a": 1}, [], None, {"x": "y" * 10**5}))
        case 4:
            header = dict(list(header.items())[: rng.randrange(len(header))])
        case 5:
            return with_header(json.dumps(header), data, length=rng.choice((0, 1, 2**31, 2**63 - 1, 2**64 - 1)))
        case 6:
            return with_header(json.dumps(header), rng.choice((data[:-4], data + bytes(4), b"")))
        case 7:
            header = altered(rng, header)
    return with_header(text_of(rng, header), data)


def _header(rng: random.Random, folder: Path) -> Callable[[], object]:
    path = folder / WEIGHTS_NAME
    path.write_bytes(hostile_header(rng, path.read_bytes()))
    rehash(folder)
    return lambda: _load(folder, rng)


def _bytes(rng: random.Random, folder: Path) -> Callable[[], object]:
    path = folder / WEIGHTS_NAME
    path.write_bytes(scrambled(rng, path.read_bytes()))
    if rng.random() < 0.7:
        rehash(folder)
    return lambda: _load(folder, rng)


def _types(rng: random.Random, folder: Path) -> Callable[[], object]:
    path = folder / WEIGHTS_NAME
    tensors = load_file(path)
    for name in rng.sample(sorted(tensors), rng.randint(1, 3)):
        tensors[name] = tensors[name].to(rng.choice(DTYPES))
    save_file(tensors, path, metadata={"format": "pt"})
    rehash(folder)
    return lambda: _load(folder, rng)


def _values(rng: random.Random, folder: Path) -> Callable[[], object]:
    path = folder / WEIGHTS_NAME
    tensors = load_file(path)
    for name in rng.sample(sorted(tensors), rng.randint(1, 3)):
        flat = tensors[name].view(-1)
        flat[rng.randrange(len(flat))] = rng.choice((float("nan"), float("inf"), -float("inf"), 3e38, 1e-45, -0.0))
    save_file(tensors, path, metadata={"format": "pt"})
    rehash(folder)
    return lambda: _load(folder, rng)


def _fields(rng: random.Random, folder: Path) -> Callable[[], object]:
    path = folder / CONFIG_NAME
    path.write_text(json.dumps(altered(rng, json.loads(path.read_text()))))
    return lambda: _load(folder, rng)


def _text(rng: random.Random, folder: Path) -> Callable[[], object]:
    path = folder / CONFIG_NAME
    if rng.random() < 0.5:
        path.write_bytes(scrambled(rng, path.read_bytes()))
    else:
        path.write_text(text_of(rng, json.loads(path.read_text())))
    return lambda: _load(folder, rng)


def _shapes(rng: random.Random, folder: Path) -> Callable[[], object]:
    """A small file whose config promises a huge network, or asks for one around it."""
    path = folder / CONFIG_NAME
    config = json.loads(path.read_text())
    large = rng.choice((2**14, 2**14 + 1, 2**31, 10**12, 4096))
    match rng.randrange(5):
        case 0:
            config["channels"] = dict.fromkeys(config["channels"], large)
        case 1:
            config["width"] = rng.choice((4, 5, 64, 1e6, 1e308, 1e-9, -1))
        case 2:
            config["depth"] = rng.choice((13, 16, 19, 60, 10**6, 10**18, -11, 0))
        case 3:
            config["in_chans"] = rng.choice((64, 65, large, 1))
            config["mean"], config["std"] = ([0.5] * min(config["in_chans"], 10**4) for _ in range(2))
        case 4:
            config |= {"image_size": large, "parameters": large, "fraction": rng.choice((1e-300, 1.0, 1e-3))}
    path.write_text(json.dumps(config))
    return lambda: _load(folder, rng, share=0.15)


def _links(rng: random.Random, folder: Path) -> Callable[[], object]:
    """Something else in the place of a file."""
    path = folder / rng.choice((CONFIG_NAME, WEIGHTS_NAME, CARD_NAME, "recipe.yaml", "evolution.png"))
    path.unlink(missing_ok=True)
    match rng.randrange(6):
        case 0:
            path.symlink_to(rng.choice(("/etc/passwd", "/dev/zero", "/proc/self/mem", "/proc/self/environ")))
        case 1:
            path.symlink_to(path.name)
        case 2:
            path.mkdir()
        case 3:
            os.mkfifo(path)
        case 4:
            path.symlink_to(rng.choice(("..", "../..", "/", "../nowhere")))
        case 5:
            (folder / rng.choice(("weights.pkl", "w.PT", "w.bin", "w.Ckpt"))).write_bytes(b"\x80\x04.")
    return lambda: (_load(folder, rng), files_to_push(folder, "you/gene"))


def _sources(rng: random.Random, folder: Path) -> Callable[[], object]:
    name = rng.choice((*NAMES, "gtl/" + rng.choice(NAMES), "hf-hub:" + rng.choice(NAMES), "a/b@" + rng.choice(NAMES)))
    name = "".join(rng.choice((letter, letter, letter, "/", "\n")) for letter in name[:6000])
    return lambda: from_learngene(name, num_classes=2, local_files_only=True, cache_dir=folder)


def _load(folder: Path, rng: random.Random, share: float = INHERITED) -> bool:
    """Everything that reads a gene folder; whether what was accepted is what the files say."""
    tensors, config = read_gene(folder)
    if rng.random() < share:
        model = from_learngene(folder, num_classes=2)
        assert all(weight.isfinite().all() for weight in model.state_dict().values())
    finite = all(tensor.isfinite().all() and tensor.dtype == torch.float32 for tensor in tensors.values())
    whole = file_sha256(folder / WEIGHTS_NAME) == config.sha256
    return finite and whole and _same_tensors(folder, tensors)


def _same_tensors(folder: Path, tensors: dict[str, torch.Tensor]) -> bool:
    try:
        return all(torch.equal(tensor, tensors[name]) for name, tensor in load_file(folder / WEIGHTS_NAME).items())
    except SafetensorError:
        return False


@cache
def _metadata_lines() -> tuple[str, ...]:
    bomb = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    bomb += [f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 10)}]" for n in range(9)]
    return (
        "\n".join(bomb),
        "x: !!python/object/apply:os.system ['touch outside']",
        "x: !!python/name:os.system",
        f"x: {'[' * 3000}",
        "x: 2024-99-99",
        f"x: {'9' * 5000}",
        "? [a, b]\n: 1",
        "x: &x [*x]",
        "model-index: 7",
        "model-index: [{name: a, results: 3}]",
        "model-index: [{results: [{task: {}, dataset: {}, metrics: [{}]}]}]",
        "tags: {a: b}",
        "learngene: [1]",
        "license: \x07\x1b[31m",
        "x: !!timestamp oops",
        "x: !!int ''",
        "x: !!bool maybe",
        "x: 1\nx: 2",
    )


def _metadata(rng: random.Random, folder: Path) -> Callable[[], object]:
    path = folder / CARD_NAME
    _, metadata, text = path.read_text().split("---\n", 2)
    lines = metadata.splitlines()
    for _ in range(rng.randint(1, 2)):
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(_metadata_lines()))
    path.write_text("---\n" + "\n".join(lines) + "\n---\n" + text)
    return lambda: _read_card(folder)


def _card(rng: random.Random, folder: Path) -> Callable[[], object]:
    path = folder / CARD_NAME
    path.write_bytes(scrambled(rng, path.read_bytes()))
    return lambda: _read_card(folder)


def _bomb(rng: random.Random, folder: Path) -> Callable[[], object]:
    """A body that is cheap to send and dear to read."""
    size = rng.choice((10**5, 10**6, 10**7))
    filler = rng.choice(("\n", " ", "-", "\n---", "<!-- ", 'from_learngene("', "\r", "\t \n", "{{", "[" * 10, "\0"))
    body = filler * (size // len(filler))
    path = folder / CARD_NAME
    card = path.read_text()
    path.write_text(rng.choice((body, card + body, body + card, card.replace("\n---\n", body + "\n---\n"))))
    return lambda: _read_card(folder)


def _read_card(folder: Path) -> bool:
    """Everything that reads a card."""
    gain, _ = read_gain(folder)
    text = check_card((folder / CARD_NAME).read_bytes(), folder / CARD_NAME)
    card = addressed_card(text, "you/gene")
    pushed = marked(card.encode())
    return (gain is None or abs(gain) <= 100) and marked(pushed) == pushed
