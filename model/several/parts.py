"""The weights of several tasks' networks as one set of tensors: what is shared once, the rest under each task's name."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from model.task.network import TaskNetwork

SHARED = "shared"
INSIDE = ("encoders.", "readers.")


def share(networks: Mapping[str, TaskNetwork]) -> nn.ModuleDict:
    """Give the networks one encoder and one reader for each modality, in place; all of them as one module."""
    for part in ("encoders", "readers"):
        first: dict[str, nn.Module] = {}
        for network in networks.values():
            modules: nn.ModuleDict = getattr(network, part)
            for m in network.modalities:
                modules[m] = first.setdefault(m, modules[m])
    return nn.ModuleDict(networks)


def joined(networks: Mapping[str, TaskNetwork]) -> dict[str, Tensor]:
    """The tensors of networks that share, by `shared.…` and `<task>.…`."""
    out: dict[str, Tensor] = {}
    for task, network in networks.items():
        for name, value in network.state_dict().items():
            out[f"{SHARED if name.startswith(INSIDE) else task}.{name}"] = value
    return out


def part_of(tensors: Mapping[str, Tensor], task: str, network: TaskNetwork) -> dict[str, Tensor]:
    """What one task's network needs of such tensors. Raises KeyError where something of it is not there."""
    return {
        name: tensors[f"{SHARED if name.startswith(INSIDE) else task}.{name}"] for name in network.state_dict()
    }  # fmt: skip
