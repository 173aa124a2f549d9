"""`metrics.jsonl`: a row for every generation; the first row also tells what came before it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from learngene_hub.core.errors import RunError
from learngene_hub.core.files import homes_of, parse_json, read_inside, write_text
from learngene_hub.gene.folder import METRICS_NAME

MOST_METRICS = 10**9  # bytes: a million rows of a small population


def write_metrics(out: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the `rows` of all generations so far into the folder `out`."""
    write_text(out / METRICS_NAME, "".join(json.dumps(row) + "\n" for row in rows))


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The rows in the `folder` of a run or a gene; none if it has no such file.

    Raises:
        RunError: the file cannot be read, or is not JSON.
    """
    path = folder / METRICS_NAME
    if not path.exists():
        return []
    try:
        content = read_inside(path, homes_of(folder), most=MOST_METRICS)
        return [parse_json(line.decode()) for line in content.splitlines()]
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error})") from None
    except ValueError as error:
        raise RunError(f"{path}: damaged rows ({error})") from None
