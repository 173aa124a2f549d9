"""Facts on the machine for a bug report: versions, devices, caches, the Hub. Nothing in it is personal.

The home folder is shown as `~`, the value of a token is never shown. Only one temporary file without a name is written,
to see whether a cache is writable.
"""

import os
import platform
import shutil
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from huggingface_hub import get_token

from learngene_hub import __version__
from learngene_hub.core.device import processor_name
from learngene_hub.core.errors import DataError, HubError
from learngene_hub.core.files import expanded, is_there
from learngene_hub.data.cache import IMAGES_FOLDER, cache_folder, images_size
from learngene_hub.hub.client import HubOptions, check_reachable, explained
from learngene_hub.training.loop import best_precision

PACKAGES = {
    **dict.fromkeys(("torch", "timm", "huggingface_hub", "safetensors"), "learngene-hub"),
    **dict.fromkeys(("datasets", "matplotlib", "scikit-learn", "scipy"), "learngene-hub[evolve]"),
    "ray": "learngene-hub[ray]",
}
"""Package -> what installs it."""


@dataclass(frozen=True)
class Finding:
    """One check: what was found and, if something is wrong, the fault and how to mend it."""

    check: str
    found: str
    fault: str | None = None


def examine(options: HubOptions = HubOptions()) -> list[Finding]:  # noqa: B008 - frozen
    """Run all checks; the Hub is asked once, for a few seconds at most.

    Args:
        options: how the Hub is reached.
    """
    return [
        Finding("learngene-hub", __version__),
        Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *(Finding(name, _version(name) or f'not installed: pip install "{ours}"') for name, ours in PACKAGES.items()),
        Finding("device", _device()),
        Finding("precision", _precision()),
        Finding("threads", _threads()),
        _own_cache(),
        _cache("cache of the Hub", options.cache, "HF_HUB_CACHE"),
        _hub(options),
        Finding("token", "found" if get_token() else "none; only `learngene push` needs a token"),
    ]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _device() -> str:
    if not torch.cuda.is_available():
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without CUDA"
        return f"cpu ({_cores()}); no CUDA device, {built}"
    gpus = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    shown = (f"cuda:{number} {gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for number, gpu in enumerate(gpus))
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"
    return f"{'; '.join(shown)} ({built}); cpu ({_cores()})"


def _cores() -> str:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{processor_name()}, {count} core{'s' if count > 1 else ''}"


def _precision() -> str:
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    return ", ".join(f"{best_precision(torch.device(name))} on {name}" for name in devices)


def _threads() -> str:
    chosen = os.environ.get("OMP_NUM_THREADS")
    return f"{torch.get_num_threads()}" + (f" (OMP_NUM_THREADS={chosen})" if chosen else "")


def _own_cache() -> Finding:
    try:
        folder = cache_folder()
    except DataError as error:
        return Finding("cache", "none", str(error))
    kept = images_size(folder)
    contents = f"{kept / 1e9:,.1f} GB of decoded images in {IMAGES_FOLDER}/, decoded again after deletion"
    return _cache("cache", folder, "LEARNGENE_CACHE", contents if kept else "")


def _cache(check: str, folder: Path, variable: str, kept: str = "") -> Finding:
    """Whether `folder`, which need not exist yet, is writable; what is `kept` in it; and the free space."""
    existing = next(filter(is_there, (folder, *folder.parents)), folder)
    try:
        with tempfile.TemporaryFile(dir=existing):
            free = shutil.disk_usage(existing).free
    except OSError as error:
        fault = f"cannot be written ({error.strerror}): set {variable} to a folder of your own"
        return Finding(check, _shown(folder), fault)
    return Finding(check, ", ".join(filter(None, (_shown(folder), kept, f"{free / 1e9:,.1f} GB free"))))


def _shown(path: Path) -> str:
    """The path as it may be published: the home folder is `~`."""
    home = expanded("~")
    inside = path.is_relative_to(home) and home != Path(home.anchor)
    return str(Path("~") / path.relative_to(home)) if inside else str(path)


def _hub(options: HubOptions) -> Finding:
    site = options.shown_site
    if options.is_offline:
        return Finding("Hub", f"{site}: not asked, since HF_HUB_OFFLINE is set")
    try:
        with explained(None, options):
            check_reachable(options)
    except HubError as error:
        fault = str(error).partition(": ")[2].replace(f"no answer from {site}", "no answer")
        return Finding("Hub", f"{site}: {fault}; genes of the package and in the cache load without the Hub")
    return Finding("Hub", f"{site}: answers")
