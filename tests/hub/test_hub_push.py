"""Genes to the Hub, by the unmodified client, against a server of the Hub's protocol on this machine."""

import os
import shutil
from dataclasses import replace

import pytest
import timm
import torch
from hub_genes import ALL_FILES, REPO, asked
from hub_server import Fault
from huggingface_hub import HfApi, constants

from learngene_hub import Learngene, evolve, extract
from learngene_hub.core.errors import GeneFileError, HubError
from learngene_hub.gene.sharing import pull_gene, push_gene
from learngene_hub.hub import push as push_module
from learngene_hub.hub.address import Address
from learngene_hub.hub.client import HubOptions
from learngene_hub.hub.push import XET_PAUSE, PushTerms
from learngene_hub.hub.push import push as push_files

pytestmark = pytest.mark.usefixtures("no_waiting")


@pytest.mark.xet
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
    assert f"learngene evaluate {REPO} --tasks 5\n" in card
    assert f"\n# {REPO}\n" in card


@pytest.mark.xet
def test_an_unchanged_push_makes_no_commit(hub, push):
    first, again = push(), push()
    assert again.changed == ()
    assert again.commit == first.commit == hub.commits(REPO)[0]


def test_only_what_changed_is_sent(push, gene_copy):
    push(gene_copy)
    (gene_copy / "metrics.jsonl").write_text("{}\n")
    assert push(gene_copy).changed == ("metrics.jsonl",)


def test_a_branch_is_made_and_leaves_main_alone(hub, push, gene_copy):
    push(gene_copy)
    (gene_copy / "metrics.jsonl").write_text("{}\n")
    push(gene_copy, revision="longer")
    assert hub.files(REPO, "longer")["metrics.jsonl"] == b"{}\n"
    assert hub.files(REPO)["metrics.jsonl"] != b"{}\n"


def test_a_pull_request_leaves_main_alone_and_gives_its_url(hub, push, gene_copy):
    before = push(gene_copy).commit
    (gene_copy / "metrics.jsonl").write_text("{}\n")
    assert "/discussions/" in push(gene_copy, create_pr=True, message="Shorter metrics").url
    assert hub.commits(REPO)[0] == before


def test_a_gene_and_a_whole_network_do_not_share_a_repository(hub, push, options):
    push()
    before, network = hub.commits(REPO), {"model.safetensors": b"x", "config.json": b"{}"}
    with pytest.raises(HubError, match=r"holds learngene\.safetensors, which model\.safetensors would break: push to"):
        push_files(network, Address(REPO), terms=PushTerms(), options=options)
    assert hub.commits(REPO) == before


def test_a_private_repository_is_seen_by_its_owner_only(push, load):
    push(private=True)
    load()
    with pytest.raises(HubError, match=r"no such repository on .*, or a private one that your token may not see"):
        load(token="hf_other", force_download=True)


@pytest.mark.parametrize("is_private", [True, False])
def test_a_new_repository_is_private_if_that_is_the_default_of_its_organisation(hub, push, is_private):
    hub.store.private_by_default |= {"owner"} if is_private else set()
    push()
    assert hub.repo(REPO).private is is_private


def test_a_card_edited_on_the_hub_is_not_overwritten_unawares(hub, push, gene_copy):
    push(gene_copy)
    edited = hub.files(REPO)["README.md"].replace(b"## Limits", b"## Limits, by hand")
    hub.put(REPO, {"README.md": edited})
    (gene_copy / "metrics.jsonl").write_text("{}\n")
    (gene_copy / "README.md").write_text((gene_copy / "README.md").read_text() + "\nMore.\n")
    with pytest.raises(HubError, match="its card was edited on the Hub, so nothing was pushed"):
        push(gene_copy)
    assert hub.files(REPO)["README.md"] == edited
    assert hub.files(REPO)["metrics.jsonl"] != b"{}\n"
    assert set(push(gene_copy, overwrite_card=True).changed) == {"README.md", "metrics.jsonl"}


