"""Genes to the Hub and back, by the unmodified client, against a server of the Hub's protocol on this machine."""

import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
from hub_server import Fault
from huggingface_hub import HfApi, constants

from learngene_hub import Learngene, extract, from_learngene, list_learngenes
from learngene_hub.errors import GeneFileError, HubError, HubUnreachableError, RunError
from learngene_hub.gene.sharing import pull_gene, push_gene
from learngene_hub.gene.source import locate
from learngene_hub.hub import fetch as fetch_module
from learngene_hub.hub import push as push_module
from learngene_hub.hub.address import Address
from learngene_hub.hub.client import HubOptions
from learngene_hub.hub.push import PushTerms
from learngene_hub.results import GAIN_METRIC

REPO = "owner/gene"
ALL_FILES = {"config.json", "learngene.safetensors", "README.md", "recipe.yaml", "metrics.jsonl", "evolution.png"}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(push_module, "WAITS", (0.0, 0.0))


@pytest.fixture
def options(hub, tmp_path):
    return HubOptions(cache_dir=tmp_path / "cache", token="hf_owner", endpoint=hub.url)


@pytest.fixture
def push(options, tiny_run):
    """Pushes the tiny gene, or another folder: `push(folder, revision=..., overwrite_card=True)`."""

    def do(folder=tiny_run, repo=REPO, *, revision=None, **terms):
        return push_gene(Path(folder), Address(repo, revision), terms=PushTerms(**terms), options=options)

    return do


@pytest.fixture
def load(options):
    """Makes a model from the Hub: `load("owner/gene@v1", force_download=True)`."""

    def do(source=REPO, **more):
        places = {"cache_dir": options.cache_dir, "token": options.token, "endpoint": options.endpoint}
        return from_learngene(source, num_classes=3, **(places | more))

    return do


@pytest.fixture
def copy(tiny_run, tmp_path):
    """A gene folder to be changed."""
    return shutil.copytree(tiny_run / "gene", tmp_path / "copy")


def asked(hub, methods=("GET", "HEAD")):
    return [one for one in hub.requests if one.method in methods and "agent-harnesses" not in one.path]


# Push.


def test_a_push_makes_the_repository_with_all_files_of_the_gene_as_one_commit(hub, push, tiny_run):
    pushed = push()
    assert set(pushed.changed) == ALL_FILES
    assert set(hub.files(REPO)) == ALL_FILES | {".gitattributes"}
    assert hub.commits(REPO)[0] == pushed.commit
    assert len(hub.commits(REPO)) == 2
    assert hub.files(REPO)["learngene.safetensors"] == (tiny_run / "gene/learngene.safetensors").read_bytes()
    assert pushed.url == f"{hub.url}/{REPO}"


def test_the_card_on_the_hub_names_the_repository_in_its_snippet(hub, push):
    push()
    card = hub.files(REPO)["README.md"].decode()
    assert f'from_learngene("{REPO}", num_classes=5)\n' in card
    assert f"learngene evaluate {REPO}\n" in card


def test_an_unchanged_push_makes_no_commit(hub, push):
    first, again = push(), push()
    assert again.changed == ()
    assert again.commit == first.commit == hub.commits(REPO)[0]


def test_only_what_changed_is_sent(push, copy):
    push(copy)
    (copy / "metrics.jsonl").write_text("{}\n")
    assert push(copy).changed == ("metrics.jsonl",)


def test_a_branch_is_made_and_leaves_main_alone(hub, push, copy):
    push(copy)
    (copy / "metrics.jsonl").write_text("{}\n")
    push(copy, revision="longer")
    assert hub.files(REPO, "longer")["metrics.jsonl"] == b"{}\n"
    assert hub.files(REPO)["metrics.jsonl"] != b"{}\n"


def test_a_pull_request_leaves_main_alone_and_gives_its_url(hub, push, copy):
    before = push(copy).commit
    (copy / "metrics.jsonl").write_text("{}\n")
    assert "/discussions/" in push(copy, create_pr=True, message="Shorter metrics").url
    assert hub.commits(REPO)[0] == before


