"""Writes the tables of README.md and of docs from the genes of the package, from docs/results, and from the code.

A table stands between the marks `<!-- table: NAME -->` and `<!-- end of the table -->`; all else stays as it is.

    python -m docs.tables
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from docs.fields import protocol_rows, recipe_rows
from learngene_hub.data import PRESETS, title_of
from learngene_hub.evaluation import BASELINES
from learngene_hub.gene.config import GeneConfig
from learngene_hub.gene.folder import WEIGHTS_NAME, read_config
from learngene_hub.gene.names import PREFIX, shipped_folder, shipped_index
from learngene_hub.report import numbers
from learngene_hub.report.findings import find, ranked, standing
from learngene_hub.report.results import LEARNGENE, SCRATCH, Results, StartResult, Summary

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"
PAGES = (ROOT / "README.md", *(ROOT / "docs" / name for name in ("evidence.md", "evolve.md", "evaluate.md")))
FEW_SHOT = "few-shot"
RIVALS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "the whole pre-trained network": ("pretrained",),
        "a thin network of the gene's shape, on as many images": ("narrow",),
        "the same, for as many FLOPs": ("narrow-flops",),
        "the best slice of the pre-trained network in the gene's shape": tuple(
            one for one in BASELINES if "-slice" in one
        ),
        "weights chosen from a wider network": ("weight-selection",),
        "the gene's evolution without selection": ("gtl-no-selection",),
        "the gene's evolution without mutation": ("gtl-no-mutation",),
    }
)
_TABLE = re.compile(r"(<!-- table: ([a-z0-9 -]+) -->\n).*?(<!-- end of the table -->)", re.DOTALL)


def gene_results(name: str) -> dict[str, Results]:
    """Name of the file without its end -> committed results of the gene called `name`, the card's order."""
    folder = RESULTS / name.removeprefix(PREFIX)
    return {path.stem: Results.load(path) for path in sorted(folder.glob("*.json"))}