def test_a_card_that_this_package_pushed_is_replaced(push, gene_copy):
    push(gene_copy)
    (gene_copy / "README.md").write_text((gene_copy / "README.md").read_text() + "\nMore.\n")
    assert push(gene_copy).changed == ("README.md",)


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


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(status=500), "answers 500: as the test asked"),
        (Fault(status=500, after=True), "answers 500: as the test asked"),
        (Fault(kind="close", after=True), "no answer from"),
        (Fault(status=412), "answers 412: as the test asked"),
    ],
    ids=["failed", "seemed to fail", "answer lost", "overtaken"],
)
def test_a_commit_is_sent_once_and_the_same_push_again_leaves_one(hub, push, fault, message):
    hub.faults.append(replace(fault, method="POST", path="/commit/"))
    with pytest.raises(HubError, match=message):
        push()
    assert sum("/commit/" in one.path for one in hub.requests) == 1
    assert push().commit == hub.commits(REPO)[0]
    assert len(hub.commits(REPO)) == 2


def test_what_somebody_else_pushes_meanwhile_stays(hub, push, gene_copy, monkeypatch):
    push(gene_copy)
    (gene_copy / "README.md").write_text(f"{(gene_copy / 'README.md').read_text()}\nMine.\n")

    def overtaken(*args, commit=push_module._commit):
        hub.put(REPO, {"README.md": b"theirs"})
        return commit(*args)

    monkeypatch.setattr(push_module, "_commit", overtaken)
    with pytest.raises(HubError, match="412"):
        push(gene_copy)
    assert hub.files(REPO)["README.md"] == b"theirs"


def test_a_push_that_fails_says_what_it_has_made(hub, push):
    hub.faults.append(Fault("POST", "/commit/", status=500, times=2))
    with pytest.raises(HubError, match=r"; the repository was created and may be empty: repeat the push"):
        push(private=True)
    with pytest.raises(HubError, match=r"asked; try again later$"):
        push(private=True)


def test_a_pull_request_makes_no_repository(hub, push):
    with pytest.raises(HubError, match="no such repository; a pull request needs one that exists: push to own"):
        push(create_pr=True)
    assert hub.store.repos == {}


def test_a_pull_request_makes_no_branch(hub, push):
    push()
    with pytest.raises(HubError, match=r"^owner/gene@v2: no such branch; a pull request needs one that exists"):
        push(revision="v2", create_pr=True)
    assert "v2" not in hub.repo(REPO).branches


def test_a_pull_request_that_exists_is_pushed_to_and_loads_by_the_name_that_the_push_gives(hub, push, gene_copy, load):
    push(gene_copy)
    (gene_copy / "metrics.jsonl").write_text("{}\n")
    opened = push(gene_copy, create_pr=True)
    assert str(opened.address) == "owner/gene@refs/pr/1"
    (gene_copy / "metrics.jsonl").write_text("[]\n")
    again = push(gene_copy, revision="refs/pr/1")
    assert again.url.endswith("/tree/refs%2Fpr%2F1")
    assert load(str(again.address)).inheritance.revision == again.commit == hub.commits(REPO, "refs/pr/1")[0]


@pytest.mark.parametrize("is_new", [True, False])
def test_a_pull_request_is_not_made_by_its_name(hub, push, is_new):
    if not is_new:
        push()
    before = {key: dict(repo.branches) for key, repo in hub.store.repos.items()}
    missing = "repository" if is_new else "branch"
    with pytest.raises(HubError, match=rf"^owner/gene@refs/pr/1: no such {missing}; a pull request needs one"):
        push(revision="refs/pr/1")
    assert {key: repo.branches for key, repo in hub.store.repos.items()} == before


def test_the_url_of_a_branch_can_be_followed(push):
    assert push(revision="my branch").url.endswith(f"/{REPO}/tree/my%20branch")


def test_a_pull_request_is_sent_once(hub, push, gene_copy):
    push(gene_copy)
    hub.requests.clear()
    (gene_copy / "metrics.jsonl").write_text("{}\n")
    hub.faults.append(Fault("POST", "/commit/", status=500))
    with pytest.raises(HubError, match="answers 500: as the test asked"):
        push(gene_copy, create_pr=True)
    assert sum("/commit/" in one.path for one in hub.requests) == 1


