"""`evolution.html`: an evolution as one file that needs nothing else, with a tree of descent that can be followed."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

from learngene_hub.report import numbers
from learngene_hub.report.lineage import Record, everyone, line_of, tree
from learngene_hub.report.page import page_template
from learngene_hub.report.plots import draw_evolution, draw_search, svg_address

EVOLUTION_NAME = "evolution.html"
_SCRIPT = "evolution.js"


@dataclass(frozen=True)
class Generation:
    """One generation in the table.

    Attributes:
        generation: from 1.
        born: individuals, without a recombinant.
        survived: winners of tournaments.
        failed: individuals whose training diverged.
        best: highest fitness, in [0, 1].
        mean: of all that did not fail.
        images: training images of this generation.
        seconds: wall time of this generation; of a founder taken over from another run, that of the other run too.
    """

    generation: int
    born: int
    survived: int
    failed: int
    best: float
    mean: float
    images: int
    seconds: float


def render_evolution(rows: Sequence[Record], *, title: str, chosen: int) -> str:
    """The page of an evolution as HTML; it loads nothing, and runs the one script that is in it.

    Args:
        rows: of `metrics.jsonl`, one a generation, at least one.
        title: name of the evolution.
        chosen: id of the individual whose learngene is the result so far.

    Raises:
        LearngeneError: matplotlib is not installed.
    """
    search = rows[0].get("search")
    script = files("learngene_hub.report").joinpath(_SCRIPT).read_text(encoding="utf-8")
    return (
        page_template("evolution.html.jinja").render(
            title=title,
            script=script,
            script_hash=b64encode(sha256(script.encode()).digest()).decode(),
            sentences=_sentences(rows, chosen),
            tiles=_tiles(rows, chosen),
            search=search and svg_address(draw_search(search)),
            search_words=search and _search_words(search),
            fitness=svg_address(draw_evolution(rows, chosen=chosen)),
            tree=tree(rows, chosen),
            generations=_generations(rows),
            failed=any(row["failed"] for row in rows),
        )
        + "\n"
    )


def _search_words(search: Record) -> str:
    """What the search found, in a sentence."""
    best, even = search["best"], search["even"]
    found = f"{numbers.percent(best['fitness'])} % on fresh tasks, by which it was selected"
    if best == even:
        found = f"The even shape, the same share of every group, was the best: {found}."
    else:
        beside = "" if even["fitness"] is None else f"; an even shape has {numbers.percent(even['fitness'])} %"
        found = f"The best has a fitness of {found}{beside}."
    return (
        f"{numbers.count(len(search['shapes']))} shapes were compared, in networks of width {search['width']:g}, with "
        f"{numbers.count(search['images'])} training images in all. {found}"
    )


def _generations(rows: Sequence[Record]) -> list[Generation]:
    search = rows[0].get("search") or {"images": 0, "seconds": 0.0}
    before = [(search["images"], search["seconds"]), *((row["images"], row["seconds"]) for row in rows)]
    return [
        Generation(
            generation=row["generation"] + 1,
            born=len(row["individuals"]),
            survived=sum(one["survived"] for one in row["individuals"]),
            failed=row["failed"],
            best=row["best"],
            mean=row["mean"],
            images=row["images"] - images,
            seconds=row["seconds"] - seconds,
        )
        for row, (images, seconds) in zip(rows, before[:-1], strict=True)
    ]


def _find(rows: Sequence[Record], id_: int) -> tuple[Record, Record]:
    return next((one, row) for row in rows for one in everyone(row) if one["id"] == id_)


def _sentences(rows: Sequence[Record], chosen: int) -> list[str]:
    one, row = _find(rows, chosen)
    line = sorted(line_of(chosen, rows) - {chosen}, reverse=True)
    ancestor = rows[0].get("ancestor")
    first = f" Its line began from the gene {_ancestor_words(ancestor)}." if ancestor else ""
    more = f" and {numbers.count(len(line) - 12)} more" if len(line) > 12 else ""
    return [
        f"The result is the learngene of individual {one['id']}, born in generation {row['generation'] + 1}, with a "
        f"fitness of {numbers.percent(one['fitness'])} %.",
        (f"Its ancestors, youngest first: {', '.join(map(str, line[:12]))}{more}." if line else "It has no ancestors.")
        + first,
    ]


def _ancestor_words(ancestor: Record) -> str:
    """The gene that a line began from, and what it cost."""
    if ancestor["images"] is None:
        return f"{ancestor['name']}, whose cost is not known"
    return f"{ancestor['name']}, whose {numbers.count(ancestor['images'])} training images are not counted here"


def _tiles(rows: Sequence[Record], chosen: int) -> list[tuple[str, str]]:
    individuals = [one for row in rows for one in row["individuals"]]
    survived, failed = sum(one["survived"] for one in individuals), sum(row["failed"] for row in rows)
    fate = f"individual{'s' if len(individuals) > 1 else ''} in {numbers.count(len(rows))} "
    fate += f"generation{'s' if len(rows) > 1 else ''}, {numbers.count(survived)} survived"
    seconds = max(rows[-1]["seconds"], 0.001)  # what is rounded to
    return [
        (f"{numbers.percent(_find(rows, chosen)[0]['fitness'])} %", "fitness of the learngene"),
        (numbers.count(len(individuals)), fate + (f", {numbers.count(failed)} failed" if failed else "")),
        (numbers.count(rows[-1]["images"]), "training images, those of critics included"),
        (
            f"{numbers.seconds(seconds)} s",
            f"{numbers.count(rows[-1]['images'] / seconds)} images per second{_workers(rows)}",
        ),
    ]


def _workers(rows: Sequence[Record]) -> str:
    """Who trained, as far as the rows say: those of older versions do not."""
    engines = [row["engine"] for row in rows if row.get("engine")]
    retried = sum(engine.get("retried", 0) for engine in engines)
    words = [str(engines[-1]["place"])] if engines else []
    words += [f"work of lost workers done again {numbers.count(retried)} times"] if retried else []
    return "".join(f"; {one}" for one in words)
