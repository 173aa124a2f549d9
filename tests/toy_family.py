"""A family of networks that nobody wants: two linear layers on the mean colour of an image.

What a family is to the package: this file and one line in the registry.
"""

from collections.abc import Mapping

from timm.models import register_model
from torch import Tensor, nn

from learngene_hub.networks.axes import CLASSES, IMAGE, Axes
from learngene_hub.networks.network import LearngeneNetwork, create
from learngene_hub.networks.structure import Family, Layer, Structure, resolve_groups

WIDTHS = {"first": 16, "second": 24}


def structure(*, depth: int = 2, width: float = 1.0, channels: Mapping[str, int] | None = None) -> Structure:
    """Two linear layers."""
    reads = {"first": IMAGE, "second": "first"}
    layers = tuple(
        Layer(name, (Axes(f"{name}.weight", (name, source)), Axes(f"{name}.bias", (name,))), source, name)
        for name, source in reads.items()
    )
    groups = resolve_groups(WIDTHS, width=width, channels=channels, name="toy")
    return Structure(depth, width, layers, groups, Axes("head.weight", (CLASSES, "second")))


FAMILY = Family(depths=(2,), structure=structure)


class Toy(LearngeneNetwork):
    """Two linear layers and a classifier."""

    def __init__(self, *, num_classes=1000, in_chans=3, width=1.0, depth=2, channels=None) -> None:
        super().__init__(
            structure(depth=depth, width=width, channels=channels), num_classes=num_classes, in_chans=in_chans
        )
        counts = self.structure.channels
        self.first = nn.Linear(in_chans, counts["first"])
        self.second = nn.Linear(counts["first"], counts["second"])
        self.head = nn.Linear(counts["second"], num_classes) if num_classes else nn.Identity()
        self.num_features = counts["second"]

    def forward_features(self, x: Tensor) -> Tensor:
        return self.second(self.first(x.mean(dim=(2, 3))).relu()).relu()

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return x if pre_logits else self.head(x)

    def get_classifier(self) -> nn.Module:
        return self.head


def toy(pretrained: bool = False, **kwargs: object) -> nn.Module:
    """Called by `timm.create_model("toy")`."""
    return create(Toy, "toy", pretrained, stages=1, **kwargs)


default_cfgs = {"toy": {"num_classes": 1000, "input_size": (3, 32, 32), "mean": (0.5,) * 3, "std": (0.5,) * 3}}
register_model(toy)