def test_a_push_into_the_account_of_another_says_which_token_it_wants(push):
    with pytest.raises(HubError, match=r"other/gene: no permission.*read access to other, and write access for a push"):
        push(repo="other/gene")


def test_nothing_is_pushed_offline(push, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="offline"):
        push()


def test_a_gene_whose_folder_is_gone_is_pushed_from_memory(hub, gene_copy):
    gene = Learngene.from_pretrained(gene_copy)
    shutil.rmtree(gene_copy)
    assert set(gene.push_to_hub(REPO, token="hf_owner", endpoint=hub.url).changed) == {
        "config.json",
        "learngene.safetensors",
        "README.md",
    }


def test_a_push_without_a_token_asks_for_one(hub, push, tiny_run, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match="requires a login: run `hf auth login`, or set HF_TOKEN"):
        push_gene(tiny_run, Address(REPO), terms=PushTerms(), options=HubOptions(endpoint=hub.url))


@pytest.mark.xet
@pytest.mark.parametrize(
    ("status", "told"), [(403, "no permission"), (401, "does not accept the token"), (500, "500.*; try again later")]
)
def test_an_upload_that_fails_for_good_is_an_error_and_makes_no_commit(hub, push, status, told, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    hub.faults += [Fault(*each, status=status, times=99) for each in (("PUT", "/lfs/"), ("POST", "/v1/xorbs/"))]
    with pytest.raises(HubError, match=rf"^owner/gene: .*{told}"):
        push()
    assert len(hub.commits(REPO)) == 1


@pytest.mark.xet
@pytest.mark.parametrize("hub", ["xet"], indirect=True)
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (
            Fault("GET", "/xet-write-token/", status=403),
            r"no permission \(.*403.*read access to owner, and write access",
        ),
        (Fault("POST", "/v1/shards", status=400), "400"),
    ],
)
def test_xet_that_refuses_an_upload_is_an_error_and_makes_no_commit(hub, push, fault, told):
    hub.faults.append(replace(fault, times=99))
    with pytest.raises(HubError, match=rf"^owner/gene: .*{told}"):
        push()
    assert len(hub.commits(REPO)) == 1