def filled(text: str) -> str:
    """The page `text` with all its tables made anew."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{_table(found[2])}\n\n{found[3]}", text)


def _table(name: str) -> str:
    kind, _, argument = name.partition(" ")
    return _grid(TABLES[kind](argument))


def _genes(_: str) -> Iterable[Sequence[str]]:
    """The genes of the package."""
    yield "gene", "network", "data", "MB", "gain over scratch", "card"
    for name in shipped_index():
        results, folder = gene_results(name)[FEW_SHOT], shipped_folder(name)
        config, card = read_config(folder), f"model_cards/{folder.name}.md"
        megabytes = (folder / WEIGHTS_NAME).stat().st_size / 1e6
        gain = f"{numbers.points(_mine(results).gain[results.headline])} points"
        yield f"`{name}`", _network(config), _data(config), f"{megabytes:.1f}", gain, f"[card]({card})"


def _leads(_: str) -> Iterable[Sequence[str]]:
    """By how much every gene of the package is ahead of each alternative, of slices the best."""
    found = {name: gene_results(name)[FEW_SHOT] for name in shipped_index()}
    yield "lead of the gene over", *(f"`{name}`" for name in found)
    yield "scratch", *(_clear(_mine(one).gain[one.headline]) for one in found.values())
    for rival, starts in RIVALS.items():
        yield rival, *(_lead(one, starts) for one in found.values())
    yield "*tasks*", *(str(one.tasks) for one in found.values())
    yield "*minutes of evolution, one core*", *(f"{_mine(one).cost.seconds / 60:.0f}" for one in found.values())


def _lead(results: Results, starts: Sequence[str]) -> str:
    """Of the gene over the best of `starts`."""
    best = [one for one in ranked(results.descendants[0], results.headline) if one.start in starts][:1]
    return _clear(best[0].lead[results.headline]) if best else "not measured"


def _clear(difference: Summary) -> str:
    """In points, bold where its interval does not hold zero."""
    return numbers.points(difference) if standing(difference) == "level" else f"**{numbers.points(difference)}**"


def _starts(name: str) -> Iterable[Sequence[str]]:
    """All starts beside the gene called `name`, the best first."""
    results = gene_results(PREFIX + name)[FEW_SHOT]
    measure = results.headline
    yield "start", "what it inherits", "learning rate", "accuracy, %", "gain over scratch", "lead of learngene", *_COSTS
    for one in ranked(results.descendants[0], measure):
        gain = numbers.points(one.gain[measure]) if one.gain else ""
        lead = numbers.points(one.lead[measure]) if one.lead else ""
        accuracy = numbers.accuracy(one.measures[measure])
        yield _bold(one.start), one.description, numbers.rate(one.lr), accuracy, gain, lead, *_cost(one)


def _summary(_: str) -> Iterable[Sequence[str]]:
    """Every start beside every gene, and an earlier version with more of them: accuracy, and the lead of the gene."""
    found = {f"`{name}`": gene_results(name)[FEW_SHOT] for name in shipped_index()}
    for folder in sorted(RESULTS.glob("*-[0-9]")):
        name, _, version = folder.name.rpartition("-")
        earlier = gene_results(folder.name)[FEW_SHOT]
        if _names(earlier) - _names(found[f"`{PREFIX}{name}`"]):
            found[f"`{PREFIX}{name}`, version {version}"] = earlier
    by_length = sorted(found.values(), key=lambda results: -len(results.descendants[0].starts))
    names = {one.start: None for results in by_length for one in ranked(results.descendants[0], results.headline)}
    yield "start", *found
    for start in names:
        yield _bold(start), *(_accuracy_and_lead(results, start) for results in found.values())
    yield "tasks", *(str(results.tasks) for results in found.values())


def _others(_: str) -> Iterable[Sequence[str]]:
    """Every gene in every protocol but the first: scratch, the gene, and what it gains, after every measure."""
    yield "gene", "data", "protocol", "descendant", "measured", "scratch, %", "learngene, %", "gain", "tasks"
    for name in shipped_index():
        for key, results in gene_results(name).items():
            if key != FEW_SHOT:
                yield from _rows_of(name, results)


def _rows_of(name: str, results: Results) -> Iterable[Sequence[str]]:
    protocol = results.protocol["name"]
    if "steps" in results.protocol["changed"]:
        protocol += f" of {results.protocol['steps']} steps"
    for descendant in results.descendants:
        scratch, mine = descendant.start(SCRATCH), descendant.start(results.genes[0].start)
        body = f"width {descendant.width:g}, depth {descendant.depth}"
        for measure, accuracy in mine.measures.items():
            yield (
                f"`{name}`",
                PRESETS[results.data].title if results.data in PRESETS else title_of(results.data),
                protocol,
                body,
                f"{measure} steps" if measure.isdigit() else measure,
                numbers.accuracy(scratch.measures[measure]),
                numbers.accuracy(accuracy),
                numbers.points(mine.gain[measure]),
                str(results.tasks),
            )


_COSTS = ("images", "FLOPs", "seconds")
TABLES: Mapping[str, Callable[[str], Iterable[Sequence[str]]]] = MappingProxyType(
    {
        "genes": _genes,
        "leads": _leads,
        "starts": _starts,
        "summary": _summary,
        "others": _others,
        "recipe": recipe_rows,
        "protocols": protocol_rows,
    }
)


def _mine(results: Results) -> StartResult:
    return results.descendants[0].start(results.genes[0].start)


def _names(results: Results) -> set[str]:
    return {one.start for one in results.descendants[0].starts}


def _network(config: GeneConfig) -> str:
    width = "" if config.width == 1 else f", {numbers.percent(config.width).removesuffix('.0')} % of the width"
    return f"{config.network}{width}"


def _data(config: GeneConfig) -> str:
    assert config.origin is not None
    return f"{title_of(config.origin.data.source)}, {config.image_size} pixels"


def _cost(one: StartResult) -> tuple[str, str, str]:
    cost = one.cost
    return numbers.count(cost.images), numbers.flops(cost.flops), numbers.seconds(cost.seconds)


def _accuracy_and_lead(results: Results, start: str) -> str:
    one, measure = find(results.descendants[0], start), results.headline
    if one is None:
        return "not measured"
    lead = f" ({numbers.points(one.lead[measure])})" if one.lead else ""
    return numbers.accuracy(one.measures[measure]) + lead


def _bold(start: str) -> str:
    return f"**{start}**" if start == LEARNGENE else start


def _grid(rows: Iterable[Sequence[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |".replace("| --- |", "|---|").replace(" --- |", "---|") for line in lines)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
