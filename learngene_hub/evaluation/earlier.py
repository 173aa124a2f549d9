"""The results that a folder holds already: new ones may add to them, and never write over others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learngene_hub.core.errors import RunError
from learngene_hub.core.files import sweep
from learngene_hub.evaluation.protocols import Protocol
from learngene_hub.evaluation.starts import Start
from learngene_hub.genome.birth import Body
from learngene_hub.report.results import RESULTS_NAME, Results
from learngene_hub.report.sentences import network_words

# Constants of a protocol that may differ from those of earlier results; `queries` is compared once images are counted.
MAY_CHANGE = {"tasks", "changed", "aim", "queries"}
NAMES = {"name": "protocol", "version": "protocol version", "measured_at": "measured steps", "lr": "learning rate"}
SHORT = 60  # most characters of an old and a new value in a message; longer ones are left out


@dataclass(frozen=True)
class EarlierResults:
    """The results in `folder` before an evaluation; None: there are none."""

    folder: Path | None
    results: Results | None

    @classmethod
    def of(cls, folder: Path | None) -> "EarlierResults":
        """Read the results in `folder`, after removing what killed runs left; only while the folder is claimed.

        Raises:
            LearngeneError: the file of results cannot be read.
        """
        if folder is None:
            return cls(None, None)
        sweep(folder)
        return cls(folder, Results.load(folder) if (folder / RESULTS_NAME).exists() else None)

    def refuse_other(self, about: Mapping[str, Any]) -> None:
        """Raise an error if the earlier results differ in any key of `about` that they record.

        Raises:
            RunError: these results are of something else.
        """
        if (old := self.results) is None:
            return
        theirs = constants_of(old.protocol) | {"data": old.data, "classes": ", ".join(old.classes)}
        theirs |= {"genes": named_hashes([gene.sha256 for gene in old.genes]), "queries": old.protocol.get("queries")}
        theirs |= {"images": old.images} if old.images else {}  # which older versions did not record
        pairs = {key: (theirs[key], mine) for key, mine in about.items() if theirs.get(key, mine) != mine}
        if (protocol := NAMES["name"]) in pairs:
            pairs = {protocol: pairs[protocol]}  # which the others follow from
        others = [
            f"{key} ({_told(there)}, not {_told(mine)})" if len(f"{there}{mine}") <= SHORT else key
            for key, (there, mine) in pairs.items()
        ]
        if others:
            raise RunError(f"{self.folder}: holds results that differ in {', '.join(others)}; give another --out")

    def refuse_less(
        self, protocol: Protocol, *, seeds: Sequence[int], starts: Sequence[Start | str], bodies: Sequence[Body]
    ) -> None:
        """Raise an error if the earlier results have more starts, networks, seeds or tasks than the new ones will have.

        Of baselines, which are not made yet, `starts` has the names.

        Raises:
            RunError: these results have more.
        """
        if (old := self.results) is None:
            return
        asked = {words for one in starts for words in ([one] if isinstance(one, str) else [one.name, one.description])}
        kept = [start for descendant in old.descendants for start in descendant.starts]
        lost = [*dict.fromkeys(start.start for start in kept if not asked & {start.start, start.description})]
        sizes = {(body.network, body.width, body.depth) for body in bodies}
        lost += [network_words(one) for one in old.descendants if (one.network, one.width, one.depth) not in sizes]
        lost += [f"seed {seed}" for seed in old.seeds if seed not in seeds]
        if (tasks := old.tasks // len(old.seeds)) > protocol.tasks:
            lost.append(f"{tasks} tasks per seed")
        if lost:
            more = "; ".join(lost)
            raise RunError(f"{self.folder}: holds results of {more} too; ask for these again, or give another --out")


def constants_of(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """The constants of a protocol that results must share to stand in one folder, by the names in a message."""
    return {NAMES.get(key, key): value for key, value in protocol.items() if key not in MAY_CHANGE}


def _told(value: object) -> object:
    """A constant as a message shows it."""
    return "none given" if value is None else value


def named_hashes(hashes: Sequence[str]) -> str:
    """The hashes of genes as a message shows them."""
    return ", ".join(f"sha256 {sha256[:12]}" for sha256 in hashes)
