"""`learngene data`: look at images as the evolution will see them."""

from pathlib import Path
from typing import Annotated

import typer

from learngene_hub.cli.console import TerminalReporter, help_alone, importing, stdout
from learngene_hub.cli.engines import known_data, known_source

app = typer.Typer(
    callback=help_alone,  # which also keeps `preview` a command of its own while it is the only one
    invoke_without_command=True,
    help="Look at data sets.",
    epilog="Example: learngene data preview glyphs",
)


@app.command(epilog="Example: learngene data preview cifar_fs --path ~/cifar_fs")
def preview(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", callback=known_source, help="Preset, image folder, Parquet folder or Hub id."),
    ],
    path: Annotated[str | None, typer.Option(callback=known_data, help="Local copy of a preset.")] = None,
    image_column: Annotated[str | None, typer.Option(help="Name of the image column, if not image or img.")] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Name of the label column, if not label or fine_label.")
    ] = None,
    image_size: Annotated[int, typer.Option(min=8, max=512, help="Pixels.")] = 32,
    classes: Annotated[int, typer.Option(min=1, help="Classes shown, one per row.")] = 12,
    columns: Annotated[int, typer.Option(min=1, help="Images per class.")] = 12,
    seed: Annotated[int, typer.Option(help="Random seed for the choice of images.")] = 0,
    out: Annotated[Path | None, typer.Option(help="PNG to write.  [default: preview-SOURCE.png]")] = None,
) -> None:
    """Write a contact sheet: one row of images for each class shown."""
    from learngene_hub.recipe.sections import PRESET_NAMES

    if path is not None and source not in PRESET_NAMES:
        raise typer.BadParameter("--path is the local copy of a preset; leave it out for other images")
    with importing():
        from learngene_hub.core.files import atomic_path, expanded, public_name
        from learngene_hub.data.counting import available_classes, tell_left_out
        from learngene_hub.data.loading import load_classes
        from learngene_hub.data.preview import contact_sheet
        from learngene_hub.data.source import DataSource

    reporter = TerminalReporter()
    preset = source if source in PRESET_NAMES else None
    data = DataSource(
        preset=preset,
        path=path if preset else source,
        image_size=image_size,
        image_column=image_column,
        label_column=label_column,
        on_corrupt="skip",
        images_per_class=columns,
        seed=seed,
    )
    names = available_classes(data, reporter=reporter)
    step = max(1, len(names) // classes)
    tell_left_out(data, reporter)
    images = load_classes(data, names[::step][:classes], reporter=reporter)
    file = expanded(out or f"preview-{Path(public_name(source)).name}.png")
    sheet = contact_sheet(images, rows=min(classes, len(names)), columns=columns, seed=seed)
    with atomic_path(file) as unfinished:
        sheet.save(unfinished, format="png")
    stdout.print(f"{file}: {images.num_classes} of {len(names)} classes", markup=False)
