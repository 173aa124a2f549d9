"""The networks that learngenes are extracted from and inherited by; importing this package registers them with timm.

The only package that imports timm. `build` makes a network by name, `as_supported` accepts one a user made, and both
return a `LearngeneNetwork`: a timm model whose `structure` lists its layers, their tensors and its channel groups.
"""

from learngene_hub.families import FAMILIES
from learngene_hub.networks.axes import IMAGE, Axes, Group, in_blocks, joined, part, refitted, reordered
from learngene_hub.networks.build import as_supported, build, family, plan_structure
from learngene_hub.networks.network import LearngeneNetwork
from learngene_hub.networks.structure import IMAGE_SIZES, Layer, Structure, check_image_size
from learngene_hub.networks.timm_folder import save_timm_folder

__all__ = [
    "IMAGE",
    "IMAGE_SIZES",
    "Axes",
    "Group",
    "Layer",
    "LearngeneNetwork",
    "Structure",
    "as_supported",
    "build",
    "check_image_size",
    "family",
    "in_blocks",
    "joined",
    "part",
    "plan_structure",
    "refitted",
    "reordered",
    "save_timm_folder",
]

for _name in FAMILIES:
    family(_name)
