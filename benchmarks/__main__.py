"""All topics, or some: `python -m benchmarks OUT [TOPIC ...]` prints the table and writes OUT/benchmarks.json."""

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.measure import table
from benchmarks.topics import TOPICS, measure


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="CPU time, one thread, median of rounds.")
    parser.add_argument("out", type=Path, help="folder for benchmarks.json")
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=f"of {', '.join(TOPICS)}; none: all of them")
    arguments = parser.parse_args()
    unknown = [topic for topic in arguments.topics if topic not in TOPICS]
    if unknown:
        parser.error(f"no topic {unknown[0]!r}; choose of {', '.join(TOPICS)}")
    os.environ["OMP_NUM_THREADS"] = "1"
    figures = []
    arguments.out.mkdir(parents=True, exist_ok=True)
    for topic in arguments.topics or TOPICS:
        print(f"{topic} ...", file=sys.stderr, flush=True)
        figures += measure(topic)
        record = {
            "machine": machine(),
            "figures": [asdict(figure) for figure in figures],
        }  # kept, should a later one fail
        (arguments.out / "benchmarks.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(", ".join(f"{key} {value}" for key, value in machine().items() if value), table(figures), sep="\n\n")


def machine() -> dict[str, Any]:
    """What a reader needs to know of the machine."""
    import torch

    from learngene_hub import __version__
    from learngene_hub.training.loop import best_precision

    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "precision": best_precision(torch.device("cpu")),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cudnn": torch.backends.cudnn.version() if torch.cuda.is_available() else None,  # type: ignore[no-untyped-call]
        "python": platform.python_version(),
        "torch": torch.__version__,
        "learngene_hub": __version__,
    }


if __name__ == "__main__":
    main()
