"""What results mean, in sentences: where a gene is ahead, level or behind."""

from collections.abc import Mapping
from typing import Any

from learngene_hub.report.findings import lead_over, measure_words, ranked, rivals, standing
from learngene_hub.report.numbers import accuracy, count, points, size
from learngene_hub.report.results import HELD_OUT, LEARNGENE, DescendantResult, Results, StartResult, Summary


def network_words(descendant: DescendantResult) -> str:
    """A kind of network: `lg_vgg11, width 0.5, depth 11`."""
    return f"{descendant.network}, width {descendant.width:g}, depth {descendant.depth}"


def tasks_words(tasks: int) -> str:
    """How many tasks a mean is over."""
    return "one task, so without an interval" if tasks == 1 else f"mean of {count(tasks)} tasks ± 95 % CI"


def headline(results: Results, descendant: DescendantResult, gene: str) -> list[str]:
    """Accuracy of `descendant` with the learngene called `gene`, its gain, and its lead over the best other start."""
    mine, measure = descendant.start(gene), results.headline
    body = f"{descendant.network} (width {descendant.width:g}, depth {descendant.depth})"
    reached = f"an accuracy of {accuracy(mine.measures[measure])} % {measure_words(measure)}"
    sentence = f"With {_the(gene)}, {body} reaches {reached}. That is {_gain(mine.gain[measure])}"
    return [f"{sentence} ({tasks_words(results.tasks)}).", _beside_rivals(results, descendant, gene)]


def _the(gene: str) -> str:
    return f"the {gene}" if gene == LEARNGENE else gene


def _gain(gain: Summary) -> str:
    if standing(gain) == "level":
        return f"not clearly different from training from scratch: {points(gain)} points"
    return f"{size(gain)} points {'above' if gain.mean >= 0 else 'below'} training from scratch"


def _beside_rivals(results: Results, descendant: DescendantResult, gene: str) -> str:
    measure = results.headline
    if best := rivals(descendant, gene, measure)[:1]:
        return _best(best[0], lead_over(descendant, gene, best[0], measure))
    if any(rivals(other, gene, measure) for other in results.descendants):
        return "In this network, it was compared only with scratch."
    return "It was compared only with scratch."


def _best(rival: StartResult, lead: Summary) -> str:
    match standing(lead):
        case "ahead":
            return f"It is ahead of the best other start, {rival.start}, by {size(lead)} points."
        case "behind":
            return f"It is behind the best other start, {rival.start}, by {size(lead)} points."
        case "level":
            return f"It is level with the best other start, {rival.start}: its lead is {points(lead)} points."
        case _:
            return (
                f"The best other start, apart from scratch, is {rival.start}. The lead over {rival.start} is "
                f"{points(lead)} points, without an interval."
            )


def not_won(results: Results, gene: str) -> list[str]:
    """A sentence for every start, in every descendant, that the learngene called `gene` is not clearly ahead of."""
    sentences = []
    for descendant in results.descendants:
        for other in ranked(descendant, results.headline):
            lead = lead_over(descendant, gene, other, results.headline)
            if other.start != gene and standing(lead) != "ahead":
                where = f" ({network_words(descendant)})" if len(results.descendants) > 1 else ""
                sentences.append(f"{_not_ahead(_the(gene), other.start, lead)}{where}.")
    return sentences


def _not_ahead(gene: str, other: str, lead: Summary) -> str:
    match standing(lead):
        case "behind":
            return f"{other} is ahead of {gene} by {size(lead)} points"
        case "level":
            return f"{other} is level: the lead of {gene} is {points(lead)} points"
        case _:
            return f"{other}: the lead of {gene} is {points(lead)} points, without an interval"


def limits(results: Results) -> list[str]:
    """What these results do not show, as far as it can be told from them."""
    genes, classes = len(results.genes), "classes" if results.protocol.get("transfer") else results.test_classes
    sentences = [
        "Only one gene was evaluated, on one task: there is no interval."
        if genes == results.tasks == 1
        else f"{'Only one gene was' if genes == 1 else f'{genes} genes were'} evaluated. The intervals show how "
        "much results differ between tasks, not between repeated evolutions.",
        f"All tasks are drawn from {len(results.classes)} {classes} of one data set, {results.data}. They share "
        "classes and images, so they are not fully independent.",
        "The intervals are not corrected for the number of starts that are compared.",
    ]
    if results.split == HELD_OUT:
        sentences.append(
            "The gene was selected on held-out classes: compare it with genes that were evolved in the same way, not "
            "with other starts."
        )
    if results.protocol.get("transfer"):
        sentences.append("Some classes may show the same objects as classes that the gene has seen, under other names.")
    if results.tasks == 1 < genes:
        sentences.append("There is only one task, so there is no interval.")
    starts = results.descendants[0].starts
    if any(start.tuning for start in starts):
        sentences.append(
            "The learning rates were chosen on a few tasks of held-out classes. The intervals do not cover the effect "
            "of this choice."
        )
    if edge := rates_at_the_edge(results.descendants[0]):
        sentences.append(
            f"The best learning rate is the highest or the lowest that was tried for {', '.join(edge)}: a rate beyond "
            "it may be better."
        )
    if len({start.cost.device for start in starts if start.cost.device}) > 1:
        sentences.append("The starts were made on different devices: compare their FLOPs rather than their seconds.")
    return sentences


def rates_at_the_edge(descendant: DescendantResult) -> list[str]:
    """Starts whose learning rate is the highest or the lowest of those that were tried."""
    tried = [(start, [float(lr) for lr in start.tuning]) for start in descendant.starts if len(start.tuning) > 1]
    return [start.start for start, rates in tried if start.lr in {min(rates), max(rates)}]


def constants(nested: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Constants as `section.key` -> text, without the aim, which titles show, and what a fixed `lr` leaves unused.

    >>> constants({"ways": 5, "sgd": {"lr": None}})
    {'ways': '5', 'sgd.lr': 'none'}
    """
    unused = {"aim"} if nested.get("lr") is None else {"aim", "rates", "tuning_tasks"}
    texts: dict[str, str] = {}
    for key, value in nested.items():
        if key in unused:
            continue
        if isinstance(value, Mapping):
            texts |= constants(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            texts[prefix + key] = ", ".join(map(str, value)) or "none"
        else:
            texts[prefix + key] = "none" if value is None else str(value)
    return texts
