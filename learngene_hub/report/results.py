"""Results of an evaluation: `results.json` as Python classes.

Accuracies are top-1, in [0, 1]. A *measure* is what is read off one trained network: its accuracy after so many
steps ("60"), or that of a nearest-prototype classifier on its features before any training ("prototype").
"""

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from learngene_hub.core.errors import LearngeneError, first_fault
from learngene_hub.core.files import expanded, parse_json, read_file, write_text

RESULTS_NAME = "results.json"
RESULTS_VERSION = 1
MOST = 10**8  # bytes of a file of results
SCRATCH, LEARNGENE, CHECKPOINT = "scratch", "learngene", "checkpoint"
PROTOTYPE = "prototype"
IN_AIM = {"ways", "shots", "steps", "measured_at"}  # constants of a protocol that its aim names
Split = Literal["novel", "held-out"]
NOVEL: Final = "novel"
HELD_OUT: Final = "held-out"  # chose the gene, and every learning rate
STATISTIC = "mean of the differences paired by task; interval: Student's t, 95 %"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Summary(_Part):
    """Mean and half the width of its 95 % confidence interval (Student's t; None for a single value)."""

    mean: float = Field(ge=-1, le=1)
    ci95: float | None = Field(ge=0, le=100)


class Measure(Summary):
    """Accuracies, one per task, in the same order for all starts."""

    accuracies: tuple[Annotated[float, Field(ge=0, le=1)], ...]


class Cost(_Part):
    """Cost of making a start: training images, floating-point operations and seconds on a device; 0 for scratch."""

    images: int = Field(0, ge=0)
    flops: float = Field(0.0, ge=0)
    seconds: float = Field(0.0, ge=0)
    device: str = ""


class StartResult(_Part):
    """Results of one start in one descendant.

    Attributes:
        start: its name: `scratch`, `narrow`..., `learngene` or `checkpoint` (with `:NAME` if there are several).
        description: what it inherits, in a few words.
        lr: learning rate, the best of `tuning`.
        tuning: learning rate -> accuracy on tasks of held-out classes, of the rates tried; empty where one was given.
        inherited: share of the descendant's parameters that come from the start, classifier not counted, in [0, 1].
        cost: cost of making the start.
        measures: name of the measure -> accuracies on the test classes.
        gain: name of the measure -> difference to scratch, paired by task; empty for scratch.
        lead: name of the measure -> difference of the first learngene to this start; empty for that learngene.
    """

    start: str
    description: str
    lr: float
    tuning: dict[Annotated[str, Field(pattern=r"^[0-9.e-]+$")], float]
    inherited: float = Field(ge=0, le=1)
    cost: Cost
    measures: dict[str, Measure]
    gain: dict[str, Summary]
    lead: dict[str, Summary]

    @property
    def is_cost_known(self) -> bool:
        """False for a checkpoint: its file does not say what it cost."""
        return self.start == SCRATCH or self.cost.images > 0


class DescendantResult(_Part):
    """All starts in one kind of network: `network` of `width` and `depth`, `parameters` without the classifier."""

    network: str
    width: float
    depth: int
    parameters: int
    starts: tuple[StartResult, ...] = Field(min_length=1)

    def start(self, name: str) -> StartResult:
        """The start called `name`.

        Raises:
            LearngeneError: there is none.
        """
        starts = {start.start: start for start in self.starts}
        if name not in starts:
            raise LearngeneError(f"{self.network}: expected one of the starts {', '.join(starts)}, found {name!r}")
        return starts[name]


class GeneRecord(_Part):
    """One of the genes that were evaluated; `start` is its name in the tables."""

    start: str
    name: str
    sha256: str
    network: str
    width: float
    depth: int
    parameters: int
    seed: int
    cost: Cost