def test_a_private_repository_is_seen_by_its_owner_only(push, load):
    push(private=True)
    load()
    with pytest.raises(HubError, match=r"no such repository on .*, or a private one that your token may not see"):
        load(token="hf_other", force_download=True)


def test_a_card_edited_on_the_hub_is_not_overwritten_unawares(hub, push, copy):
    push(copy)
    edited = hub.files(REPO)["README.md"].replace(b"## Limits", b"## Limits, by hand")
    hub.put(REPO, {"README.md": edited})
    (copy / "metrics.jsonl").write_text("{}\n")
    (copy / "README.md").write_text((copy / "README.md").read_text() + "\nMore.\n")
    with pytest.raises(HubError, match="its card was edited on the Hub, so nothing was pushed"):
        push(copy)
    assert hub.files(REPO)["README.md"] == edited
    assert hub.files(REPO)["metrics.jsonl"] != b"{}\n"
    assert set(push(copy, overwrite_card=True).changed) == {"README.md", "metrics.jsonl"}


def test_a_card_that_this_package_pushed_is_replaced(push, copy):
    push(copy)
    (copy / "README.md").write_text((copy / "README.md").read_text() + "\nMore.\n")
    assert push(copy).changed == ("README.md",)


def test_edits_of_the_hub_survive_a_pull_and_a_push(hub, push, options, tmp_path):
    push()
    hub.put(REPO, {"README.md": hub.files(REPO)["README.md"].replace(b"## Limits", b"## Limits, by hand")})
    pull_gene(REPO, tmp_path / "mine", options=options)
    push(tmp_path / "mine", overwrite_card=True)
    assert b"## Limits, by hand" in hub.files(REPO)["README.md"]


def test_a_gene_in_memory_is_pushed_with_a_card_and_loads_again(hub):
    gene = extract(timm.create_model("lg_vgg11", num_classes=2, width=0.06), 0.5)
    pushed = gene.push_to_hub(REPO, token="hf_owner", endpoint=hub.url)
    assert set(pushed.changed) == {"config.json", "learngene.safetensors", "README.md"}
    assert b"evolution.png" not in hub.files(REPO)["README.md"]
    there = Learngene.from_pretrained(REPO, endpoint=hub.url, token="hf_owner")
    assert there.tensors.keys() == gene.tensors.keys()
    assert all(torch.equal(there.tensors[name], tensor) for name, tensor in gene.tensors.items())


@pytest.mark.parametrize("after", [False, True])
def test_a_commit_that_failed_or_only_seemed_to_is_made_once(hub, push, after):
    hub.faults.append(Fault("POST", "/commit/", "status", status=500, after=after))
    pushed = push()
    assert hub.commits(REPO)[0] == pushed.commit
    assert len(hub.commits(REPO)) == 2


def test_a_commit_whose_answer_is_lost_is_found(hub, push):
    hub.faults.append(Fault("POST", "/commit/", "close", after=True))
    assert push().commit == hub.commits(REPO)[0]
    assert len(hub.commits(REPO)) == 2


def test_a_hub_in_trouble_is_named_and_the_same_push_works_later(hub, push):
    hub.faults.append(Fault("POST", "/commit/", "status", status=500, times=3))
    with pytest.raises(HubUnreachableError, match=r"is in trouble \(500.*try again later"):
        push()
    assert len(hub.commits(REPO)) == 1
    push()
    assert len(hub.commits(REPO)) == 2


def test_a_pull_request_is_never_sent_twice(hub, push, copy):
    push(copy)
    (copy / "metrics.jsonl").write_text("{}\n")
    hub.faults.append(Fault("POST", "/commit/", "status", status=500))
    with pytest.raises(HubUnreachableError, match="is in trouble"):
        push(copy, create_pr=True)
    assert sum("/commit/" in one.path for one in hub.requests) == 2


def test_a_push_into_the_account_of_another_says_which_token_it_wants(push):
    with pytest.raises(HubError, match=r"other/gene: the token may not do this.*write to other"):
        push(repo="other/gene")


def test_a_folder_that_fails_a_check_is_not_pushed(hub, push, copy):
    (copy / "more.pt").write_bytes(b"")
    with pytest.raises(GeneFileError, match="pickles can run code"):
        push(copy)
    assert not asked(hub)


