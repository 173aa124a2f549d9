import html
import re

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData
from results_examples import example
from typer.testing import CliRunner

from learngene_hub import Learngene, LearngeneError
from learngene_hub.cli.main import app
from learngene_hub.core.errors import GeneFileError
from learngene_hub.core.markdown import escaped
from learngene_hub.evaluation.card import write_evaluation
from learngene_hub.gene.card import BEGIN, END, addressed_card, render_card
from learngene_hub.gene.folder import read_config, read_gene
from learngene_hub.gene.sharing import files_to_push
from learngene_hub.report.numbers import accuracy, points
from learngene_hub.report.results import RESULTS_NAME, Results

STARTS = ("learngene", "scratch", "narrow", "full", "shuffled")


@pytest.fixture
def judge(gene_copy, tmp_path):
    """Writes results of this gene (or of the `sha256` given) and gives their folder."""

    def write(*starts, sha256=None, name="results", place=0, **options):
        results = example(starts or STARTS, **options)
        sha256 = read_config(gene_copy).sha256 if sha256 is None else sha256
        genes = list(results.genes)
        genes[place] = genes[place].model_copy(update={"sha256": sha256})
        results.model_copy(update={"genes": tuple(genes)}).save(tmp_path / name / "results.json")
        return tmp_path / name

    return write


def between(folder):
    """The evaluation in the card of the gene in `folder`."""
    return (folder / "README.md").read_text().partition(BEGIN)[2].partition(END)[0].strip()


def test_the_metadata_holds_accuracy_and_gain_and_the_hub_library_reads_them(gene_copy, judge):
    write_evaluation(gene_copy, [judge()])
    card = ModelCard.load(gene_copy / "README.md")
    mine = example(STARTS).descendants[0].start("learngene")
    found = {one.metric_type: one for one in card.data.eval_results}
    assert found["accuracy"].metric_value == round(100 * mine.measures["60"].mean, 2)
    assert found["accuracy_gain_over_scratch"].metric_value == round(100 * mine.gain["60"].mean, 2)
    assert {one.task_type for one in found.values()} == {"image-classification"}
    assert {one.dataset_type for one in found.values()} == {"owner/cifar-fs"}
    assert card.data.model_name == "tiny"
    assert card.data.library_name == "learngene"


def test_the_metadata_survives_the_hub_librarys_own_loader(gene_copy, judge):
    write_evaluation(gene_copy, [judge()])
    block = yaml.safe_load((gene_copy / "README.md").read_text().split("---\n")[1])
    assert ModelCardData(**block).to_dict() == block
    assert [one["type"] for one in block["model-index"][0]["results"][0]["metrics"]] == [
        "accuracy",
        "accuracy_gain_over_scratch",
    ]


def test_the_card_has_every_start_with_the_numbers_of_the_results(gene_copy, judge):
    write_evaluation(gene_copy, [judge()])
    lines = between(gene_copy).splitlines()
    for one in example(STARTS).descendants[0].starts:
        name = f"**{one.start}**" if one.start == "learngene" else one.start
        row = next(line for line in lines if line.startswith(f"| {name} |"))
        for value in (accuracy(one.measures["60"]), one.description, f"{one.cost.images:,}"):
            assert f"| {value} |" in row
        for differences in (one.gain, one.lead):
            assert not differences or f"| {points(differences['60'])} |" in row


def test_the_card_says_where_the_gene_is_not_clearly_ahead(gene_copy, judge):
    write_evaluation(gene_copy, [judge()])
    text = between(gene_copy)
    told = text[text.index("Where the learngene is not") : text.index("### What these")].strip().splitlines()[2:]
    assert told[0].startswith("- full is ahead of the learngene by ")
    assert told[1].startswith("- narrow is level: ")
    assert not any("shuffled" in line or "scratch" in line for line in told)
    write_evaluation(gene_copy, [judge("learngene", "scratch", "shuffled")])
    assert "The learngene is ahead of every other start that was evaluated." in between(gene_copy)
    write_evaluation(gene_copy, [judge("learngene", "scratch")])
    assert "It was compared only with scratch." in between(gene_copy)
    assert "every other start" not in between(gene_copy)


def test_writing_twice_gives_the_same_bytes(gene_copy, judge):
    results = judge(steps=(5, 60))
    write_evaluation(gene_copy, [results])
    before = {path.name: path.read_bytes() for path in gene_copy.iterdir()}
    write_evaluation(gene_copy, [results / "results.json"])
    assert {path.name: path.read_bytes() for path in gene_copy.iterdir()} == before
    assert before["evaluation.png"].startswith(b"\x89PNG")
    read_gene(gene_copy)


