"""The registry of network families: where each is defined. A new family is one file and one line here.

Knows names only, so that recipes are checked before torch is imported.
"""

from typing import Annotated

from pydantic import AfterValidator

FAMILIES: dict[str, str] = {
    "lg_vgg11": "learngene_hub.networks.lg_vgg:FAMILY",
    "lg_resnet12": "learngene_hub.networks.lg_resnet12:FAMILY",
    "lg_resnet12_wide": "learngene_hub.networks.lg_resnet12:WIDE",
    "resnet18": "learngene_hub.networks.resnet:FAMILY",
}
"""Name that timm knows -> module and name of its `learngene_hub.networks.structure.Family`."""


def _known(network: str) -> str:
    if network not in FAMILIES:
        raise ValueError(f"expected one of {', '.join(FAMILIES)}, found {network!r:.60}")
    return network


NetworkName = Annotated[str, AfterValidator(_known)]
