"""Descendants: timm models that start from a learngene."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from numbers import Real
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor, nn

from learngene_hub import __version__
from learngene_hub.core.errors import InheritanceError, NetworkError, first_fault
from learngene_hub.gene.config import GeneConfig
from learngene_hub.gene.learngene import Learngene
from learngene_hub.gene.source import locate
from learngene_hub.genome.birth import Body, newborn
from learngene_hub.genome.surgery import carried_channels, inherited_parts
from learngene_hub.genome.surgery import extract as extract_genome
from learngene_hub.genome.surgery import inherit as inherit_genome
from learngene_hub.hub.client import HubOptions
from learngene_hub.inheritance.freezing import freeze, unfreeze
from learngene_hub.networks import IMAGE, Group, LearngeneNetwork, as_supported, check_image_size, plan_structure
from learngene_hub.networks.structure import sizes_within

_BY_THE_GENE = "the gene sets the network, its weights and the normalisation of images"
_FIXED = dict.fromkeys(("network", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay"), _BY_THE_GENE) | {
    "features_only": "use `forward_intermediates` to get feature maps",
    "checkpoint_path": "the gene would overwrite it; load the checkpoint into the returned model",
    "freeze": "use `freeze_gene`",
}
"""Arguments of timm, and one that users may guess, that mean nothing here -> why."""

_OF_PUBLISHED_WEIGHTS = ("test_input_size", "test_crop_pct", "pool_size", "tag", "paper_ids", "origin_url", "license")
"""What timm says of its own weights, which are not in a network that inherits."""


@dataclass(frozen=True)
class LayerReport:
    """What one layer inherited: (inherited, all) output and input channels; `kind` says how it was initialised."""

    layer: str
    outputs: tuple[int, int]
    inputs: tuple[int, int]
    kind: str


@dataclass(frozen=True)
class InheritanceReport:
    """What a descendant inherited from its learngene; `print` shows it as a table.

    Attributes:
        source: name by which the gene was loaded; `memory` if it was not loaded.
        sha256: sha256 of the gene's weights; empty for a gene that was never saved.
        layers: one report per layer, in forward order.
        left_out: layers of the gene that do not exist in a shallower network.
        inherited: parameters that came from the gene.
        total: parameters of the descendant without its classifier.
        revision: commit of the Hub from which the gene came; None: it is on this machine.
    """

    source: str
    sha256: str
    layers: tuple[LayerReport, ...]
    left_out: tuple[str, ...]
    inherited: int
    total: int
    revision: str | None = None

    @property
    def share(self) -> float:
        """Inherited share of all parameters except the classifier's, in [0, 1]."""
        return self.inherited / self.total

    def __str__(self) -> str:
        """The report as a table in plain text."""
        width = max(len(layer.layer) for layer in self.layers)
        known = {"commit": self.revision, "sha256": self.sha256}
        origin = ", ".join(f"{name} {value[:12]}" for name, value in known.items() if value)
        lines = [
            f"learngene {self.source}" + f" ({origin})" * bool(origin),
            f"{'layer':{width}}  outputs    inputs     starts as",
        ]
        for layer in self.layers:
            outputs, inputs = ("{:>4}/{:<4}".format(*pair) for pair in (layer.outputs, layer.inputs))
            lines.append(f"{layer.layer:{width}}  {outputs}  {inputs}  {layer.kind}")
        lines.append(
            f"inherited {self.inherited:,} of {self.total:,} parameters ({self.share:.1%}), classifier not counted"
        )
        if self.left_out:
            lines.append(f"left out, since this network is shallower: {', '.join(self.left_out)}")
        return "\n".join(lines)


