"""How descendants are trained and tested: each protocol fixes tasks, steps, optimiser and measures."""

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import Field, ValidationError
from pydantic.dataclasses import dataclass

from learngene_hub.core.errors import LearngeneError, did_you_mean, first_fault
from learngene_hub.recipe.sections import MOST_LR, Count, OptimisationSection
from learngene_hub.report.results import HELD_OUT, NOVEL, PROTOTYPE, Split

LearningRate = Annotated[float, Field(gt=0, le=MOST_LR)]


@dataclass(frozen=True)
class Protocol:
    """A protocol (all protocols are ours). Change a constant of a shipped protocol only with its version.

    Every network is trained by SGD with momentum 0.9 and weight decay 5e-4, gradients clipped at norm 5, at a learning
    rate that warms up and then falls along one cosine; images are cropped and mirrored as in the gene's evolution.

    Attributes:
        name: what a user types.
        version: raised when a constant, or the choice of the learning rates, changes.
        ways: classes per task; None: all.
        shots: training images per class; None: all but the test images.
        queries: test images per class, apart from the training images.
        tasks: tasks per seed.
        steps: optimiser steps.
        measured_at: numbers of steps after which the accuracy is measured, in rising order; 0: before training.
        prototype: also measure a nearest-prototype classifier on the features before training.
        lr: one highest learning rate for all starts; None: for each start the best of `rates`.
        rates: learning rates to choose from, on tasks of held-out classes, see `scoring.next_rates`.
        tuning_tasks: held-out tasks for the choice.
        batch_size: images per step.
        warmup: steps of rising learning rate.
        transfer: the tasks come from another data set.
        split: the gene's classes that the tasks are drawn from. The gene was selected on the held-out classes, so there
            compare it only with other genes.
        changed: names of constants that differ from the shipped protocol; the number of tasks does not count.
    """

    name: str
    version: int
    ways: Count | None
    shots: Count | None
    queries: Count
    tasks: Count
    steps: Count
    measured_at: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    prototype: bool = False
    lr: LearningRate | None = None
    rates: Annotated[tuple[LearningRate, ...], Field(min_length=1)] = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
    tuning_tasks: Count = 6
    batch_size: Annotated[int, Field(ge=2)] = 64
    warmup: Annotated[int, Field(ge=0)] = 5
    transfer: bool = False
    split: Split = NOVEL
    changed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        at = self.measured_at
        if list(at) != sorted({*at}) or not 1 <= at[-1] <= self.steps:
            raise ValueError(f"measured_at: expected rising steps, the last from 1 to {self.steps}, found {at}")
        if self.transfer and self.split != NOVEL:
            raise ValueError(f"a transfer takes its tasks from another data set, not from {self.split} classes")

    @property
    def aim(self) -> str:
        """The tasks in words."""
        ways = "all-way" if self.ways is None else f"{self.ways}-way"
        shots = "all images" if self.shots is None else f"{self.shots} image{'s' if self.shots > 1 else ''}"
        return f"{ways}, {shots} a class, {self.steps} step{'s' if self.steps > 1 else ''}"

    def optimisation(self, lr: float) -> OptimisationSection:
        """The optimiser's constants for one network, at the learning rate `lr`."""
        return OptimisationSection(steps=self.steps, batch_size=self.batch_size, lr=lr, warmup=self.warmup)

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the accuracies that are measured for every network."""
        return (PROTOTYPE,) * self.prototype + tuple(map(str, self.measured_at))

    @property
    def headline(self) -> str:
        """Name of the main measure: the accuracy after the last step."""
        return str(self.measured_at[-1])

    def constants(self) -> dict[str, Any]:
        """The protocol as a JSON-compatible dict, the optimiser's constants included."""
        optimisation = self.optimisation(1.0).model_dump(exclude={"lr", "steps", "batch_size", "warmup"})
        own = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return own | optimisation | {"aim": self.aim}

    def with_changes(self, changes: Mapping[str, Any]) -> "Protocol":
        """The same protocol with changed constants, noted in `changed`; changed `steps` also end the measuring.

        Raises:
            LearngeneError: there is no such constant, or it cannot have this value.
        """
        known = {field.name for field in fields(self)} - {"changed"}
        if unknown := [key for key in changes if key not in known]:
            raise LearngeneError(f"protocol {self.name}: no constant {unknown[0]!r}{did_you_mean(unknown[0], known)}")
        measured_at = changes.get("measured_at")
        changes = {key: value for key, value in changes.items() if value != getattr(self, key)}
        if (steps := changes.get("steps")) and measured_at is None:
            changes["measured_at"] = (*(step for step in self.measured_at if step < steps), steps)
        changed = tuple(sorted({*self.changed, *changes} - {"tasks"}))
        try:
            return replace(self, **changes, changed=changed)
        except ValidationError as error:
            raise LearngeneError(f"protocol {self.name}: {first_fault(error)}") from None


_FEW_SHOT = Protocol(name="few-shot", version=3, ways=5, shots=20, queries=100, tasks=34, steps=60, measured_at=(60,))

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            _FEW_SHOT,
            replace(_FEW_SHOT, name="few-shot-5", shots=5),
            replace(_FEW_SHOT, name="few-shot-1", shots=1),
            Protocol(
                name="short",
                version=3,
                ways=None,
                shots=None,
                queries=100,
                tasks=1,
                steps=1000,
                measured_at=(100, 300, 1000),
                tuning_tasks=1,
                warmup=20,
            ),
            replace(_FEW_SHOT, name="instinct", steps=20, measured_at=(0, 5, 10, 20), prototype=True, warmup=2),
            replace(_FEW_SHOT, name="transfer", transfer=True),
            replace(_FEW_SHOT, name="held-out", split=HELD_OUT),
        )
    }
)
"""Name -> protocol; with 3 seeds each has 102 tasks, `short` 3."""


def find_protocol(name: str) -> Protocol:
    """The protocol called `name`.

    Raises:
        LearngeneError: there is no such protocol.
    """
    if name not in PROTOCOLS:
        expected = f"expected one of {', '.join(PROTOCOLS)}{did_you_mean(name, PROTOCOLS)}"
        raise LearngeneError(f"protocol {name!r}: {expected}")
    return PROTOCOLS[name]