def test_a_broken_card_is_found_before_anything_is_sent(hub, push, copy):
    (copy / "README.md").write_text("---\ntags: [a\n---\n# A gene\n")
    with pytest.raises(GeneFileError, match="expected YAML metadata between two lines of ---"):
        push(copy)
    assert not asked(hub)


def test_nothing_is_pushed_offline(push, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="offline"):
        push()


# Loading.


def test_a_model_from_the_hub_is_the_model_from_the_folder(push, load, tiny_run):
    pushed, here = push(), from_learngene(tiny_run, num_classes=3)
    there = load()
    assert all(torch.equal(a, b) for a, b in zip(there.state_dict().values(), here.state_dict().values(), strict=True))
    assert (there.inheritance.source, there.inheritance.revision) == (REPO, pushed.commit)
    assert f"commit {pushed.commit[:12]}" in str(there.inheritance)


def test_only_the_three_files_that_are_needed_come(hub, push, load):
    push()
    hub.requests.clear()
    load()
    fetched = {one.path.split("/")[-1] for one in asked(hub) if "/resolve/" in one.path}
    assert fetched == {"config.json", "learngene.safetensors", "README.md"}


def test_what_is_cached_costs_one_request_without_a_body_and_a_commit_none(hub, push, load):
    commit = push().commit
    load()
    hub.requests.clear()
    load()
    assert [(one.method, one.size) for one in asked(hub)] == [("HEAD", 0)]
    hub.requests.clear()
    load(f"{REPO}@{commit}")
    load(revision=commit)
    assert asked(hub) == []


def test_all_files_come_from_the_commit_that_was_meant_at_first(hub, push, load, copy, monkeypatch):
    first = push(copy).commit
    config = (copy / "config.json").read_text().replace('"package_version": "', '"package_version": "9')
    find = fetch_module.get_hf_file_metadata

    def find_then_move(*arguments, **more):
        found = find(*arguments, **more)
        hub.put(REPO, {"config.json": config.encode()})
        return found

    with monkeypatch.context() as patch:
        patch.setattr(fetch_module, "get_hf_file_metadata", find_then_move)
        assert load().inheritance.revision == first
    assert load().inheritance.revision == hub.commits(REPO)[0] != first


def test_a_new_revision_comes_when_the_branch_moves(push, load, copy):
    push(copy)
    load()
    (copy / "metrics.jsonl").write_text("{}\n")
    assert load().inheritance.revision != push(copy).commit
    assert load().inheritance.revision == push(copy).commit


def test_offline_works_from_the_cache_and_by_branch(hub, push, load, monkeypatch):
    commit = push().commit
    load()
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load().inheritance.revision == commit
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert load(local_files_only=True).inheritance.revision == commit
    assert asked(hub) == []


