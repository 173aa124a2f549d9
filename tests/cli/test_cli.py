import errno
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import warnings
from importlib import metadata
from pathlib import Path

import pytest
from command_line import PLAIN, commands, learngene, words
from engine_faults import WEIGHTS
from listener import Listener
from results_examples import example
from typer.testing import CliRunner

from learngene_hub import LearngeneError, __version__, evolve
from learngene_hub.cli.console import show_warnings_as_lines
from learngene_hub.cli.evaluate import _show
from learngene_hub.cli.main import app, main
from learngene_hub.evaluation.run import Descendants
from learngene_hub.evaluation.sources import Target
from learngene_hub.recipe.recipe import Recipe, shipped_recipes


@pytest.mark.parametrize("command", [*commands(), (), ("recipes",)], ids=" ".join)
def test_every_help_fits_on_a_screen_of_80_columns_and_ends_with_an_example(command):
    result = CliRunner(env=PLAIN | {"COLUMNS": "80"}).invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) < 45
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert not re.search(r"<(?!=)", result.stdout)  # <list[Path]>
    assert re.match(rf"learngene {' '.join(command)}\b", words(result.stdout).rpartition("Example: ")[2])


def test_help_shows_what_is_in_brackets():
    assert "owner/name[@revision] of the Hub" in words(learngene("info", "--help").stdout)


def test_without_a_command_the_journeys_are_told_and_every_command_in_them_exists():
    result = learngene()
    assert result.exit_code == 0
    named = set(re.findall(r"learngene ([a-z]+)", result.stdout))
    assert named == {"evolve", "evaluate", "finetune", "list"}
    assert named <= {command[0] for command in commands()}
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_a_group_of_commands_without_one_of_them_prints_its_help():
    alone = learngene("recipes")
    assert alone.exit_code == 0
    assert alone.stdout.strip() == learngene("recipes", "--help").stdout.strip()


def test_versions_are_printed_for_a_bug_report():
    first, packages, system = learngene("--version").stdout.splitlines()
    assert first == f"learngene-hub {__version__}"
    assert f"safetensors {metadata.version('safetensors')}" in packages
    assert f"Python {platform.python_version()} on " in system


def test_what_stands_in_no_file_can_be_had_as_json():
    having = {command for command in commands() if "--json" in learngene(*command, "--help").stdout}
    assert having >= {("list",), ("info",), ("predict",)}
    assert not having & {("evolve",), ("evaluate",), ("finetune",), ("recipes", "list")}


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_who_has_seen_enough_is_no_failure(unbuffered):
    command = f"{sys.executable} -m learngene_hub recipes list | true"
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=240, env=environment)
    assert done.stderr == ""


