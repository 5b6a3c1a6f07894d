"""Train a task network: fresh corruption each epoch, a loss per branch, and a loss for the fusion of random subsets."""

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
from model.encoders.text import UNKNOWN, Lexicon
from model.fusion import FUSIONS
from model.network import Architecture, TaskNetwork
from model.recipe import TaskRecipe
from model.tensors import ExampleBatch, collate_examples, compute_branches, encode_branches
from model.training_state import TrainingState, WeightAverage, make_deterministic

Report = Callable[[int, dict[str, float]], None]
GRADIENT_MAX = 5.0
EASY_SHARE = 0.3
VAL_SEED = 90_001


@dataclass(slots=True)
class TrainedTask:
    """A network with its best weights on validation, its lexicon, and one point of the learning curve per epoch."""

    network: TaskNetwork
    lexicon: Lexicon
    curve: list[dict[str, float]] = field(default_factory=list)


def initialize_network(data: Examples, words: Sequence[str], table: Tensor, recipe: TaskRecipe) -> TrainedTask:
    """Create an untrained network for a set; table float32 [2 + words, vector size]."""
    torch.manual_seed(recipe.seed)
    architecture = Architecture(data.modalities, len(data.labels), len(words), table.shape[1], recipe.fusion)
    network = TaskNetwork(architecture)
    text = network.encoders["text"] if "text" in data.modalities else None
    if text is not None and hasattr(text, "vectors"):
        text.vectors.copy_(table)  # type: ignore[operator]
        nn.init.normal_(text.learned.weight, 0, 0.1)  # type: ignore[arg-type, union-attr]
    return TrainedTask(network, Lexicon(words))


def train_network(
    data: Examples, trained: TrainedTask, recipe: TaskRecipe, report: Report, resume: Path | None = None
) -> None:
    """Train in place.

    Args:
        data: The set.
        trained: The network to train.
        recipe: Everything else about the training.
        report: Called after each epoch.
        resume: File that keeps the state after each epoch; training continues from it if it exists.
    """
    make_deterministic(recipe.threads)
    network = trained.network
    rows = len(data.epoch(np.random.default_rng([recipe.seed, 0])))
    steps = max(rows // recipe.batch_size, 1) * recipe.epochs
    optimiser = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, max(steps, 3), pct_start=0.1)
    state = TrainingState(network, optimiser, schedule, WeightAverage(network), trained.curve)
    if resume is not None:
        state.restore(resume, recipe)
    validation = _validation_batch(data, trained.lexicon, recipe)
    start_s = time.monotonic()
    while state.epoch < recipe.epochs and state.epoch - state.best_epoch < recipe.patience:
        rng = np.random.default_rng([recipe.seed, state.epoch])
        torch.manual_seed(recipe.seed * 1_000 + state.epoch)
        ease = max(0.0, 1 - state.epoch / (EASY_SHARE * recipe.epochs))
        losses = _epoch(network, data.epoch(rng, ease), trained.lexicon, recipe, state, rng)
        state.epoch += 1
        point = {"epoch": float(state.epoch), "seconds": round(time.monotonic() - start_s, 1)} | losses
        point |= _validate(network, state, validation)
        trained.curve.append(point)
        report(state.epoch, point)
        if resume is not None:
            state.save(resume, recipe)
    network.load_state_dict(state.best)
    network.eval()


def _epoch(
    network: TaskNetwork,
    examples: Sequence[Example],
    lexicon: Lexicon,
    recipe: TaskRecipe,
    state: TrainingState,
    rng: Generator,
) -> dict[str, float]:
    network.train()
    totals: dict[str, float] = {}
    size = min(recipe.batch_size, len(examples))
    count, known = len(examples) // size, len(lexicon.words)
    for begin in range(0, count * size, size):
        batch = collate_examples(examples[begin : begin + size], network.modalities, lexicon, recipe.segments)
        losses = _losses(network, _corrupt_words(batch, recipe, known, rng), recipe, state.loss_weights, rng)
        state.optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_MAX)
        state.optimiser.step()
        state.schedule.step()
        state.average.update(network)
        for name, loss in losses.items():
            totals[name] = totals.get(name, 0.0) + float(loss.detach()) / count
    return {name: round(value, 4) for name, value in totals.items()}


def _losses(
    network: TaskNetwork, batch: ExampleBatch, recipe: TaskRecipe, weights: dict[str, float], rng: Generator
) -> dict[str, Tensor]:
    branches, present = compute_branches(network, batch, lambda spectrum: mask_spectrum(spectrum, rng))
    logits = network.expert_logits(branches)
    losses: dict[str, Tensor] = {}
    for i, m in enumerate(network.modalities):
        rows = present[:, i]
        if bool(rows.any()):
            branch_logits, labels = logits[rows, i], batch.labels[rows]
            losses[m] = weights.get(m, 1.0) * nn.functional.cross_entropy(
                branch_logits, labels, label_smoothing=recipe.smoothing
            )
    if FUSIONS[recipe.fusion].trains_branches:
        nonempty = present.any(1)
        used = torch.from_numpy(rng.random(present.shape) >= recipe.drop) & present
        used = torch.where(used.any(1, keepdim=True), used, present)[nonempty]
        experts = torch.log_softmax(logits, -1)[nonempty]
        partial = network.fuse(branches[nonempty], experts, used)
        full = network.fuse(branches[nonempty], experts, present[nonempty])
        labels = batch.labels[nonempty]
        losses["fused"] = (nn.functional.nll_loss(partial, labels) + nn.functional.nll_loss(full, labels)) / 2
        losses["distilled"] = recipe.distil * nn.functional.kl_div(
            partial, full.detach(), reduction="batchmean", log_target=True
        )
    return losses