def from_learngene(
    source: str | Path | Learngene,
    *,
    num_classes: int,
    in_chans: int = 3,
    width: float | None = None,
    depth: int | None = None,
    image_size: int | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    endpoint: str | None = None,
    seed: int = 0,
    freeze_gene: bool = False,
    **timm_kwargs: Any,  # noqa: ANN401
) -> LearngeneNetwork:
    """Create a timm model that inherits a learngene, in train mode, ready to fine-tune.

    It is on the CPU and in float32, unless `device` or `dtype` say otherwise. It expects images normalised as
    `model.pretrained_cfg` says; `model.inheritance` reports what it inherited.

    Args:
        source: a gene folder, the folder of a run, the name of a gene of this package (`list_learngenes`), a repository
            of the Hub as `[hf-hub:]owner/name[@revision]`, or a `Learngene`.
        num_classes: outputs of the new classifier; 0: no classifier, the model returns features.
        in_chans: channels of an image; for 1, RGB kernels are summed, and a grey image gives nearly the same output.
        width: factor on the channels of every layer; the network must be at least as wide as the gene; None: that of
            the gene's own network.
        depth: one of the depths of the family, which an error names; None: as the gene's own network.
        image_size: side of your images in pixels, 28 to 224, for `model.pretrained_cfg`; None: that of the gene's
            images. The network takes images of any size.
        revision: branch, tag or commit of the Hub.
        cache_dir: where downloads are kept; None: the cache of huggingface_hub.
        token: token of a Hub user; None: that of the logged-in user; False: no token.
        local_files_only: never contact the Hub.
        force_download: fetch again what is in the cache.
        endpoint: URL of the Hub; None: `HF_ENDPOINT`.
        seed: random seed of the weights that are not inherited.
        freeze_gene: train only weights that were not inherited, until `unfreeze`: if an optimiser moves inherited
            weights, they are reset before their next use.
        **timm_kwargs: further arguments of `timm.create_model`, such as `drop_rate`.

    Raises:
        GeneFileError: the gene cannot be loaded.
        HubError: the gene cannot be fetched.
        InheritanceError: the gene does not fit (if the network is too narrow, the smallest width is named), or an
            argument is not allowed.
        NetworkError: width, depth or image size is not allowed; the message names the allowed values.
    """
    check_image_size(image_size)
    if fixed := _FIXED.keys() & timm_kwargs.keys():
        raise InheritanceError(f"{min(fixed)}: not allowed here; {_FIXED[min(fixed)]}")
    hub = HubOptions(cache_dir, token, local_files_only, force_download, endpoint)
    gene = source if isinstance(source, Learngene) else Learngene.load(locate(source, revision=revision, options=hub))
    given = [name for name, value in {"revision": revision, **asdict(hub)}.items() if value]
    if given and gene is source:
        raise InheritanceError(f"{given[0]}: not allowed with a Learngene, which is already loaded")
    config = gene.config
    width, depth = (config.width if width is None else width), (config.depth if depth is None else depth)
    body = Body(config.network, width, depth, in_chans)
    model = newborn(body, num_classes=num_classes, gene=gene.genome, seed=seed, timm_kwargs=timm_kwargs)
    _record(model, gene, freeze_gene=freeze_gene, image_size=image_size)
    return model


def inherit(model: nn.Module, gene: Learngene | str | Path, *, freeze_gene: bool = False) -> InheritanceReport:
    """Put `gene` into the leading channels of `model`, in place.

    Weights from other channels into the gene's become zero. Layers that the gene lacks are made to pass its channels
    on.

    `model.pretrained_cfg` then has the normalisation of the gene's images, as after `from_learngene`.

    Args:
        model: one of this package's networks, or a supported network of timm such as `resnet34`.
        gene: a `Learngene`, or any `source` that `from_learngene` accepts.
        freeze_gene: train only weights that were not inherited, until `unfreeze`, as in `from_learngene`. A gene that
            was frozen before is unfrozen.

    Raises:
        GeneFileError, HubError: the gene cannot be loaded or fetched.
        InheritanceError: the gene does not fit; the model stays unchanged.
        NetworkError: this package does not support the model, or its layers were replaced.
    """
    network = as_supported(model)
    gene = gene if isinstance(gene, Learngene) else Learngene.from_pretrained(gene)
    state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    _check_shapes(network, state)
    try:
        inherit_genome(state, network.structure, gene.genome)
    except InheritanceError as error:
        cfg = getattr(model, "pretrained_cfg", None) or {}
        name = cfg.get("architecture") or type(model).__name__
        gene_is = f"the gene is of {gene.config.network}, width {gene.config.width:g}"
        raise InheritanceError(f"{error} ({gene_is}; the model is {name}, width {network.width:g})") from None
    unfreeze(network)
    network.load_state_dict(state)
    return _record(network, gene, freeze_gene=freeze_gene)


def _record(
    network: LearngeneNetwork, gene: Learngene, *, freeze_gene: bool, image_size: int | None = None
) -> InheritanceReport:
    """Leave in `network`, which has inherited `gene`, what belongs to that beside the weights."""
    if cfg := getattr(network, "pretrained_cfg", None):  # a network that timm did not make has none
        cfg.update(_pretrained_cfg(gene.config, network.in_chans, int(image_size or gene.config.image_size)))
        for key in _OF_PUBLISHED_WEIGHTS:
            cfg.pop(key, None)
    network.inheritance = report = _report(network, gene)
    if freeze_gene:
        freeze(network, gene.genome)
    return report