def test_a_command_does_not_linger_over_what_it_imported():
    code = (
        "import sys, gc, atexit; sys.argv = ['learngene', 'recipes', 'list']\n"
        "atexit.register(lambda: print(gc.get_freeze_count(), file=sys.stderr))\n"
        "from learngene_hub.cli.main import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert int(done.stderr) > 10_000


def test_help_does_not_import_torch():
    code = (
        "import sys; sys.argv = ['learngene', '--help']\n"
        "from learngene_hub.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = ('torch', 'timm', 'pydantic', 'numpy', 'huggingface_hub')\n"
        "sys.exit(' '.join(name for name in heavy if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_tiny_evolution_from_the_command_line(tiny_file, tmp_path):
    few = "data.classes.novel=4"
    result = learngene("evolve", tiny_file, "evolution.generations=1", few, "--out", tmp_path / "my run")
    assert result.exit_code == 0, result.output
    after = re.search(r"next: learngene (evaluate .*)", result.stderr)[1]
    run = str(tmp_path / "my run")
    asked = ["--ways", "4", "--shots", "4", "--queries", "6", "--tasks", "5"]
    assert shlex.split(after) == ["evaluate", run, *asked, "--out", f"{run}/evaluation"]
    cheap = ("--shots", 3, "--queries", 4, "--steps", 2, "--tasks", 2, "--seeds", 1, "--lr", 0.05)
    judged = learngene(*shlex.split(after), *cheap)
    assert judged.exit_code == 0, judged.output
    then = re.search(r"next: learngene (card .*)", judged.stderr)[1]
    assert learngene(*shlex.split(then)).exit_code == 0
    assert "learngene of" in result.stdout
    assert re.search(r"generation 1/1: fitness best 0\.\d+", result.stderr)
    assert (tmp_path / "my run/gene/learngene.safetensors").is_file()


def test_a_dry_run_states_the_cost_and_writes_nothing(tiny_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = learngene("evolve", tiny_file, "--dry-run")
    assert result.exit_code == 0, result.output
    for part in (
        "network",
        "gene",
        "training images",
        "training FLOPs",
        "memory",
        "checkpoint",
        "images/s",
        "estimated time",
        "MB for each worker, plus 300 MB for torch",
    ):
        assert part in " ".join(result.stdout.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("can't allocate memory: you tried to allocate 8 bytes. Error code 12", "you tried to allocate 8 bytes): free"),
        ("CUDA error: out of memory\nCUDA kernel errors might be", "CUDA error: out of memory): free"),
        (
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`",
            "CUBLAS_STATUS_ALLOC_FAILED): free",
        ),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED): free"),
        ("expected all tensors on one device", None),
    ],
)
def test_a_lack_of_memory_is_one_message_and_no_other_error_is_hidden(tiny_run, tmp_path, monkeypatch, said, shown):
    def full(*args, **kwargs):
        raise RuntimeError(said)

    monkeypatch.setattr("learngene_hub.evaluation.measuring.train", full)
    small = ("--ways", 3, "--shots", 4, "--queries", 6, "--steps", 1, "--tasks", 1, "--seeds", 1, "--lr", 0.1)
    result = learngene("evaluate", tiny_run, *small, "--out", tmp_path)
    assert isinstance(result.exception, SystemExit if shown else RuntimeError)
    assert shown is None or shown in words(result.stderr)


def test_a_known_failure_is_one_message_and_exit_1(tmp_path):
    result = learngene("evolve", "nowhere.yaml")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: nowhere.yaml: expected a recipe file")
    assert result.stdout == ""
    assert "Traceback" not in result.output


def test_a_usage_error_is_exit_2():
    assert learngene("evolve").exit_code == 2
    assert learngene("nothing").exit_code == 2


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--compare scrath", "'--compare': 'scrath' is not one of 'scratch'."),
        ("--image-size 20", "'--image-size': .*28.*20"),
    ],
)
def test_a_wrong_value_of_an_option_is_shown(tmp_path, option, told):
    (tmp_path / "photo.png").touch()
    result = learngene("finetune", "gtl/vgg11-mini", "--data", tmp_path, "--out", tmp_path / "out", *option.split())
    assert re.search(told, words(result.stderr).replace("│ ", ""))


def test_an_unknown_device_is_a_known_failure(tiny_file, tmp_path):
    result = learngene("evolve", tiny_file, "--out", tmp_path, "--device", "quantum")
    assert result.exit_code == 1
    assert "expected auto, cpu or cuda" in result.stderr


def test_info_tells_what_the_gene_is(tiny_run):
    assert "lg_vgg11, width 0.06, depth 11" in words(learngene("info", tiny_run).stdout)
    config = json.loads(learngene("info", tiny_run, "--json").stdout)
    assert config == json.loads((tiny_run / "gene/config.json").read_text()) | {
        "revision": None,
        "gain_over_scratch": None,
        "gain_ci95": None,
    }


def test_verify_says_ok_or_the_first_fault_with_exit_1(tiny_run, tmp_path):
    config = json.loads((tiny_run / "gene/config.json").read_text())
    said = f"{tiny_run}: ok ({config['parameters']:,} parameters, sha256 {config['sha256']})\n"
    assert learngene("verify", tiny_run).stdout == said
    assert json.loads(learngene("verify", tiny_run, "--json").stdout)["ok"] is True
    (tmp_path / "config.json").write_text("{}")
    result = learngene("verify", tmp_path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {tmp_path}: learngene.safetensors is missing; ")


def test_evaluate_prints_a_table_or_json_and_leaves_files(tiny_run, tmp_path, monkeypatch):
    quick = ["--ways", 3, "--shots", 4, "--queries", 6, "--steps", 2, "--tasks", 2, "--seeds", 1, "--lr", 0.05]
    result = learngene("evaluate", tiny_run, *quick, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert re.search(r"scratch +\d+\.\d\s±\s\d+\.\d", result.stdout)
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")} == {
        "results.json",
        "report.html",
        "comparison.png",
        "tasks",
    }
    assert "mean of 2 tasks ± 95 % CI" in words(result.stdout)
    monkeypatch.chdir(tmp_path)
    result = learngene("evaluate", tiny_run, *quick, "--tasks", 1)
    (folder,) = (tmp_path / "runs").iterdir()  # kept there without --out
    assert f"report: runs/{folder.name}/report.html" in words(result.stderr)
    assert "one task, so without an interval" in words(result.stdout)


@pytest.mark.parametrize(
    "several",
    [
        ("--width", "0.06,0.12", "--depth", "11,13", "--baselines", "narrow, bn-slice"),
        ("--width", "0.06", "--width", "0.12", "--depth", "11,13", "--baselines", "narrow", "--baselines", "bn-slice"),
    ],
)
def test_evaluate_passes_on_the_widths_the_depths_and_the_target(tiny_run, photos, monkeypatch, several):
    given = {}

    def spy(genes, **asked):
        given.update(asked)
        raise LearngeneError("seen enough")

    monkeypatch.setattr("learngene_hub.evaluation.run.evaluate", spy)
    options = ("--protocol", "transfer", "--target", photos, *several)
    assert "seen enough" in learngene("evaluate", tiny_run, *options).stderr
    assert given["baselines"] == ("narrow", "bn-slice")
    assert given["descendants"] == Descendants(widths=(0.06, 0.12), depths=(11, 13))
    assert given["target"] == Target(str(photos))


def test_a_lead_is_shown_for_every_network_that_has_other_starts(monkeypatch):
    results, shown = example(("learngene", "scratch", "full"), shapes=((0.5, 11), (1.0, 11))), []
    first = results.descendants[0].model_copy(update={"starts": results.descendants[0].starts[:2]})
    monkeypatch.setattr(
        "learngene_hub.cli.evaluate.print_table", lambda title, columns, *_, **__: shown.append(columns)
    )
    _show(results.model_copy(update={"descendants": (first, results.descendants[1])}))
    assert ["lead of the gene" in columns for columns in shown] == [False, True]


def test_evolve_resumes_a_run_in_the_middle_and_ends_with_the_bytes_of_an_unbroken_one(
    tiny, tiny_file, tiny_run, tmp_path
):
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evolve(tiny(), out=tmp_path / "run", reporter=Listener(stop_after=2))
    done = learngene("evolve", tiny_file, "--resume", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "generation 3/3" in done.stderr
    assert "generation 2/3" not in done.stderr
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (tiny_run / WEIGHTS).read_bytes()


def test_recipes_are_listed_copied_and_checked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "demo" in learngene("recipes", "list").stdout
    assert learngene("recipes", "copy", "demo", "mine.yaml").exit_code == 0
    text = shipped_recipes()["demo"].read_text()
    assert (tmp_path / "mine.yaml").read_text() == text.replace("\nname: demo\n", "\nname: mine\n")
    again = learngene("recipes", "copy", "demo", "mine.yaml")
    assert again.exit_code == 1
    assert "exists already" in again.stderr
    bad = learngene("evolve", "mine.yaml", "network.depth=12", "--dry-run")
    assert bad.exit_code == 1
    assert "no depth 12" in bad.stderr


def test_a_copy_of_a_recipe_on_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(file, content):
        with file.open("wb") as half:
            half.write(content[:9])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    done = learngene("recipes", "copy", "demo", tmp_path / "mine.yaml")
    assert done.exit_code == 1
    assert "No space left on device" in words(done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_what_is_printed_is_what_was_written(tmp_path):
    assert f"{tmp_path}/:cat:" in learngene("verify", tmp_path / ":cat:").stderr


def test_retired_fields_of_a_recipe_are_one_line(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        show_warnings_as_lines()
        Recipe.from_file("demo", ["backend=grouped"])
    told = capsys.readouterr().err
    assert told.endswith("demo.yaml: this version no longer supports backend='grouped'; ignored\n")
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("network.width=hello", "network.width: expected a number, found 'hello'"),
        ("evolution.generations=0", "evolution.generations: expected 1 or more, found 0"),
        ("data.flip=4", "data.flip: expected true or false, found 4"),
        ("network=3", "network: expected a section of keys, each with a value, found 3"),
        ("name=X!", "name: expected at most 64 lower-case letters, digits, dots and dashes"),
    ],
)
def test_a_fault_of_a_recipe_is_told_in_our_own_words(override, told):
    assert told in words(learngene("evolve", "demo", override).stderr)


NAMED_WRONGLY = {
    "evolve demo evolutoin.generations=3": "did you mean `evolution`?",
    "evolve dmeo": "did you mean `demo`?",
    "evolve demo evolution.ancestor=gtl/vgg11-mini-haf": "did you mean `gtl/vgg11-mini-half`?",
    "list --for nowhere": "No file or folder nowhere",
    "info vgg11-mini-half": "did you mean `gtl/vgg11-mini-half`?",
    "info GTL/VGG11-mini-half": "did you mean `gtl/vgg11-mini-half`?",
    "finetune gtl/vgg11-mini-half --data nowhere --out new": "No file or folder nowhere",
    "finetune gtl/vgg11-mini-half --data . --out .": "expected a folder that can be created, found the current folder",
    "evaluate gtl/vgg11-mini-haf": "did you mean `gtl/vgg11-mini-half`?",
    "evaluate gtl/vgg11-mini-half --protocol sort": "did you mean `short`?",
    "evolve my.yml": "did you mean `my.yaml`?",
    "evolve empty": "found a folder",
    "evolve my.yaml": "No file or folder emtpy/; did you mean `empty`?",
    "evolve my.yaml data.path=empty/": "expected images in one folder per class, such as empty/cat/1.jpg",
    "list --for emtpy/": "did you mean `empty`?",
    "finetune gtl/vgg11-mini-half --data empty --out new": "found no file. Put the images there",
    "evaluate gtl/vgg11-mini-half --data emtpy/": "did you mean `empty`?",
    "evaluate gtl/vgg11-mini-half --protocol transfer --target glyhps": "did you mean `glyphs`?",
    "evaluate gtl/vgg11-mini-half --checkpoint emtpy": "did you mean `empty`?",
    "predict emtpy photo.png": "no such file or folder; expected a folder made by `learngene finetune`",
    "report emtpy": "did you mean `empty`?",
    "card emtpy --results results.json": "did you mean `empty`?",
    "push emtpy you/x": "did you mean `empty`?",
}


@pytest.mark.parametrize("command", NAMED_WRONGLY)
def test_a_name_that_is_none_is_told_before_any_work(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("learngene_hub.data.loading.decode_image", lambda *_: pytest.fail("an image was decoded"))
    (tmp_path / "photo.png").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "my.yaml").write_text("name: my\ndata: {path: emtpy/, classes: {base: 32, held_out: 9, novel: 9}}\n")
    done = learngene(*command.split())
    assert (done.exit_code, done.stdout) == (1, "")
    assert NAMED_WRONGLY[command] in words(done.stderr)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {},
            "the mean of the best 4 of 45 shapes (61.0% on new tasks, in networks of width "
            "0.25), ahead of an even shape (55.0%); 12,000 of the images",
        ),
        ({"parents": 1}, "the best of 45 shapes (61.0% "),
        ({"is_even": True, "mean_fitness": None}, "an even shape (55.0% "),
        ({"is_even": True, "mean_fitness": None}, "ahead of the mean of the best 4 of 45 shapes (failed)"),
    ],
)
def test_info_tells_of_the_search_for_a_shape(changes, told):
    from learngene_hub.cli.genes import _describe
    from learngene_hub.gene.config import SearchRecord
    from learngene_hub.gene.folder import read_config
    from learngene_hub.gene.names import shipped_folder

    found = {"generations": 1, "width": 0.25, "shapes": 45, "parents": 4, "mean_fitness": 0.61, "even_fitness": 0.55}
    record = SearchRecord(**found | {"is_even": False, "images": 12_000, "seconds": 9.0} | changes)
    config = read_config(shipped_folder("gtl/vgg11-cifar-fs-half"))
    searched = config.model_copy(update={"origin": config.origin.model_copy(update={"search": record})})
    assert told in _describe(searched)["shape"]
    assert "shape" not in _describe(config)


def test_an_odd_number_for_the_client_of_the_hub_is_one_line(monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "2.5")
    with pytest.raises(SystemExit, match=r"^1$"), warnings.catch_warnings():
        main()
    told = capsys.readouterr().err
    assert told == "error: HF_HUB_ETAG_TIMEOUT: expected whole seconds, such as 30, found '2.5'\n"
