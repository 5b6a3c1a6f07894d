"""Training of a task: fresh corruption each epoch, a loss for every branch, and one for the fusion of random subsets."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn

from model.data.example import Example, Examples
from model.encoders.lexicon import Lexicon
from model.encoders.text import UNKNOWN
from model.fusion import FUSIONS
from model.network import Architecture, TaskNetwork
from model.recipe import TaskRecipe
from model.repeatable import repeatable
from model.resume import Average, Resume
from model.tensors import Tensors, branches_of, encoded, tensors_of

Report = Callable[[int, dict[str, float]], None]
GRADIENT_MAX = 5.0
EASED = 0.3
VAL_SEED = 90_001


@dataclass(slots=True)
class TrainedTask:
    """The network with its best weights on validation, the words it reads, and one point of the curve an epoch."""

    network: TaskNetwork
    lexicon: Lexicon
    curve: list[dict[str, float]] = field(default_factory=list)


def start(data: Examples, words: Sequence[str], table: Tensor, recipe: TaskRecipe) -> TrainedTask:
    """An untrained network for a set; table float32 [2 + words, vector size]."""
    torch.manual_seed(recipe.seed)
    architecture = Architecture(data.modalities, len(data.labels), len(words), table.shape[1], recipe.fusion)
    network = TaskNetwork(architecture)
    text = network.encoders["text"] if "text" in data.modalities else None
    if text is not None and hasattr(text, "vectors"):
        text.vectors.copy_(table)  # type: ignore[operator]
        nn.init.normal_(text.learned.weight, 0, 0.1)  # type: ignore[arg-type, union-attr]
    return TrainedTask(network, Lexicon(words))


def train(data: Examples, trained: TrainedTask, recipe: TaskRecipe, report: Report, resume: Path | None = None) -> None:
    """Train in place; `report` is called after each epoch. With `resume` the state is kept there after each epoch."""
    repeatable(recipe.threads)
    network = trained.network
    rows = len(data.epoch(np.random.default_rng([recipe.seed, 0])))
    steps = max(rows // recipe.batch_size, 1) * recipe.epochs
    optimiser = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, max(steps, 3), pct_start=0.1)
    kept = Resume(network, optimiser, schedule, Average(network), trained.curve)
    if resume is not None:
        kept.read(resume, recipe)
    validation = _validation(data, trained.lexicon, recipe)
    began = time.monotonic()
    while kept.epoch < recipe.epochs and kept.epoch - kept.best_epoch < recipe.patience:
        rng = np.random.default_rng([recipe.seed, kept.epoch])
        torch.manual_seed(recipe.seed * 1_000 + kept.epoch)
        ease = max(0.0, 1 - kept.epoch / (EASED * recipe.epochs))
        losses = _epoch(network, data.epoch(rng, ease), trained.lexicon, recipe, kept, rng)
        kept.epoch += 1
        point = {"epoch": float(kept.epoch), "seconds": round(time.monotonic() - began, 1)} | losses
        point |= _validate(network, kept, validation)
        trained.curve.append(point)
        report(kept.epoch, point)
        if resume is not None:
            kept.write(resume, recipe)
    network.load_state_dict(kept.best)
    network.eval()


def _epoch(
    network: TaskNetwork,
    examples: Sequence[Example],
    lexicon: Lexicon,
    recipe: TaskRecipe,
    kept: Resume,
    rng: Generator,
) -> dict[str, float]:
    network.train()
    totals: dict[str, float] = {}
    size = min(recipe.batch_size, len(examples))
    count, known = len(examples) // size, len(lexicon.words)
    for at in range(0, count * size, size):
        batch = tensors_of(examples[at : at + size], network.modalities, lexicon, recipe.segments)
        losses = _losses(network, _unread(batch, recipe, known, rng), recipe, kept.weights, rng)
        kept.optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_MAX)
        kept.optimiser.step()
        kept.schedule.step()
        kept.average.update(network)
        for name, loss in losses.items():
            totals[name] = totals.get(name, 0.0) + float(loss.detach()) / count
    return {name: round(value, 4) for name, value in totals.items()}


def _losses(
    network: TaskNetwork, batch: Tensors, recipe: TaskRecipe, weights: dict[str, float], rng: Generator
) -> dict[str, Tensor]:
    branches, present = branches_of(network, batch, lambda spectrum: masked(spectrum, rng))
    logits = network.expert_logits(branches)
    losses: dict[str, Tensor] = {}
    for i, m in enumerate(network.modalities):
        there = present[:, i]
        if bool(there.any()):
            said, right = logits[there, i], batch.labels[there]
            losses[m] = weights.get(m, 1.0) * nn.functional.cross_entropy(said, right, label_smoothing=recipe.smoothing)
    if FUSIONS[recipe.fusion].trains_branches:
        some = present.any(1)
        used = torch.from_numpy(rng.random(present.shape) >= recipe.drop) & present
        used = torch.where(used.any(1, keepdim=True), used, present)[some]
        experts = torch.log_softmax(logits, -1)[some]
        partly = network.fused(branches[some], experts, used)
        wholly = network.fused(branches[some], experts, present[some])
        right = batch.labels[some]
        losses["fused"] = (nn.functional.nll_loss(partly, right) + nn.functional.nll_loss(wholly, right)) / 2
        losses["distilled"] = recipe.distil * nn.functional.kl_div(
            partly, wholly.detach(), reduction="batchmean", log_target=True
        )
    return losses


def train_residual(data: Examples, trained: TrainedTask, recipe: TaskRecipe, report: Report) -> None:
    """Train only the residual of a fusion that has one, on frozen and calibrated branches, in place."""
    network = trained.network
    torch.manual_seed(recipe.seed)
    optimiser = torch.optim.AdamW(network.fusion.parameters(), recipe.learning_rate / 3, weight_decay=0.05)
    for epoch in range(recipe.residual_epochs):
        rng = np.random.default_rng([recipe.seed, 1_000 + epoch])
        examples = data.epoch(rng)
        tensors = tensors_of(examples, network.modalities, trained.lexicon, recipe.segments)
        network.eval()
        branches, present = encoded(network, tensors)
        experts = network.experts(branches).detach()
        network.fusion.train()
        total = 0.0
        for at in range(0, len(examples), recipe.batch_size):
            part = slice(at, at + recipe.batch_size)
            used = torch.from_numpy(rng.random(present[part].shape) >= recipe.drop) & present[part]
            used = torch.where(used.any(1, keepdim=True), used, present[part])
            logs = network.fused(branches[part], experts[part], used)
            loss = nn.functional.nll_loss(logs, tensors.labels[part])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += float(loss.detach()) * len(logs) / len(examples)
        report(epoch + 1, {"epoch": float(epoch + 1), "residual": round(total, 4)})
    network.eval()


def masked(spectrum: Tensor, rng: Generator) -> Tensor:
    """Bands of frequency and stretches of time blanked in some spectra [rows, views, mels, frames] (Park et al. 2019)."""
    rows, _, mels, frames = spectrum.shape
    for row in np.flatnonzero(rng.random(rows) < 0.4):
        low, wide = int(rng.integers(0, mels - 6)), int(rng.integers(1, 7))
        begin, long = int(rng.integers(0, frames - 8)), int(rng.integers(1, 9))
        spectrum[row, :, low : low + wide] = 0
        spectrum[row, :, :, begin : begin + long] = 0
    return spectrum


def _unread(batch: Tensors, recipe: TaskRecipe, known: int, rng: Generator) -> Tensors:
    """The batch with some words unknown, so that the row of unknown words is trained, and with some sentences of which
    nothing can be known: half of them hold no known word, half hold words by chance."""
    if "text" in batch.inputs:
        words = batch.inputs["text"]
        said = words > UNKNOWN
        lost = torch.from_numpy(rng.random(words.shape) < recipe.unseen)
        babble = torch.from_numpy(rng.random(len(words)) < recipe.babble).view(-1, *[1] * (words.dim() - 1))
        strange = torch.from_numpy(rng.random(len(words)) < 0.5).view_as(babble)
        any_word = torch.from_numpy(rng.integers(UNKNOWN + 1, UNKNOWN + 1 + known, words.shape))
        words.copy_(torch.where(said & babble & ~strange, any_word, words))
        words.masked_fill_(said & (lost | babble & strange), UNKNOWN)
    return batch


def _validation(data: Examples, lexicon: Lexicon, recipe: TaskRecipe) -> Tensors:
    drawn = [e for s in data.severities for e in data.drawn(s, np.random.default_rng(VAL_SEED))]
    drawn = drawn[:: len(data.severities)]  # scored after each epoch: as many as one severity has are enough
    return tensors_of(drawn, data.modalities, lexicon, recipe.segments)


@torch.no_grad()
def _validate(network: TaskNetwork, kept: Resume, validation: Tensors) -> dict[str, float]:
    """Score the averaged weights, keep them where they are the best, and weigh the branches' losses by their lag."""
    if not len(validation.labels):
        kept.keep(kept.average.state, -float(kept.epoch))
        return {}
    present_state = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(kept.average.state)
    network.eval()
    branches, present = encoded(network, validation)
    fused = network.fused(branches, network.experts(branches), present)
    own = {
        m: float(
            nn.functional.cross_entropy(
                network.expert_logits(branches)[present[:, i], i], validation.labels[present[:, i]]
            )
        )
        for i, m in enumerate(network.modalities)
    }
    nll = float(nn.functional.nll_loss(fused, validation.labels))
    kept.weights = lag_weights(own)
    if FUSIONS[network.architecture.fusion].trains_branches:
        kept.keep(kept.average.state, nll)
    else:
        kept.keep_branches(kept.average.state, own)
    network.load_state_dict(present_state)
    right = float((fused.argmax(1) == validation.labels).float().mean())
    found = {"val_nll": round(nll, 4), "val_accuracy": round(right, 4)}
    return found | {f"val_{m}": round(value, 4) for m, value in own.items()}


def lag_weights(own: dict[str, float]) -> dict[str, float]:
    """Weights of the branches' losses: the branch that lags behind the others counts up to twice, one ahead half."""
    middle = float(np.mean(list(own.values()))) or 1.0
    return {m: float(np.clip(value / middle, 0.5, 2.0)) for m, value in own.items()}
