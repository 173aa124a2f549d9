"""Options of the commands that can run on several devices, processes or machines."""

from typing import Annotated, Literal

import typer

AUTO = "auto"

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
Engine = Annotated[
    Literal["local", "ray"], typer.Option(metavar="local|ray", help="Processes here, or Ray (a cluster's GPUs).")
]
RayAddress = Annotated[str | None, typer.Option(help="HOST:PORT of a Ray cluster. Default: this machine.")]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", "--jobs", min=1, metavar="N", help="Processes or Ray actors. Default: one for each GPU or core."
    ),
]


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
