"""The device of a process, and the names of devices on cards and in logs."""

import platform
import re
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import torch

from learngene_hub.core.errors import LearngeneError

CPUINFO = Path("/proc/cpuinfo")


def on_cpu() -> AbstractContextManager[object]:
    """Let torch's default device be the CPU inside; does nothing if it is, since a device context slows every call."""
    return nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu")


def at_work_on(device: torch.device) -> AbstractContextManager[object]:
    """Inside the block, `device` is the current GPU; no effect for a CPU."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def chip_name(device: torch.device) -> str:
    """The GPU's own name, or `CPU`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def chip_kind(device: torch.device) -> str:
    """Name for the features of a chip that decide rounding and the best precision."""
    if device.type == "cuda":
        return chip_name(device)
    bfloat16 = "with bfloat16" if cpu_has_bfloat16() else "without bfloat16"
    tiles = ", with AMX" if torch.cpu._is_amx_tile_supported() else ""  # which rounds otherwise
    return f"CPU, {torch.backends.cpu.get_cpu_capability()}, {bfloat16}{tiles}"


def cpu_has_bfloat16() -> bool:
    """Whether this machine's CPU is known to multiply in bfloat16; those of ARM are not asked."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def processor_name() -> str:
    """What this machine's processor calls itself, such as `AMD EPYC 9R14`; where it does not say, its architecture."""
    with suppress(OSError):  # only Linux has the file
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
        if match := re.search(r"^model name\s*:\s*(\S.*?)\s*$", text, re.MULTILINE):
            return match[1]
    return platform.processor() or platform.machine() or "unknown"


def device_name(device: torch.device) -> str:
    """Name of the device that this process uses: a GPU, or the CPU with the number of threads."""
    if device.type == "cuda":
        return chip_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


def pick_device(name: str) -> torch.device:
    """The device called `name`; `auto`: CUDA if available, else the CPU.

    Raises:
        LearngeneError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in {"cpu", "cuda"}:
        raise LearngeneError(f"device {name!r}: expected auto, cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise LearngeneError(f"device {name!r}: no CUDA device here; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        raise LearngeneError(f"device {name!r}: expected cuda:0 to cuda:{count - 1}")
    return device
