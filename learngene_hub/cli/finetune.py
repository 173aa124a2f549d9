"""`learngene finetune` and `learngene predict`."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from learngene_hub.cli.console import (
    AsJson,
    TerminalReporter,
    command,
    importing,
    print_json,
    print_table,
    stderr,
    stdout,
    table_width,
)
from learngene_hub.cli.engines import AUTO, Device, known_data
from learngene_hub.cli.genes import Source
from learngene_hub.cli.interrupts import interruptible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from learngene_hub.finetuning import Prediction

FINETUNE_EXAMPLE = "Example: learngene finetune runs/demo --data photos/ --out photos-model"
TOP = 3  # classes in a row of the table
FIRST = ("first choice", "second choice", "third choice")  # heads of its columns; then "choice 4"
TRAINING = {name: f"--{name.replace('_', '-')}" for name in ("epochs", "batch_size", "lr", "patience", "flip")}
PREDICT_EXAMPLE = "Example: learngene predict photos-model photo.jpg more-photos/"


def _known_val(val: str | None) -> str | None:
    """The same share or path, checked before torch is imported."""
    try:
        float(val or "0")
    except ValueError:
        return known_data(val)
    return val


def finetune(
    context: typer.Context,
    gene: Source,
    data: Annotated[
        str,
        typer.Option(
            callback=known_data,
            help="One image folder per class, or train/ beside val/ and test/; or Parquet, or Hub id.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="New folder for the network.")],
    val: Annotated[
        str | None,
        typer.Option(
            callback=_known_val, help="Folder of validation images, or their share. Default: val/ in DATA, else 0.2."
        ),
    ] = None,
    width: Annotated[
        float | None, typer.Option(min=0.05, max=4, help="Factor on all channels. Default: the gene's.")
    ] = None,
    depth: Annotated[
        int | None, typer.Option(min=1, help="Depth, such as 13 (VGG) or 15 (ResNet). Default: the gene's.")
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            min=28, max=224, metavar="PIXELS", help="Image side. Default: the gene's; for probe up to twice that."
        ),
    ] = None,
    method: Annotated[
        Literal["full", "probe"],
        typer.Option(metavar="full|probe", help="full: train all weights; probe: only a classifier, in seconds."),
    ] = "full",
    epochs: Annotated[int, typer.Option(min=1, help="Maximum number of passes over all images.")] = 30,
    batch_size: Annotated[
        int | None, typer.Option(min=2, help="Images per step. Default: a fifth of all, 8 to 64.")
    ] = None,
    lr: Annotated[
        float | None, typer.Option(min=1e-6, max=10, help="Learning rate. Default: the best of a few.")
    ] = None,
    patience: Annotated[int, typer.Option(min=1, help="Epochs without improvement before training stops.")] = 15,
    flip: Annotated[
        bool | None, typer.Option("--flip/--no-flip", help="Mirror images at random. Default: as for the gene.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed for split, weights and batches.")] = 0,
    compare: Annotated[
        Literal["scratch"] | None, typer.Option(help="Also train the same network without the gene.")
    ] = None,
    on_corrupt: Annotated[
        Literal["refuse", "skip"],
        typer.Option(metavar="refuse|skip", help="For images that cannot be read."),
    ] = "refuse",
    image_column: Annotated[str | None, typer.Option(help="Image column, if not image or img.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Label column, if not label or fine_label.")] = None,
    device: Device = AUTO,
    as_json: Annotated[bool, typer.Option("--json", help="Print finetune.json.")] = False,
) -> None:
    """Train a network for your own images, from a gene.

    The network is saved in OUT, a folder that timm can load.
    """
    from learngene_hub.core.errors import RunError
    from learngene_hub.core.files import refuse_occupied, refuse_unmakeable

    sources = {option: context.get_parameter_source(name) for name, option in TRAINING.items()}
    given = [option for option, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if method == "probe" and given:
        raise typer.BadParameter(f"{', '.join(given)}: only for --method full; a probe trains only a classifier")
    if (out / "finetune.json").is_file():
        raise RunError(
            f"{out}: expected a new or empty folder, found a network of an earlier run: use it with "
            f"`{command('predict', out)} IMAGE`, or give another --out"
        )
    refuse_occupied(out)
    refuse_unmakeable(out)
    with importing():
        from learngene_hub.finetuning import Photos, Settings
        from learngene_hub.finetuning import finetune as run
        from learngene_hub.finetuning.photos import example_of

    photos = Photos(data, val=val, on_corrupt=on_corrupt, image_column=image_column, label_column=label_column)
    settings = Settings(
        width=width,
        depth=depth,
        image_size=image_size,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        patience=patience,
        flip=flip,
        seed=seed,
        method=method,
        compare=compare,
    )
    with interruptible(f"interrupted; nothing was written to {out}"):
        tuned = run(gene, photos, out=out, settings=settings, device=device, reporter=TerminalReporter())
    if as_json:
        print_json(tuned.record)
    else:
        right = tuned.record["learngene"]
        accuracy = right.get("test_accuracy", right["val_accuracy"])
        line = tuned.comparison or f"learngene {100 * accuracy:.1f} % ({tuned.measured_on})"
        stdout.print(line, markup=False)
    then = command("predict", out, Path(example_of(data)))
    stderr.print(f"pictures and numbers: {out}; next: {then}", markup=False)


def predict(
    folder: Annotated[Path, typer.Argument(help="Folder made by `learngene finetune`.", metavar="DIR")],
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of images.", metavar="IMAGE")],
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Classes shown per image.  [default: at most 3, in one line; all with --json]"),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=28, max=224, metavar="PIXELS", help="Image side.  [default: as in training]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Name the classes of images; exit 1 if an image cannot be read."""
    from learngene_hub.core.files import refuse_missing

    refuse_missing(folder, "a folder made by `learngene finetune`", lambda entry: (entry / "finetune.json").is_file())
    with importing():
        from learngene_hub.finetuning import Predictor

    shown = top or (None if as_json else TOP)
    whole = Predictor.load(folder, image_size=image_size).predict(images, reporter=TerminalReporter())
    predictions = [replace(image, classes=image.classes[:shown]) for image in whole]  # keeps memory small
    if as_json:
        print_json([_as_json(image) for image in predictions])
    else:
        fits = top is None and stdout.is_terminal
        _show_predictions(folder, [image for image in predictions if image.fault is None], fits=fits)
    faults = [f"error: {image.path}: {image.fault}" for image in predictions if image.fault is not None]
    for fault in faults:
        stderr.print(fault, markup=False)
    if faults:
        raise typer.Exit(1)