def train_residual(data: Examples, trained: TrainedTask, recipe: TaskRecipe, report: Report) -> None:
    """Train only the residual of a fusion, in place, on frozen and calibrated branches."""
    network = trained.network
    torch.manual_seed(recipe.seed)
    optimiser = torch.optim.AdamW(network.fusion.parameters(), recipe.learning_rate / 3, weight_decay=0.05)
    for epoch in range(recipe.residual_epochs):
        rng = np.random.default_rng([recipe.seed, 1_000 + epoch])
        examples = data.epoch(rng)
        tensors = collate_examples(examples, network.modalities, trained.lexicon, recipe.segments)
        network.eval()
        branches, present = encode_branches(network, tensors)
        experts = network.expert_log_probs(branches).detach()
        network.fusion.train()
        total = 0.0
        for begin in range(0, len(examples), recipe.batch_size):
            part = slice(begin, begin + recipe.batch_size)
            used = torch.from_numpy(rng.random(present[part].shape) >= recipe.drop) & present[part]
            used = torch.where(used.any(1, keepdim=True), used, present[part])
            log_probs = network.fuse(branches[part], experts[part], used)
            loss = nn.functional.nll_loss(log_probs, tensors.labels[part])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += float(loss.detach()) * len(log_probs) / len(examples)
        report(epoch + 1, {"epoch": float(epoch + 1), "residual": round(total, 4)})
    network.eval()


def mask_spectrum(spectrum: Tensor, rng: Generator) -> Tensor:
    """Mask bands of frequency and spans of time in some spectra [rows, views, mels, frames] (Park et al. 2019), in place."""
    rows, _, mels, frames = spectrum.shape
    for row in np.flatnonzero(rng.random(rows) < 0.4):
        low, wide = int(rng.integers(0, mels - 6)), int(rng.integers(1, 7))
        begin, long = int(rng.integers(0, frames - 8)), int(rng.integers(1, 9))
        spectrum[row, :, low : low + wide] = 0
        spectrum[row, :, :, begin : begin + long] = 0
    return spectrum


def _corrupt_words(batch: ExampleBatch, recipe: TaskRecipe, word_count: int, rng: Generator) -> ExampleBatch:
    """Replace some words by unknown, and some sentences by only unknown or only random words, in place.

    The former trains the row of unknown words; the latter teaches the network sentences without information.
    """
    if "text" in batch.inputs:
        words = batch.inputs["text"]
        is_word = words > UNKNOWN
        lost = torch.from_numpy(rng.random(words.shape) < recipe.unseen)
        babble = torch.from_numpy(rng.random(len(words)) < recipe.babble).view(-1, *[1] * (words.dim() - 1))
        unknown_only = torch.from_numpy(rng.random(len(words)) < 0.5).view_as(babble)
        any_word = torch.from_numpy(rng.integers(UNKNOWN + 1, UNKNOWN + 1 + word_count, words.shape))
        words.copy_(torch.where(is_word & babble & ~unknown_only, any_word, words))
        words.masked_fill_(is_word & (lost | babble & unknown_only), UNKNOWN)
    return batch


def _validation_batch(data: Examples, lexicon: Lexicon, recipe: TaskRecipe) -> ExampleBatch:
    drawn = [e for s in data.severities for e in data.drawn(s, np.random.default_rng(VAL_SEED))]
    drawn = drawn[:: len(data.severities)]  # scored after each epoch, so as few as one severity has
    return collate_examples(drawn, data.modalities, lexicon, recipe.segments)


@torch.no_grad()
def _validate(network: TaskNetwork, state: TrainingState, validation: ExampleBatch) -> dict[str, float]:
    """Score the averaged weights, keep them if they are the best, and weight the branches' losses by their lag."""
    if not len(validation.labels):
        state.update_best(state.average.state, -float(state.epoch))
        return {}
    present_state = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(state.average.state)
    network.eval()
    branches, present = encode_branches(network, validation)
    fused = network.fuse(branches, network.expert_log_probs(branches), present)
    branch_nll = {
        m: float(
            nn.functional.cross_entropy(
                network.expert_logits(branches)[present[:, i], i], validation.labels[present[:, i]]
            )
        )
        for i, m in enumerate(network.modalities)
    }
    nll = float(nn.functional.nll_loss(fused, validation.labels))
    state.loss_weights = lag_weights(branch_nll)
    if FUSIONS[network.architecture.fusion].trains_branches:
        state.update_best(state.average.state, nll)
    else:
        state.update_best_branches(state.average.state, branch_nll)
    network.load_state_dict(present_state)
    accuracy = float((fused.argmax(1) == validation.labels).float().mean())
    scores = {"val_nll": round(nll, 4), "val_accuracy": round(accuracy, 4)}
    return scores | {f"val_{m}": round(value, 4) for m, value in branch_nll.items()}


def lag_weights(branch_nll: dict[str, float]) -> dict[str, float]:
    """Return loss weights of branches: up to twice for one that lags behind the others, down to half for one ahead."""
    middle = float(np.mean(list(branch_nll.values()))) or 1.0
    return {m: float(np.clip(value / middle, 0.5, 2.0)) for m, value in branch_nll.items()}
