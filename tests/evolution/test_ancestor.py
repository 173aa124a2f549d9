"""An evolution that begins from a gene: what it inherits, what is refused, and what its gene says of it."""

import json
from dataclasses import replace

import pytest
import torch
from listener import Listener

from learngene_hub import Learngene, extract
from learngene_hub.core.errors import DataError, GeneFileError, RecipeError, RunError
from learngene_hub.data.splits import ClassSplit
from learngene_hub.evolution import ancestry
from learngene_hub.evolution.ancestor import find_ancestor, line_channels
from learngene_hub.evolution.dry_run import forecast
from learngene_hub.evolution.plan import network_body
from learngene_hub.evolution.run import evolve
from learngene_hub.gene.card import render_card
from learngene_hub.gene.config import seen_of
from learngene_hub.gene.folder import read_config
from learngene_hub.genome.birth import newborn
from learngene_hub.genome.surgery import extract as extract_genome
from learngene_hub.networks import plan_structure
from learngene_hub.recipe.recipe import Recipe

WEIGHTS = "gene/learngene.safetensors"
SIZE = "data.image_size=30"  # another one than the ancestor's
TWO = ("evolution.population=2", "ancestry.steps=1", "ancestry.statistics_batches=1", "critic.steps=1")
SMALL = ("evolution.generations=1", *TWO)


@pytest.fixture
def begun(tiny, tiny_run):
    """The tiny recipe that begins from the tiny run, on larger images, with overrides."""
    return lambda *more: tiny(f"evolution.ancestor={tiny_run}", SIZE, *TWO, *more)


@pytest.fixture(scope="session")
def begun_run(tiny_file, tiny_run, tmp_path_factory):
    """The folder of a finished evolution that began from the tiny run; read it, do not change it."""
    out = tmp_path_factory.mktemp("begun") / "run"
    evolve(Recipe.from_file(tiny_file, [f"evolution.ancestor={tiny_run}", SIZE, *TWO]), out=out)
    return out


@pytest.fixture
def births(monkeypatch):
    """The gene, plan and newborn tensors of every ancestry network that is born from now on."""
    seen, real = [], ancestry.newborn

    def watched(body, **kwargs):
        network = real(body, **kwargs)
        if "critic" not in kwargs["path"]:
            tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
            seen.append((kwargs["path"][0], network.structure, tensors))
        return network

    monkeypatch.setattr(ancestry, "newborn", watched)
    return seen


@pytest.mark.parametrize("founders", [0, 1])
def test_all_of_the_first_generation_are_born_with_the_bytes_of_the_gene(begun, tiny_run, tmp_path, births, founders):
    evolve(begun("evolution.generations=1", f"evolution.founder_generations={founders}"), out=tmp_path)
    gene = Learngene.from_pretrained(tiny_run)
    assert len(births) == (1 if founders else 2)
    for _, structure, tensors in births:
        born = extract_genome(tensors, structure, gene.config.channels).tensors
        assert born.keys() == gene.tensors.keys()
        assert all(torch.equal(born[name], tensor) for name, tensor in gene.tensors.items())


def test_later_generations_inherit_from_their_own(begun, tiny_run, tmp_path, births):
    evolve(begun("evolution.generations=2"), out=tmp_path)
    gene = Learngene.from_pretrained(tiny_run)
    for generation, structure, tensors in births:
        born = extract_genome(tensors, structure, gene.config.channels).tensors
        assert all(torch.equal(born[name], one) for name, one in gene.tensors.items()) == (generation == 0)


@pytest.mark.parametrize("changes", [(), ("network.width=0.12",), ("network.depth=13",), ("network.depth=19",)])
@pytest.mark.parametrize("name", ["lg_vgg11", "lg_resnet12"])
def test_the_groups_of_a_line_are_those_of_its_networks_at_least_as_large_as_in_the_gene(tiny, tmp_path, name, changes):
    changes = tuple(one.replace("13", "15").replace("19", "18") if "resnet" in name else one for one in changes)
    small = newborn(network_body(tiny(f"network.name={name}")), num_classes=3, gene=None, seed=1)
    extract(small, 0.5).save_pretrained(tmp_path)
    recipe = tiny(f"network.name={name}", f"evolution.ancestor={tmp_path}", *changes)
    ancestor, body = find_ancestor(recipe), network_body(recipe)
    assert ancestor.sizes.keys() == plan_structure(body.network, width=body.width, depth=body.depth).groups.keys()
    assert ancestor.sizes.items() >= ancestor.gene.config.channels.items()