def _show_predictions(folder: Path, predictions: "Sequence[Prediction]", *, fits: bool) -> None:
    """A row an image: the file, without the folder that all have in common, and its likeliest classes.

    With `fits`, fewer classes are shown, and their names are cut, where a row would take two lines. In a file or pipe,
    a row is as long as it needs.
    """
    if not predictions:
        return
    common = _common([image.path.parent for image in predictions])
    choices = [*FIRST, *(f"choice {number + 1}" for number in range(len(FIRST), len(predictions[0].classes)))]
    rows = [("file", *choices[: len(predictions[0].classes)])]
    rows += [
        (
            os.path.relpath(image.path, common) if common else str(image.path),
            *(f"{100 * probability:.1f}% {label}" for label, probability in image.classes),
        )
        for image in predictions
    ]
    title = f"{folder} of {common}" if common else str(folder)
    while fits and len(rows[0]) > 2 and table_width(rows) > stdout.width:
        rows = [row[:-1] for row in rows]
    width = None if stdout.is_terminal else table_width(rows)
    print_table(title, rows[0], rows[1:], whole_first=True, cuts=fits, width=width)


def _common(folders: "Sequence[Path]") -> str:
    try:
        return os.path.commonpath(folders)
    except ValueError:  # some are absolute and some are not, or they are on two drives
        return ""


def _as_json(prediction: "Prediction") -> dict[str, object]:
    if prediction.fault is not None:
        return {"file": str(prediction.path), "error": prediction.fault}
    classes = [{"class": name, "probability": probability} for name, probability in prediction.classes]
    return {"file": str(prediction.path), "predictions": classes}
