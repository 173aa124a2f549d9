"""How much memory a network needs in training, and so how many are trained at once.

The bound is a number, not what happens to be free: the same job is cut into the same groups on every day, since groups
of another size give other bytes (ours).
"""

import copy

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from learngene_hub.backends.jobs import Trainee, Training
from learngene_hub.training import Circuit, autocast

TOGETHER = 16  # networks at once, however small they are
BUDGETS = {"cpu": 4 * 2**30, "cuda": 16 * 2**30}  # bytes that the networks of a group may need, by type of device

_measured: dict[tuple[object, ...], tuple[int, ...]] = {}  # a run has thousands of jobs of a few shapes


def networks_at_once(example: Trainee, training: Training, image_size: int) -> int:
    """Networks like `example` that fit into the budget of its device, in [1, `TOGETHER`].

    It depends on shapes, precision and the version of torch only.

    Args:
        example: a trainee of the job; neither its weights nor its batches are touched.
        training: the job's constants.
        image_size: side of its images, in pixels.
    """
    budget = BUDGETS[next(example.network.parameters()).device.type]
    return max(1, min(TOGETHER, budget // training_bytes(example, training, image_size)))


def training_bytes(example: Trainee, training: Training, image_size: int) -> int:
    """Bytes that the training of one network like `example` holds: weights, what comes with them, and a batch's maps.

    Weights have gradients and the optimiser's memory beside them. What autograd saves is measured on two small batches
    of nothing on the CPU, since it grows in proportion to the batch. The arguments are those of `networks_at_once`.
    """
    key = _key(example, training, image_size)
    if key not in _measured:
        _measured[key] = tuple(_saved_bytes(example, training, image_size, count) for count in (2, 4))
    few, more = _measured[key]
    an_image = (more - few) // 2
    copies = 4 if training.optimisation.optimizer == "adamw" else 3
    weights = sum(weight.numel() * weight.element_size() for weight in example.network.parameters())
    return copies * weights + few + an_image * (training.optimisation.batch_size - 2)


def _saved_bytes(example: Trainee, training: Training, image_size: int, count: int) -> int:
    """Bytes that autograd keeps of one forward pass of `count` images, without the weights themselves."""
    network, thin = copy.deepcopy((example.network, example.thin))  # whose statistics move
    network.cpu().train()
    weights = list(network.parameters())
    circuit = Circuit(network, thin.cpu()) if thin is not None and training.circuit_loss > 0 else None
    known = {weight.untyped_storage().data_ptr() for weight in weights}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    images = torch.zeros(count, network.in_chans, image_size, image_size, dtype=weights[0].dtype)
    with saved_tensors_hooks(note, lambda tensor: tensor), autocast(images.device, training.precision):
        logits = [network(images)] if circuit is None else [network(images), circuit(images)]
    del logits
    return sum(kept.values())


def _key(example: Trainee, training: Training, image_size: int) -> tuple[object, ...]:
    """What the maps of a network depend on."""
    modules = (example.network, example.thin if training.circuit_loss > 0 else None)
    shapes = tuple(
        (type(module), *((name, tensor.shape, tensor.dtype) for name, tensor in module.state_dict().items()))
        for module in modules
        if module is not None
    )
    return shapes, training.precision, image_size
