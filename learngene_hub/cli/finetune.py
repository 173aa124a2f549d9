"""`learngene finetune` and `learngene predict`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from learngene_hub.cli.console import TerminalReporter, command, importing, print_json, print_text, stderr, stdout
from learngene_hub.cli.engines import AUTO, Device
from learngene_hub.cli.genes import ImageColumn, LabelColumn, Source
from learngene_hub.core.plain_text import one_line

if TYPE_CHECKING:
    from learngene_hub.finetuning import Prediction

FINETUNE_EXAMPLE = "Example: learngene finetune runs/demo --data photos/ --out photos-model"
TOP = 3  # classes in the line of an image
TRAINING = {name: f"--{name.replace('_', '-')}" for name in ("epochs", "batch_size", "lr", "patience", "flip")}
PREDICT_EXAMPLE = "Example: learngene predict photos-model photo.jpg more-photos/"


def finetune(
    context: typer.Context,
    gene: Source,
    data: Annotated[
        str,
        typer.Option(
            help="One image folder per class, or train/ beside val/ and test/; or Parquet, or Hub id.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="New folder for the network.")],
    val: Annotated[
        float | None, typer.Option(help="Share of validation images. Default: those of DATA, else 0.2.")
    ] = None,
    width: Annotated[
        float | None, typer.Option(min=0.05, max=4, help="Factor on all channels. Default: the gene's.")
    ] = None,
    depth: Annotated[
        int | None, typer.Option(min=1, help="Depth, such as 13 (VGG) or 15 (ResNet). Default: the gene's.")
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(min=28, max=224, metavar="PIXELS", help="Image side. Default: the gene's."),
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
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    device: Device = AUTO,
) -> None:
    """Train a network for your own images, from a gene.

    The network is saved in OUT, a folder that timm can load.
    """
    sources = {option: context.get_parameter_source(name) for name, option in TRAINING.items()}
    given = [option for option, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if method == "probe" and given:
        raise typer.BadParameter(f"{', '.join(given)}: only for --method full; a probe trains only a classifier")
    with importing():
        from learngene_hub.finetuning import Photos, Settings
        from learngene_hub.finetuning import finetune as run

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
    tuned = run(gene, photos, out=out, settings=settings, device=device, reporter=TerminalReporter())
    right = tuned.record["learngene"]
    accuracy = right.get("test_accuracy", right["val_accuracy"])
    line = tuned.comparison or f"learngene {100 * accuracy:.1f} % ({tuned.measured_on})"
    stdout.print(line, markup=False)
    then = command("predict", out, Path("new-photo.jpg"))
    stderr.print(f"network (learngene), pictures and numbers: {out}; next: {then}", markup=False)


def predict(
    folder: Annotated[Path, typer.Argument(help="Folder made by `learngene finetune`.", metavar="DIR")],
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of images.", metavar="IMAGE")],
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Classes shown per image.  [default: 3; all with --json]"),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=28, max=224, metavar="PIXELS", help="Image side.  [default: as in training]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each image.")] = False,
) -> None:
    """Print a line for each image, with its likeliest classes; exit 1 if an image cannot be read."""
    with importing():
        from learngene_hub.finetuning import Predictor

    failed = False
    for image in Predictor.load(folder, image_size=image_size).predict(images, reporter=TerminalReporter()):
        if as_json:
            print_json(_as_json(image, top), indent=None)
        elif image.fault is None:
            print_text(_line(image, top or TOP))
        if image.fault is not None:
            failed = True
            stderr.print(f"error: {image.path}: {image.fault}; left out", markup=False)
    if failed:
        raise typer.Exit(1)


def _line(prediction: "Prediction", top: int) -> str:
    classes = ", ".join(f"{100 * probability:.1f}% {name}" for name, probability in prediction.classes[:top])
    return one_line(f"{prediction.path}: {classes}")


def _as_json(prediction: "Prediction", top: int | None) -> dict[str, object]:
    if prediction.fault is not None:
        return {"file": str(prediction.path), "error": prediction.fault}
    classes = [{"class": name, "probability": probability} for name, probability in prediction.classes[:top]]
    return {"file": str(prediction.path), "predictions": classes}
