"""What the package is compared with: the usual way to train a network on images, written out."""

from collections.abc import Iterator

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from learngene_hub.data.image_set import Normalisation
from learngene_hub.recipe.sections import OptimisationSection


class Pictures(Dataset[tuple[Tensor, int]]):
    """PIL images with torchvision's transforms.

    Args:
        images: (n, 3, size, size) uint8.
        labels: (n,) int64.
        normalisation: of the pixels.
        padding: pixels around an image before the random crop.
    """

    def __init__(self, images: Tensor, labels: Tensor, normalisation: Normalisation, *, padding: int) -> None:
        self._images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
        self._labels = labels.tolist()
        self._transform = transforms.Compose(
            [
                transforms.RandomCrop(images.shape[-1], padding=padding),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(normalisation.mean, normalisation.std),
            ]
        )

    def __len__(self) -> int:
        """Number of images."""
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One augmented image with its label."""
        return self._transform(self._images[index]), self._labels[index]


def loader_batches(pictures: Pictures, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches without end, from a DataLoader in this process."""
    loader = DataLoader(pictures, batch_size=batch_size, shuffle=True, drop_last=True, num_workers=0)
    while True:
        yield from loader


def train_plainly(
    network: nn.Module, batches: Iterator[tuple[Tensor, Tensor]], optimisation: OptimisationSection
) -> None:
    """Train in float32 and in torch's usual memory format, with the same optimiser and clipping as the package."""
    network.train()
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=optimisation.lr,
        momentum=optimisation.momentum,
        weight_decay=optimisation.weight_decay,
    )
    for _ in range(optimisation.steps):
        images, labels = next(batches)
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if optimisation.clip_norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), optimisation.clip_norm)
        optimizer.step()
