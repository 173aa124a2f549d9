import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from photo_folders import write_photos
from safetensors.torch import load_file, save_file

from learngene_hub import Learngene, Recipe, evolve
from learngene_hub.core.errors import GeneFileError
from learngene_hub.core.files import file_sha256
from learngene_hub.data.glyphs import glyph_classes
from learngene_hub.gene import folder as gene_folder
from learngene_hub.gene.config import SCHEMA_VERSION
from learngene_hub.gene.folder import find_gene, read_gene
from learngene_hub.gene.sharing import files_to_push

SIX_CLASSES = (
    *(f"data.classes.{role}=2" for role in ("base", "held_out", "novel")),
    "ancestry.ways=2",
    "critic.ways=2",
)


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_tensors(folder, change):
    """Alter the weights and give the config their new sha256, so that later checks are reached."""
    path = folder / "learngene.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})
    change_config(folder, sha256=file_sha256(path))


def first(tensors):
    return next(name for name in sorted(tensors) if name.endswith("conv.weight"))


def test_a_gene_survives_the_round_trip_byte_for_byte(gene_copy, tmp_path):
    gene = Learngene.from_pretrained(gene_copy)
    gene.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again/learngene.safetensors").read_bytes() == (gene_copy / "learngene.safetensors").read_bytes()
    assert Learngene.from_pretrained(tmp_path / "again").config == gene.config


def test_whoever_may_read_the_config_may_read_the_weights(gene_copy):
    modes = {(gene_copy / name).stat().st_mode for name in ("config.json", "learngene.safetensors")}
    assert len(modes) == 1


def test_a_gene_in_float16_keeps_its_vectors_and_loads_as_float32(tiny_run, tmp_path):
    gene = Learngene.from_pretrained(tiny_run)
    half = Learngene(gene.tensors, gene.config.model_copy(update={"dtype": "float16"}))
    found = Learngene.from_pretrained(half.save_pretrained(tmp_path / "half"))
    assert {tensor.dtype for tensor in found.tensors.values()} == {torch.float32}
    for name, tensor in gene.tensors.items():
        assert torch.equal(found.tensors[name], tensor.half().float() if tensor.ndim > 1 else tensor)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_gene_that_could_not_be_loaded_again_is_not_written(tiny_run, tmp_path, dtype):
    gene = Learngene.from_pretrained(tiny_run)
    large = {name: tensor * 1e9 for name, tensor in gene.tensors.items()}
    half = Learngene(large, gene.config.model_copy(update={"dtype": dtype}))
    with pytest.raises(GeneFileError, match=r"expected values from -10000 to 10000, found -?[0-9.]+e\+[01]\d"):
        half.save_pretrained(tmp_path / "half")
    assert list((tmp_path / "half").iterdir()) == []


def test_the_folder_of_a_run_stands_for_its_gene(tiny_run):
    assert find_gene(tiny_run) == tiny_run / "gene"


CORRUPTIONS = {
    "shapes and dtypes": [
        (lambda t: t.update({first(t): t[first(t)].half()}), r"expected torch\.float32, found torch\.float16"),
    ],
    "finite values": [
        (lambda t: t[first(t)].fill_(torch.nan), "expected finite values, found NaN"),
        (lambda t: t[first(t)].fill_(torch.inf), "expected finite values, found NaN or infinity"),
        (lambda t: t[first(t)].view(-1)[:1].fill_(3e38), r"expected values from -10000 to 10000, found 3e\+38"),
        (
            lambda t: t[first(t).replace("conv.weight", "norm.running_var")].fill_(-1),
            r"expected values from 0 to 1e\+08, found -1$",
        ),
    ],
}


@pytest.mark.parametrize(("change", "message"), [case for cases in CORRUPTIONS.values() for case in cases])
def test_altered_tensors_are_refused_each_with_its_message(gene_copy, change, message):
    change_tensors(gene_copy, change)
    with pytest.raises(GeneFileError, match=message):
        Learngene.from_pretrained(gene_copy)


