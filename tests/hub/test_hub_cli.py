"""`learngene push`, `pull`, `list --hub`, `info` and what else takes a gene of the Hub, at the command line."""

import json
from pathlib import Path

import pytest
import timm
from hub_server import Fault
from photo_folders import write_tuned
from typer.testing import CliRunner

from learngene_hub import from_learngene
from learngene_hub.cli.main import app
from learngene_hub.finetuning import folder as finetuned_folder
from learngene_hub.finetuning.folder import LOCAL

REPO = "owner/gene"


@pytest.fixture
def run(hub, tmp_path, monkeypatch):
    """Runs the command in a folder of its own: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def do(*arguments):
        result = CliRunner().invoke(app, [str(one) for one in arguments])
        return result.exit_code, result.stdout, result.stderr

    return do


@pytest.fixture
def tuned(tiny_run, tmp_path):
    """A folder as `learngene finetune` leaves it, without its pictures."""
    folder = write_tuned(tmp_path / "tuned", from_learngene(tiny_run, num_classes=2), ["cat", "dog"])
    (folder / "README.md").write_text(
        "---\nlibrary_name: timm\ntags: [timm, learngene]\n---\nlearngene predict . photo.jpg\n"
        f"model = timm.create_model({LOCAL}\n"
    )
    return folder


def test_push_prints_the_url_and_says_what_went(run, hub, tiny_run):
    code, out, err = run("push", tiny_run, REPO)
    assert (code, out) == (0, f"{hub.url}/{REPO}\n")
    assert err.startswith("pushed to branch main of a public repository: config.json, learngene.safetensors, ")
    assert err.endswith(f'\nload it with from_learngene("{REPO}", num_classes=...)\n')
    assert run("push", tiny_run, REPO)[2].startswith("nothing had to be sent: branch main of a public repository holds")


def test_an_unchanged_gene_on_a_new_branch_is_told_with_its_branch(run, hub, tiny_run):
    run("push", tiny_run, REPO)
    code, out, err = run("push", tiny_run, f"{REPO}@v1")
    assert (code, out) == (0, f"{hub.url}/{REPO}/tree/v1\n")
    assert err.splitlines() == [
        "nothing had to be sent: branch v1 of a public repository holds these files",
        f'load it with from_learngene("{REPO}@v1", num_classes=...)',
    ]


@pytest.mark.parametrize("options", [["--private"], []])
def test_a_new_repository_is_private_if_the_command_says_so_and_else_public(run, hub, tiny_run, options):
    assert run("push", tiny_run, REPO, *options)[0] == 0
    assert hub.repo(REPO).private is bool(options)


def test_a_dry_run_shows_what_would_be_sent_and_asks_nothing(run, hub, tiny_run):
    code, out, err = run("push", tiny_run, REPO, "--dry-run")
    assert (code, hub.requests) == (0, [])
    size = (tiny_run / "gene/learngene.safetensors").stat().st_size
    assert f"{size:,} bytes  learngene.safetensors\n" in out
    assert "contain the names of all classes and of the data folder" in err


def test_push_takes_a_revision_in_the_name(run, hub, tiny_run):
    assert run("push", tiny_run, f"hf-hub:{REPO}@v1")[0] == 0
    assert "config.json" in hub.files(REPO, "v1")
    assert "give only one of them" in run("push", tiny_run, f"{REPO}@v1", "--revision", "v2")[2]


def test_a_card_edited_on_the_hub_is_to_be_merged_into_the_users_own(run, hub, gene_copy):
    run("push", gene_copy, REPO)
    hub.put(REPO, {"README.md": hub.files(REPO)["README.md"].replace(b"## Limits", b"## Limits, by hand")})
    assert f"into {gene_copy / 'README.md'}, then replace" in run("push", gene_copy, REPO)[2]


def test_push_as_json(run, hub, tiny_run):
    said = json.loads(run("push", tiny_run, REPO, "--json")[1])
    assert said["commit"] == hub.commits(REPO)[0]
    assert "config.json" in said["changed"]


def test_a_failure_is_one_line_and_exit_1(run, hub, tiny_run):
    hub.faults.append(Fault("POST", "/commit/", "status", status=403, headers={"X-Error-Message": "read-only token"}))
    code, out, err = run("push", tiny_run, REPO)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {REPO}: no permission")
    assert "Traceback" not in err
    assert err.count("\n") == 1


def test_list_shows_what_is_on_the_hub(run, tiny_run):
    run("push", tiny_run, REPO)
    code, out, _ = run("list", "--hub", "--author", "owner")
    assert code == 0
    assert REPO in out
    assert "lg_vgg11" in out
    assert [one["name"] for one in json.loads(run("list", "--hub", "--json")[1])] == [REPO]
    assert "no such gene" in run("list", "--hub", "--search", "nothing-like-it")[2]


def test_info_reads_no_weights(run, hub, tiny_run):
    run("push", tiny_run, REPO)
    hub.requests.clear()
    code, out, _ = run("info", REPO)
    assert code == 0
    assert hub.commits(REPO)[0] in out
    assert not any("safetensors" in one.path for one in hub.requests)
    assert json.loads(run("info", REPO, "--json")[1])["revision"] == hub.commits(REPO)[0]


def test_verify_takes_a_gene_of_the_hub(run, tiny_run):
    run("push", tiny_run, REPO)
    assert run("verify", REPO)[0] == 0


def test_pull_makes_a_folder_named_after_the_repository(run, hub, tiny_run):
    run("push", tiny_run, REPO)
    code, out, err = run("pull", f"{REPO}@main")
    assert (code, out) == (0, "gene\n")
    assert hub.commits(REPO)[0][:12] in err
    assert Path("gene/recipe.yaml").read_bytes() == (tiny_run / "gene/recipe.yaml").read_bytes()
    assert "already exists" in run("pull", REPO)[2]


@pytest.mark.slow
def test_a_gene_of_the_hub_is_evaluated_with_its_recipe(run, tiny_run):
    run("push", tiny_run, REPO)
    small = ["--ways", "3", "--shots", "2", "--steps", "1", "--tasks", "1", "--seeds", "1", "--lr", "0.1"]
    code, out, _ = run("evaluate", REPO, *small, "--baselines", "narrow")
    assert code == 0
    assert all(start in out for start in ("scratch", "learngene", "narrow"))


def test_a_finetuned_network_is_pushed_and_its_card_names_the_repository(run, hub, tuned):
    code, out, _ = run("push", tuned, "owner/pets")
    assert (code, out) == (0, f"{hub.url}/owner/pets\n")
    assert set(hub.files("owner/pets")) - {".gitattributes"} == {path.name for path in tuned.iterdir()}
    assert b'timm.create_model("hf-hub:owner/pets", pretrained=True).eval()' in hub.files("owner/pets")["README.md"]
    assert run("push", tuned, "owner/pets")[2].splitlines() == [
        "nothing had to be sent: branch main of a public repository holds these files",
        'load it with timm.create_model("hf-hub:owner/pets", pretrained=True) after `import learngene_hub`',
    ]


@pytest.mark.parametrize(
    ("name", "told"),
    [("model.safetensors", "tuned: the network cannot be loaded"), ("config.json", "config.json: timm needs JSON")],
)
def test_a_finetuned_network_that_does_not_load_is_not_pushed(run, hub, tuned, name, told):
    (tuned / name).write_bytes(b"")
    code, _, err = run("push", tuned, "owner/pets")
    assert code == 1
    assert told in err
    assert not hub.requests


def test_a_finetuned_network_is_pushed_as_it_was_when_it_was_checked(run, hub, tuned, monkeypatch):
    weights, load = (tuned / "model.safetensors").read_bytes(), finetuned_folder.load_network

    def load_then_write(folder):
        network = load(folder)
        (tuned / "model.safetensors").write_bytes(b"other weights")  # as a training beside it would
        return network

    monkeypatch.setattr(finetuned_folder, "load_network", load_then_write)
    assert run("push", tuned, "owner/pets")[0] == 0
    assert hub.files("owner/pets")["model.safetensors"] == weights


def test_a_file_of_unusual_size_is_refused_in_one_line_before_it_is_read(run, hub, tuned):
    with (tuned / "curves.png").open("wb") as file:
        file.truncate(12 * 10**9)  # takes no room
    code, _, err = run("push", tuned, "owner/pets")
    assert (code, err.count("\n")) == (1, 1)
    assert "curves.png: expected at most 50 MB, found 12,000.0 MB" in err
    assert not hub.requests


@pytest.mark.xet
def test_timm_loads_a_pushed_network_by_its_name(run, hub, tuned):
    run("push", tuned, "owner/pets")
    network = timm.create_model("hf-hub:owner/pets", pretrained=True)
    assert network.pretrained_cfg["label_names"] == ["cat", "dog"]


def test_a_mistyped_folder_is_answered_with_the_right_one(run):
    Path("runs/demo").mkdir(parents=True)
    Path("genes/photos").mkdir(parents=True)
    code, _, err = run("verify", "genes/photo")
    assert code == 1
    assert err.startswith("error: genes/photo: no such repository")
    assert "did you mean `genes/photos`?" in err
    assert "a folder of this name does not exist in genes/ either" in run("verify", "genes/other-thing")[2]
    told = (
        "no such folder or gene; did you mean `runs/demo`? (to ask the Hub, where anyone may own that account: hf-hub:"
    )
    assert f"error: runs/dmeo: {told}" in run("verify", "runs/dmeo")[2]


def test_without_a_card_one_is_made(run, hub, gene_copy):
    (gene_copy / "README.md").unlink()
    run("push", gene_copy, REPO)
    assert b"# owner/gene" in hub.files(REPO)["README.md"]


def test_a_pushed_network_is_no_gene_and_its_card_says_how_to_use_it(run, hub, tuned):
    assert run("push", tuned, "owner/pets")[0] == 0
    assert "no such gene" in run("list", "--hub")[2]
    card = hub.files("owner/pets")["README.md"].decode()
    assert "hf download owner/pets --local-dir pets\nlearngene predict pets photo.jpg" in card
    assert 'create_model("hf-hub:owner/pets", pretrained=True).eval()\n' in card
    told = "`learngene predict` (from the Hub: after `hf download NAME --local-dir DIR`)"
    assert told in run("info", "owner/pets")[2]


def test_a_pushed_network_that_is_pushed_elsewhere_names_the_new_place_only(run, hub, tuned):
    run("push", tuned, "owner/pets")
    (tuned / "README.md").write_bytes(hub.files("owner/pets")["README.md"])
    run("push", tuned, "owner/cats")
    assert "owner/pets" not in hub.files("owner/cats")["README.md"].decode()


@pytest.mark.parametrize("repo", ["gene", "owner/ge ne"])
def test_a_name_that_the_hub_does_not_allow_is_refused_before_anything_is_sent(run, hub, tiny_run, tuned, repo):
    for folder in (tiny_run, tuned):
        code, _, err = run("push", folder, repo)
        assert code == 1
        assert err.count("\n") == 1
    assert [one for one in hub.requests if "agent-harnesses" not in one.path] == []
