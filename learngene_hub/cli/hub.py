"""`learngene push` and `learngene pull`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from learngene_hub.cli.console import AsJson, TerminalReporter, importing, print_json, stderr, stdout

PUSH_EXAMPLE = "Example: learngene push runs/demo you/your-gene --private"
PULL_EXAMPLE = "Example: learngene pull you/your-gene@v1 --out my-gene"
LOAD_GENE = 'from_learngene("{}", num_classes=...)'
LOAD_NETWORK = 'timm.create_model("hf-hub:{}", pretrained=True) after `import learngene_hub`'


def push(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Gene folder, folder of a run, or of `learngene finetune`.")
    ],
    repo: Annotated[str, typer.Argument(metavar="REPO", help="owner/name[@branch] on the Hub; created if needed.")],
    private: Annotated[
        bool,
        typer.Option(
            "--private",
            help="Make a new repository private; otherwise it is public, unless its organisation's default is private.",
        ),
    ] = False,
    revision: Annotated[str | None, typer.Option(help="Branch; created if needed.  [default: main]")] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead.")] = False,
    message: Annotated[str | None, typer.Option(help="Message of the commit.")] = None,
    overwrite_card: Annotated[
        bool, typer.Option("--overwrite-card", help="Also replace a card that was edited on the Hub.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Push a gene, or a fine-tuned network, to the Hub.

    This makes one commit, or none if nothing has changed. All files are checked first. Published too: the names of all
    classes and of the data folder, the overrides, and the card as you edited it. Log in with `hf auth login`, or set
    HF_TOKEN to a token with write access.
    """
    from learngene_hub.core.files import expanded, refuse_missing

    folder = expanded(folder)
    refuse_missing(folder, "a gene folder, the folder of a run, or one of `learngene finetune`")
    with importing():
        from learngene_hub.finetuning.folder import is_finetuned, push_finetuned
        from learngene_hub.gene.folder import find_gene
        from learngene_hub.gene.sharing import push_gene
    from learngene_hub.hub.address import address_of
    from learngene_hub.hub.client import HubOptions
    from learngene_hub.hub.push import CARD_NAME, PushTerms

    is_gene = not is_finetuned(folder)
    send, home = (push_gene, find_gene(folder)) if is_gene else (push_finetuned, folder)
    terms = PushTerms(private, create_pr, message, overwrite_card, dry_run, home / CARD_NAME)
    with TerminalReporter().task(f"pushing {folder}", None):
        pushed = send(folder, address_of(repo, revision), terms=terms, options=HubOptions())
    if dry_run:
        _show_files(pushed.sizes, as_json=as_json)
        return
    if as_json:
        more = {"changed": list(pushed.changed), "private": pushed.private}
        print_json({"url": pushed.url, "commit": pushed.commit, **more})
        return
    stdout.print(pushed.url, markup=False)
    kind = "private" if pushed.private else "public"
    place = f"branch {pushed.address.revision or 'main'} of a {kind} repository"
    done = f"pushed to {place}: {', '.join(pushed.changed)} in commit {pushed.commit[:12]}"
    stderr.print(done if pushed.changed else f"nothing had to be sent: {place} holds these files", markup=False)
    stderr.print(f"load it with {(LOAD_GENE if is_gene else LOAD_NETWORK).format(pushed.address)}", markup=False)


def _show_files(sizes: Mapping[str, int], *, as_json: bool) -> None:
    """What a push would send."""
    if as_json:
        print_json({"files": dict(sizes)})
        return
    for name, size in sizes.items():
        stdout.print(f"{size:>13,} bytes  {name}", markup=False)
    said = "these files contain the names of all classes and of the data folder; push them without --dry-run"
    stderr.print(f"not pushed (--dry-run): {said}", markup=False)


def pull(
    repo: Annotated[
        str, typer.Argument(metavar="REPO", help="owner/name[@revision] of the Hub, or a gene of the package.")
    ],
    out: Annotated[Path | None, typer.Option(help="New folder.  [default: the repository's name]")] = None,
    force_download: Annotated[bool, typer.Option("--force-download", help="Download again, even if cached.")] = False,
    as_json: AsJson = False,
) -> None:
    """Download a gene from the Hub, or copy one of the package, into a folder of your own.

    Card, recipe and pictures are included; all files are checked.
    """
    with importing():
        from learngene_hub.gene.sharing import pull_gene
    from learngene_hub.hub.client import HubOptions

    folder = out or Path(Path(repo if Path(repo).is_dir() else repo.partition("@")[0]).resolve().name)
    with TerminalReporter().task(f"fetching {repo}", None):
        located = pull_gene(repo, folder, options=HubOptions(force_download=force_download))
    if as_json:
        print_json({"folder": str(folder), "revision": located.revision})
        return
    stdout.print(str(folder), markup=False)
    stderr.print(f"pulled: {repo}" + (f", commit {located.revision[:12]}" if located.revision else ""), markup=False)
