import pytest
from results_examples import example

from learngene_hub import LearngeneError, evolve
from learngene_hub.report.plots import canvas
from learngene_hub.report.plots.canvas import write_png
from learngene_hub.report.plots.evaluation import draw_curves, draw_starts, draw_sweep
from learngene_hub.report.plots.evolution import draw_evolution
from learngene_hub.report.plots.finetuning import draw_confusion, draw_training

pytestmark = pytest.mark.drawn


def drawn(figure):
    """The texts of a figure that was drawn; a formula in them that is none would be refused."""
    figure.draw_without_rendering()
    return {text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text"))}


def person(id_, parents, fitness, *, survived=True):
    return {"id": id_, "parents": parents, "fitness": fitness, "survived": survived}


def row(generation, people):
    return {"generation": generation, "mean": 0.5, "individuals": people}


def test_an_evolution_is_drawn_in_percent_failed_individuals_included():
    rows = [
        row(0, [person(0, [], 0.5), person(1, [], None, survived=False)]),
        row(1, [person(2, [0], 0.4, survived=False), person(3, [0], 0.6), person(4, [0], 0.7)]),
    ]
    figure = draw_evolution(rows, chosen=4)
    others, line, eliminated, survivors = figure.axes[0].collections
    assert sorted(map(tuple, survivors.get_offsets().tolist())) == [(1, 50), (2, 60), (2, 70)]
    assert eliminated.get_offsets().tolist() == [[2, 40]]
    assert (len(line.get_segments()), len(others.get_segments())) == (1, 2)
    assert {"eliminated", "result and its ancestors"} <= drawn(figure)


def test_a_legend_names_only_what_is_in_the_picture():
    names = drawn(draw_evolution([row(0, [person(0, [], 0.5)])], chosen=0))
    assert "survives its tournament" in names
    assert not {"eliminated", "result and its ancestors"} & names


def test_without_matplotlib_an_evolution_is_refused_before_it_runs(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(canvas, "find_spec", lambda name: None)
    with pytest.raises(LearngeneError, match=r"pictures need matplotlib: pip install \"learngene-hub\[evolve\]\""):
        evolve(tiny(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_picture_is_written_as_png(tmp_path):
    write_png(draw_starts(example(("learngene", "scratch")).descendants[0], "60", title="x"), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_bars_start_at_zero_are_as_long_as_the_accuracies_and_the_best_is_on_top():
    first = example().descendants[0]
    axes = draw_starts(first, "60").axes[0]
    found = {name.get_text(): bar for name, bar in zip(axes.get_yticklabels(), axes.patches, strict=True)}
    assert axes.get_xlim() == (0, 100)
    for one in first.starts:
        assert (found[one.start].get_x(), found[one.start].get_width()) == (0, 100 * one.measures["60"].mean)
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == sorted(widths)


def test_thirteen_starts_are_drawn_and_a_dollar_in_a_name_is_no_formula():
    first = example().descendants[0]
    odd = first.starts[2].model_copy(update={"start": "$x^"})
    changed = first.model_copy(update={"starts": (*first.starts[:2], odd, *first.starts[3:])})
    assert {r"\$x^", r"\$"} <= drawn(draw_starts(changed, "60", title="$"))


def test_classes_with_dollars_in_their_names_are_drawn():
    assert r"a\$b\$" in drawn(draw_confusion([[3, 1], [0, 4]], ["a$b$", r"$\frac$"], title="x"))


def test_starts_of_one_task_are_drawn_without_interval():
    names = drawn(draw_starts(example(("learngene", "scratch"), tasks=1).descendants[0], "60"))
    assert not [name for name in names if "±" in name]


@pytest.mark.parametrize(("steps", "scale"), [((5, 20, 60), "log"), ((5, 20), "linear"), ((0, 10), "linear")])
def test_curves_are_drawn_over_near_and_far_steps(steps, scale):
    figure = draw_curves(example(steps=steps).descendants[0], steps)
    assert figure.axes[0].get_xscale() == scale
    assert {*map(str, steps), "learngene", "scratch", "full"} <= drawn(figure)


def test_a_sweep_is_drawn_one_row_for_widths_and_one_for_depths():
    results = example(("learngene:a", "learngene:b", "scratch", "full"), shapes=((0.5, 11), (1.0, 11), (0.5, 13)))
    figure = draw_sweep(results)
    axes = figure.axes
    assert [one.get_xlabel().split()[0] for one in axes] == ["width", "width", "depth", "depth"]
    assert [[line.get_label() for line in one.lines] for one in axes[1::2]] == 2 * [
        ["learngene:a", "learngene:b", "scratch"]
    ]


def test_names_in_any_script_are_drawn_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr("learngene_hub.report.plots.finetuning.fonts", lambda: ("DejaVu Sans",))
    names = ["百合", "बैंगन", "каланхоэ", "زهرة", "백합", "rose"]
    figure = draw_confusion([[1] * 6] * 6, names, title="x")
    write_png(figure, tmp_path / "confusion.png")  # warnings are errors


def test_the_accuracy_on_test_images_is_a_line_where_there_are_any():
    row = {"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.5}
    outcome = {"best_epoch": 1, "epochs": [row]}
    assert "learngene, test: 62.5 %" in drawn(
        draw_training({"learngene": outcome | {"test_accuracy": 0.625}}, title="x")
    )
    assert "test" not in drawn(draw_training({"learngene": outcome}, title="x"))


def test_a_letter_is_drawn_in_an_installed_font_that_has_it(monkeypatch):
    monkeypatch.setattr(canvas, "_EAST_ASIAN", ("no such font", "STIXGeneral"))  # comes with matplotlib
    canvas.fonts.cache_clear()
    figure = draw_confusion([[1]], ["の"], title="x")
    canvas.fonts.cache_clear()
    assert "の" in drawn(figure)  # warnings are errors


def test_one_generation_has_one_tick_and_a_mark_for_its_mean():
    (axes,) = draw_evolution([row(0, [person(0, [], 0.5)])], chosen=0).axes
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]
    assert [line.get_marker() for line in axes.lines if line.get_label() == "mean of the generation"] == ["_"]