def test_a_flipped_byte_is_found_by_the_hash(gene_copy):
    path = gene_copy / "learngene.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(GeneFileError, match=r"expected the sha256 of config\.json.*altered or cut"):
        Learngene.from_pretrained(gene_copy)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"in_chans": -1}, "in_chans: "),
        ({"std": [0, 0, 0]}, "std"),
        ({"std": [1e-300, 1, 1]}, "std"),
        ({"mean": [1e300, 0, 0]}, "mean"),
        ({"mean": [0.5]}, ""),
        ({"channels": {"stages.0.0": 10**12}}, "channels"),
        ({"fraction": 7}, "fraction: "),
        ({"width": 64}, "width: "),
        ({"origin": {"lineage": []}}, "origin"),
        ({"schema_version": 0}, "schema_version"),
        ({"schema_version": -1}, "schema_version"),
        ({"schema_version": True}, "schema_version"),
    ],
)
def test_a_config_with_values_out_of_range_is_refused(gene_copy, changes, told):
    change_config(gene_copy, **changes)
    with pytest.raises(GeneFileError, match=rf"config\.json: .*{told}"):
        Learngene.from_pretrained(gene_copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameters": 10**18}, r"config\.json: expected parameters: [\d,]+, found 1,000,000,000,000,000,000"),
        ({"fraction": 1.0}, r"config\.json: expected fraction: 0\.[45]\d*, found 1$"),
    ],
)
def test_a_stated_number_that_the_tensors_contradict_is_refused(gene_copy, changes, message):
    change_config(gene_copy, **changes)
    with pytest.raises(GeneFileError, match=message) as refused:
        Learngene.from_pretrained(gene_copy)
    assert str(refused.value).startswith(str(gene_copy))


def test_the_fraction_of_an_early_gene_is_what_was_asked_for(gene_copy):
    config = json.loads((gene_copy / "config.json").read_text())
    change_config(gene_copy, fraction=round(config["fraction"], 2))
    read_gene(gene_copy)


def test_saving_leaves_other_files_of_the_folder_alone(tiny_run, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    Learngene.from_pretrained(tiny_run).save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.txt", "config.json", "learngene.safetensors"}


def test_a_file_that_is_not_safetensors_is_refused(gene_copy):
    path = gene_copy / "learngene.safetensors"
    path.write_bytes(b"\x80\x04" + bytes(64))
    change_config(gene_copy, sha256=file_sha256(path))
    with pytest.raises(GeneFileError, match="expected safetensors, found something else"):
        Learngene.from_pretrained(gene_copy)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "learngene.pt", "gene.pkl"])
def test_a_folder_with_a_pickle_is_refused_whatever_else_it_holds(gene_copy, name):
    (gene_copy / name).write_bytes(b"")
    with pytest.raises(GeneFileError, match=f"found {name}; pickles can run code"):
        Learngene.from_pretrained(gene_copy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON"),
        ("[" * 100_000, "expected JSON"),
        ("[]", "expected a learngene config"),
        ('{"architecture": "resnet18"}', "expected the config of a learngene, found that of a whole network"),
        ('{"schema_version": 1}', r"package_version: Field required"),
    ],
)
def test_a_config_that_is_none_is_refused(gene_copy, text, message):
    (gene_copy / "config.json").write_text(text)
    with pytest.raises(GeneFileError, match=message):
        Learngene.from_pretrained(gene_copy)


def test_a_newer_schema_is_refused_with_the_way_out(gene_copy):
    change_config(gene_copy, schema_version=SCHEMA_VERSION + 1)
    with pytest.raises(GeneFileError, match="newer than the 1 this package reads; upgrade"):
        Learngene.from_pretrained(gene_copy)


def test_keys_of_later_versions_are_ignored(gene_copy):
    change_config(gene_copy, something_new=1)
    assert Learngene.from_pretrained(gene_copy).config.network == "lg_vgg11"


@pytest.mark.parametrize("changes", [{"network": "lg_vgg99"}, {"depth": 12}, {"channels": {"stages.0.0": 2}}])
def test_a_network_that_cannot_be_built_is_refused(gene_copy, changes):
    change_config(gene_copy, **changes)
    with pytest.raises(GeneFileError, match=r"config\.json: "):
        Learngene.from_pretrained(gene_copy)


