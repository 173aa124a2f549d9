"""Options of the commands that can run on several devices, processes or machines."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from learngene_hub.workers import EngineOptions

AUTO = "auto"
PIXELS = (28, 224)  # `networks.IMAGE_SIZES`, known before torch is imported

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
Engine = Annotated[str, typer.Option(help="local, or ray (a cluster, all its GPUs).")]
Address = Annotated[str | None, typer.Option(help="HOST:PORT of a Ray cluster. Default: this machine.")]
WORKERS_HELP = "Processes or Ray actors. auto: one for each GPU or core."


def engine_options(name: str, workers: str, address: str | None) -> "EngineOptions":
    """The engine options that the user gave.

    Raises:
        EngineError: see `EngineOptions`.
    """
    from learngene_hub.workers import EngineOptions

    return EngineOptions(name, _count(workers), address)


def known_size(pixels: int | None) -> int | None:
    """The side of images, checked to be in range."""
    least, most = PIXELS
    if pixels is not None and not least <= pixels <= most:
        raise typer.BadParameter(f"expected {least} to {most} pixels, found {pixels}")
    return pixels


def known_data(path: str | None) -> str | None:
    """The path or Hub id of images, checked before torch is imported.

    Raises:
        DataError: see `refuse_unknown_data`.
    """
    from learngene_hub.hub.address import refuse_unknown_data

    if path is not None:
        refuse_unknown_data(path)
    return path


def known_source(source: str | None) -> str | None:
    """The path or Hub id of images, or a preset, checked before torch is imported."""
    from learngene_hub.hub.address import refuse_unknown_data
    from learngene_hub.recipe.sections import PRESET_NAMES

    if source is not None and source not in PRESET_NAMES:
        refuse_unknown_data(source, presets=PRESET_NAMES)
    return source


def _count(workers: str) -> int | None:
    if workers == AUTO:
        return None
    try:
        return int(workers)
    except ValueError:
        raise typer.BadParameter(f"workers: expected auto or a number, found {workers!r}") from None
