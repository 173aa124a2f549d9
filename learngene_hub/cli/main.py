"""The `learngene` command, and the one place that turns exceptions into messages and exit codes."""

import atexit
import gc
import io
import os
import platform
import sys
from importlib import metadata
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperGroup

from learngene_hub import __version__
from learngene_hub.cli import card, evaluate, evolve, finetune, genes, hub, recipes, report
from learngene_hub.cli.console import show_warnings_as_lines, stderr
from learngene_hub.core.errors import LearngeneError, first_fault, lack_of_memory

EXIT_FAILURE, EXIT_INTERRUPTED = 1, 130
INTERRUPTED = "interrupted; the same command continues (evolve: with --resume; finetune begins again)"
SHOWN_PACKAGES = ("torch", "timm", "huggingface_hub", "safetensors")
WELCOME = f"""\
learngene-hub {__version__}: evolve, share and inherit learngenes

see it work, without data or GPU
  learngene evolve demo && learngene evaluate runs/demo --tasks 5
a network for your own images
  learngene finetune gtl/vgg11-cifar-fs-half --data photos/ --out photos-model
evolve on a real data set
  learngene evolve cifar_fs_vgg11 --dry-run
list available genes
  learngene list; learngene list --hub
all commands
  learngene --help; learngene COMMAND --help
"""
USE, EVOLVE, SHARE = "Use a gene", "Make a gene", "Share genes"


class _Commands(TyperGroup):
    """All commands, in panels; known failures and Ctrl-C end in one message, not in a traceback."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401
        super().__init__(**attributes | {"rich_markup_mode": "rich"})
        _hide_types(self)

    def get_params(self, ctx: Any) -> Any:  # noqa: ANN401
        """The options, which take no values; typer's panels would show `<bool>` beside them."""
        for option in (options := super().get_params(ctx)):
            option.metavar = ""
        return options

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # stdout was closed, as by `| head`: typer exits silently
            raise
        except (LearngeneError, OSError) as error:
            stderr.print(f"error: {error}", markup=False)
            raise typer.Exit(EXIT_FAILURE) from None
        except (MemoryError, RuntimeError) as error:
            if not (asked := lack_of_memory(error)):
                raise
            advice = "free some memory, or use smaller batches, a narrower network or fewer workers"
            stderr.print(f"error: out of memory ({asked}): {advice}", markup=False)
            raise typer.Exit(EXIT_FAILURE) from None
        except typer.BadParameter as error:
            _reword(error)
            raise
        except KeyboardInterrupt:
            stderr.print(INTERRUPTED, markup=False)
            raise typer.Exit(EXIT_INTERRUPTED) from None


def _hide_types(group: TyperGroup) -> None:
    """Show names of values, such as OUT, where typer would show Python's types; beside arguments it has no setting."""
    for command in group.commands.values():
        for parameter in command.params:
            if isinstance(parameter, TyperArgument):
                parameter.display_type = lambda *_: ""  # type: ignore[method-assign]
            elif not parameter.is_flag and not parameter.metavar:  # type: ignore[attr-defined]
                parameter.metavar = (parameter.name or "").rpartition("_")[2].upper()
        if isinstance(command, TyperGroup):
            _hide_types(command)


def _reword(error: typer.BadParameter) -> None:
    """Add to a message that typer takes from pydantic what was found."""
    from pydantic import ValidationError

    if isinstance(fault := error.__cause__, ValidationError):
        words, found = first_fault(fault), repr(fault.errors()[0]["input"])
        error.message = words if found in words else f"{words}, found {found}"


app = typer.Typer(
    cls=_Commands,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # of the single commands, whose panels would leave 25 columns for the words
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Evolve, share and inherit learngenes: small parts of trained networks, inherited by new ones.",
    epilog="Example: learngene evolve demo && learngene evaluate runs/demo --tasks 5",
)
app.command(name="finetune", epilog=finetune.FINETUNE_EXAMPLE, rich_help_panel=USE)(finetune.finetune)
app.command(name="predict", epilog=finetune.PREDICT_EXAMPLE, rich_help_panel=USE)(finetune.predict)
app.command(name="list", epilog=genes.LIST_EXAMPLE, rich_help_panel=USE)(genes.list_genes)
app.command(name="info", epilog=genes.INFO_EXAMPLE, rich_help_panel=USE)(genes.info)
app.command(name="verify", epilog=genes.VERIFY_EXAMPLE, rich_help_panel=USE)(genes.verify)
app.command(name="evolve", epilog=evolve.EXAMPLE, rich_help_panel=EVOLVE)(evolve.evolve)
app.command(name="evaluate", epilog=evaluate.EXAMPLE, rich_help_panel=EVOLVE)(evaluate.evaluate)
app.command(name="report", epilog=report.EXAMPLE, rich_help_panel=EVOLVE)(report.report)
app.command(name="card", epilog=card.EXAMPLE, rich_help_panel=EVOLVE)(card.card)
app.add_typer(recipes.app, name="recipes", rich_help_panel=EVOLVE)
app.command(name="push", epilog=hub.PUSH_EXAMPLE, rich_help_panel=SHARE)(hub.push)
app.command(name="pull", epilog=hub.PULL_EXAMPLE, rich_help_panel=SHARE)(hub.pull)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"learngene-hub {__version__}")
        typer.echo(", ".join(f"{name} {metadata.version(name)}" for name in SHOWN_PACKAGES))
        typer.echo(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show versions and exit.")
    ] = False,
) -> None:
    """Options of the command itself; without a command, print examples."""
    if context.invoked_subcommand is None:
        typer.echo(WELCOME, nl=False)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # the name of a file may be no text
    show_warnings_as_lines()
    for name in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
        if (
            seconds := os.environ.get(name)
        ) and not seconds.isdecimal():  # at which huggingface_hub ends in a traceback
            stderr.print(f"error: {name}: expected whole seconds, such as 30, found {seconds!r}", markup=False)
            sys.exit(EXIT_FAILURE)
    atexit.register(gc.freeze)  # else the collector walks through all of torch once more, which takes a second
    app()
