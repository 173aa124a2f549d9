"""Writes the tables of README.md and of docs from the genes of the package, from docs/results, and from the code.

A table stands between the marks `<!-- table: NAME -->` and `<!-- end of the table -->`; all else stays as it is.

    python -m docs.tables
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from types import MappingProxyType

from docs.fields import protocol_rows, recipe_rows
from docs.paired import by_task, difference
from learngene_hub.data.splits import PRESETS, title_of
from learngene_hub.evaluation.starts import BASELINES
from learngene_hub.gene.config import GeneConfig
from learngene_hub.gene.folder import read_config
from learngene_hub.gene.listing import list_learngenes
from learngene_hub.gene.names import PREFIX, shipped_folder, shipped_genes
from learngene_hub.report import numbers
from learngene_hub.report.findings import ranked, standing
from learngene_hub.report.results import LEARNGENE, SCRATCH, Results, StartResult, Summary

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"
PAGES = (
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("evolve", "evaluate", "finetune", "first-steps")),
    *sorted(RESULTS.glob("*.md")),
)
FEW_SHOT, PHOTOS = "few-shot", (20, 100)
RIVALS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "the whole pre-trained network (`pretrained`)": ("pretrained",),
        "a thin network of the gene's shape, on as many images (`narrow`)": ("narrow",),
        "the same, for as many FLOPs (`narrow-flops`)": ("narrow-flops",),
        "a thin network of an even shape, of as many parameters (`narrow-even`)": ("narrow-even",),
        "the best slice of the pre-trained network in the gene's shape (`...-slice`)": tuple(
            one for one in BASELINES if "-slice" in one
        ),
        "weights chosen from a wider network (`weight-selection`)": ("weight-selection",),
        "the gene's evolution without mutation (`gtl-no-mutation`)": ("gtl-no-mutation",),
    }
)
_TABLE = re.compile(r"(<!-- table: ([a-z0-9 -]+) -->\n).*?(<!-- end of the table -->)", re.DOTALL)


def gene_results(name: str) -> dict[str, Results]:
    """Name of the file without its end -> committed results of the gene called `name`, the card's order."""
    folder = RESULTS / name.removeprefix(PREFIX)
    return {path.stem: Results.load(path) for path in sorted(folder.glob("*.json"))}


def judged_by_all() -> list[str]:
    """The genes of the package that were judged by other protocols too."""
    return [name for name in shipped_genes() if len(gene_results(name)) > 1]


