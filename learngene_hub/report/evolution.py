"""`evolution.html`: an evolution as one self-contained page."""

from collections.abc import Sequence

from learngene_hub.core.markdown import markdown_template
from learngene_hub.report import numbers
from learngene_hub.report.lineage import Record, line_of
from learngene_hub.report.page import render_page
from learngene_hub.report.plots.canvas import png
from learngene_hub.report.plots.evolution import draw_evolution
from learngene_hub.report.plots.search import draw_search

EVOLUTION_NAME = "evolution.html"


def render_evolution(rows: Sequence[Record], *, title: str, chosen: int) -> str:
    """The page of an evolution as HTML, which loads no other files; `chosen` is the individual with the result so far.

    Raises:
        LearngeneError: matplotlib is not installed.
    """
    search = rows[0].get("search")
    figures = {"fitness.png": draw_evolution(rows, chosen=chosen)}
    if search:
        figures["shape.png"] = draw_search(search)
    template = markdown_template("learngene_hub.report", "evolution.md.jinja", *numbers.WORDS, is_trimmed=True)
    text = template.render(
        title=title,
        sentences=_sentences(rows, chosen),
        facts=_facts(rows, chosen),
        search_words=search and _search_words(search),
        generations=_generations(rows),
        failed=any(row["failed"] for row in rows),
    )
    return render_page(title, text, {name: png(figure) for name, figure in figures.items()})


def _search_words(search: Record) -> str:
    """What the search found, in a sentence."""
    best, mean, even = search["best"], search["mean"], search["even"]
    parents = len(mean["parents"])
    name = f"mean of the best {parents}" if parents > 1 else "best random shape"
    fitness = f"{numbers.percent(best['fitness'])} % on new tasks, by which it was selected"
    if best == even:
        outcome = f"The even shape, the same share of every group, is better than the {name}: {fitness}."
    else:
        beside = "" if even["fitness"] is None else f"; an even shape has {numbers.percent(even['fitness'])} %"
        outcome = f"The {name} has a fitness of {fitness}{beside}."
    return (
        f"{numbers.count(len(search['shapes']))} shapes were compared, in networks of width {search['width']:g}, with "
        f"{numbers.count(search['images'])} training images in all. {outcome} The first "
        "generation inherits the slice of that shape."
    )


def _generations(rows: Sequence[Record]) -> list[dict[str, float]]:
    """The table: number from 1, counts of individuals, fitness in [0, 1], and the cost of that generation alone."""
    search = rows[0].get("search") or {"images": 0, "seconds": 0.0}
    before = [(search["images"], search["seconds"]), *((row["images"], row["seconds"]) for row in rows)]
    return [
        {
            "generation": row["generation"] + 1,
            "born": len(row["individuals"]),
            "survived": sum(record["survived"] for record in row["individuals"]),
            "failed": row["failed"],
            "best": row["best"],
            "mean": row["mean"],
            "images": row["images"] - images,
            "seconds": row["seconds"] - seconds,
        }
        for row, (images, seconds) in zip(rows, before[:-1], strict=True)
    ]


def _find(rows: Sequence[Record], id_: int) -> tuple[Record, Record]:
    return next((record, row) for row in rows for record in row["individuals"] if record["id"] == id_)


def _sentences(rows: Sequence[Record], chosen: int) -> list[str]:
    record, row = _find(rows, chosen)
    line = sorted(line_of(chosen, rows) - {chosen}, reverse=True)
    first = ""
    if ancestor := rows[0].get("ancestor"):
        cost = "cost is not known"
        if ancestor["images"] is not None:
            cost = f"{numbers.count(ancestor['images'])} training images are not counted here"
        first = f" The evolution started from the gene {ancestor['name']}, whose {cost}."
    return [
        f"The result is the learngene of an individual created in generation {row['generation'] + 1}, "
        f"with a fitness of {numbers.percent(record['fitness'])} %.",
        f"It has {numbers.count(len(line))} ancestor{'' if len(line) == 1 else 's'}.{first}",
    ]


def _facts(rows: Sequence[Record], chosen: int) -> list[tuple[str, str]]:
    """Figures, each with what it says."""
    individuals = [record for row in rows for record in row["individuals"]]
    survived, failed = sum(record["survived"] for record in individuals), sum(row["failed"] for row in rows)
    fate = f"individual{'s' if len(individuals) > 1 else ''} in {numbers.count(len(rows))} "
    fate += f"generation{'s' if len(rows) > 1 else ''}, {numbers.count(survived)} survived"
    seconds = max(rows[-1]["seconds"], 0.001)  # what is rounded to
    speed = f"{numbers.count(rows[-1]['images'] / seconds)} images per second; {rows[-1]['engine']['place']}"
    if retried := sum(row["engine"]["retried"] for row in rows):
        speed += f"; work of lost workers repeated {numbers.count(retried)} time{'s' if retried > 1 else ''}"
    return [
        (f"{numbers.percent(_find(rows, chosen)[0]['fitness'])} %", "fitness of the learngene"),
        (numbers.count(len(individuals)), fate + (f", {numbers.count(failed)} failed" if failed else "")),
        (numbers.count(rows[-1]["images"]), "training images, including those of critics"),
        (f"{numbers.seconds(seconds)} s", speed),
    ]
