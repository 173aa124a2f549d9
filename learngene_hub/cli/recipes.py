"""`learngene recipes`: list, copy."""

import re
from pathlib import Path
from typing import Annotated

import typer
import yaml

from learngene_hub.cli.console import help_alone, print_table, stdout
from learngene_hub.core.errors import RecipeError

app = typer.Typer(
    callback=help_alone,
    invoke_without_command=True,
    help="Recipes that come with the package.",
    epilog="Example: learngene recipes copy demo",
)

RecipeSource = Annotated[str, typer.Argument(help="Recipe file, or the name of a shipped recipe.", metavar="RECIPE")]


@app.command(name="list", epilog="Example: learngene recipes list")
def list_recipes() -> None:
    """List the shipped recipes and what each is for."""
    from learngene_hub.recipe.recipe import shipped_recipes

    comments = {name: path.read_text(encoding="utf-8").splitlines()[0] for name, path in shipped_recipes().items()}
    purposes = {name: comment.removeprefix("#").strip() for name, comment in comments.items()}
    print_table("shipped recipes", ("name", "what for"), purposes.items())


@app.command(epilog="Example: learngene recipes copy demo mine.yaml")
def copy(
    recipe: RecipeSource,
    target: Annotated[
        Path | None, typer.Argument(metavar="TARGET", help="File to write.  [default: RECIPE.yaml here]")
    ] = None,
) -> None:
    """Copy a recipe to a new file and rename it after that file; no file is overwritten."""
    from learngene_hub.core.files import expanded, is_there, write_text
    from learngene_hub.recipe.recipe import Recipe, name_of

    file = expanded(target or f"{Path(recipe).stem}.yaml")
    read = Recipe.from_file(recipe)
    name = yaml.safe_dump({"name": name_of(file) or read.name}).strip()
    if is_there(file):
        raise RecipeError(f"{file}: exists already; give another name")
    write_text(file, re.sub(r"(?m)^name:.*$", name, read.text, count=1))
    stdout.print(str(file), markup=False)
