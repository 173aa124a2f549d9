"""The probe: a linear classifier on the outputs of all layers of a frozen network; fitted in seconds.

Ridge regression of the classes on standardised means and maxima of all channels (ours; ridge regression on
frozen features: Bertinetto 2019, arXiv:1805.08136).
"""

from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from learngene_hub.core.errors import NetworkError
from learngene_hub.data.batches import Images
from learngene_hub.data.extras import optional_module
from learngene_hub.networks import LearngeneNetwork
from learngene_hub.networks.layers import LayersHead, pooled_layers

STRENGTHS = tuple(10.0**exponent for exponent in range(-3, 7))
MOST_LOGIT = 100.0


@torch.no_grad()
def layer_features(network: LearngeneNetwork, images: Images) -> Tensor:
    """(n, features) means and maxima of all layers of `network`, in eval mode, on the CPU.

    Raises:
        NetworkError: it has no batch norms.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        raise NetworkError(
            f"{network.network_name}: expected batch norms, whose outputs a probe reads, found none; leave this gene "
            "out, or use --method full in a fine-tuning"
        )
    network.eval()
    read = network.forward_features if network.reads_layers else partial(pooled_layers, network)
    chunks = images.parts(torch.arange(len(images.labels)))
    return torch.cat([read(images.plain(chunk)).flatten(1).cpu() for chunk in chunks])


@torch.no_grad()
def fit_probe(head: LayersHead, features: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """Fit `head` in place: ridge regression of `labels` on `features` (n, features).

    The labels are (n,) int64. The scores are scaled so that their softmax gives the left-out images' labels the highest
    likelihood.

    Returns:
        The regularisation strength, which of `STRENGTHS` has the smallest leave-one-out error; and (n,) whether each
        image was classified correctly when it was left out.

    Raises:
        DataError: scikit-learn is missing.
    """
    norm, linear = head.norm, cast("nn.Linear", head.fc)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(features.mean(dim=0))
    norm.running_var.copy_(features.var(dim=0, unbiased=False))
    inputs = head.eval()(features.to(norm.running_mean.device), pre_logits=True).cpu().double().numpy()
    targets = 2.0 * nn.functional.one_hot(labels, linear.out_features).double().numpy() - 1
    solver = optional_module("sklearn.linear_model").RidgeCV
    ridge = solver(list(STRENGTHS), scoring="neg_mean_squared_error", store_cv_results=True).fit(inputs, targets)
    left_out = torch.from_numpy(ridge.cv_results_[:, :, STRENGTHS.index(ridge.alpha_)])  # (n, classes)
    scale = _scale(left_out, labels)
    linear.weight.copy_(scale * torch.from_numpy(ridge.coef_))
    linear.bias.copy_(scale * torch.from_numpy(ridge.intercept_))
    return float(ridge.alpha_), left_out.argmax(dim=1) == labels


def _scale(scores: Tensor, labels: Tensor) -> float:
    """The factor at which `scores` (n, classes), taken for logits, give the labels the highest likelihood."""

    def loss(factor: float) -> float:
        return float(nn.functional.cross_entropy(factor * scores, labels))

    minimize = optional_module("scipy.optimize").minimize_scalar
    return float(minimize(loss, bounds=(1e-3, MOST_LOGIT), method="bounded").x)