class Results(_Part):
    """`results.json`: one protocol, one or more genes, one or more kinds of descendants.

    Attributes:
        protocol: name, version and all constants of the protocol.
        data: name of the data set of the test classes.
        classes: names of these classes.
        images: hash of the images of these classes; empty: not recorded by an older version.
        steps: training steps of the measures, in rising order; "prototype" has none.
        headline: the measure that tables and bars show.
        seeds: random seeds of the tasks and of the descendants.
        tasks: total number of tasks over all seeds.
        environment: versions, device, threads, precision and, of a CPU, the processor, of the worker that was asked
            last: one of a cluster, or of several runs that share a folder, speaks for the others.
        genes: the genes; `genes[0].start` is the first learngene, whose lead is given.
        recipe: recipe of the first gene, as it may be published.
    """

    schema_version: int = RESULTS_VERSION
    protocol: dict[str, Any]
    data: str
    classes: tuple[str, ...]
    images: str = ""
    steps: tuple[int, ...]
    headline: str
    seeds: tuple[int, ...]
    tasks: int
    statistic: str = STATISTIC
    genes: tuple[GeneRecord, ...] = Field(min_length=1)
    descendants: tuple[DescendantResult, ...] = Field(min_length=1)
    environment: dict[str, str | int]
    recipe: str

    @property
    def setting(self) -> str:
        """The protocol and its changed constants: `few-shot with lr 0.01: 5-way, 20 images per class, 60 steps`."""
        changed = self.protocol.get("changed")
        names = {str(name) for name in changed} - IN_AIM if isinstance(changed, list | tuple) else set()
        values = [(key, value) for key, value in self.protocol.items() if key in names]
        words = [f"{value} {key}" if isinstance(value, int) else f"{key} {value}" for key, value in values]
        name = f"{self.protocol['name']}{' with ' if words else ''}{', '.join(words)}"
        return f"{name}: {self.protocol['aim']}".replace(" a class", " per class") if "aim" in self.protocol else name

    @property
    def split(self) -> Split:
        """Which of a gene's classes the tasks are drawn from."""
        return HELD_OUT if self.protocol.get("split") == HELD_OUT else NOVEL

    @property
    def test_classes(self) -> str:
        """The same in words: `novel classes`, or `held-out classes` where a recipe is tuned.

        Those of a transfer are `classes of another data set`: some may show what the gene has seen, under other names.
        """
        return "classes of another data set" if self.protocol.get("transfer") else f"{self.split} classes"

    @classmethod
    def load(cls, path: str | Path) -> "Results":
        """Read a `results.json`, or the one in the folder `path`.

        Raises:
            LearngeneError: there is none, it is not one, or of a newer version.
        """
        path = expanded(path)
        path = path / RESULTS_NAME if path.is_dir() else path
        try:
            content = read_file(path, most=MOST)
            _refuse_newer(content, path)
            return cls.model_validate_json(content)
        except FileNotFoundError:
            raise LearngeneError(
                f"{path}: no such file; expected the {RESULTS_NAME} of `learngene evaluate --out`"
            ) from None
        except (ValidationError, UnicodeDecodeError, OSError) as error:
            fault = first_fault(error) if isinstance(error, ValidationError) else error
            raise LearngeneError(
                f"{path}: expected the results of `learngene evaluate`: {fault}; delete the file and evaluate "
                "again, which takes what is measured from tasks/"
            ) from None

    def save(self, path: Path) -> None:
        """Write `results.json`, atomically."""
        write_text(path, self.model_dump_json(indent=2) + "\n")


def _refuse_newer(content: bytes, path: Path) -> None:
    """Raise an error if `content` is of a newer version, whose other fields this package may not know."""
    with suppress(ValueError, TypeError, LookupError):  # no results, which is told by what reads them
        version = int(parse_json(content.decode())["schema_version"])
        if version > RESULTS_VERSION:
            raise LearngeneError(
                f"{path}: version {version} is newer than the {RESULTS_VERSION} this package reads; "
                "upgrade: pip install -U learngene-hub"
            )