def test_what_a_person_wrote_survives(gene_copy, judge):
    path = gene_copy / "README.md"
    text = path.read_text().replace("library_name: learngene\n", "library_name: learngene\nlicense: mit\n")
    text = text.replace("## Limits\n", "## Thanks\n\nTo *everyone*.  \n\n## Limits\n") + "\n\nMy own end. \n"
    path.write_text(text)
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    for _ in range(2):
        write_evaluation(gene_copy, [judge()])
        found = path.read_text()
        assert found.split(BEGIN)[0].split("---\n", 2)[2] == before.split("---\n", 2)[2]
        assert found.split(END)[1] == after
        assert ModelCard(found).data.license == "mit"


def test_a_card_without_marks_gets_its_evaluation_before_the_limits(gene_copy, judge):
    path = gene_copy / "README.md"
    path.write_text("---\nlicense: mit\n---\n\n# Mine\n\nWords.\n\n## Limits\n\nMany.\n")
    write_evaluation(gene_copy, [judge()])
    first = path.read_text()
    assert first.index("Words.") < first.index(BEGIN) < first.index(END) < first.index("## Limits\n\nMany.\n")
    write_evaluation(gene_copy, [judge()])
    assert path.read_text() == first


def test_a_missing_card_is_made(gene_copy, judge):
    (gene_copy / "README.md").unlink()
    write_evaluation(gene_copy, [judge()])
    assert "# tiny" in (gene_copy / "README.md").read_text()


def test_several_results_stand_one_after_the_other(gene_copy, judge):
    write_evaluation(gene_copy, [judge(), judge(steps=(200,), name="long")])
    text = between(gene_copy)
    assert text.index("20 images per class, 60 steps\n") < text.index("20 images per class, 200 steps\n")
    assert (gene_copy / "evaluation-2.png").is_file()
    assert len(ModelCard.load(gene_copy / "README.md").data.eval_results) == 4


def test_fewer_results_leave_no_older_picture_and_too_many_are_refused(gene_copy, judge):
    write_evaluation(gene_copy, [judge(), judge(steps=(200,), name="long")])
    write_evaluation(gene_copy, [judge()])
    assert [path.name for path in gene_copy.glob("evaluation*")] == ["evaluation.png"]
    with pytest.raises(LearngeneError, match="expected at most 9 results for a card, found 10"):
        write_evaluation(gene_copy, [judge()] * 10)


def test_a_gene_that_is_the_second_of_its_results_gets_its_own_numbers(gene_copy, judge):
    results = judge("learngene:a", "learngene:b", "scratch", "full", place=1)
    write_evaluation(gene_copy, [results])
    mine = example(("learngene:a", "learngene:b", "scratch", "full")).descendants[0].start("learngene:b")
    text = between(gene_copy)
    assert "| **learngene:b** |" in text
    assert f"reaches an accuracy of {accuracy(mine.measures['60'])} %" in text
    assert "full: the lead of learngene:b is" in text


def test_results_of_one_task_have_no_interval(gene_copy, judge):
    write_evaluation(gene_copy, [judge(tasks=1)])
    rows = [line for line in between(gene_copy).splitlines() if line.startswith("| ") and "±" in line]
    assert rows == []
    assert "narrow: the lead of the learngene is" in between(gene_copy)


def test_results_of_another_gene_are_refused_by_name(gene_copy, judge):
    before = (gene_copy / "README.md").read_bytes()
    with pytest.raises(
        GeneFileError, match=r"results: expected results of this gene .*found results of cifar_fs_vgg11 \(sha256 cd"
    ):
        write_evaluation(gene_copy, [judge(sha256="cd" * 32)])
    assert (gene_copy / "README.md").read_bytes() == before
    assert not (gene_copy / "evaluation.png").exists()


def test_results_on_held_out_classes_are_refused(gene_copy, judge):
    folder = judge()
    results = Results.load(folder)
    results.model_copy(update={"protocol": {**results.protocol, "split": "held-out"}}).save(folder / RESULTS_NAME)
    before = (gene_copy / "README.md").read_bytes()
    with pytest.raises(GeneFileError, match="expected results on novel classes, found results on held-out classes"):
        write_evaluation(gene_copy, [folder])
    assert (gene_copy / "README.md").read_bytes() == before


def test_edited_results_that_do_not_fit_together_are_refused_in_one_line(gene_copy, judge):
    folder = judge()
    Results.load(folder).model_copy(update={"headline": "61"}).save(folder / RESULTS_NAME)
    with pytest.raises(GeneFileError, match=r"results: results that do not fit together \(KeyError\('61'\)\)"):
        write_evaluation(gene_copy, [folder])


def test_results_that_are_not_there_are_refused(gene_copy, tmp_path):
    with pytest.raises(LearngeneError, match=r"no such file; expected the results\.json"):
        write_evaluation(gene_copy, [tmp_path / "nowhere"])