def filled(text: str) -> str:
    """The page `text` with all its tables made anew."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{_table(found[2])}\n\n{found[3]}", text)


def _table(name: str) -> str:
    kind, _, argument = name.partition(" ")
    return _grid(TABLES[kind](argument))


def _worth(_: str) -> Iterable[Sequence[str]]:
    """The genes of the package, with what a reader needs first: gain, and lead over whole and thin networks."""
    rivals = dict(list(RIVALS.items())[:2])
    yield "gene and its card", "evolved on", "MB", "gain over scratch", *(f"lead over {one}" for one in rivals), "tasks"
    for gene in list_learngenes():
        folder, found = shipped_folder(gene.name), gene_results(gene.name)[FEW_SHOT]
        leads = (_clear(_mine(found).gain[found.headline]), *(_lead(found, starts) for starts in rivals.values()))
        link = f"[`{gene.name}`](model_cards/{folder.name}.md)"
        yield link, _data(read_config(folder)), f"{gene.megabytes:.1f}", *leads, str(found.tasks)


def _demo(_: str) -> Iterable[Sequence[str]]:
    """What `make demo` printed."""
    results = Results.load(RESULTS / "demo.json")
    yield (
        "start",
        f"accuracy, %, {results.tasks} tasks of novel classes",
        "gain over scratch",
        "learning rate",
        "inherited",
    )
    for one in ranked(results.descendants[0], results.headline):
        gain = numbers.points(one.gain[results.headline]) if one.gain else ""
        accuracy = numbers.accuracy(one.measures[results.headline])
        yield one.start, accuracy, gain, numbers.rate(one.lr), f"{numbers.percent(one.inherited)} %"


def _photos(_: str) -> Iterable[Sequence[str]]:
    """Photos of novel classes of CIFAR-FS, fine-tuned with a gene and without."""
    yield (
        "photos per class",
        "with the gene, %",
        "from scratch, %",
        "test images",
        "seconds",
        "all numbers",
    )
    for count in PHOTOS:
        found = json.loads((RESULTS / f"photos-{count}.json").read_text(encoding="utf-8"))
        accuracies = (numbers.percent(found[start]["test_accuracy"]) for start in (LEARNGENE, SCRATCH))
        link = f"[photos-{count}.json](results/photos-{count}.json)"
        yield str(count), *accuracies, str(found["data"]["images"]["test"]), f"{found['seconds']:.0f}", link


def _leads(_: str) -> Iterable[Sequence[str]]:
    """By how much every gene of the package is ahead of each alternative, of slices the best."""
    found = {name: gene_results(name)[FEW_SHOT] for name in shipped_genes()}
    yield "gain, or lead of the gene, over", *(f"`{name}`" for name in found)
    yield "scratch", *(_clear(_mine(one).gain[one.headline]) for one in found.values())
    for rival, starts in RIVALS.items():
        yield rival, *(_lead(one, starts) for one in found.values())
    yield "*tasks*", *(str(one.tasks) for one in found.values())
    yield "*minutes of evolution* (+ of the gene that it began from)", *map(_minutes, found)


def _minutes(name: str) -> str:
    origin = read_config(shipped_folder(name)).origin
    assert origin is not None
    costs = [origin.cost, *(one.origin.cost for one in origin.ancestors if one.origin)]
    return " + ".join(f"{cost.seconds / 60:.0f}" for cost in costs)


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
    yield "start", "what it inherits", "learning rate", "accuracy, %", "gain over scratch", "lead of the gene", *_COSTS
    for one in ranked(results.descendants[0], measure):
        gain = numbers.points(one.gain[measure]) if one.gain else ""
        lead = numbers.points(one.lead[measure]) if one.lead else ""
        accuracy = numbers.accuracy(one.measures[measure])
        yield _bold(one.start), one.description, numbers.rate(one.lr), accuracy, gain, lead, *_cost(one)


def _more(_: str) -> Iterable[Sequence[str]]:
    """What other measurements of every gene say: one row a question, one column a gene."""
    names = [name.removeprefix(PREFIX) for name in judged_by_all()]
    yield "question", *(f"`{PREFIX}{name}`" for name in names)
    yield "share of the whole pre-trained network's gain", *(_share(name, LEARNGENE) for name in names)
    yield "the same share of a thin network of the gene's shape", *(_share(name, "narrow") for name in names)
    yield "share of its gain that the gene keeps in a wider and deeper network", *(_kept(name) for name in names)
    yield "version 2 minus version 1", *(_paired(name, f"{name}-1/few-shot") for name in names)
    yield "after 5 steps, minus scratch after 60", *(_quick(name) for name in names)
    for target in ("other photos", "digits"):
        yield f"gain over scratch on {target}", *(_transferred(name, target) for name in names)


def _share(name: str, start: str) -> str:
    results = gene_results(PREFIX + name)[FEW_SHOT]
    mine, whole = (results.descendants[0].start(one).gain[results.headline] for one in (start, "pretrained"))
    return f"{100 * mine.mean / whole.mean:.0f} %"


def _kept(name: str) -> str:
    """The gain in a wider network by that in one of the gene's size, on the tasks that both have."""
    found, own = gene_results(PREFIX + name)["wider"], gene_results(PREFIX + name)[FEW_SHOT]
    gains = [gain_on_common_tasks(*pair) for pair in ((found, own), (own, found))]
    return f"{100 * gains[0] / gains[1]:.0f} %"


def gain_on_common_tasks(results: Results, other: Results) -> float:
    """The mean gain of the gene over scratch on those tasks of `results` that `other` has, as a fraction."""
    mine, scratch = (by_task(results, start, results.headline) for start in (LEARNGENE, SCRATCH))
    common = mine.keys() & by_task(other, LEARNGENE, other.headline).keys()
    return fmean(mine[task] - scratch[task] for task in common)


