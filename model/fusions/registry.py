"""Fusions by name: the one place where each is registered, with the kind of encoders that it goes with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from model.fusions.concat import ConcatFusion
from model.fusions.experts import ExpertsFusion
from model.fusions.gated import GatedFusion
from model.fusions.late import LateFusion
from model.fusions.mean import MeanFusion
from model.fusions.transformer import TransformerFusion
from model.modality import LIGHT, SEED

DEFAULT = "gated"


@dataclass(frozen=True, slots=True)
class Registered:
    """make(modality count, features, label count) -> a module called with (branches, experts, used, log_prior).

    trains_branches: its own loss trains them too; else each branch learns from its own loss alone, and its best weights
    are its own; residual: the fusion has weights that are trained after the branches.
    """

    make: Callable[[int, int, int], nn.Module]
    encoders: str = LIGHT
    trains_branches: bool = True
    residual: bool = False


FUSIONS: Mapping[str, Registered] = {
    "mean": Registered(MeanFusion),
    "concat": Registered(ConcatFusion, encoders=SEED),
    "transformer": Registered(TransformerFusion),
    "late": Registered(LateFusion),
    "experts": Registered(ExpertsFusion, trains_branches=False),
    "gated": Registered(GatedFusion, trains_branches=False, residual=True),
}
