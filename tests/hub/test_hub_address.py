import hashlib
from pathlib import Path

import pytest

from learngene_hub.core.errors import GeneFileError, HubError
from learngene_hub.gene.source import locate
from learngene_hub.hub.address import Address, parse_address
from learngene_hub.hub.push import marked

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("you/gene", Address("you/gene")),
        ("hf-hub:you/gene", Address("you/gene")),
        ("you/gene@v1", Address("you/gene", "v1")),
        ("hf-hub:you/gene@refs/pr/3", Address("you/gene", "refs/pr/3")),
        (f"you/gene@{COMMIT}", Address("you/gene", COMMIT)),
        ("you/_gene", Address("you/_gene")),
        ("runs/demo/gene", None),
        ("gene", None),
        ("./you/gene", None),
        ("../gene", None),
        ("C:\\you\\gene", None),
    ],
)
def test_a_text_names_a_repository_or_does_not(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["you/a--b", "you/gene.git"])
def test_names_that_the_hub_does_not_allow_are_refused(text):
    with pytest.raises(HubError, match=r"expected owner/name: letters, digits"):
        parse_address(text)


@pytest.mark.parametrize(("name", "revision"), [(None, None), ("you/gene", 3)])
def test_what_is_no_text_names_no_repository(name, revision):
    with pytest.raises(HubError, match=r"found a (NoneType|int)"):
        Address(name, revision)


def test_a_prefix_before_anything_else_is_refused():
    with pytest.raises(HubError, match="expected hf-hub:owner/name or"):
        parse_address("hf-hub:gene")


def test_a_folder_wins_over_a_repository_of_the_same_name(tiny_run, tmp_path, monkeypatch):
    (tmp_path / "you").mkdir()
    (tmp_path / "you/gene").symlink_to(tiny_run / "gene")
    monkeypatch.chdir(tmp_path)
    assert locate("you/gene").revision is None


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_may_be_named_by_the_home_it_lies_in(tiny_run, monkeypatch, kind):
    monkeypatch.setenv("HOME", str(tiny_run.parent))
    assert locate(kind(f"~/{tiny_run.name}")).folder == tiny_run / "gene"


def test_a_revision_of_a_folder_is_refused(tiny_run):
    with pytest.raises(GeneFileError, match="revision 'v1' works only for the Hub, but this gene is on this machine"):
        locate(str(tiny_run), revision="v1")


def test_two_revisions_at_once_are_refused():
    with pytest.raises(HubError, match="expected one revision, found another in `revision`, 'v2'"):
        locate("you/gene@v1", revision="v2")


def test_what_is_neither_folder_nor_repository_says_what_was_expected():
    with pytest.raises(GeneFileError, match="photos/demo/gene: no such folder or gene; expected a gene folder, a run"):
        locate("photos/demo/gene")


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("runs/demo", r" \(to ask the Hub, .*: hf-hub:runs/demo\)$"),
        ("runs/a--b", r" \(to ask the Hub"),
        ("runs/it@v1", r" \(to ask the Hub"),
        ("runs/a/b", "$"),
        ("gtl/no-such-gene", r" \(to ask the Hub, .*: hf-hub:gtl/no-such-gene\)$"),
    ],
)
def test_runs_and_genes_of_the_package_that_are_not_there_never_reach_the_hub(tmp_path, monkeypatch, name, after):
    (tmp_path / "runs/photos").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)  # `make demo` leaves a runs/demo behind
    with pytest.raises(
        GeneFileError, match=f"{name}: no such folder or gene; expected .*: see `learngene list`{after}"
    ):
        locate(name)


@pytest.mark.parametrize("name", ["https://huggingface.co/you/gene", "you/gene/", "you/gene:v1", "you/gene@"])
def test_what_is_nearly_the_name_of_a_repository_is_answered_with_how_one_looks(name):
    with pytest.raises(GeneFileError, match="owner/name of the Hub, such as you/your-gene or you/your-gene@main, or"):
        locate(name)


def test_a_card_is_marked_with_the_hash_of_its_own_text():
    text = b"# A gene\n\nIt is small.\n"
    card = marked(text)
    assert card.startswith(text)
    assert hashlib.sha256(text).hexdigest().encode() in card


def test_marking_twice_changes_nothing_and_an_edit_moves_the_mark():
    card = marked("# A gené\n\n\n".encode())
    assert marked(card) == card
    edited = card.replace(b"# A", b"# My")
    assert marked(edited) != edited


@pytest.mark.parametrize("revision", ["v1\0", "\x1b[31m", "a\nb"])
def test_a_revision_that_is_no_printable_text_is_refused(revision):
    with pytest.raises(HubError, match=r"revision: expected a branch, tag or commit, found '"):
        Address("owner/gene", revision)
