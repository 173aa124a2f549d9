"""The networks learngenes are cut out of and put into; importing this package registers them with timm.

The only package that imports timm. `build` makes a network by name, `walkable` accepts one a user made, and both
return a `LearngeneNetwork`: a timm model that also lists its convolutions (`conv_specs`) and the sizes of their channel
groups (`channel_counts`).
"""

from learngene_hub.networks.build import DEPTHS, NETWORKS, build, plan_layout, walkable
from learngene_hub.networks.layers import Convolution
from learngene_hub.networks.lg_resnet12 import LgResNet12
from learngene_hub.networks.lg_vgg import LgVgg
from learngene_hub.networks.timm_folder import load_timm_folder, save_timm_folder
from learngene_hub.networks.walk import IMAGE, NORM_EPS, NORM_TENSORS, ConvSpec, LearngeneNetwork

__all__ = [
    "DEPTHS",
    "IMAGE",
    "NETWORKS",
    "NORM_EPS",
    "NORM_TENSORS",
    "ConvSpec",
    "Convolution",
    "LearngeneNetwork",
    "LgResNet12",
    "LgVgg",
    "build",
    "load_timm_folder",
    "plan_layout",
    "save_timm_folder",
    "walkable",
]
