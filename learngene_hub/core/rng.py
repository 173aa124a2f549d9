"""Random numbers by address: every stream of draws is derived from the seed and a path.

`generator(seed, "mutate", 3, 1)` is the stream of the mutation in generation 3, individual 1, whatever was drawn
before. A run that is resumed therefore draws what the uninterrupted run would have drawn, with no generator state to
save (ours).
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from operator import index
from threading import RLock

import torch

from learngene_hub.core.errors import LearngeneError

_ALONE = RLock()


def derive_seed(seed: int, *path: str | int) -> int:
    """A 63-bit seed for the address `path` under `seed`.

    Args:
        seed: the seed of the run, any integer.
        path: purpose first, then numbers, such as `"tasks", generation, individual`.

    Returns:
        An integer in [0, 2**63), equal on every platform.

    Raises:
        LearngeneError: a seed or number is not whole.
    """
    try:
        parts = (part if isinstance(part, str) else int(index(part)) for part in path)
        address = "/".join(map(repr, (int(index(seed)), *parts)))
    except TypeError:
        raise LearngeneError(f"seed: expected whole numbers, found {(seed, *path)!r}") from None
    return int.from_bytes(hashlib.sha256(address.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *path: str | int) -> torch.Generator:
    """A fresh CPU generator for the address `path` under `seed`.

    >>> first, again = generator(0, "mutate", 3), generator(0, "mutate", 3)
    >>> bool((torch.rand(4, generator=first) == torch.rand(4, generator=again)).all())
    True
    """
    return torch.Generator().manual_seed(derive_seed(seed, *path))


@contextmanager
def seeded_initialisation(seed: int, *path: str | int) -> Iterator[None]:
    """Layers built inside draw their initial weights from the address `path`; the global stream is left as found.

    They are in float32, whatever torch's default. `torch.nn` layers draw from the global generator only,
    so this is the one place that touches it, one thread at a time.
    """
    with _ALONE, torch.random.fork_rng(devices=[]):
        # not `torch.manual_seed`, which seeds every device's global stream and never puts those back
        torch.default_generator.manual_seed(derive_seed(seed, *path))
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(before)
