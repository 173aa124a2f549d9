"""What computers are called on cards and in logs."""

import torch


def chip_name(device: torch.device) -> str:
    """The GPU's own name, or `CPU`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def device_name(device: torch.device) -> str:
    """What networks of this process ran on: a GPU, or the CPU with this process's threads."""
    if device.type == "cuda":
        return chip_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"