def test_offline_without_a_cached_gene_says_the_way_out(hub, push, load, monkeypatch):
    push()
    hub.requests.clear()
    with pytest.raises(HubError, match=r"not in the cache .*, and local_files_only forbids to fetch it: load it once"):
        load(local_files_only=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE forbids to fetch it"):
        load()
    assert asked(hub) == []


def test_without_an_answer_the_cached_gene_is_used_with_a_warning(hub, push, load):
    commit = push().commit
    load()
    hub.faults.append(Fault("HEAD", "/resolve/", "status", status=503))
    with pytest.warns(UserWarning, match=f"is in trouble .*Using commit {commit[:12]} from the cache"):
        assert load().inheritance.revision == commit


def test_force_download_fetches_again(hub, push, load):
    push()
    load()
    hub.requests.clear()
    load(force_download=True)
    bodies = [one for one in asked(hub, ("GET",)) if "/api/" not in one.path]
    assert len(bodies) == 3


# What goes wrong while loading.


def test_a_server_that_does_not_answer_in_time_is_an_error(hub, push, load, monkeypatch):
    push()
    monkeypatch.setattr(fetch_module, "TIMEOUT", 0.2)
    hub.faults.append(Fault("HEAD", "/resolve/", "delay", seconds=30))
    with pytest.raises(HubUnreachableError, match=r"no answer from .*timed out"):
        load()


def test_no_server_is_an_error_after_one_attempt(load):
    with pytest.raises(HubUnreachableError, match=r"^owner/gene: no answer from http"):
        load(endpoint="http://127.0.0.1:9")


def test_a_repository_that_is_not_there_is_named_with_what_to_do(load):
    with pytest.raises(HubError, match=r"^owner/gane: no such repository on http"):
        load("owner/gane")


def test_a_revision_that_is_not_there_is_named(push, load):
    push()
    with pytest.raises(HubError, match=r"owner/gene@v9: found no such branch, tag or commit"):
        load(f"{REPO}@v9")


def test_a_gated_repository_says_where_to_ask(hub, push, load):
    push()
    hub.put(REPO, {}, gated=True)
    with pytest.raises(HubError, match=r"gated: ask for access on http.*/owner/gene, then `hf auth login`"):
        load(token="hf_other")


def test_a_bad_token_is_named(push, load):
    push()
    with pytest.raises(HubError, match="does not accept the token"):
        load(token="hf_wrong")


def test_another_kind_of_repository_is_refused_with_what_it_holds(hub, load):
    hub.put(REPO, {"config.json": b"{}", "pytorch_model.bin": b"pickle"})
    with pytest.raises(HubError, match=r"expected learngene.safetensors, found .*pytorch_model.bin"):
        load()


def test_a_repository_without_config_is_refused(hub, load):
    hub.put(REPO, {"model.bin": b"pickle"})
    with pytest.raises(HubError, match=r"expected the file config\.json, found none: not a gene"):
        load()


def test_a_gene_of_a_newer_schema_asks_for_a_newer_package(push, load, copy, hub):
    push(copy)
    config = json.loads((copy / "config.json").read_text())
    hub.put(REPO, {"config.json": json.dumps(config | {"schema_version": 99}).encode()})
    with pytest.raises(GeneFileError, match=r"schema version 99 is newer than .*upgrade"):
        load()


def test_weights_other_than_the_config_says_are_refused(push, load, hub):
    push()
    hub.put(REPO, {"learngene.safetensors": hub.files(REPO)["learngene.safetensors"][:-1] + b"x"})
    with pytest.raises(GeneFileError, match="the file was altered or cut"):
        load()


def blobs(cache):
    return sorted(path for path in Path(cache).rglob("*") if path.is_file() and "blobs" in path.parts)


def test_a_corrupted_download_is_fetched_again(hub, push, load):
    push()
    hub.faults.append(Fault("GET", r"learngene\.safetensors|/objects?/|/lfs", "corrupt", size=4))
    load()
    assert hub.faults[0].times == 0


@pytest.mark.parametrize("file", ["config.json", "learngene.safetensors"])
def test_a_download_that_stays_corrupted_is_refused_and_not_kept(hub, push, load, options, file):
    push()
    pattern = "config.json" if file == "config.json" else hub_lfs_pattern(hub)
    hub.faults.append(Fault("GET", pattern, "corrupt", size=4, times=20))
    with pytest.raises(HubError, match=f"{file} came twice with other bytes than the Hub has"):
        load()
    hub.faults.clear()
    load()


def hub_lfs_pattern(hub):
    digest = next(file.sha256 for path, file in hub.repo(REPO).at("main").tree.items() if path.endswith(".safetensors"))
    return digest


def test_a_download_cut_short_is_an_error_and_leaves_nothing_half_written(hub, push, load, options, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None, raising=False)
    push()
    hub.faults.append(Fault("GET", hub_lfs_pattern(hub), "cut", size=100, times=50))
    with pytest.raises(HubUnreachableError, match="no answer from"):
        load()
    assert not [path for path in blobs(options.cache) if path.suffix == ".incomplete"]
    hub.faults.clear()
    load()


def test_a_limit_that_is_no_number_is_an_error(push, load, monkeypatch):
    push()
    monkeypatch.setenv("LEARNGENE_MAX_DOWNLOAD_MB", "1 GB")
    with pytest.raises(HubError, match="LEARNGENE_MAX_DOWNLOAD_MB: expected a number of megabytes, found '1 GB'"):
        load()


def test_too_large_a_download_is_refused_before_it_begins(hub, push, load, monkeypatch):
    push()
    monkeypatch.setenv("LEARNGENE_MAX_DOWNLOAD_MB", "0.001")
    hub.requests.clear()
    with pytest.raises(
        HubError, match=r"0\.\d+ MB to download, expected at most 0\.001; if you trust it, set LEARNGENE_MAX"
    ):
        load()
    assert not [one for one in hub.requests if one.method == "GET" and "/resolve/" in one.path]


def test_a_cache_that_cannot_be_written_is_named(push, load, tmp_path):
    push()
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(HubError, match=r"the cache .*file cannot be written"):
        load(cache_dir=tmp_path / "file")


def test_a_full_disk_is_named_and_nothing_half_written_is_kept(push, load, monkeypatch):
    push()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.file_download.http_get", full)
        with pytest.raises(HubError, match="no space left for the cache"):
            load()
    load()


def test_a_damaged_file_of_the_cache_is_fetched_again(hub, push, load, options):
    push()
    load()
    for path in blobs(options.cache):
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    load()
    with pytest.raises(HubError, match="exclude each other"):
        load(force_download=True, local_files_only=True)


def test_a_damaged_file_of_the_cache_is_not_used_offline(push, load, options):
    push()
    load()
    config = next(path for path in blobs(options.cache) if b"schema_version" in path.read_bytes())
    config.write_bytes(config.read_bytes().replace(b'"mean": [', b'"mean": [ '))
    with pytest.raises(HubError, match=r"not in the cache .*, or damaged there"):
        load(local_files_only=True)


def test_a_cache_that_cannot_be_read_is_no_cache(push, load, options, monkeypatch):
    push()
    load()
    note = next(options.cache.glob("models--*/refs/main"))
    note.write_bytes(b"\xff\xfe")
    with pytest.raises(HubError, match="not in the cache"):
        load(local_files_only=True)
    load()
    assert load(local_files_only=True).inheritance.revision


def test_a_gene_whose_folder_is_gone_is_pushed_from_memory(hub, copy):
    gene = Learngene.from_pretrained(copy)
    shutil.rmtree(copy)
    assert set(gene.push_to_hub(REPO, token="hf_owner", endpoint=hub.url).changed) == {
        "config.json",
        "learngene.safetensors",
        "README.md",
    }


def test_a_gene_without_a_card_costs_no_request_either_by_commit(hub, push, load):
    push()
    commit = hub.put(REPO, {"README.md": None})
    load(f"{REPO}@{commit}")
    hub.requests.clear()
    load(f"{REPO}@{commit}")
    assert asked(hub) == []


def test_offline_means_the_commit_loaded_last_even_if_more_was_pulled_before(hub, push, load, options, tmp_path):
    push()
    pull_gene(REPO, tmp_path / "mine", options=options)
    newer = hub.put(REPO, {"note.txt": b"new"})
    load()
    assert load(local_files_only=True).inheritance.revision == newer


def test_a_look_at_the_config_does_not_hide_a_gene_in_the_cache(hub, push, load, options):
    commit = push().commit
    load()
    hub.put(REPO, {"note.txt": b"new"})
    locate(REPO, options=options, required=("config.json",))
    assert load(local_files_only=True).inheritance.revision == commit


@pytest.mark.parametrize("answer", [{"kind": "status", "status": 200}, {"kind": "corrupt", "size": 40}])
def test_an_answer_that_is_none_of_the_hubs_is_an_error(hub, push, load, answer):
    push()
    hub.faults.append(
        Fault("HEAD", "/resolve/", **answer) if "status" in answer else Fault("GET", "/api/models", **answer)
    )
    with pytest.raises(HubError, match="does not answer like a Hub: check HF_ENDPOINT and proxies"):
        load()


@pytest.mark.parametrize("token", ["hf_\n", "hf_é"])
def test_a_token_that_cannot_be_one_is_named_and_not_shown(push, load, token):
    push()
    with pytest.raises(HubError, match="the token has characters that none has") as caught:
        load(token=token)
    assert token not in str(caught.value)
    assert token not in repr(HubOptions(token=token))


def test_an_endpoint_that_is_no_address_is_named(load):
    with pytest.raises(HubError, match=r"expected a Hub at https://\.\.\., found 'huggingface\.co'"):
        load(endpoint="huggingface.co")


def test_a_push_without_a_token_asks_for_one(hub, push, tiny_run, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match="wants to know who asks: `hf auth login`, or set HF_TOKEN"):
        push_gene(tiny_run, Address(REPO), terms=PushTerms(), options=HubOptions(endpoint=hub.url))


def test_an_upload_that_fails_for_good_is_an_error_and_makes_no_commit(hub, push):
    hub.faults.append(Fault("PUT", "", "status", status=403, times=99))
    with pytest.raises(HubError, match="the token may not do this"):
        push()
    assert len(hub.commits(REPO)) == 1


def test_private_is_refused_where_the_repository_is_public(hub, push, copy):
    before = push(copy).commit
    (copy / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(HubError, match="is public already, so nothing was pushed"):
        push(copy, private=True)
    assert hub.commits(REPO)[0] == before


def test_a_tag_is_nothing_to_push_to(hub, push, copy):
    push(copy)
    HfApi(endpoint=hub.url, token="hf_owner").create_tag(REPO, tag="v1")
    (copy / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(HubError, match="expected a branch to push to, found a tag or commit"):
        push(copy, revision="v1")


def test_a_gene_that_was_loaded_is_pushed_with_all_that_lies_beside_it(hub, push, tiny_run):
    push()
    gene = Learngene.from_pretrained(tiny_run)
    assert gene.push_to_hub(REPO, token="hf_owner", endpoint=hub.url).changed == ()
    there = Learngene.from_pretrained(REPO, token="hf_owner", endpoint=hub.url)
    assert there.push_to_hub(REPO, token="hf_owner", endpoint=hub.url).changed == ()


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (b"# Mine\n", "expected `library_name: learngene` in its metadata"),
        (b"---\nlibrary_name: timm\n---\n", "found 'timm'"),
        (b"\xff", "expected UTF-8"),
    ],
)
def test_a_card_by_which_the_hub_could_not_find_the_gene_is_refused(hub, push, copy, card, message):
    (copy / "README.md").write_bytes(card)
    with pytest.raises(GeneFileError, match=message):
        push(copy)
    assert not asked(hub)


def test_a_card_with_line_ends_of_windows_is_the_same_card(push, copy):
    push(copy)
    card = (copy / "README.md").read_bytes()
    (copy / "README.md").write_bytes(b"\xef\xbb\xbf" + card.replace(b"\n", b"\r\n"))
    assert push(copy).changed == ()


def test_a_pulled_gene_that_is_pushed_elsewhere_names_the_new_place_only(hub, push, options, tmp_path):
    push()
    pull_gene(REPO, tmp_path / "mine", options=options)
    push(tmp_path / "mine", "owner/other")
    assert REPO not in hub.files("owner/other")["README.md"].decode()


# Finding.


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
    assert list_learngenes(hub=True, endpoint=hub.url)[0].data == "]0;x[31mred"


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


def test_the_config_is_read_without_the_weights(hub, push, options):
    push()
    hub.requests.clear()
    locate(REPO, options=options, required=("config.json",))
    assert not [one for one in hub.requests if "safetensors" in one.path]


# Pull.


def test_a_pulled_gene_is_the_pushed_one_and_pushing_it_again_changes_nothing(push, options, tmp_path, tiny_run):
    push()
    found = pull_gene(REPO, tmp_path / "mine", options=options)
    assert found.revision is not None
    assert {path.name for path in (tmp_path / "mine").iterdir()} == ALL_FILES
    assert (tmp_path / "mine/metrics.jsonl").read_bytes() == (tiny_run / "gene/metrics.jsonl").read_bytes()
    assert push(tmp_path / "mine").changed == ()


def test_a_pull_never_writes_over_anything(options, tmp_path):
    with pytest.raises(RunError, match="exists already; give another --out"):
        pull_gene(REPO, tmp_path, options=options)


def test_a_broken_gene_is_not_pulled(hub, push, options, tmp_path):
    push()
    hub.put(REPO, {"config.json": b"{}"})
    with pytest.raises(GeneFileError, match="expected a learngene config"):
        pull_gene(REPO, tmp_path / "mine", options=options)
    assert not (tmp_path / "mine").exists()