def test_a_shallower_line_leaves_out_what_it_has_no_room_for(tiny, tmp_path):
    deep = newborn(network_body(tiny("network.depth=13")), num_classes=3, gene=None, seed=1)
    extract(deep, 0.5).save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match=r"network\.depth=13, or network\.depth=11 to leave out its last layers"):
        find_ancestor(tiny(f"evolution.ancestor={tmp_path}"))
    ancestor = find_ancestor(tiny(f"evolution.ancestor={tmp_path}", "network.depth=11"))
    assert ancestor.sizes.keys() < ancestor.gene.config.channels.keys()


def test_it_has_the_shape_of_the_gene_whatever_fraction_and_taper_say(begun, tiny_run):
    recipe = begun("gene.fraction=0.9", "gene.taper=0.5")
    assert line_channels(recipe, find_ancestor(recipe)) == Learngene.from_pretrained(tiny_run).config.channels


def test_it_sees_images_as_the_gene_does(begun_run, tiny_run):
    first, second = (Learngene.from_pretrained(run).config for run in (tiny_run, begun_run))
    assert (second.mean, second.std, second.image_size) == (first.mean, first.std, 30)


def test_without_one_nothing_is_inherited_and_nothing_told(tiny, tiny_run):
    assert find_ancestor(tiny()) is None
    assert Learngene.from_pretrained(tiny_run).config.origin.ancestors == ()
    assert "ancestor" not in (tiny_run / "metrics.jsonl").read_text()
    assert "begins from" not in (tiny_run / "gene/README.md").read_text()


def test_a_run_stopped_twice_and_resumed_ends_with_the_same_bytes(begun, begun_run, tmp_path):
    for resume in (False, True):
        with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
            evolve(begun(), out=tmp_path, reporter=Listener(stop_after=1), resume=resume)
    evolve(begun(), out=tmp_path, resume=True)
    assert (tmp_path / WEIGHTS).read_bytes() == (begun_run / WEIGHTS).read_bytes()


def altered(gene):
    name, tensor = next(iter(gene.tensors.items()))
    return replace(gene, tensors={**gene.tensors, name: tensor + 0.5})


def renormalised(gene):
    return replace(gene, config=gene.config.model_copy(update={"mean": (0.1, 0.2, 0.3)}))


def test_a_resume_from_a_gene_that_has_changed_is_refused(tiny, tiny_run, tmp_path):
    gene = Learngene.from_pretrained(tiny_run)
    recipe = tiny(f"evolution.ancestor={gene.save_pretrained(tmp_path / 'first')}", "evolution.generations=2", *TWO)
    with pytest.raises(KeyboardInterrupt, match="stopped by the test"):
        evolve(recipe, out=tmp_path / "run", reporter=Listener(stop_after=1))
    for change in (altered, renormalised):
        change(gene).save_pretrained(tmp_path / "first")
        with pytest.raises(RunError, match="begun with another gene, or another normalisation of it"):
            evolve(recipe, out=tmp_path / "run", resume=True)
    gene.save_pretrained(tmp_path / "first")
    assert evolve(recipe, out=tmp_path / "run", resume=True).config.origin.ancestor.sha256 == gene.config.sha256


def test_a_resume_with_another_ancestor_in_the_recipe_is_refused(tiny, begun_run):
    with pytest.raises(RunError, match=r"evolution\.ancestor: .*tiny in the run, None now"):
        evolve(tiny(SIZE), out=begun_run, resume=True)


def test_the_gene_its_card_and_its_page_tell_of_both(begun_run, tiny_run):
    first, second = (Learngene.from_pretrained(run).config for run in (tiny_run, begun_run))
    (ancestor,) = second.origin.ancestors
    assert (ancestor.name, ancestor.revision, ancestor.sha256) == ("tiny", None, first.sha256)
    assert ancestor.origin == first.origin
    assert second.origin.cost.images < first.origin.cost.images  # its own alone
    assert second.origin.all_data == (second.origin.data, first.origin.data)
    card = (begun_run / "gene/README.md").read_text()
    assert f"| begins from | `tiny` (sha256 `{first.sha256[:12]}`), evolved on glyphs, 8 base and 6 held-out" in card
    assert "| cost, without that of the gene it begins from |" in card
    assert "GENE is the folder of `tiny`, the gene it begins from: ask the author of this card for it." in card
    command = next(line for line in card.splitlines() if line.startswith("learngene evolve recipe.yaml"))
    assert command.endswith(" evolution.ancestor=GENE")
    assert command.count("evolution.ancestor") == 1
    assert str(tiny_run.parent) not in (begun_run / "gene/config.json").read_text() + card
    page = (begun_run / "evolution.html").read_text()
    images = f"{first.origin.cost.images:,}"
    assert f"started from the gene tiny, whose {images} training images are not counted" in page.replace("\u2009", ",")