def _paired(name: str, older: str) -> str:
    mine, theirs = gene_results(PREFIX + name)[FEW_SHOT], Results.load(RESULTS / f"{older}.json")
    return _bold_points(difference(mine, LEARNGENE, mine.headline, theirs, LEARNGENE, theirs.headline))


def _quick(name: str) -> str:
    found = gene_results(PREFIX + name)
    scratch = found[FEW_SHOT]
    return _bold_points(difference(found["instinct"], LEARNGENE, "5", scratch, SCRATCH, scratch.headline))


def _transferred(name: str, target: str) -> str:
    found = gene_results(PREFIX + name)
    key = "transfer-digits" if target == "digits" else next(one for one in found if one in _PHOTO_TRANSFERS)
    return _clear(_mine(found[key]).gain[found[key].headline])


def _bold_points(found: tuple[str, int]) -> str:
    """A difference in words, bold where its interval does not hold zero."""
    mean, half = (abs(float(part.replace(numbers.MINUS, "-"))) for part in found[0].split(" ± "))
    return f"**{found[0]}**" if mean > half else found[0]


def _others(name: str) -> Iterable[Sequence[str]]:
    """The gene `name` in every protocol but the first: scratch, the gene, its gain and leads, after every measure."""
    others = {key: results for key, results in gene_results(PREFIX + name).items() if key != FEW_SHOT}
    judged = {one.start for results in others.values() for one in results.descendants[0].starts}
    rivals = [one for one in ("narrow", "pretrained") if one in judged]
    leads = (f"lead over {one}" for one in rivals)
    yield "data", "protocol", "descendant", "measured", "scratch, %", "learngene, %", "gain", *leads, "tasks", "numbers"
    for key, results in others.items():
        yield from ((*row, f"[{key}.json]({name}/{key}.json)") for row in _rows_of(results, rivals))


def _rows_of(results: Results, rivals: Sequence[str]) -> Iterable[Sequence[str]]:
    protocol = results.protocol["name"]
    if "steps" in results.protocol["changed"]:
        protocol += f" of {results.protocol['steps']} steps"
    for descendant in results.descendants:
        scratch, mine = descendant.start(SCRATCH), descendant.start(results.genes[0].start)
        leads = {one.start: one.lead for one in descendant.starts if one.lead}
        for measure, accuracy in mine.measures.items():
            yield (
                PRESETS[results.data].title if results.data in PRESETS else title_of(results.data),
                protocol,
                f"width {descendant.width:g}, depth {descendant.depth}",
                f"{measure} steps" if measure.isdigit() else measure,
                numbers.accuracy(scratch.measures[measure]),
                numbers.accuracy(accuracy),
                numbers.points(mine.gain[measure]),
                *(numbers.points(leads[one][measure]) if one in leads else "" for one in rivals),
                str(results.tasks),
            )


_PHOTO_TRANSFERS = ("transfer-mini", "transfer-cifar-fs")
_COSTS = ("images", "FLOPs", "seconds")
TABLES: Mapping[str, Callable[[str], Iterable[Sequence[str]]]] = MappingProxyType(
    {
        "leads": _leads,
        "worth": _worth,
        "demo": _demo,
        "photos": _photos,
        "starts": _starts,
        "more": _more,
        "others": _others,
        "recipe": recipe_rows,
        "protocols": protocol_rows,
    }
)


def _mine(results: Results) -> StartResult:
    return results.descendants[0].start(results.genes[0].start)


def _data(config: GeneConfig) -> str:
    assert config.origin is not None
    return f"{title_of(config.origin.data.source)}, {config.image_size} pixels"


def _cost(one: StartResult) -> tuple[str, str, str]:
    cost = one.cost
    if not one.is_cost_known:
        return "unknown", "unknown", "unknown"
    flops = numbers.flops(cost.flops) if cost.flops or not cost.images else "unknown"  # as older versions left it
    return numbers.count(cost.images), flops, numbers.seconds(cost.seconds)


def _bold(start: str) -> str:
    return f"**{start}**" if start == LEARNGENE else start


def _grid(rows: Iterable[Sequence[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |".replace("| --- |", "|---|").replace(" --- |", "---|") for line in lines)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
