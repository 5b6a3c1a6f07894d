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

    learns: it has weights that its own loss trains, through the encoders too; residual: only after them.
    """

    make: Callable[[int, int, int], nn.Module]
    encoders: str = LIGHT
    learns: bool = True
    residual: bool = False


FUSIONS: Mapping[str, Registered] = {
    "mean": Registered(MeanFusion),
    "concat": Registered(ConcatFusion, encoders=SEED),
    "transformer": Registered(TransformerFusion),
    "late": Registered(LateFusion, learns=False),
    "experts": Registered(ExpertsFusion, learns=False),
    "gated": Registered(GatedFusion, learns=False, residual=True),
}
