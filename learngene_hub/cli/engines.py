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