def test_the_recipe_beside_the_gene_tells_no_path(tiny_file, tiny_run, tmp_path):
    written = tiny_file.read_text().replace("evolution: {", f"evolution: {{ancestor: {tiny_run}, ")
    (tmp_path / "recipe.yaml").write_text(written)
    recipe = Recipe.from_file(tmp_path / "recipe.yaml")
    assert recipe.evolution.ancestor == str(tiny_run)
    assert "ancestor: tiny\n" in recipe.public_text


def test_a_line_of_lines_tells_of_all(tiny, begun_run, tiny_run, tmp_path):
    config = evolve(tiny(f"evolution.ancestor={begun_run}", *SMALL), out=tmp_path).config
    assert [one.name for one in config.origin.ancestors] == ["run", "tiny"]
    assert "| which began from | `tiny`" in render_card(config, name="x")


def test_the_dry_run_counts_the_gene_as_it_will_be_and_tells_of_the_ancestor(begun, begun_run, tiny_run):
    cost = forecast(begun(), device=torch.device("cpu"))
    first, second = (Learngene.from_pretrained(run).config for run in (tiny_run, begun_run))
    assert cost.gene_parameters == second.parameters
    assert (cost.ancestor_sha256, cost.ancestor_images) == (first.sha256, first.origin.cost.images)
    assert cost.images == second.origin.cost.images


@pytest.mark.parametrize("use", [lambda recipe: forecast(recipe, device=torch.device("cpu")), find_ancestor])
def test_a_wrong_name_is_answered_with_the_right_one_before_images_are_read(tiny, use):
    with pytest.raises(GeneFileError, match=r"no such folder or gene; did you mean `gtl/vgg11-mini-half`"):
        use(tiny("evolution.ancestor=gtl/vgg11-mini-haf", "data.preset=null", "data.path=nowhere"))


def test_nothing_is_read_or_written_for_a_wrong_name(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "learngene_hub.evolution.run.load_environment", lambda *_, **__: pytest.fail("images were read")
    )
    with pytest.raises(GeneFileError, match="did you mean"):
        evolve(tiny("evolution.ancestor=gtl/vgg11-mini-haf"), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["evolution.ancestor=gtl/resnet12-mini-half"], r"give network\.name=lg_resnet12 network\.width=0\.5"),
        (
            ["evolution.ancestor=gtl/vgg11-mini-half"],
            r"gtl/vgg11-mini-half: .* cannot inherit this gene: width=0\.06: .*; give width=0\.5 or more",
        ),
    ],
)
def test_a_gene_of_another_network_or_a_wider_one_is_refused_with_what_to_give(tiny, changes, message):
    with pytest.raises(RecipeError, match=message):
        find_ancestor(tiny(*changes))


def test_a_gene_of_grey_images_is_refused(tiny, tmp_path):
    body = replace(network_body(tiny()), in_chans=1)
    extract(newborn(body, num_classes=3, gene=None, seed=1), 0.5).save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match="expected a gene for images of 3 channels, found 1"):
        find_ancestor(tiny(f"evolution.ancestor={tmp_path}"))


def test_a_search_for_another_shape_is_refused_by_the_recipe(begun):
    with pytest.raises(RecipeError, match=r"there is no search for a shape with evolution\.ancestor"):
        begun("gene.shape=evolve")


def test_a_gene_grows_into_the_channels_that_are_given(begun, tiny_run, births, tmp_path):
    before = Learngene.from_pretrained(tiny_run)
    channels = [2 * size for size in before.config.channels.values()]
    recipe = begun("network.width=0.2", f"gene.shape={channels}", "evolution.generations=1")
    assert [*evolve(recipe, out=tmp_path).config.channels.values()] == channels
    _, structure, tensors = births[0]
    inherited = extract_genome(tensors, structure, before.config.channels)
    assert all(torch.equal(tensor, before.tensors[name]) for name, tensor in inherited.tensors.items())


def test_a_gene_does_not_shrink(begun, tiny_run):
    channels = [*Learngene.from_pretrained(tiny_run).config.channels.values()]
    recipe = begun(f"gene.shape={[*channels[:-1], channels[-1] - 1]}")
    with pytest.raises(
        RecipeError, match=rf"expected at least {channels[-1]} channels of stages\.4\.1, .* found {channels[-1] - 1}"
    ):
        line_channels(recipe, find_ancestor(recipe))