def extract(model: nn.Module, channels: Mapping[str, int] | float = 0.45) -> Learngene:
    """Cut a learngene out of `model`: the leading channels of every layer.

    Image size and normalisation are those of `model.pretrained_cfg`; set it first if the model was trained elsewhere.
    Batch norms keep the statistics of the whole model, with inputs from channels that are not cut out; an evolution
    measures them again.

    Args:
        model: one of the networks that this package supports, on any device.
        channels: group -> channels (see `model.channel_counts()`), or one fraction for all groups, in (0, 1].

    Raises:
        InheritanceError: the fraction is out of range, or a gene cannot describe the network, for instance if it is
            wider than 4 or its images have more than 64 channels.
        NetworkError: a number of channels is missing or out of range; this package does not support the model, timm did
            not create it, or its layers were replaced.
    """
    network = as_supported(model)
    groups = network.structure.groups
    channels = sizes_within(groups, _all_channels(channels, groups), name="channels")
    state = network.state_dict()
    _check_shapes(network, state)
    genome = extract_genome(state, network.structure, channels)
    tensors = {name: tensor.cpu().float() for name, tensor in genome.tensors.items()}
    return Learngene(tensors, _config_of(network, channels))


def _check_shapes(network: LearngeneNetwork, state: Mapping[str, Tensor]) -> None:
    """Refuse a network whose layers were replaced since it was created, for instance by pruning."""
    for name, shape in network.structure.shapes(in_chans=network.in_chans).items():
        found = tuple(state[name].shape) if name in state else "no such tensor"
        if found != shape:
            raise NetworkError(f"{name}: expected shape {shape}, as when the network was created, found {found}")


def _all_channels(channels: object, groups: Mapping[str, Group]) -> Mapping[str, int]:
    """Group -> channels, where one fraction may stand for all groups."""
    if isinstance(channels, Mapping):
        return channels
    share = float(channels) if isinstance(channels, Real) and channels <= 1 else 0.0
    if not share > 0:
        raise InheritanceError(
            f"channels: expected a fraction above 0 and up to 1, or a number for each group, found {channels!r}"
        )
    return {name: group.unit * max(1, round(group.size * share / group.unit)) for name, group in groups.items()}


def _report(network: LearngeneNetwork, gene: Learngene) -> InheritanceReport:
    structure, genome = network.structure, gene.genome
    carried = carried_channels(structure, genome) | {IMAGE: network.in_chans}
    totals = structure.channels | {IMAGE: network.in_chans}
    layers = tuple(
        LayerReport(
            layer=layer.name,
            outputs=(carried[layer.writes], totals[layer.writes]),
            inputs=(carried[layer.reads], totals[layer.reads]),
            kind="gene" if layer.kernel.name in gene.tensors else layer.if_absent.name,
        )
        for layer in structure.layers
    )
    names = {layer.name for layer in structure.layers}
    home = plan_structure(gene.config.network, depth=gene.config.depth)
    return InheritanceReport(
        source="memory" if gene.place is None else gene.place.name,
        revision=None if gene.place is None else gene.place.revision,
        sha256=gene.config.sha256,
        layers=layers,
        left_out=tuple(layer.name for layer in home.layers if layer.name not in names),
        inherited=sum(part.numel() for part in inherited_parts(network.state_dict(), structure, genome).values()),
        total=structure.parameters(in_chans=network.in_chans),
    )


def _pretrained_cfg(config: GeneConfig, in_chans: int, image_size: int) -> dict[str, object]:
    """What timm's transforms need to know of the images."""
    mean, std = config.mean, config.std
    if in_chans != len(mean):
        mean, std = (sum(mean) / len(mean),) * in_chans, (sum(std) / len(std),) * in_chans
    return {"input_size": (in_chans, image_size, image_size), "mean": mean, "std": std, "crop_pct": 1.0}


def _config_of(network: LearngeneNetwork, channels: dict[str, int]) -> GeneConfig:
    try:
        cfg, name = network.pretrained_cfg, network.network_name
    except AttributeError:
        raise NetworkError(
            f"expected a network created by timm.create_model, found a {type(network).__name__} created without it"
        ) from None
    depth, in_chans = network.depth, network.in_chans
    full = plan_structure(name, width=network.width, depth=depth).channels
    thin = plan_structure(name, depth=depth, channels=channels)
    neutral, fits = (0.5,) * in_chans, len(cfg["mean"]) == in_chans
    try:
        return GeneConfig(
            package_version=__version__,
            network=name,
            width=network.width,
            depth=depth,
            in_chans=in_chans,
            channels=channels,
            fraction=sum(channels.values()) / sum(full.values()),
            parameters=thin.parameters(in_chans=in_chans),
            mean=tuple(cfg["mean"]) if fits else neutral,
            std=tuple(cfg["std"]) if fits else neutral,
            image_size=cfg["input_size"][-1],
        )
    except ValidationError as error:
        raise InheritanceError(f"a gene cannot describe this network: {first_fault(error)}") from None
