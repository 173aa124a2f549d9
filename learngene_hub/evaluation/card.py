"""The model card of an evaluated gene: the results, those where it is behind too, stand between two marks.

Only the text between the marks and the `model-index` of the metadata are replaced. All other text and all other keys of
the metadata stay.
"""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard

from learngene_hub.core.errors import GeneFileError, LearngeneError
from learngene_hub.core.files import write_text
from learngene_hub.core.plain_text import one_line
from learngene_hub.gene.card import ACCURACY_METRIC, BEGIN, END, GAIN_METRIC, check_card, render_card
from learngene_hub.gene.config import GeneConfig
from learngene_hub.gene.folder import CARD_NAME, EVALUATIONS, PICTURE_NAME, RECIPE_NAME, read_config
from learngene_hub.report import numbers
from learngene_hub.report.evaluation import Evaluation, section
from learngene_hub.report.plots.canvas import write_png
from learngene_hub.report.plots.evaluation import draw_starts
from learngene_hub.report.results import HELD_OUT, Results, Summary
from learngene_hub.report.sentences import network_words

_SECTION = "\n## Limits\n"  # a card without marks gets its evaluation before this one


def write_evaluation(folder: Path, paths: Sequence[Path]) -> Path:
    """Replace the results in the card of the gene in `folder`; the path of the card.

    `paths` are `results.json` files or their folders, at least one. A missing card is created. The pictures are drawn
    again from the results, and older ones removed.

    Raises:
        GeneFileError: results are about another gene or on held-out classes, the metadata of the card cannot be read,
            or the marks are not one begin and one end.
        LearngeneError: a path has no results, there are too many, or matplotlib is not installed.
    """
    if len(paths) > len(EVALUATIONS):
        raise LearngeneError(f"expected at most {len(EVALUATIONS)} results for a card, found {len(paths)}")
    config = read_config(folder)
    evaluations = [_read(path, config, picture) for path, picture in zip(paths, EVALUATIONS, strict=False)]
    card = ModelCard(_text(folder, config))
    card.data["model_name"] = card.data.get("model_name") or one_line(_name(folder, config))
    try:
        card.data["eval_results"] = [result for evaluation in evaluations for result in _eval_results(evaluation)]
        found = section(evaluations)
    except (LookupError, TypeError, ValueError) as error:
        raise GeneFileError(f"{paths[0]}: results that do not fit together ({error!r:.80}): evaluate again") from None
    card.text = _replaced(card.text, found, folder / CARD_NAME)
    for evaluation in evaluations:
        results = evaluation.results
        title = f"{results.data}, {results.test_classes}"
        write_png(draw_starts(results.descendants[0], results.headline, title=title), folder / evaluation.picture)
    write_text(folder / CARD_NAME, str(card))
    for name in EVALUATIONS[len(evaluations) :]:
        (folder / name).unlink(missing_ok=True)
    return folder / CARD_NAME


def _read(path: Path, config: GeneConfig, picture: str) -> Evaluation:
    results = Results.load(path)
    starts = [gene.start for gene in results.genes if config.sha256 and gene.sha256 == config.sha256]
    if not starts:
        others = ", ".join(f"{gene.name} (sha256 {gene.sha256[:12]})" for gene in results.genes) or "none"
        raise GeneFileError(
            f"{path}: expected results of this gene (sha256 {config.sha256[:12] or 'missing'}), found results of "
            f"{others}; run `learngene evaluate` with this gene"
        )
    if results.split == HELD_OUT:
        raise GeneFileError(
            f"{path}: expected results on novel classes, found results on held-out classes, which recipes are tuned "
            "on; run `learngene evaluate` with another --protocol"
        )
    return Evaluation(results, starts[0], picture)


def _text(folder: Path, config: GeneConfig) -> str:
    path = folder / CARD_NAME
    if path.is_file():
        return check_card(path.read_bytes(), path)
    picture, recipe = ((folder / name).is_file() for name in (PICTURE_NAME, RECIPE_NAME))
    return render_card(config, name=_name(folder, config), picture=picture, recipe=recipe)


def _name(folder: Path, config: GeneConfig) -> str:
    return config.origin.recipe if config.origin else folder.resolve().name


def _eval_results(evaluation: Evaluation) -> list[EvalResult]:
    """Accuracy of the gene's descendants and their gain over scratch, in percent and points."""
    results, measure = evaluation.results, evaluation.results.headline
    values: list[tuple[str, str, Summary]] = [(ACCURACY_METRIC, "accuracy, %", evaluation.mine.measures[measure])]
    if measure in evaluation.mine.gain:
        values.append((GAIN_METRIC, "gain over scratch, points", evaluation.mine.gain[measure]))
    where = one_line(f"{results.setting}; {network_words(results.descendants[0])}")
    return [
        EvalResult(
            task_type="image-classification",
            task_name="Image Classification",
            dataset_type=one_line(results.data),
            # No protocol: the Hub shows one name per data set.
            dataset_name=one_line(f"{results.data}, {results.test_classes}"),
            metric_type=metric,
            metric_name=f"{words}, {where}" + ("" if value.ci95 is None else f", ± {numbers.percent(value.ci95)}"),
            metric_value=round(100 * value.mean, 2),
        )
        for metric, words, value in values
    ]


def _replaced(text: str, evaluation: str, path: Path) -> str:
    """The card's text with `evaluation` between its marks; they are put before the limits, or at the end, if absent."""
    between = _between(text, path)
    if between is not None:
        return f"{text[: between[0]]}\n{evaluation}\n{text[between[1] :]}"
    marked = f"## Evaluation\n\n{BEGIN}\n{evaluation}\n{END}\n"
    before, limits_title, after = text.partition(_SECTION)
    return f"{before.rstrip()}\n\n{marked}{limits_title}{after}"


def _between(text: str, path: Path) -> tuple[int, int] | None:
    """Where the text between the marks begins and ends; None where there are no marks."""
    begins, ends = text.count(BEGIN), text.count(END)
    if begins == ends == 0:
        return None
    between = text.find(BEGIN) + len(BEGIN), text.find(END)
    if (begins, ends) != (1, 1) or between[0] > between[1]:
        raise GeneFileError(
            f"{path}: expected one mark {BEGIN!r} and one {END!r} after it, found {begins} and {ends}; mend "
            "the card, or remove all marks"
        )
    return between