def test_pictures_stay_where_the_card_cannot_be_written(gene_copy, judge, monkeypatch):
    write_evaluation(gene_copy, [judge(), judge(name="more")])
    pictures = sorted(gene_copy.glob("evaluation*.png"))
    monkeypatch.setattr("learngene_hub.evaluation.card.write_text", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        write_evaluation(gene_copy, [judge()])
    assert sorted(gene_copy.glob("evaluation*.png")) == pictures
    assert len(pictures) == 2


@pytest.mark.parametrize("broken", [BEGIN, END, f"{END}\n{BEGIN}", f"{BEGIN}\n{BEGIN}\n{END}"])
def test_marks_that_do_not_match_are_refused(gene_copy, judge, broken):
    (gene_copy / "README.md").write_text(f"---\nlicense: mit\n---\n# Mine\n{broken}\n")
    with pytest.raises(GeneFileError, match=r"expected one mark .* after it, found"):
        write_evaluation(gene_copy, [judge()])


def test_metadata_that_cannot_be_read_is_refused(gene_copy, judge):
    (gene_copy / "README.md").write_text("---\nlicense: [mit\n---\n# Mine\n")
    with pytest.raises(GeneFileError, match="expected YAML metadata between two lines of ---, found a fault"):
        write_evaluation(gene_copy, [judge()])


def test_hostile_names_are_plain_text_in_the_card(gene_copy, judge):
    results = judge()
    path = results / "results.json"
    path.write_text(
        path.read_text().replace('"start": "narrow"', f'"start": "a|b <script> {END.replace(chr(34), "")}"')
    )
    write_evaluation(gene_copy, [results])
    text = between(gene_copy)
    assert "<script>" not in text
    assert r"| a\|b &lt;script&gt;" in text
    assert (gene_copy / "README.md").read_text().count(END) == 1


def test_the_command_writes_the_card(gene_copy, judge):
    done = CliRunner().invoke(app, ["card", str(gene_copy), "--results", str(judge())])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{gene_copy / 'README.md'}\n"
    assert "### owner/cifar-fs, few-shot: 5-way, 20 images per class, 60 steps" in between(gene_copy)


def test_the_command_wants_results():
    done = CliRunner().invoke(app, ["card", "gtl/vgg11-cifar-fs-half"])
    assert done.exit_code == 2
    assert "Missing option '--results'" in done.stderr


def test_the_command_does_not_change_the_card_of_a_shipped_gene(judge):
    refused = CliRunner().invoke(app, ["card", "gtl/vgg11-cifar-fs-half", "--results", str(judge())])
    assert refused.exit_code == 1
    assert "comes with the package, so its card is not changed" in " ".join(refused.stderr.split())


def test_a_card_made_for_a_gene_without_its_picture_shows_none(gene_copy, judge):
    for name in ("README.md", "evolution.png"):
        (gene_copy / name).unlink()
    write_evaluation(gene_copy, [judge()])
    assert "](evolution.png)" not in (gene_copy / "README.md").read_text()
    assert "](recipe.yaml)" in (gene_copy / "README.md").read_text()


def test_a_gene_saved_elsewhere_is_pushed_with_a_card_that_links_nothing(gene_copy, tmp_path):
    files = files_to_push(Learngene.from_pretrained(gene_copy).save_pretrained(tmp_path / "bare"), "you/gene")
    card = files["README.md"].decode()
    assert set(re.findall(r"\]\(([^)]*)\)", card)) == {"https://arxiv.org/abs/2401.08139"}


def test_the_pushed_card_of_a_gene_of_photos_names_the_repository_in_its_commands(gene_copy):
    config = read_config(gene_copy)
    data = config.origin.data.model_copy(update={"preset": None, "source": "photos"})
    data = data.model_copy(update={"novel": data.novel[:4]})
    overrides = ("data.path=photos", "seed=1")
    photos = config.model_copy(
        update={"origin": config.origin.model_copy(update={"data": data, "overrides": overrides})}
    )
    index = "---\nmodel-index:\n- name: mine\n"
    card = addressed_card(index + render_card(photos, name="mine"), "you/gene", title="mine")
    assert card.startswith("---\nmodel-index:\n- name: you/gene\n")
    assert "\n# you/gene\n" in card
    assert "learngene evaluate you/gene --data FOLDER --ways 4 --tasks 5 --shots 10\n" in card
    assert "\nlearngene evolve recipe.yaml seed=1 data.path=FOLDER\n" in card
    assert "learngene evaluate ." not in card


@pytest.mark.parametrize("text", ["www.evil.com", "https://evil.com", "WWW.evil.com", "a@evil.com"])
def test_no_address_in_a_value_becomes_a_link(text):
    assert not re.search(r"www\.|://|@", escaped(text), re.IGNORECASE)
    assert html.unescape(escaped(text)) == text


def test_a_card_says_that_the_fitness_is_of_the_gene_before_it_was_rounded(tiny_run):
    whole = read_config(tiny_run / "gene")
    half = whole.model_copy(update={"dtype": "float16"})
    assert "of its critics on held-out classes |" in render_card(whole, name="whole")
    assert "classes, before its kernels were rounded to float16 |" in render_card(half, name="half")
