"""Push a gene folder to the Hub, and pull one from the Hub into a new folder."""

from pathlib import Path

from learngene_hub.core.errors import GeneFileError, RunError
from learngene_hub.core.files import atomic_path, claim_new, expanded, refuse_unmakeable
from learngene_hub.gene.card import FACTS, LIBRARY_NAME, addressed_card, card_data, card_facts, check_card, render_card
from learngene_hub.gene.folder import CARD_NAME, PICTURE_NAME, RECIPE_NAME, find_gene, read_whole_gene
from learngene_hub.gene.source import Located, locate
from learngene_hub.hub.address import Address
from learngene_hub.hub.client import HubOptions
from learngene_hub.hub.push import Pushed, PushTerms, push


def push_gene(path: Path, address: Address, *, terms: PushTerms, options: HubOptions) -> Pushed:
    """Push the gene at `path` after all checks have passed; see `hub.push.push`.

    The card's snippets name the repository instead of the folder. A missing card is created.

    Raises:
        GeneFileError: there is no gene, a check of it fails, or its card cannot be read.
        HubError: the push fails; see `hub.push.push`.
    """
    return push(files_to_push(path, address.repo_id), address, terms=terms, options=options)


def files_to_push(path: Path, repo_id: str) -> dict[str, bytes]:
    """Name -> content of the files that a push of the gene at `path` to `repo_id` sends; exactly these were checked.

    Raises:
        GeneFileError: there is no gene, a check of it fails, or its card cannot be read or describes another gene.
    """
    folder = find_gene(path)
    files, config = read_whole_gene(folder)
    beside = {"picture": PICTURE_NAME in files, "recipe": RECIPE_NAME in files}
    card = files.get(CARD_NAME) or render_card(config, name=repo_id, **beside).encode()
    text = check_card(card, folder / CARD_NAME, library=LIBRARY_NAME)
    stated = card_data(text).get(FACTS)
    facts = card_facts(config).items() if isinstance(stated, dict) else ()
    others = [(key, stated.get(key, value), value) for key, value in facts if key != "data"]
    if other := [f"expected {key}: {value}, found {said}" for key, said, value in others if said != value]:
        raise GeneFileError(
            f"{folder / CARD_NAME}: its metadata describe another gene: {other[0]}; correct them, or remove the card"
        )
    files[CARD_NAME] = addressed_card(text, repo_id, title=config.origin.recipe if config.origin else None).encode()
    return files


def pull_gene(source: str, out: Path, *, options: HubOptions) -> Located:
    """Fetch a gene with all its files into the new folder `out`, and check it.

    Raises:
        RunError: `out` exists.
        GeneFileError: there is no such gene, or a check of it fails; nothing is left behind.
        HubError: it cannot be fetched.
    """
    out = expanded(out)
    refuse_unmakeable(out)
    with claim_new(out):
        if out.exists():
            raise RunError(f"{out}: already exists; give another --out")
        located = locate(source, options=options)
        files, _ = located.read(read_whole_gene)
        with atomic_path(out) as staged:
            staged.mkdir()
            for name, content in files.items():
                (staged / name).write_bytes(content)
    return located
