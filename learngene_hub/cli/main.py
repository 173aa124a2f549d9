"""The `learngene` command, and the one place that turns exceptions into messages and exit codes."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from learngene_hub import __version__
from learngene_hub.cli import card, data, evaluate, evolve, finetune, genes, hub, recipes
from learngene_hub.cli.console import stderr
from learngene_hub.errors import LearngeneError

EXIT_FAILURE, EXIT_INTERRUPTED = 1, 130


class _Commands(TyperGroup):
    """All commands; known failures and Ctrl-C end in one message, not in a traceback."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        try:
            return super().invoke(ctx)
        except (LearngeneError, OSError) as error:
            stderr.print(f"error: {error}", markup=False)
            raise typer.Exit(EXIT_FAILURE) from None
        except KeyboardInterrupt as stop:
            stderr.print(str(stop) or "interrupted", markup=False)
            raise typer.Exit(EXIT_INTERRUPTED) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Evolve, share and inherit learngenes: small sub-networks that give a network a head start.",
    epilog="Example: learngene evolve demo && learngene evaluate runs/demo",
)
app.command(name="evolve", epilog=evolve.EXAMPLE)(evolve.evolve)
app.command(name="evaluate", epilog=evaluate.EXAMPLE)(evaluate.evaluate)
app.command(name="finetune", epilog=finetune.FINETUNE_EXAMPLE)(finetune.finetune)
app.command(name="predict", epilog=finetune.PREDICT_EXAMPLE)(finetune.predict)
app.command(name="list", epilog=genes.LIST_EXAMPLE)(genes.list_genes)
app.command(name="info", epilog=genes.INFO_EXAMPLE)(genes.info)
app.command(name="verify", epilog=genes.VERIFY_EXAMPLE)(genes.verify)
app.command(name="card", epilog=card.EXAMPLE)(card.card)
app.command(name="push", epilog=hub.PUSH_EXAMPLE)(hub.push)
app.command(name="pull", epilog=hub.PULL_EXAMPLE)(hub.pull)
app.add_typer(recipes.app, name="recipes")
app.add_typer(data.app, name="data")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"learngene-hub {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of the command itself."""


def main() -> None:
    """Entry point of the `learngene` script."""
    app()
