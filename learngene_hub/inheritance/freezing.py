"""Freeze inherited weights while the rest of a network trains."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from learngene_hub.core.errors import NetworkError
from learngene_hub.genome.genome import Genome
from learngene_hub.genome.surgery import carried_channels, inherited_parts
from learngene_hub.networks import Axes, LearngeneNetwork, as_supported, part


def freeze(network: LearngeneNetwork, gene: Genome) -> None:
    """Freeze the inherited kernels and batch-norm weights and biases of `network`, but not the running statistics.

    The values are reset before every forward pass and before the state is read or loaded, so that an optimiser cannot
    change them. If a state is loaded, its values are frozen from then on.
    """
    if network.hold is None:
        network.hold = _Hold()
        network.register_state_dict_pre_hook(network.hold)  # type: ignore[no-untyped-call]
        network.register_load_state_dict_pre_hook(network.hold)  # type: ignore[no-untyped-call]
        network.register_load_state_dict_post_hook(network.hold.take)  # type: ignore[no-untyped-call]
    network.hold.watch(network, first=network.structure.layers[0].name)
    parts = inherited_parts(network.state_dict(), network.structure, gene)
    network.hold.values = {name: values.clone() for name, values in parts.items()}
    network.hold.axes = {axes.name: axes for axes in network.structure.tensors if axes.name in parts}
    network.hold.sizes = carried_channels(network.structure, gene)


def unfreeze(model: nn.Module) -> None:
    """Let all weights train again, in place, after `freeze_gene`; does nothing if none are frozen.

    A copy of the model, such as the average of an EMA, must be unfrozen too. Make a new optimiser: an old one has
    momentum from the frozen phase and would move the gene at once.

    Raises:
        NetworkError: this package does not support the model.
    """
    network = as_supported(model)
    if network.hold is not None:
        network.hold.release(network)


class _Hold:
    """Puts the leading channels of some parameters back; a class, so that deep copies of the network keep it."""

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}
        self.axes: dict[str, Axes] = {}
        self.sizes: dict[str, int] = {}
        self.hooks: list[RemovableHandle] = []

    def watch(self, network: nn.Module, *, first: str) -> None:
        """Put values back before every forward pass of the network, and of its `first` layer.

        `forward_features` runs no hook of the network itself; the hook of a layer does not see in which replica it is.
        """
        if not self.hooks:
            layer = network.get_submodule(first)
            hook = partial(self, network)
            self.hooks = [network.register_forward_pre_hook(self), layer.register_forward_pre_hook(hook)]

    def release(self, network: nn.Module) -> None:
        """Put the held values back a last time, but for tensors that were replaced, and stop holding them."""
        self.values = {name: value for name, value in self.values.items() if _found(network, name) is not None}
        self(network)
        self.values = {}
        for hook in self.hooks:
            hook.remove()
        self.hooks = []

    def __call__(self, module: nn.Module, *unused: object) -> None:
        if self.values and torch.compiler.is_exporting():
            raise NetworkError("expected an unfrozen network to export; call `unfreeze` first")
        for name in self.values:
            parameter = _held_tensor(module, name).data  # past autograd, for which an earlier forward pass saw another
            if parameter.is_meta or self.values[name].is_meta:
                continue
            self.values[name] = value = self.values[name].to(parameter.device)
            part(parameter, self.axes[name], self.sizes).copy_(value)

    def take(self, module: nn.Module, *unused: object) -> None:
        """Hold what is there now."""
        for name in self.values:
            parameter = _held_tensor(module, name).data
            if not parameter.is_meta:
                self.values[name] = part(parameter, self.axes[name], self.sizes).clone()


def _held_tensor(module: nn.Module, name: str) -> Tensor:
    """The frozen tensor `name`.

    Raises:
        NetworkError: it is made anew from others in every forward pass, as pruning and parametrisations do.
    """
    tensor = _found(module, name)
    if tensor is None:
        raise NetworkError(
            f"{name}: expected a frozen parameter of this name, found none: it was replaced; undo that, or call "
            "`unfreeze`"
        )
    return tensor


def _found(module: nn.Module, name: str) -> Tensor | None:
    """The parameter `name`, or what stands for it: a buffer of timm's frozen batch norms, or a replica's copy."""
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    for kept in (owner._parameters, owner._buffers, vars(owner).get("_former_parameters", {})):
        if leaf in kept:
            tensor: Tensor = getattr(owner, leaf)
            return tensor
    return None