@pytest.mark.parametrize("name", ["config.json", "learngene.safetensors"])
def test_a_missing_file_is_named(gene_copy, name):
    (gene_copy / name).unlink()
    with pytest.raises(GeneFileError, match=f"{name} is missing"):
        Learngene.from_pretrained(gene_copy)


def test_a_folder_without_a_gene_is_refused(tmp_path):
    with pytest.raises(GeneFileError, match="found neither"):
        Learngene.from_pretrained(tmp_path)
    with pytest.raises(GeneFileError, match="no such folder"):
        Learngene.from_pretrained(tmp_path / "nowhere")


def test_a_run_that_goes_on_is_told_from_a_folder_without_a_gene(tmp_path):
    (tmp_path / "recipe.yaml").write_text("name: tiny\n")
    with pytest.raises(GeneFileError, match="this evolution is not finished: repeat its `learngene evolve` with --res"):
        Learngene.from_pretrained(tmp_path)


def test_the_artefact_is_complete_and_says_where_it_comes_from(tiny_run, tiny_file):
    folder = tiny_run / "gene"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "learngene.safetensors",
        "config.json",
        "recipe.yaml",
        "metrics.jsonl",
        "evolution.png",
        "README.md",
    }
    assert Recipe.from_file(folder / "recipe.yaml").sha256 == Recipe.from_file(tiny_file).sha256
    origin = json.loads((folder / "config.json").read_text())["origin"]
    assert origin["cost"]["images"] > 0
    assert origin["lineage"][0]["generation"] == 2
    assert origin["lineage"][-1]["parents"] == []
    assert {len(origin["data"][role]) for role in ("base", "held_out", "novel")} == {8, 6}
    card = (folder / "README.md").read_text()
    assert card.startswith("---\n")
    assert "library_name: learngene" in card
    assert f"{origin['fitness']:.1%}" in card


def test_the_usage_snippet_of_the_card_runs_in_its_folder(tiny_run, monkeypatch):
    monkeypatch.chdir(tiny_run / "gene")
    snippet = re.search(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL).group(1)
    exec(compile(snippet, "README.md", "exec"), {})


@pytest.fixture
def photos(tmp_path):
    """A folder of six small classes."""
    return write_photos(tmp_path / "photos", 12, classes=glyph_classes()[:6])


def test_the_recipe_beside_the_gene_tells_no_path_of_this_machine(tiny, photos, tmp_path):
    file = tmp_path / "mine.yaml"
    fields = tiny("data.preset=null", f"data.path={photos}", *SIX_CLASSES, "evolution.generations=1").model_dump(
        mode="json"
    )
    file.write_text("# my own\n" + yaml.safe_dump(fields))
    evolve(Recipe.from_file(file), out=tmp_path / "run")
    assert (tmp_path / "run/recipe.yaml").read_text() == file.read_text()
    public = (tmp_path / "run/gene/recipe.yaml").read_text()
    assert "my own" not in public
    assert yaml.safe_load(public) == yaml.safe_load(file.read_text().replace(str(photos), "photos"))


@pytest.mark.parametrize("place", ["~/photos", ' "{}"'])
def test_the_command_in_the_card_carries_the_overrides_but_no_path_of_this_machine(
    tiny, photos, tmp_path, monkeypatch, place
):
    monkeypatch.setenv("HOME", str(tmp_path))
    overrides = ["data.preset=null", f"data.path={place.format(photos)}", "data.images_per_class=null"]
    replaced = [f"evolution={tmp_path}", "evolution.generations=1", "evolution.population=2"]
    replaced += [f"gene.shape={tmp_path}", f"gene.shape=[{tmp_path}]", "gene.shape=taper"]
    gene = evolve(tiny(*replaced, *overrides, *SIX_CLASSES), out=tmp_path / "run")
    card = (tmp_path / "run/gene/README.md").read_text()
    assert "learngene evolve recipe.yaml gene.shape=taper data.preset=null data.images_per_class=null" in card
    assert " data.path=FOLDER\n" in card
    assert gene.config.origin.data.source == "photos"
    assert "~" not in card
    assert str(tmp_path) not in card + (tmp_path / "run/gene/config.json").read_text()