@pytest.mark.parametrize(
    ("split", "role"),
    [
        (ClassSplit(("x",), ("y",), ("base",)), "novel"),
        (ClassSplit(("x",), ("y",), ("held",)), "novel"),
        (ClassSplit(("x",), ("base",), ("z",)), "held-out"),
        (ClassSplit(("x",), ("y",), ("BASE",)), "novel"),
    ],
)
def test_a_gene_that_has_seen_what_is_to_be_new_is_refused(begun, split, role):
    ancestor = find_ancestor(begun())
    origin = ancestor.gene.config.origin
    data = origin.data.model_copy(update={"base": ("base",), "held_out": ("held",), "novel": ("x",)})
    config = ancestor.gene.config.model_copy(update={"origin": origin.model_copy(update={"data": data})})
    knowing = replace(ancestor, gene=replace(ancestor.gene, config=config))
    knowing.refuse_seen(ClassSplit(("base", "x"), ("held",), ("z",)))
    with pytest.raises(
        DataError, match=rf"=tiny: this gene has seen classes of the same names .* as 1 of the {role} classes"
    ):
        knowing.refuse_seen(split)


def test_a_class_that_is_written_in_another_way_was_seen_too_unless_the_gene_tells_both_apart(tiny_run):
    (data,) = Learngene.from_pretrained(tiny_run).config.all_data
    record = data.model_copy(update={"base": ("golden_retriever", "A"), "held_out": ("b",), "novel": ("a",)})
    assert seen_of([record], ["Golden Retriever", "a", "B"], ["golden-retriever", "B"]) == (
        {"Golden Retriever", "B"},
        {"golden-retriever"},
    )


def test_other_novel_classes_of_the_same_images_are_refused_before_they_are_read(begun, tiny_run, tmp_path):
    known = Learngene.from_pretrained(tiny_run).config.origin.data.base
    recipe = begun(f"data.classes.novel={json.dumps(known[:6])}")
    for use in (lambda: evolve(recipe, out=tmp_path / "run"), lambda: forecast(recipe, device=torch.device("cpu"))):
        with pytest.raises(DataError, match=r"make them base classes with data\.classes"):
            use()


def test_a_gene_that_was_cut_from_a_network_is_taken_with_a_warning(tiny, tmp_path):
    network = newborn(network_body(tiny()), num_classes=3, gene=None, seed=1)
    extract(network, 0.5).save_pretrained(tmp_path / "cut")
    notes = Listener()
    recipe = tiny(f"evolution.ancestor={tmp_path / 'cut'}", *SMALL)
    config = evolve(recipe, out=tmp_path / "run", reporter=notes).config
    forecast(recipe, device=torch.device("cpu"), reporter=(dry := Listener()))
    for told in (notes, dry):
        assert any("does not say which classes it has seen" in one for one in told.warnings)
        assert any("is for images of 32 pixels; this evolution shows data.image_size=28" in one for one in told.lines)
    assert config.origin.ancestor.origin is None
    assert "which does not say how it was made" in (tmp_path / "run/gene/README.md").read_text()


def test_a_gene_of_the_hub_is_fetched_once_and_then_used_offline(hub, tiny, tiny_run, tmp_path, monkeypatch):
    Learngene.from_pretrained(tiny_run).push_to_hub("owner/first")
    recipe = tiny("evolution.ancestor=owner/first", *SMALL)
    config = evolve(recipe, out=tmp_path / "online").config
    assert config.origin.ancestor.name == "owner/first"
    revision = config.origin.ancestor.revision
    assert len(revision) == 40
    assert f"`owner/first` at commit {revision[:12]} (sha256" in (tmp_path / "online/gene/README.md").read_text()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert evolve(recipe, out=tmp_path / "offline").config.sha256 == config.sha256


def test_a_chain_of_ancestors_without_end_is_refused(begun_run, tiny_run, tmp_path):
    text = (begun_run / "gene/config.json").read_text()
    inner = json.dumps(json.loads((tiny_run / "gene/config.json").read_text())["origin"])
    for levels, is_one in ((3, True), (400, False)):
        head, tail = json.dumps({"name": "x", "sha256": "0" * 64, "origin": "HERE"}).split('"HERE"')
        link = inner.replace('"ancestor": null', f'"ancestor": {head}HERE{tail}')
        before, after = link.split("HERE")
        config = json.loads(text)
        config["origin"]["ancestor"]["origin"] = "HERE"
        deep = json.dumps(config).replace('"HERE"', before * levels + inner + after * levels)
        (tmp_path / "config.json").write_text(deep)
        if is_one:
            assert len(read_config(tmp_path).origin.ancestors) == levels + 1
        else:
            with pytest.raises(GeneFileError, match=r"config\.json"):
                read_config(tmp_path)
