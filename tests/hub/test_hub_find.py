"""Genes on the Hub: found, looked at and pulled."""

import pytest
from hub_genes import ALL_FILES, REPO

from learngene_hub import list_learngenes
from learngene_hub.core.errors import GeneFileError, HubUnreachableError, RunError
from learngene_hub.gene.card import GAIN_METRIC
from learngene_hub.gene.sharing import pull_gene
from learngene_hub.gene.source import locate

pytestmark = pytest.mark.usefixtures("no_waiting")


def test_a_hub_that_is_not_there_is_searched_once(hub):
    with pytest.raises(HubUnreachableError, match=r"^the list of repositories: no answer from http"):
        list_learngenes(hub=True, endpoint="http://127.0.0.1:9")


@pytest.mark.parametrize(
    "line",
    [
        "eval_results: 5",
        "eval_results: [1]",
        "learngene: {parameters: 1" + 400 * "0" + "}",
        "learngene: {parameters: true, network: [1], data: {a: b}}",
        f"model-index: [{{name: a, results: [{{task: {{type: t}}, dataset: {{type: t, name: n}}, "
        f"metrics: [{{type: {GAIN_METRIC}, value: .nan}}]}}]}}]",
    ],
)
def test_no_card_of_a_stranger_breaks_the_list(hub, line):
    hub.put("other/odd", {"README.md": f"---\nlibrary_name: learngene\n{line}\n---\n".encode()})
    found = list_learngenes(hub=True, endpoint=hub.url)
    assert [(one.name, one.gain, one.megabytes) for one in found] == [("other/odd", None, None)]


def test_a_card_cannot_steer_the_terminal(hub):
    card = '---\nlibrary_name: learngene\nlearngene: {data: "\\e]0;x\\a\\e[31mred"}\n---\n'
    hub.put("other/odd", {"README.md": card.encode()})
    assert list_learngenes(hub=True, endpoint=hub.url)[0].data == r"\x1b]0;x\x07\x1b[31mred"


def test_the_hub_is_searched_and_the_card_says_what_a_list_shows(hub, push):
    push()
    hub.put("other/bert", {"README.md": b"---\nlibrary_name: transformers\n---\n"})
    hub.put("other/odd", {"README.md": b"---\nlibrary_name: learngene\nlearngene: 5\nmodel-index: nonsense\n---\n"})
    found = {one.name: one for one in list_learngenes(hub=True, endpoint=hub.url)}
    assert found.keys() == {REPO, "other/odd"}
    assert (found[REPO].network, found[REPO].data) == ("lg_vgg11", "glyphs")
    assert found[REPO].megabytes > 0
    assert found["other/odd"].network is None
    assert [one.name for one in list_learngenes(hub=True, author="owner", endpoint=hub.url)] == [REPO]
    assert [one.name for one in list_learngenes(hub=True, network="lg_vgg11", search="gen", endpoint=hub.url)] == [REPO]
    assert list_learngenes(hub=True, network="lg_resnet12", endpoint=hub.url) == []
    assert [one.name for one in list_learngenes(search="VGG11-mini-h")] == ["gtl/vgg11-mini-half"]


def test_the_config_is_read_without_the_weights(hub, push, options):
    push()
    hub.requests.clear()
    locate(REPO, options=options, required=("config.json",))
    assert not [one for one in hub.requests if "safetensors" in one.path]


def test_a_pulled_gene_is_the_pushed_one_and_pushing_it_again_changes_nothing(push, options, tmp_path, tiny_run):
    push()
    found = pull_gene(REPO, tmp_path / "mine", options=options)
    assert found.revision is not None
    assert {path.name for path in (tmp_path / "mine").iterdir()} == ALL_FILES
    assert (tmp_path / "mine/metrics.jsonl").read_bytes() == (tiny_run / "gene/metrics.jsonl").read_bytes()
    assert push(tmp_path / "mine").changed == ()


def test_a_pull_never_writes_over_anything(options, tmp_path):
    with pytest.raises(RunError, match="already exists; give another --out"):
        pull_gene(REPO, tmp_path, options=options)


def test_a_broken_gene_is_not_pulled(hub, push, options, tmp_path):
    push()
    hub.put(REPO, {"config.json": b"{}"})
    with pytest.raises(GeneFileError, match="expected a learngene config"):
        pull_gene(REPO, tmp_path / "mine", options=options)
    assert not (tmp_path / "mine").exists()
