"""Files of a run, an evaluation or a fine-tuning that are damaged or made by somebody hostile."""

import json
import os

import pytest
import torch
from image_tables import Listener
from listener import Listener as Stopping
from photo_folders import write_tuned
from results_examples import example
from safetensors.torch import load_file, save

from learngene_hub import LearngeneError, evolve, from_learngene
from learngene_hub.core.errors import GeneFileError, NetworkError, RunError
from learngene_hub.evaluation.cache import ResultsCache
from learngene_hub.evaluation.measuring import Unit
from learngene_hub.evaluation.starts import scratch
from learngene_hub.evolution.checkpoint import load_state
from learngene_hub.evolution.page import write_page
from learngene_hub.finetuning import Predictor
from learngene_hub.gene.card import check_card
from learngene_hub.gene.listing import read_gain
from learngene_hub.genome.birth import Body
from learngene_hub.hub.push import marked
from learngene_hub.networks import save_timm_folder
from learngene_hub.report.results import Results

STATE = "state.safetensors"


def test_a_state_that_is_cut_short_or_altered_or_no_file_is_refused_in_one_line(tiny, tiny_copy):
    path = tiny_copy / STATE
    content = path.read_bytes()
    for damaged, why in (
        (content[:-1] + bytes([content[-1] ^ 1]), "altered since it was saved"),
        (content.replace(b'"fitness": 0.', b'"fitness": 1.', 1), "altered since it was saved"),
        (content[: len(content) // 2], "not fully covered"),
        (b"", "[Hh]eader"),
        (save({"run": torch.zeros(1)}), r"\(parts are missing or unknown\)"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=rf"state\.safetensors: damaged, or of another .*{why}.*in another folder$"):
            evolve(tiny(), out=tiny_copy, resume=True)
    os.truncate(path, 10**12)
    with pytest.raises(RunError, match=r"larger than 100000 MB"):
        load_state(tiny_copy)
    path.unlink()
    with pytest.raises(RunError, match=r"expected a run with its state\.safetensors, found evolution"):
        evolve(tiny(), out=tiny_copy, resume=True)


def test_metrics_that_were_edited_are_written_again_when_a_run_goes_on(tiny, tmp_path):
    recipe = tiny("evolution.population=2", "evolution.generations=2")
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evolve(recipe, out=tmp_path, reporter=Stopping(stop_after=1))
    before = (tmp_path / "metrics.jsonl").read_text()
    (tmp_path / "metrics.jsonl").write_text("mine")
    evolve(recipe, out=tmp_path, resume=True)
    assert (tmp_path / "metrics.jsonl").read_text().startswith(before)


def edited(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


BODY = Body("lg_vgg11", 0.1, 11)


def results_cache(folder, reporter, start=scratch(), **constants):  # noqa: B008
    return ResultsCache(folder, start, BODY, constants, {}, reporter=reporter)


@pytest.fixture
def two_units(tmp_path):
    """Two measured units, and the file they are kept in."""
    units = [Unit("novel", 0, number, 0.1) for number in range(2)]
    for unit in units:
        results_cache(tmp_path, Listener()).enter(unit, {"60": 0.5})
    return units, next((tmp_path / "tasks").iterdir())


@pytest.mark.parametrize(
    "line", [b"{}", b"\xff", b"[" * 100_000, b"null", b'{"role": "novel", "measured": {"60": 0.9}}']
)
def test_a_damaged_line_of_results_is_measured_again_and_told_once(tmp_path, two_units, line):
    (first, second), path = two_units
    path.write_bytes(line + b"\n" + path.read_bytes().splitlines()[1] + b"\n")
    listener = Listener()
    found = results_cache(tmp_path, listener)
    assert first not in found
    assert found[second] == {"60": 0.5}
    assert listener.warnings == [f"{path}: 1 line is damaged or edited; these results are measured again"]
    assert second in results_cache(tmp_path, listener)
    assert len(listener.warnings) == 1


def test_an_edited_accuracy_and_a_line_of_other_constants_are_measured_again(tmp_path, two_units):
    (first, second), path = two_units
    edited(path, '"60": 0.5', '"60": 0.9')
    results_cache(tmp_path, Listener(), steps=3).enter(second, {"60": 0.9})
    (other,) = set((tmp_path / "tasks").iterdir()) - {path}
    path.write_bytes(path.read_bytes() + other.read_bytes())
    listener = Listener()
    found = results_cache(tmp_path, listener)
    assert first not in found
    assert found[second] == {"60": 0.5}
    assert "2 lines are damaged or edited" in listener.warnings[0]


def test_a_network_whose_kernels_are_channels_last_is_told_how_to_be_kept(tiny_run, tmp_path):
    network = from_learngene(tiny_run, num_classes=2).to(memory_format=torch.channels_last)
    with pytest.raises(NetworkError, match=r"call `\.to\(memory_format=torch\.contiguous_format\)`"):
        save_timm_folder(network, tmp_path, class_names=["a", "b"])
    network.to(memory_format=torch.contiguous_format)
    save_timm_folder(network, tmp_path, class_names=["a", "b"])
    kept = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(tensor, kept[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(("classes", "fault"), [(2, "found 2 and 1 names"), (0, "found 0 and 1 names")])
def test_what_could_not_be_loaded_again_is_not_kept(tiny_run, tmp_path, classes, fault):
    with pytest.raises(NetworkError, match=fault):
        save_timm_folder(from_learngene(tiny_run, num_classes=classes), tmp_path, class_names=["a"])
    assert not list(tmp_path.iterdir())


@pytest.fixture
def tuned(tiny_run, tmp_path):
    return write_tuned(tmp_path / "tuned", from_learngene(tiny_run, num_classes=3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "resnet50"}, "cannot be loaded.*expected one of .*"),
        ({"width": 50.0}, "cannot be loaded.*size mismatch"),
        ({"width": 1e9}, "cannot be loaded.*has no width"),
        ({"depth": 10**9}, "cannot be loaded.*has no depth"),
        ({"std": [0, 0, 0]}, "std.0: Input should be greater than 0"),
        ({"image_size": 10**6}, "image_size: Input should be less than or equal to 4096"),
    ],
)
def test_a_network_of_another_kind_than_its_weights_is_refused(tuned, changes, message):
    record = json.loads((tuned / "finetune.json").read_text())
    record["network"] |= changes
    (tuned / "finetune.json").write_text(json.dumps(record))
    with pytest.raises(NetworkError, match=message):
        Predictor.load(tuned)


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda tree: tree["descendants"][0].update(starts=[]), "at least 1 item"),
        (lambda tree: tree["descendants"][0]["starts"][0].update(tuning={"x": 0.5, "y": 0.4}), "tuning"),
        (lambda tree: tree["descendants"][0]["starts"][0]["measures"]["60"].update(mean=1e300), "mean"),
    ],
)
def test_results_that_no_evaluation_can_have_are_refused(tmp_path, alter, message):
    tree = json.loads(example().model_dump_json())
    alter(tree)
    (tmp_path / "results.json").write_text(json.dumps(tree))
    with pytest.raises(LearngeneError, match=message):
        Results.load(tmp_path)


def test_a_start_that_results_do_not_have_is_refused_in_a_line():
    with pytest.raises(LearngeneError, match="lg_vgg11: expected one of the starts learngene, scratch, found 'narow'"):
        example(("learngene", "scratch")).descendants[0].start("narow")


@pytest.mark.parametrize(
    "metadata",
    ["x: " + "[" * 800, "x: !!timestamp oops", "a: &a [*a]", "x: 1\nx: 2", "x: 2024-99-99", "model-index: 7"],
)
def test_metadata_that_would_surprise_are_refused_where_it_counts_and_passed_over_elsewhere(tmp_path, metadata):
    card = f"---\nlibrary_name: learngene\n{metadata}\n---\n# Gene\n"
    (tmp_path / "README.md").write_text(card)
    with pytest.raises(GeneFileError, match="expected YAML metadata"):
        check_card(card.encode(), tmp_path / "README.md")
    assert read_gain(tmp_path) == (None, None)


def test_a_card_of_many_megabytes_is_refused(tmp_path):
    with pytest.raises(GeneFileError, match="at most 200,000 characters"):
        check_card(b"x" * 200_001, tmp_path / "README.md")


def test_line_ends_of_any_kind_are_marked_once(tmp_path):
    card = b"# Gene\r\r\nold Mac\rWindows\r\n"
    assert marked(marked(card)) == marked(card)
    assert check_card(card, tmp_path / "README.md") == "# Gene\n\nold Mac\nWindows\n"


@pytest.mark.parametrize("filler", [" ", "\n", "<!-- "])
def test_marking_a_card_takes_time_in_proportion_to_its_length(filler):
    card = (filler * 400_000 + "x").encode()  # with a search from every place it would take hours
    assert marked(marked(card)) == marked(card)


def test_the_page_of_a_damaged_run_is_refused(tiny_copy):
    (tiny_copy / STATE).write_text("{}\n")
    with pytest.raises(RunError, match="damaged"):
        write_page(str(tiny_copy), tiny_copy / "page.html")


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[0].pop("best"),
        lambda rows: rows[1].update(individuals="x"),
        lambda rows: rows[0].update(individuals=[]),
        lambda rows: rows[1]["individuals"][0].update(parents=[77]),
        lambda rows: rows[1].update(images={}),
        lambda rows: rows[0].update(search={"groups": ["a"] * 2000}),
        lambda rows: rows[2].update(engine=None),
        lambda rows: rows.insert(0, []),
        lambda rows: rows[-1].update(images=10**400, seconds=0.5),
    ],
)
def test_the_page_of_a_gene_with_damaged_rows_is_refused_in_one_line(gene_copy, change):
    rows = [json.loads(line) for line in (gene_copy / "metrics.jsonl").read_text().splitlines()]
    change(rows)
    (gene_copy / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(RunError, match=r"gene: damaged rows of metrics\.jsonl \(.*\)$"):
        write_page(str(gene_copy), gene_copy / "page.html")


@pytest.mark.parametrize("line", [b"\xff\xfe", b"[" * 100_000, b"{"])
def test_the_page_of_a_gene_whose_rows_are_no_json_is_refused_in_one_line(gene_copy, line):
    (gene_copy / "metrics.jsonl").write_bytes(line)
    with pytest.raises(RunError, match=r"metrics\.jsonl: damaged rows \(.*\)$"):
        write_page(str(gene_copy), gene_copy / "page.html")


def test_the_page_of_a_run_whose_gene_is_in_no_row_is_refused(tiny_copy):
    path = tiny_copy / "gene/config.json"
    config = json.loads(path.read_text())
    config["origin"]["lineage"][0]["id"] = 77
    path.write_text(json.dumps(config))
    with pytest.raises(RunError, match=r"damaged rows of metrics\.jsonl \(LookupError\('no individual 77'\)\)"):
        write_page(str(tiny_copy), tiny_copy / "page.html")
