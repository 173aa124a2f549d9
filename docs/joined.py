"""Adds the starts of a later evaluation of a gene to a file of results, where both measured the same.

    python -m docs.joined docs/results/NAME/few-shot.json LATER/results.json

Both need the same gene, tasks, surroundings (processors where both tell them) and kind of descendant, and every start
they share must have the same accuracies, task by task: else the later ones may not stand beside the earlier. That is
also what says whether another version of the protocol, which may choose learning rates otherwise, makes a difference.
"""

import sys
from pathlib import Path

from learngene_hub.report.results import DescendantResult, Results

BODY = ("network", "width", "depth", "parameters")
SAME = ("data", "classes", "seeds", "tasks")
LATER = ("processor",)  # of the environment, which older results do not tell


def joined(first: Results, later: Results) -> Results:
    """`first` with the starts that only `later` has.

    Raises:
        ValueError: the two did not measure the same.
    """
    for key in SAME:
        if getattr(first, key) != getattr(later, key):
            raise ValueError(f"expected equal {key} in both files, found {getattr(first, key)}, {getattr(later, key)}")
    if _environment(first, later) != _environment(later, first):
        raise ValueError(f"expected equal environment in both files, found {first.environment}, {later.environment}")
    for key in (first.protocol.keys() & later.protocol.keys()) - {"version"}:
        if (mine := first.protocol[key]) != (theirs := later.protocol[key]):
            raise ValueError(f"expected equal {key} of the protocol in both files, found {mine}, {theirs}")
    if len(first.descendants) != 1 or len(later.descendants) != 1:
        raise ValueError("expected one kind of descendant in each file, found several")
    if [one.sha256 for one in first.genes] != [one.sha256 for one in later.genes]:
        raise ValueError("expected both files to be of the same gene, found others")
    together = _joined(first.descendants[0], later.descendants[0])
    return first.model_copy(update={"descendants": (together,), "environment": _environment(first, later)})


def _environment(results: Results, other: Results) -> dict[str, str | int]:
    """That of `results`, without what `other` is too old to tell."""
    told = results.environment.items()
    return {key: value for key, value in told if key not in LATER or key in other.environment}


def _joined(mine: DescendantResult, theirs: DescendantResult) -> DescendantResult:
    if any(getattr(mine, key) != getattr(theirs, key) for key in BODY):
        raise ValueError(f"expected descendants of equal {', '.join(BODY)} in both files, found others")
    known = {one.start: one for one in mine.starts}
    shared = [one for one in theirs.starts if one.start in known]
    for one in shared:
        if one.measures != known[one.start].measures:
            raise ValueError(f"expected {one.start} to have the same accuracies in both files, found others")
    new = [one for one in theirs.starts if one.start not in known]
    return mine.model_copy(update={"starts": (*mine.starts, *new)})


if __name__ == "__main__":
    file, more = map(Path, sys.argv[1:])
    whole = joined(Results.load(file), Results.load(more))
    whole.save(file)
    sys.stdout.write(f"{file}: {len(whole.descendants[0].starts)} starts\n")