def test_an_upload_whose_connection_broke_is_made_once(hub, push, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    hub.faults += [Fault("PUT", "/lfs/", "close"), Fault("POST", "/v1/xorbs/", "close")]
    assert push().commit == hub.commits(REPO)[0]
    assert sorted(fault.times for fault in hub.faults) == [0, 1]


def test_private_is_refused_where_the_repository_is_public(hub, push, gene_copy):
    before = push(gene_copy).commit
    (gene_copy / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(HubError, match="the repository is already public, so nothing was pushed"):
        push(gene_copy, private=True)
    assert hub.commits(REPO)[0] == before


def test_private_is_refused_for_a_new_branch_of_a_public_repository(hub, push, gene_copy):
    push(gene_copy)
    with pytest.raises(HubError, match="the repository is already public, so nothing was pushed"):
        push(gene_copy, revision="v2", private=True)
    assert "v2" not in hub.repo(REPO).branches


def test_a_tag_is_nothing_to_push_to(hub, push, gene_copy):
    push(gene_copy)
    HfApi(endpoint=hub.url, token="hf_owner").create_tag(REPO, tag="v1")
    (gene_copy / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(HubError, match="expected a branch to push to, found a tag or commit"):
        push(gene_copy, revision="v1")


def test_a_gene_that_was_loaded_is_pushed_with_all_that_lies_beside_it(hub, push, tiny_run):
    push()
    gene = Learngene.from_pretrained(tiny_run)
    assert gene.push_to_hub(REPO, token="hf_owner", endpoint=hub.url).changed == ()
    there = Learngene.from_pretrained(REPO, token="hf_owner", endpoint=hub.url)
    assert there.push_to_hub(REPO, token="hf_owner", endpoint=hub.url).changed == ()


def test_a_gene_whose_tensors_were_changed_is_not_pushed_with_the_card_of_the_other(hub, tiny_run):
    gene = Learngene.from_pretrained(tiny_run)
    changed = replace(gene, tensors={name: tensor + 0.01 for name, tensor in gene.tensors.items()})
    pushed = changed.push_to_hub(REPO, token="hf_owner", endpoint=hub.url)
    assert set(pushed.changed) == {"config.json", "learngene.safetensors", "README.md"}


def test_a_gene_that_was_just_evolved_is_pushed_with_all_that_lies_beside_it(hub, tiny, tmp_path):
    gene = evolve(tiny("evolution.generations=1"), out=tmp_path)
    assert set(gene.push_to_hub(REPO, token="hf_owner", endpoint=hub.url).changed) == ALL_FILES


def test_a_gene_that_came_from_the_hub_is_pushed_elsewhere_with_all_that_belongs_to_it(hub, push, tiny_run, tmp_path):
    push()
    gene = Learngene.from_pretrained(REPO, token="hf_owner", endpoint=hub.url, cache_dir=tmp_path / "cache")
    pushed = gene.push_to_hub("owner/other@v1", token="hf_owner", endpoint=hub.url)
    assert set(pushed.changed) == ALL_FILES
    assert str(pushed.address) == "owner/other@v1"
    where = {"token": "hf_owner", "endpoint": hub.url}
    hub.put("owner/other", {"README.md": b"theirs"}, revision="v1")
    with pytest.raises(HubError, match=r"FOLDER, after save_pretrained\(FOLDER\)/README\.md, then replace"):
        gene.push_to_hub("owner/other@v1", **where)
    asked = gene.push_to_hub("owner/other", revision="v1", create_pr=True, message="More", overwrite_card=True, **where)
    assert (asked.changed, asked.address.revision) == (("README.md",), "refs/pr/1")
    assert gene.push_to_hub("owner/hidden", private=True, **where).private
    assert hub.repo("owner/hidden").private
    HfApi(endpoint=hub.url, token="hf_owner").delete_repo(REPO)
    shutil.rmtree(tmp_path / "cache")
    shutil.copytree(tiny_run / "gene", gene.place.folder)
    (gene.place.folder / "metrics.jsonl").unlink()
    again = gene.push_to_hub("owner/third", token="hf_owner", endpoint=hub.url)
    assert set(again.changed) == ALL_FILES - {"metrics.jsonl"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("more.pt", b"", "pickles can run code"),
        ("README.md", b"---\ntags: [a\n---\n# A gene\n", "expected YAML metadata between two lines of ---"),
        ("README.md", b"# Mine\n", "expected `library_name: learngene` in the metadata"),
        ("README.md", b"---\nlibrary_name: timm\n---\n", "found 'timm'"),
        ("README.md", b"\xff", "expected UTF-8"),
    ],
)
def test_a_folder_with_an_unsafe_file_or_an_odd_card_is_refused_before_anything_is_sent(
    hub, push, gene_copy, name, content, message
):
    (gene_copy / name).write_bytes(content)
    with pytest.raises(GeneFileError, match=message):
        push(gene_copy)
    assert not asked(hub)


def test_a_card_with_line_ends_of_windows_is_the_same_card(push, gene_copy):
    push(gene_copy)
    card = (gene_copy / "README.md").read_bytes()
    (gene_copy / "README.md").write_bytes(b"\xef\xbb\xbf" + card.replace(b"\n", b"\r\n"))
    assert push(gene_copy).changed == ()


def test_a_pulled_gene_that_is_pushed_elsewhere_names_the_new_place_only(hub, push, options, tmp_path):
    push()
    pull_gene(REPO, tmp_path / "mine", options=options)
    push(tmp_path / "mine", "owner/other")
    assert REPO not in hub.files("owner/other")["README.md"].decode()


@pytest.mark.xet
@pytest.mark.parametrize("said", [None, "7ms"])
def test_an_upload_shortens_the_pauses_of_xet_unless_the_user_has_chosen_them(push, monkeypatch, said):
    monkeypatch.setenv(XET_PAUSE, "")  # so that it is put back at the end
    monkeypatch.delenv(XET_PAUSE) if said is None else monkeypatch.setenv(XET_PAUSE, said)
    push()
    assert os.environ[XET_PAUSE] == (said or "1500ms")