def test_a_gene_in_memory_stays_whatever_is_written_into_its_file(gene_copy):
    gene = Learngene.from_pretrained(gene_copy)
    before = {name: tensor.clone() for name, tensor in gene.tensors.items()}
    weights = gene_copy / "learngene.safetensors"
    weights.write_bytes(bytes(weights.stat().st_size))
    assert all(torch.equal(tensor, before[name]) for name, tensor in gene.tensors.items())


def test_weights_larger_than_the_config_says_are_not_read(gene_copy):
    with (gene_copy / "learngene.safetensors").open("ab") as file:
        file.truncate(10**10)  # sparse
    with pytest.raises(GeneFileError, match=r"expected 0\.0 MB of weights, as config\.json says, found 10000\.0 MB"):
        Learngene.from_pretrained(gene_copy)


@pytest.mark.parametrize("name", ["README.md", "recipe.yaml", "learngene.safetensors", "config.json"])
def test_a_link_out_of_the_folder_is_neither_read_nor_pushed(gene_copy, tmp_path, name):
    secret = tmp_path / "secret"
    shutil.move(gene_copy / name, secret)
    (gene_copy / name).symlink_to(secret)
    with pytest.raises(GeneFileError, match=f"{name}: is a link to a place outside the folder"):
        files_to_push(gene_copy, "you/gene")


def test_a_file_that_cannot_be_read_is_a_fault_of_the_gene(gene_copy, monkeypatch):
    read = gene_folder.read_file

    def fail(path, **options):
        if path.name == "learngene.safetensors":
            raise PermissionError(13, "Permission denied")
        return read(path, **options)

    monkeypatch.setattr(gene_folder, "read_file", fail)
    with pytest.raises(GeneFileError, match=r"a file cannot be read: .*Permission denied"):
        Learngene.from_pretrained(gene_copy)


def test_a_push_sends_the_very_bytes_that_were_checked(gene_copy, monkeypatch):
    weights, read = gene_copy / "learngene.safetensors", gene_folder.read_tensors

    def read_then_write(content):
        weights.write_bytes(b"other weights")  # as a run beside it would
        (gene_copy / "config.json").write_text("{}")
        return read(content)

    monkeypatch.setattr(gene_folder, "read_tensors", read_then_write)
    files = files_to_push(gene_copy, "you/gene")
    told = json.loads(files["config.json"])["sha256"]
    assert hashlib.sha256(files["learngene.safetensors"]).hexdigest() == told


def test_the_card_of_another_gene_is_not_pushed(gene_copy):
    card = gene_copy / "README.md"
    card.write_text(card.read_text().replace("  width: 0.06", "  width: 0.5"))
    with pytest.raises(
        GeneFileError, match=r"its metadata describe another gene: expected width: \S+, found 0\.5; correct"
    ):
        files_to_push(gene_copy, "you/gene")


def test_the_card_of_another_gene_of_the_same_recipe_is_not_pushed(gene_copy):
    gene = Learngene.from_pretrained(gene_copy)
    Learngene({name: tensor * 1.01 for name, tensor in gene.tensors.items()}, gene.config).save_pretrained(gene_copy)
    with pytest.raises(GeneFileError, match=r"README\.md: its metadata describe another gene: expected sha256: "):
        files_to_push(gene_copy, "you/gene")


def test_a_file_of_unusual_size_is_refused_before_it_is_read(gene_copy):
    with (gene_copy / "evolution.png").open("r+b") as file:
        file.truncate(12 * 10**9)  # takes no room
    with pytest.raises(GeneFileError, match=r"evolution\.png: expected at most 50 MB, found 12,000\.0 MB: remove it"):
        files_to_push(gene_copy, "you/gene")


def test_a_name_too_long_for_a_file_is_no_gene():
    with pytest.raises(GeneFileError, match="no such folder"):
        Learngene.from_pretrained("/x" + "y" * 5000)
