"""`learngene recipes`: list, show, copy, validate."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml

from learngene_hub.cli.console import AsJson, help_alone, importing, print_json, print_table, print_text, stdout
from learngene_hub.core.errors import RecipeError

if TYPE_CHECKING:
    from learngene_hub.recipe.recipe import Recipe

app = typer.Typer(
    callback=help_alone,
    invoke_without_command=True,
    help="Recipes that come with the package.",
    epilog="Example: learngene recipes copy demo",
)

RecipeSource = Annotated[str, typer.Argument(help="Recipe file, or the name of a shipped recipe.", metavar="RECIPE")]


def read_recipe(recipe: str, overrides: Sequence[str]) -> "Recipe":
    """The recipe called `recipe`; its fields and the name of its ancestor are checked, without torch.

    Raises:
        RecipeError: see `Recipe.from_file`.
        GeneFileError, HubError: `evolution.ancestor` is not the name of a gene.
    """
    from learngene_hub.gene.names import refuse_unknown
    from learngene_hub.recipe.recipe import Recipe

    read = Recipe.from_file(recipe, overrides)
    if read.evolution.ancestor is not None:
        refuse_unknown(read.evolution.ancestor)
    return read


@app.command(name="list", epilog="Example: learngene recipes list")
def list_recipes(as_json: AsJson = False) -> None:
    """List the shipped recipes and what each is for."""
    from learngene_hub.recipe.recipe import shipped_recipes

    comments = {name: path.read_text(encoding="utf-8").splitlines()[0] for name, path in shipped_recipes().items()}
    purposes = {name: comment.removeprefix("#").strip() for name, comment in comments.items()}
    if as_json:
        print_json(purposes)
    else:
        print_table("shipped recipes", ("name", "what for"), purposes.items())


@app.command(epilog="Example: learngene recipes show demo")
def show(recipe: RecipeSource) -> None:
    """Print a recipe as it is written."""
    from learngene_hub.recipe.recipe import Recipe

    print_text(Recipe.from_file(recipe).text, end="")


@app.command(epilog="Example: learngene recipes copy demo mine.yaml")
def copy(
    recipe: RecipeSource,
    target: Annotated[
        Path | None, typer.Argument(metavar="TARGET", help="File to write.  [default: RECIPE.yaml here]")
    ] = None,
) -> None:
    """Copy a recipe to a new file and rename it after that file; no file is overwritten."""
    from learngene_hub.core.files import explain_write_errors
    from learngene_hub.recipe.recipe import Recipe, name_of

    file = target or Path(f"{Path(recipe).stem}.yaml")
    read = Recipe.from_file(recipe)
    name = yaml.safe_dump({"name": name_of(file) or read.name}).strip()
    text = re.sub(r"(?m)^name:.*$", name, read.text, count=1)
    with explain_write_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file.open("x", encoding="utf-8", newline="") as handle:
            handle.write(text)
    except FileExistsError:
        raise RecipeError(f"{file}: exists already; give another name") from None
    stdout.print(str(file), markup=False)


@app.command(epilog="Example: learngene recipes validate mine.yaml evolution.population=4")
def validate(
    recipe: RecipeSource,
    overrides: Annotated[list[str] | None, typer.Argument(help="Recipe fields to change.", metavar="KEY=VALUE")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the recipe's hash and fields as JSON.")] = False,
) -> None:
    """Check a recipe and list all faults; also check that its network can be built and inherit its ancestor."""
    checked = read_recipe(recipe, overrides or ())
    with importing():
        from learngene_hub.evolution.ancestor import find_ancestor, line_channels
    line_channels(checked, find_ancestor(checked))
    if as_json:
        print_json({"sha256": checked.sha256, "recipe": checked.model_dump(mode="json")})
        return
    stdout.print(f"{recipe}: ok (sha256 {checked.sha256[:12]})", markup=False)
